"""What all points share: episodes collected, runs trained, protocols played; each once."""

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import record
from benchmarks.learning import CLOCK, Clock, tell

T, R = TypeVar("T"), TypeVar("R")
Kept = TypeVar("Kept", bound=tuple[Any, ...])


@dataclass(frozen=True)
class Settings:
    """What the command line says; where it says nothing, a point has its own."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Of training."""
    episodes: int = 100
    """To evaluate on, of each seed."""
    collect: int = 0
    """Episodes to train on."""
    recipes: tuple[str, ...] = ()
    planners: tuple[str, ...] = ()
    ablations: bool = True
    """Whether point 1 plays its ablations too."""
    preset: str = "tiny"
    train: Mapping[str, str] = field(default_factory=dict)
    """Options on top of the point's own, as in `openjepa train`."""
    plan: Mapping[str, str] = field(default_factory=dict)
    """Of protocols, as in `openjepa plan`."""
    threads: int = 1
    jobs: int = 1
    runs: Path = Path("runs/acting")


@dataclass(frozen=True)
class Data:
    """Episodes to train on; `options` are the world's."""

    world: str
    options: Mapping[str, Any] = field(default_factory=dict)
    policy: str = "random-walk"
    episodes: int = 1000
    steps: int | None = None
    seed: int = 0
    difficulty: Mapping[str, Any] = field(default_factory=dict)
    """Of the goals that the policy seeks."""


@dataclass(frozen=True)
class Trained:
    """A finished run: its seed, where it is, what it took and what its health was."""

    seed: int
    path: str
    minutes: float
    core_minutes: float
    verdict: str
    events: list[str]


def collected(settings: Settings, data: Data) -> Path:
    """The folder with these episodes, collected if it is not there."""
    from openjepa.worlds import make
    from openjepa.worlds.collect import collect

    episodes = settings.collect or data.episodes
    key = digest({**asdict(data), "episodes": episodes})
    path = settings.runs / f"{data.world}-{data.policy}-{episodes}-{key}"
    done = path / "collected"  # beside the episodes: opening a large set again takes seconds
    if not done.is_file():
        tell(f"collecting {episodes} episodes of {data.world}")
        world = make(data.world, **data.options)
        wanted = data.difficulty
        collect(world, data.policy, episodes, data.seed, path, steps=data.steps, difficulty=wanted)
        done.touch()
    return path


def trained(
    settings: Settings, recipe: str, data: Path, options: Mapping[str, Any] | None = None
) -> list[Trained]:
    """A run for each seed; `options` are the point's own, below those of the command line."""
    texts = {name: str(value) for name, value in {**(options or {}), **settings.train}.items()}
    jobs = [(recipe, settings.preset, data, seed, settings.threads, texts) for seed in settings.seeds]
    return each(settings, _train, jobs)


def played(settings: Settings, protocols: Mapping[str, Any]) -> dict[str, Any]:
    """The result of each protocol, of planning or of remote control, by its name.

    Each model's part is a job of its own; what was played before is read.
    """
    parts = {
        name: [(part, place(settings, part.model_dump(mode="json"))) for part in chosen.parts()]
        for name, chosen in protocols.items()
    }
    fill(settings, _play, [(name, part, path) for name in parts for part, path in parts[name]])
    found = {}
    for name, chosen in protocols.items():
        kind = _way(chosen)[1]
        read = [kind.from_dict(json.loads(path.read_text())) for _, path in parts[name]]
        found[name] = kind.joined(chosen, read)
        tell(f"{name}: {percent(found[name].to_dict()['rows'][0])} %")
    return found


def place(settings: Settings, key: Any) -> Path:
    """Where what was played is kept; `key` is plain data, all that it depends on."""
    return settings.runs / "plans" / f"{digest(key)}.json"


def each(settings: Settings, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`work` of every item, `jobs` at a time in processes of their own, each of so many `threads`."""
    if settings.jobs == 1 or len(items) < 2:
        _limit(settings.threads)
        return [work(item) for item in items]
    os.environ |= {"OMP_NUM_THREADS": str(settings.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    spawn = multiprocessing.get_context("spawn")
    limit = {"initializer": _limit, "initargs": (settings.threads,)}
    with ProcessPoolExecutor(settings.jobs, mp_context=spawn, max_tasks_per_child=1, **limit) as pool:
        return list(pool.map(work, items))


def fill(settings: Settings, work: Callable[[Kept], None], items: Sequence[Kept]) -> None:
    """`work` of every item whose file, the last of its parts, is not there yet; it writes that file."""
    each(settings, work, [item for item in items if not item[-1].is_file()])


def protocol(settings: Settings, runs: Sequence[Trained], **changes: Any) -> Any:
    """Of planning with the runs, on problems of their world; `changes` as in `options_of`."""
    from openjepa.evals.planning import protocol_for

    return protocol_for([run.path for run in runs], changes=options_of(settings, **changes))


def options_of(settings: Settings, **changes: Any) -> dict[str, str]:
    """Options of a protocol: `changes`, dots written as `__`, below the command line's."""
    named = {name.replace("__", "."): text(value) for name, value in changes.items()}
    return {"episodes": str(settings.episodes), **named, **settings.plan}


def summary(row: Any) -> dict[str, Any]:
    """A result's row without its single episodes, with means over them.

    `safe` is the share that succeeded without a step in danger, `entered` the share that was in danger.
    """
    found = {name: value for name, value in row.to_dict().items() if name != "outcomes"}
    means = {name: row.mean(name) for name in ("final", "danger", "predictions")}
    means["steps"] = row.mean("steps", successful=True) if row.successes else None
    total = len(row.played)
    safe = share(sum(o.success and not o.danger for o in row.played), total)
    entered = share(sum(o.danger > 0 for o in row.played), total)
    return {**found, "episodes": total, "errors": len(row.errors), **means, "safe": safe, "entered": entered}


def share(count: int, total: int) -> dict[str, float]:
    """With Wilson's 95 % interval."""
    from openjepa.evals.table import wilson

    low, high = wilson(count, total)
    return {"success": count / total, "low": low, "high": high}


def costs(runs: Sequence[Trained]) -> dict[str, Any]:
    """What training took and how healthy it was, for a result."""
    return {"runs": [asdict(run) for run in runs]}


def percent(found: Mapping[str, Any]) -> str:
    """`93.3 [90.0, 95.6]`, of a `summary`."""
    return f"{100 * found['success']:.1f} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _train(job: tuple[str, str, Path, int, int, dict[str, str]]) -> Trained:
    import openjepa
    from openjepa.recipes import configure
    from openjepa.training import Run

    recipe, preset, data, seed, threads, options = job
    config = configure(recipe, preset, options).model_dump(mode="json")  # a preset may have changed since
    key = {"config": config, "preset": preset, "data": data.name, "seed": seed, "threads": threads}
    path = data.parent / f"{recipe}-{preset}-seed{seed}-{digest(key)}"
    if not (path / CLOCK).is_file():
        shutil.rmtree(path, ignore_errors=True)
        clock = Clock(path.name)
        tell(f"{path.name}: training {options or ''}")
        openjepa.train(
            recipe,
            preset=preset,
            data=str(data),
            out=path,
            options={**options, "train.seed": seed},
            progress=clock,
        )
        seconds, cpu_seconds = clock.elapsed[-1]
        took = {"minutes": seconds / 60, "core_minutes": cpu_seconds / 60, "events": clock.events}
        record.write_json(path / CLOCK, {"job": key, **took}, indent=None)
        tell(f"{path.name}: {seconds / 60:.1f} min, {cpu_seconds / 60:.1f} core-minutes")
    took = json.loads((path / CLOCK).read_text())
    del took["job"]
    return Trained(seed, str(path), verdict=Run.open(path).verdict().word, **took)


def _play(item: tuple[str, Any, Path]) -> None:
    from openjepa.evals.planning import write

    name, part, path = item
    tell(f"{Path(part.models[0].run).name}: {name}")
    write(path, _way(part)[0](part).to_dict())


def _way(chosen: Any) -> tuple[Callable[[Any], Any], Any]:
    """How a protocol is played, and the class of its result."""
    from openjepa.evals.planning import PlanningResult, RemoteProtocol, RemoteResult, evaluate, remote

    return (remote, RemoteResult) if isinstance(chosen, RemoteProtocol) else (evaluate, PlanningResult)


def _limit(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def digest(key: Any) -> str:
    """Of plain data, eight hexadecimal digits."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:8]


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
