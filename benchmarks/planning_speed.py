"""What a plan and a step of a world cost, beside other libraries' planners and environments.

    python -m benchmarks.planning_speed                 # everything, one thread
    python -m benchmarks.planning_speed solve --rounds 9

solve   one CEM solve, from frames to a plan: the same network, samples, iterations and horizon for all
worlds  environment steps with a picture of each

All take turns in one process; ratios are of CPU seconds.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import record, timing
from benchmarks.planners import (
    CONTEXTS,
    MODELS,
    OURS,
    SEED,
    Ours,
    StableWorldModel,
    TorchWorld,
    available,
    network,
)
from openjepa.worlds import make


def solve(args: argparse.Namespace) -> dict[str, Any]:
    """A solve of each library, for each network."""
    found: dict[str, Any] = {}
    for name in list(MODELS)[-1:] if args.tiny else args.networks:
        model, context = network(MODELS[name]), CONTEXTS.get(name, 1)
        random = torch.Generator().manual_seed(SEED)
        shape = args.problems, context, *model.signal.frame
        frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
        goal, width = frames.flip(0)[:, -1], model.signal.action_width
        past = torch.rand(args.problems, context - 1, width, generator=random) if context > 1 else None
        plans = torch.randn(args.problems, 7, args.horizon, width, generator=random)
        everyone, missing = available(
            (TorchWorld, *([StableWorldModel] if context == 1 else [])), model, args
        )
        everyone = {OURS: Ours(model, args), **everyone}
        prices = {who: one.price(frames, past, goal, plans) for who, one in everyone.items()}
        differs = {who: float((price - prices[OURS]).abs().max()) for who, price in prices.items()}
        if max(differs.values()) > 1e-3:
            raise SystemExit(f"{name}: costs of the same plans differ by {differs}")
        actions = {who: solving(one, frames, past, goal) for who, one in everyone.items()}
        taken = timing.interleave(actions, args.rounds)
        found[name] = {
            "history": model.history,
            "context": context,
            "parameters": sum(value.numel() for value in model.predictor.parameters()),
            "cost_differs_by": differs,
            "missing": missing,
            **measured(taken),
        }
        told(f"solve: {name}, context {context}", taken, "solve", 1)
    shared = {
        name: getattr(args, name) for name in ("problems", "samples", "iterations", "elites", "horizon")
    }
    return {**shared, "models": found}


def solving(contender: Any, *problem: Any) -> timing.Action:
    """A turn is one solve."""
    return lambda round_: contender.solve(*problem)


def worlds(args: argparse.Namespace) -> dict[str, Any]:
    """Steps with pictures, `--worlds` of them side by side."""
    found, n = {}, args.worlds
    ours = {f"{OURS}, {size} px": steps_of_ours(args, "cart-pole", size) for size in (64, 400)}
    found["cart-pole"] = compared("cart-pole", ours, {"gymnasium, 600 x 400 px": gymnasium_cartpole}, args)
    ours = {f"{OURS}, {size} px": steps_of_ours(args, "two-rooms", size) for size in (64, 224)}
    found["two-rooms"] = compared("two rooms", ours, {"stable-worldmodel, 224 px": their_two_rooms}, args)
    return {"worlds": n, "steps": args.steps, **found}


def steps_of_ours(args: argparse.Namespace, name: str, size: int) -> timing.Action:
    """A turn takes `--steps` steps of all worlds."""
    from openjepa.worlds import Random
    from openjepa.worlds.gym import WorldVectorEnv

    world = make(name, size=size)
    environments, rng = WorldVectorEnv(world, args.worlds), np.random.default_rng(SEED)
    environments.reset(seed=SEED)
    policy = Random(world)

    def take(round_: int) -> None:
        for _ in range(args.steps):
            assert environments.state is not None
            environments.step(policy.act(environments.state, rng))

    return take


def gymnasium_cartpole(args: argparse.Namespace) -> timing.Action:
    """Gymnasium's vector environment (`SyncVectorEnv`), rendered after every step."""
    import gymnasium
    import pygame  # noqa: F401 (what it renders with)

    environments = gymnasium.make_vec(
        "CartPole-v1", args.worlds, vectorization_mode="sync", render_mode="rgb_array"
    )
    return stepped(environments, args)


def their_two_rooms(args: argparse.Namespace) -> timing.Action:
    """stable-worldmodel's environment in the same vector environment; its `World` adds to that."""
    from gymnasium.vector import SyncVectorEnv
    from stable_worldmodel.envs.two_room.env import TwoRoomEnv

    return stepped(SyncVectorEnv([TwoRoomEnv] * args.worlds), args)


def stepped(environments: Any, args: argparse.Namespace) -> timing.Action:
    """The same turn in a vector environment of Gymnasium's."""
    environments.reset(seed=SEED)
    environments.action_space.seed(SEED)

    def take(round_: int) -> None:
        for _ in range(args.steps):
            environments.step(environments.action_space.sample())
            assert len(environments.render()) == args.worlds

    return take


def compared(
    name: str, ours: dict[str, timing.Action], theirs: dict[str, Callable[..., Any]], args: argparse.Namespace
) -> dict[str, Any]:
    """Steps a CPU second of each."""
    actions, missing = dict(ours), {}
    for who, opened in theirs.items():
        try:
            actions[who] = opened(args)
        except ImportError as error:
            missing[who] = f"not installed: {error}"
    taken, count = timing.interleave(actions, args.rounds), args.steps * args.worlds
    told(f"worlds: {name}", taken, "step", count)
    rates = {who: count / statistics.median(seconds["cpu"]) for who, seconds in taken.items()}
    return {"steps_per_cpu_second": rates, "missing": missing, **measured(taken)}


def measured(taken: dict[str, Any]) -> dict[str, Any]:
    """For JSON: all seconds, and how many times as fast each of ours is."""
    mine = [who for who in taken if who.startswith(OURS)]
    return {"seconds": taken, "times_as_fast_as": {who: timing.ratios(taken, who) for who in mine}}


def told(title: str, taken: dict[str, Any], what: str, count: int) -> None:
    """Prints what was found."""
    print(title)
    for who, seconds in taken.items():
        print(f"  {who:<28} {count / statistics.median(seconds['cpu']):10.3g} {what}s/CPU-second")
        for mine in taken if not who.startswith(OURS) else ():
            if mine.startswith(OURS):
                r = timing.ratios(taken, mine)[who]
                print(f"    {mine}: {r['median']:.2f}x as fast [{r['least']:.2f}, {r['most']:.2f}]")


PARTS = {"solve": solve, "worlds": worlds}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks.planning_speed", description=__doc__, formatter_class=formatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), help="solve, worlds (default: both)")
    parser.add_argument("--networks", nargs="*", default=list(MODELS), choices=MODELS, help="default: all")
    parser.add_argument("--problems", type=int, default=1, help="planned together")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--elites", type=int, default=30)
    parser.add_argument("--horizon", type=int, default=5)
    parser.add_argument("--worlds", type=int, default=16, help="side by side")
    parser.add_argument("--steps", type=int, default=20, help="in a turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each that count")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="the smallest network alone: to see that it runs")
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    args = parser.parse_args(arguments)
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts; one JSON file each."""
    args = parse(arguments)
    torch.set_num_threads(args.threads)
    for part in args.parts:
        payload = {"seed": SEED, "rounds": args.rounds, **PARTS[part](args)}
        print(f"  written: {record.write(f'planning-speed-{part}', payload, args.results)}", flush=True)


if __name__ == "__main__":
    main()
