"""Point: an arm reaches for what a picture shows, from pixels: V-JEPA 2-AC and DINO-WM on encoders trained here.

Two encoders are trained on the recorded frames without actions, one of films (V-JEPA 2), one of pictures (LeJEPA, in
the place of DINOv2), and stay frozen. On each stand both world models; beside them PLDM, which has no encoder but its
own. V-JEPA 2-AC is told the hand's pose, as in its paper, the others see pictures alone. Plans are V-JEPA 2-AC's CEM.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.acting import common
from benchmarks.acting.common import Data, Settings, Trained, percent, table
from benchmarks.learning import CLOCK, Clock, tell

DATA = Data("arm", {"size": 64}, "scripted", episodes=500)
BLOCK = 3
"""Actions of a step of every model."""
PATCH = 16
"""Side in pixels of the patches of both encoders: 16 tokens a frame, so that plans are cheap."""
FILMS: Mapping[str, Any] = {
    "signal.size": [64],
    "signal.patch": PATCH,
    "signal.stride": 1,
    "hiding.size": None,
    "hiding.augment.scale": [0.5, 1.0],
    "hiding.augment.flip": 0,
    "train.steps": 400,
    "train.health_every": 1.0,
}
PICTURES: Mapping[str, Any] = {
    "signal.size": 64,
    "signal.patch": PATCH,
    "signal.channels": 3,
    "hiding.global_augment.scale": [0.3, 1.0],
    "hiding.global_augment.flip": 0,
    "hiding.global_augment.jitter": 0,
    "hiding.global_augment.grey": 0,
    "train.steps": 400,
    "train.health_every": 1.0,
}
ENCODERS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "v-jepa-2": ("v-jepa-2", "tiny-vit", FILMS),
    "lejepa": ("lejepa", "tiny-vit", PICTURES),
}
"""Recipe, preset and options of what is frozen."""
SHORT: Mapping[str, Any] = {"train.steps": 400, "train.health_every": 1.0}
MODELS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "vjepa2-ac on v-jepa-2": ("vjepa2-ac", "v-jepa-2", SHORT),
    "vjepa2-ac on lejepa": ("vjepa2-ac", "lejepa", SHORT),
    "dino-wm on v-jepa-2": ("dino-wm", "v-jepa-2", {"signal.block": BLOCK, **SHORT}),
    "dino-wm on lejepa": ("dino-wm", "lejepa", {"signal.block": BLOCK, **SHORT}),
    "pldm": (
        "pldm",
        "",
        {"signal.size": 64, "signal.block": BLOCK, "encoder.patch": 4, **SHORT, "train.steps": 1200},
    ),
}
"""Recipe, encoder and options."""
PLAN: Mapping[str, Any] = {
    "planner": "cem",
    "planner.horizon": 2,
    "planner.execute": 1,
    "planner.samples": 48,
    "planner.iterations": 2,
    "planner.elites": 6,
    "planner.momentum": 0.15,
    "planner.momentum_std": 0.75,
    "cost.distance": "l1",
    "cloning.frames": 5000,
    "cloning.updates": 1000,
}
DECISIONS = 30
"""Measured, after two that are not."""


def measure(settings: Settings) -> dict[str, Any]:
    """By method: success, what training took, what a decision takes."""
    data = common.collected(settings, DATA)
    runs: dict[str, list[Trained]] = {}
    encoders: dict[str, dict[int, str]] = {}
    protocols = {}
    wanted = settings.recipes or tuple(MODELS)
    for name in wanted:
        recipe, encoder, options = MODELS[name]
        runs[name] = []
        for seed in settings.seeds:
            given = dict(options)
            if encoder:
                source = encoders.setdefault(encoder, {})
                if seed not in source:
                    source[seed] = frozen(settings, encoder, data, seed)
                given["encoder.source"] = source[seed]
            runs[name] += common.trained(replace(settings, seeds=(seed,)), recipe, data, given)
        baselines = ["nothing", "random", "cloning", "expert", "oracle"] if name == wanted[0] else []
        changes = {key.replace(".", "__"): value for key, value in PLAN.items()}
        protocols[name] = common.protocol(settings, runs[name], **changes, baselines=baselines)
    methods = {}
    for name, result in common.played(settings, protocols).items():
        rows = [common.summary(row) for row in result.rows]
        shared = {"protocol": result.protocol.model_dump(mode="json"), **common.costs(runs[name])}
        methods[name] = {**rows[0], **shared, "seconds": decision(protocols[name]), "baselines": rows[1:]}
    return {"methods": methods}


def frozen(settings: Settings, name: str, data: Path, seed: int) -> str:
    """The directory of an encoder's run, trained if it is not there."""
    import openjepa
    from openjepa.recipes import configure
    from openjepa.worlds.reading import open_episodes

    recipe, preset, options = ENCODERS[name]
    texts = {key: common.text(value) for key, value in options.items()} | {"train.seed": str(seed)}
    config = configure(recipe, preset, texts).model_dump(mode="json")
    path = data.parent / f"{recipe}-{preset}-seed{seed}-{common.digest([config, data.name])}"
    if not (path / "model").is_dir():
        clock = Clock(path.name)
        tell(f"{path.name}: training the encoder")
        films = films_of(open_episodes(data))
        openjepa.train(
            recipe,
            preset=preset,
            data=films if recipe == "v-jepa-2" else np.concatenate([film[::3] for film in films]),
            out=path,
            options=texts,
            progress=clock,
        )
        seconds, cpu_seconds = clock.elapsed[-1]
        tell(f"{path.name}: {seconds / 60:.1f} min, {cpu_seconds / 60:.1f} core-minutes")
        (path / CLOCK).write_text(str(cpu_seconds / 60))
    return str(path)


def films_of(episodes: Any) -> list[NDArray[np.uint8]]:
    """Each episode's frames as a film `[T, H, W, C]`."""
    return [np.moveaxis(np.asarray(episodes[i].frames), 1, -1) for i in range(len(episodes))]


def decision(chosen: Any) -> dict[str, float]:
    """Seconds from frame to action, of one environment; p50 and p99 of decisions that make a plan."""
    import torch

    from openjepa.evals.planning.players import Planned

    world = chosen.world()
    (model, *_), rng = chosen.load(world), np.random.default_rng(0)
    state, goal = world.task(1, rng)
    agent = Planned(model, chosen).agent
    agent.begin(1, world.render(goal))
    taken: list[float] = []
    with torch.no_grad():
        while len(taken) < DECISIONS + 2:
            frame, began = world.render(state), time.perf_counter()
            actions = agent.step(frame, known=state.values)
            if agent.planned is not None:
                taken.append(time.perf_counter() - began)
            state = world.step(state, actions, rng)
    return dict(zip(("p50", "p99"), np.percentile(taken[2:], [50, 99]).tolist(), strict=True))


def as_markdown(found: Mapping[str, Any]) -> str:
    """One table, baselines below."""
    lines, below = [], []
    for name, method in found["methods"].items():
        runs, seconds = method["runs"], method["seconds"]
        took = f"{max(run['core_minutes'] for run in runs):.1f}"
        words = ", ".join(dict.fromkeys(run["verdict"] for run in runs))
        late = [f"{1000 * seconds[key]:.0f}" for key in ("p50", "p99")]
        lines.append([name, *_cells(method), *late, took, words])
        for row in method["baselines"]:
            below.append([row["method"], *_cells(row), "", "", "", ""])
    head = ["method", "success in %", "by seed", "steps", "last distance", "plan p50, ms", "p99, ms"]
    head += ["core-minutes", "verdict"]
    episodes = next(iter(found["methods"].values()))["episodes"]
    title = f"### An arm reaches for what a picture shows: {episodes} episodes, 95 % Wilson intervals"
    return f"{title}\n\n{table(head, lines + below)}\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    seeds = ", ".join(f"{100 * rate:.0f}" for rate in row["rates"])
    steps = "–" if row["steps"] is None else f"{row['steps']:.1f}"
    return [percent(row), seeds, steps, f"{row['final']:.1f}"]
