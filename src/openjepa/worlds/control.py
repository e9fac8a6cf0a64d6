"""A controller for the cart-pole that knows its state: swing up by energy, then balance by a linear regulator."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

GRAVITY, CART, POLE, STEP = 9.81, 1.0, 0.1, 0.02


def force(error: NDArray, length: NDArray) -> NDArray:
    """N, `[n]`, not yet bounded.

    Args:
        error: `[n, 4]`, position (from the target), velocity, angle (0 upright, in -pi..pi) and angular velocity.
        length: `[n]`, half the pole's length, m.
    """
    lengths, which = np.unique(length, return_inverse=True)
    gains = np.stack([_regulator(float(one)) for one in lengths])[which]
    balance = -(gains * error).sum(1)
    near = (np.abs(error[:, 2]) < 0.8) & (np.abs(error[:, 3]) < 4)
    return np.where(near, balance, _swing(error, length))


def _swing(error: NDArray, length: NDArray) -> NDArray:
    """The force that gives the cart the acceleration which pumps the pole's energy up to that at the top.

    With the cart's acceleration `a` as input the pole's energy changes by `-m l a omega cos(theta)` (Astrom & Furuta,
    2000); position and velocity are held near the target.
    """
    x, v, angle, spin = error.T
    sine, cosine = np.sin(angle), np.cos(angle)
    missing = 1 - cosine - 2 / 3 * length * spin**2 / GRAVITY  # of the energy at the top, in m g l
    pump = -np.sign(spin * cosine) * np.clip(20 * missing, -12, 12)
    wanted = pump - 8 * x - 4 * v
    turn = 0.75 * (GRAVITY * sine - wanted * cosine) / length
    return (CART + POLE) * wanted + POLE * length * (turn * cosine - spin**2 * sine)


@lru_cache(maxsize=64)
def _regulator(length: float) -> NDArray:
    """Gains `[4]` of the linear-quadratic regulator about the upright pole in discrete time (Riccati's equation)."""
    total = CART + POLE
    share = length * (4 / 3 - POLE / total)
    a = np.zeros((4, 4))
    a[0, 1] = a[2, 3] = 1
    a[3, 2] = GRAVITY / share
    a[1, 2] = -POLE * length / total * a[3, 2]
    b = np.array([0, 1 / total * (1 + POLE * length / (total * share)), 0, -1 / (total * share)])
    joint = np.zeros((5, 5))
    joint[:4, :4], joint[:4, 4] = a * STEP, b * STEP
    term = exponential = np.eye(5)
    for k in range(1, 12):
        term = term @ joint / k
        exponential = exponential + term
    a, b = exponential[:4, :4], exponential[:4, 4:]
    cost = value = np.diag([10.0, 1.0, 10.0, 0.5])
    for _ in range(1000):
        gain = np.linalg.solve(0.02 + b.T @ value @ b, b.T @ value @ a)
        value = cost + a.T @ value @ (a - b @ gain)
    return gain[0]
