"""The first losses of every tiny preset: a change that should change no number proves it by them.

python -m benchmarks.first_losses           # compare all with tests/records/first_losses.json, in half a minute
python -m benchmarks.first_losses --renew   # write that file anew
python -m benchmarks.first_losses --renew "i-jepa tiny"   # these presets alone, such as new ones

Samples are drawn from a seed, batches are small, and a run is 50 steps long, so that warm-up, cosine and moving average
all happen in it. `tests/test_first_losses.py` compares the first ten. Renew the record only in a commit that is to
change losses, and let it say why they change.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.record import cpu_model, write_json
from openjepa.recipes import Recipe, build, configure, find, registered
from openjepa.recipes.images import ImageRecipe
from openjepa.recipes.signaljepa import SignalJEPA
from openjepa.recipes.sounds import SoundRecipe
from openjepa.signals.electrodes import ElectrodeSignal, open_recordings, place
from openjepa.signals.points import PointSignal
from openjepa.signals.series import SeriesSignal
from openjepa.signals.video.signal import VideoSignal
from openjepa.training.data import Batches
from openjepa.training.optim import adamw
from openjepa.training.start import open_data
from openjepa.training.step import Stepper
from openjepa.worlds.actions import Box
from openjepa.worlds.episodes import Episodes
from openjepa.worlds.records import Raw, settle

RECORD = Path(__file__).parent.parent / "tests" / "records" / "first_losses.json"
STEPS, BATCH = 50, 8
IMAGES, RECORDINGS, EPISODES, LENGTH = 64, 64, 12, 100


def main() -> None:
    torch.set_num_threads(1)
    _, *asked = sys.argv
    named = [name for name in asked if name != "--renew"]
    found = {preset: [loss.hex() for loss in first_losses(*preset.split())] for preset in named or presets()}
    if "--renew" in asked:
        RECORD.parent.mkdir(exist_ok=True)
        write_json(RECORD, renewed(record(), found) if named else {**machine(), "losses": found})
        return
    recorded = record()["losses"]
    changed = [name for name in recorded.keys() | found.keys() if recorded.get(name) != found.get(name)]
    print(
        f"{len(found) - len(changed)} of {len(found)} presets have the recorded losses bit for bit", *changed
    )
    sys.exit(bool(changed))


def record() -> dict[str, Any]:
    """The recorded losses, hexadecimal, by recipe and preset, and the machine that they were computed on."""
    return json.loads(RECORD.read_text())


def renewed(old: dict[str, Any], found: dict[str, list[str]]) -> dict[str, Any]:
    """The record with the losses of some presets anew; which machine these are of is told beside them."""
    others = {name: of for name, of in old.get("others", {}).items() if name not in found}
    if machine() != machine_of(old):
        others |= dict.fromkeys(found, machine())
    return machine_of(old) | {"others": others, "losses": old["losses"] | found}


def machine_of(recorded: dict[str, Any], preset: str = "") -> dict[str, str]:
    """The machine that a preset's losses were computed on."""
    return recorded.get("others", {}).get(preset) or {name: recorded[name] for name in machine()}


def presets() -> list[str]:
    """Every recipe with each of its tiny presets."""
    return [
        f"{name} {preset}" for name, cls in registered().items() for preset in cls.presets if "tiny" in preset
    ]


def machine() -> dict[str, str]:
    """What must be the same for losses to be equal bit for bit."""
    return {
        "cpu": cpu_model(),
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def first_losses(name: str, preset: str, count: int = STEPS) -> list[float]:
    """The losses of the first `count` of 50 steps."""
    changes = {
        "train.steps": STEPS,
        "train.batch_size": BATCH,
        "train.precision": "fp32",
        "train.attention": "fused",
        "train.workers": 0,
        "train.seed": 0,
    }
    if "frozen" in str(find(name).presets[preset].get("encoder")):
        changes["encoder.pretrained"] = False  # weights are drawn, no trained encoder is needed
    config = configure(name, preset, {key: str(value) for key, value in changes.items()})
    config, samples = open_data(config, drawn_samples(config), adapt=True)
    model = build(config)
    stepper = Stepper(model, adamw(model, config.train), config.train, start=0)
    batches = Batches(samples, config.hold_out(samples)[0], config.train).stream(0)
    return [stepper(step, batch)["loss"] for step, batch in zip(range(count), batches, strict=False)]


def drawn_samples(config: Recipe) -> Any:
    """Images or clips of random stripes, waves over a head, tones, or episodes of a dot that its actions move."""
    random = np.random.default_rng(0)
    if isinstance(config, SignalJEPA):
        return _waves(random, config.signal)
    if isinstance(config, SoundRecipe):
        return _chirps(random, config.signal.rate)
    signal = getattr(config, "signal", None)
    if isinstance(signal, SeriesSignal):
        return _tones(random)
    if isinstance(signal, PointSignal):
        return _boxes(random)
    if isinstance(signal, VideoSignal):
        frames = _stripes(random, signal.frames * signal.channels, max(signal.sides))
        return frames.reshape(IMAGES, signal.frames, signal.channels, *frames.shape[2:])
    if isinstance(config, ImageRecipe):
        return _stripes(random, config.signal.channels, config.signal.size)
    return _dots(random, getattr(config, "signal").size)  # noqa: B009


def _chirps(random: np.random.Generator, rate: int) -> list[np.ndarray]:
    """Of 0.2 to 1.2 seconds, with noise."""
    found = []
    for seconds, low, high in random.uniform((0.2, 100, 500), (1.2, 500, 3000), (RECORDINGS, 3)):
        hertz = np.linspace(low, high, round(seconds * rate))
        noise = random.normal(0, 0.01, len(hertz))
        found.append((0.3 * np.sin(2 * np.pi * hertz.cumsum() / rate) + noise).astype(np.float32))
    return found


def _stripes(random: np.random.Generator, channels: int, side: int) -> np.ndarray:
    angle, phase, wave = (
        random.uniform(0, np.pi, IMAGES),
        random.uniform(0, 6, IMAGES),
        random.uniform(4, 12, IMAGES),
    )
    row, column = np.mgrid[:side, :side]
    along = np.cos(angle)[:, None, None] * row + np.sin(angle)[:, None, None] * column
    grey = 127 + 100 * np.sin(2 * np.pi * along / wave[:, None, None] + phase[:, None, None])
    noise = random.uniform(-20, 20, (IMAGES, channels, side, side))
    return (grey[:, None] + noise).astype(np.uint8)


def _waves(random: np.random.Generator, signal: ElectrodeSignal) -> Any:
    """Windows of ten electrodes that see four waves, each more the nearer it is."""
    names = ("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2")
    where = np.array([place(name) for name in names])
    time = np.arange(signal.samples) / signal.rate
    source = random.normal(0, 1, (RECORDINGS, 4, 3))
    source /= np.linalg.norm(source, axis=-1, keepdims=True)
    near = np.exp(where @ source.transpose(0, 2, 1))  # [N, C, 4]
    rate, phase = random.uniform(2, 30, (RECORDINGS, 4, 1)), random.uniform(0, 6, (RECORDINGS, 4, 1))
    waves = 10 * near @ np.sin(2 * np.pi * rate * time + phase) + random.normal(
        0, 2, (RECORDINGS, 10, len(time))
    )
    return open_recordings(waves.astype(np.float32), signal, channels=names)


def _boxes(random: np.random.Generator) -> np.ndarray:
    """Clouds on the surfaces of boxes."""
    found = random.uniform(-1, 1, (RECORDINGS, 600, 3))
    found /= np.abs(found).max(2, keepdims=True)
    return (found * random.uniform(0.3, 1, (RECORDINGS, 1, 3))).astype(np.float32)


def _tones(random: np.random.Generator) -> np.ndarray:
    """Series of two channels, each a tone with noise."""
    rate, phase = random.uniform(2, 20, (RECORDINGS, 2, 1)), random.uniform(0, 6, (RECORDINGS, 2, 1))
    tones = np.sin(2 * np.pi * rate * np.arange(160) / 160 + phase)
    return (tones + random.normal(0, 0.2, tones.shape)).astype(np.float32)


class _Drawn:
    """Frames drawn when asked for; number i is episode i."""

    def __init__(self, walks: list[np.ndarray], side: int) -> None:
        self.walks, self.side = walks, side

    def frames(self, number: int, first: int, stop: int) -> np.ndarray:
        places = self.walks[number][first:stop]
        row, column = np.mgrid[: self.side, : self.side] + 0.5
        off = (column - places[:, :1, None]) ** 2 + (row - places[:, 1:2, None]) ** 2
        spot = 255 * np.exp(-off / (self.side / 8) ** 2)
        return np.repeat(spot.astype(np.uint8)[:, None], 3, 1)

    def info(self, number: int) -> dict[str, Any]:
        return {}


def _dots(random: np.random.Generator, side: int) -> Episodes:
    raws, walks = [], []
    for i in range(EPISODES):
        actions = random.uniform(-1, 1, (LENGTH, 2)).astype(np.float32)
        steps = np.concatenate([np.zeros((1, 2)), actions]) * side / 16
        walk = np.clip(random.uniform(side / 4, 3 * side / 4, 2) + np.cumsum(steps, 0), 0, side)
        walks.append(walk)
        raws.append(Raw(f"walk {i}", LENGTH + 1, actions, walk.astype(np.float32)))
    return Episodes(
        settle("dots", raws, _Drawn(walks, side), [], Box.symmetric(1.0, 2), variables=("x", "y"))
    )


if __name__ == "__main__":
    main()
