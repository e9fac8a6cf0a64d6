"""What recipes learn in minutes: probe scores over training seeds, and the curve of score against time.

    python -m benchmarks.learning fashion-mnist --seeds 0 1 2
    OPENJEPA_TEST_DATA=... python -m benchmarks.learning cifar10 --recipes i-jepa --jobs 2

Every seed is trained, through the public API, in a process of its own; what has finished is not trained again when the
same command is repeated. Scores of the final models are on the whole data set, beside classical features, with all
labels, 1 %, 10 and 1 examples of each class, with intervals over the seeds (of few labels: over the seeds' means); the
curve probes checkpoints on a subset, after training, outside the measured minutes. A run under `--runs` that was cut
off, or had other options, is replaced.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.frozen import tell
from openjepa.errors import UserError

RECIPES = ["i-jepa", "lejepa"]
PRESETS = {"fashion-mnist": "tiny", "cifar10": "tiny-cifar10"}
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Of the steps, at which the curve is probed."""
SAVE_EVERY = 0.05
KINDS = ("linear", "knn")
CLOCK, RESULT = "clock.json", "learning.json"


@dataclass(frozen=True)
class Job:
    """One training run and its probes."""

    recipe: str
    preset: str
    data: str
    seed: int
    threads: int
    options: dict[str, str]
    out: Path
    subset: int
    """Images that the curve fits on, and tests on."""
    initialisations: int = 3
    """Random encoders beside every training seed: on Fashion-MNIST their scores scatter more than trained ones'."""

    @property
    def path(self) -> Path:
        """The run's directory."""
        return self.out / f"{self.recipe}-{self.preset}-seed{self.seed}"

    @property
    def key(self) -> dict[str, Any]:
        """What a finished result must agree with to be used again."""
        told = {name: str(value) for name, value in asdict(self).items() if name != "out"}
        return told | {"data": Path(self.data).name}


@dataclass
class Clock:
    """A run's progress: seconds, and CPU seconds of all threads, after each step."""

    label: str
    elapsed: list[tuple[float, float]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def started(self, total: int) -> None:
        self.begun = time.perf_counter(), time.process_time()
        self.elapsed = [(0.0, 0.0)]

    def step(self, step: int, loss: float, rate: float) -> None:
        self.elapsed.append((time.perf_counter() - self.begun[0], time.process_time() - self.begun[1]))

    def event(self, text: str) -> None:
        self.events.append(text)
        tell(f"{self.label}: {text}")

    def finished(self) -> None: ...


@dataclass(frozen=True)
class Probing:
    """What is asked of the final models."""

    classical: str
    few_label: tuple[float, ...]
    per_class: tuple[int, ...]
    draws: int
    images: int | None = None
    """Images to fit on, and to test on; `None`: all."""

    @property
    def key(self) -> dict[str, str]:
        """What a finished result must agree with to be used again."""
        return {name: str(value) for name, value in asdict(self).items()}


def run(job: Job) -> None:
    """Train one seed, unless that is done."""
    import torch

    torch.set_num_threads(job.threads)
    trained = reusable(job.path / CLOCK, job) or train(job.path, job)
    tell(f"{job.path.name}: {trained['minutes']:.1f} min, {trained['core_minutes']:.1f} core-minutes")


def probe_all(jobs: Sequence[Job], probing: Probing) -> list[dict[str, Any]]:
    """Each seed's result, which also lies in its run's directory. What stands beside the models is made once."""
    import torch

    torch.set_num_threads(jobs[0].threads)
    beside: dict[Any, Any] = {}
    results = []
    for job in jobs:
        done = reusable(job.path / RESULT, job)
        if done is None or done.get("probing") != probing.key:
            trained = reusable(job.path / CLOCK, job)
            assert trained is not None, f"{job.path} has been trained and its times are gone"
            tell(f"{job.path.name}: probing")
            done = {name: value for name, value in trained.items() if name != "elapsed"}
            done |= {"probing": probing.key, **probes(job.path, job, trained, probing, beside)}
            record.write_json(job.path / RESULT, done)
        results.append(done)
    return results


def reusable(path: Path, job: Job) -> dict[str, Any] | None:
    """What an earlier call of the same job has written."""
    done = json.loads(path.read_text()) if path.is_file() else {}
    return done if done.get("job") == job.key else None


def train(path: Path, job: Job) -> dict[str, Any]:
    """A run in `path`, from the start; its times, also as `clock.json`."""
    import openjepa

    shutil.rmtree(path, ignore_errors=True)
    clock = Clock(path.name)
    options = {"train.save_every": SAVE_EVERY, "train.keep": round(1 / SAVE_EVERY) + 1}
    options |= {**job.options, "train.seed": job.seed}
    openjepa.train(job.recipe, preset=job.preset, data=job.data, out=path, options=options, progress=clock)
    seconds, cpu_seconds = clock.elapsed[-1]
    trained = {
        "job": job.key,
        "minutes": seconds / 60,
        "core_minutes": cpu_seconds / 60,
        "peak_mib": record.peak_mib(),
        "events": clock.events,
        "elapsed": clock.elapsed,
    }
    record.write_json(path / CLOCK, trained, indent=None)
    return trained


def probes(
    path: Path, job: Job, trained: dict[str, Any], probing: Probing, beside: dict[Any, Any]
) -> dict[str, Any]:
    """The verdict, the config, the final model's table, and the curve; `beside`: comparisons by image size."""
    from openjepa.evals import probe
    from openjepa.evals.runs import training_cost, untrained
    from openjepa.signals.images import open_images
    from openjepa.training import Run, load

    opened = Run.open(path)
    signal = opened.config.signal
    seen = opened.config.data, signal.size, signal.channels
    if seen not in beside:
        train, test = (
            open_images(opened.config.data, split=split, size=signal.size, channels=signal.channels)
            for split in ("train", "test")
        )
        if probing.images:
            train, test = some(train, probing.images), some(test, probing.images)
        beside[seen] = compared(train, test, signal, probing)
    comparison, (train, test) = beside[seen], (beside[seen].about.train, beside[seen].about.test)
    random_init = partial(untrained, opened.config)
    seeds = range(job.initialisations * job.seed, job.initialisations * (job.seed + 1))
    cost = replace(training_cost(path), minutes=trained["core_minutes"])  # saving included
    table = comparison.table(load(path), random_init=random_init, seeds=seeds, cost=cost, name=path.name)
    few = [some(images, job.subset) for images in (train, test)]
    curve = []
    for step, model in checkpoints(opened):
        seconds, cpu_seconds = trained["elapsed"][step]
        part = probe(model, *few, kinds=KINDS, classical="none")
        scores = {kind: part.score("model", kind).mean for kind in KINDS}
        curve.append({"step": step, "minutes": seconds / 60, "core_minutes": cpu_seconds / 60, **scores})
    return {
        "verdict": asdict(opened.verdict()),
        "config": opened.config.model_dump(mode="json") | {"data": Path(job.data).name},
        "table": table.to_dict(),
        "curve": curve,
    }


def compared(train: Any, test: Any, signal: Any, probing: Probing) -> Any:
    """What models stand beside on these sets; a share that is too small for the set is left out and told."""
    from openjepa.evals import Comparison

    classes = len(set(train.labels.values.tolist()))
    shares = [share for share in probing.few_label if round(share * len(train)) >= 2 * classes]
    for share in set(probing.few_label) - set(shares):
        tell(f"no score with {share:.3g} of the labels: fewer than two for each of {classes} classes")
    return Comparison(
        train,
        test,
        kinds=KINDS,
        classical=signal.classical(probing.classical),
        few_label=shares,
        per_class=probing.per_class,
        draws=probing.draws,
        progress=Steps(),
    )


class Steps:
    """Tells each new part of a long probing once."""

    def __init__(self) -> None:
        self.last = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        if what != self.last:
            self.last = what
            tell(what)


def some(images: Any, count: int) -> Any:
    """That many images, every class in proportion, always the same."""
    import numpy as np

    from openjepa.evals.splits import fewer

    return fewer(images, count, np.random.default_rng(0))


def checkpoints(opened: Any) -> Iterator[tuple[int, Any]]:
    """Steps and models nearest to `SHARES` of the run."""
    from openjepa.common import files
    from openjepa.hub import store

    found = {int(path.name.removeprefix("step-")): path for path in opened.checkpoints.all()}
    last = max(found)
    wanted = dict.fromkeys(min(found, key=lambda step: abs(step - share * last)) for share in SHARES)
    for step in wanted:
        model = store.rebuild(opened.config)
        store.load_weights(model, found[step] / files.WEIGHTS)
        yield step, model.eval()


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By recipe: the table over seeds, the times, the mean curve."""
    from openjepa.evals import ProbeTable, combine

    recipes: dict[str, Any] = {}
    for name in dict.fromkeys(result["job"]["recipe"] for result in results):
        runs = [result for result in results if result["job"]["recipe"] == name]
        table = combine([ProbeTable.from_dict(run["table"]) for run in runs])
        curve = [
            {key: sum(point[key] for point in points) / len(points) for key in points[0]}
            for points in zip(*(run["curve"] for run in runs), strict=True)
        ]
        recipes[name] = {"table": table.to_dict(), "curve": curve, "runs": runs}
    return recipes


def as_markdown(dataset: str, recipes: dict[str, Any]) -> str:
    """Scores, how they stand to one another, and the curves."""
    from openjepa.evals import ProbeTable
    from openjepa.report.scores import scores

    lines, said = [f"### {dataset}, frozen features, accuracy in % [95 % interval]", ""], []
    for name, summary in recipes.items():
        table, runs = ProbeTable.from_dict(summary["table"]), summary["runs"]
        words = ", ".join(dict.fromkeys(run["verdict"]["word"] for run in runs))
        minutes = max(run["minutes"] for run in runs)
        lines += [f"{name}, {len(runs)} seeds, {minutes:.1f} minutes of training, verdict: {words}", ""]
        lines += [table.markdown(), "", *table.notes, *([""] if table.notes else [])]
        shown = scores(summary["table"])
        said.append(f"- {name}: {shown.sentence if shown else ''}")
    lines += ["Score against time (means over seeds; a subset, so comparable only with one another):", ""]
    lines += ["| recipe | step | minutes | core-minutes | linear | 10-NN |", "|---|---|---|---|---|---|"]
    for name, summary in recipes.items():
        for p in summary["curve"]:
            numbers = f"{p['step']:.0f} | {p['minutes']:.1f} | {p['core_minutes']:.1f} | "
            lines.append(f"| {name} | {numbers}{100 * p['linear']:.1f} | {100 * p['knn']:.1f} |")
    return "\n".join([*lines, "", *said, ""])


def data_of(dataset: str) -> str:
    """Where a data set lies, as `open_images` takes it."""
    if dataset == "fashion-mnist":
        return dataset
    root = os.environ.get("OPENJEPA_TEST_DATA")
    if root is None or not (Path(root) / dataset).is_dir():
        raise SystemExit(
            f"{dataset}: set OPENJEPA_TEST_DATA to a folder that holds {dataset}/, or give --data"
        )
    return str(Path(root) / dataset)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__.split("\n")[0])
    parser.add_argument("dataset", choices=list(PRESETS))
    parser.add_argument(
        "--recipes", nargs="+", default=RECIPES, help="if named, results are named after them"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--preset", help="instead of tiny (Fashion-MNIST), tiny-cifar10 (CIFAR-10)")
    parser.add_argument("--data", help="another place of the data set")
    parser.add_argument("--set", nargs="+", default=[], metavar="OPTION=VALUE", help="as in openjepa train")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument(
        "--subset", type=int, default=5000, help="images that the curve's probes fit and test on"
    )
    parser.add_argument(
        "--images", type=int, help="images that probes of the final models fit on, and test on (default: all)"
    )
    parser.add_argument("--initialisations", type=int, default=3, help="random encoders beside every seed")
    parser.add_argument("--classical", default="all", help="features beside the models': all, quick or none")
    parser.add_argument("--few-label", nargs="*", type=float, default=[0.01], help="shares of the labels")
    parser.add_argument("--per-class", nargs="*", type=int, default=[10, 1], help="examples of each class")
    parser.add_argument("--draws", type=int, default=5, help="of few labels")
    parser.add_argument("--runs", type=Path, default=Path("runs/learning"), help="where runs are kept")
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    parser.add_argument(
        "--note", default="", help="what a reader should know of the minutes, e.g. other load"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all seeds of all recipes, write JSON and markdown, print the markdown."""
    args = parse(arguments)
    preset, data = args.preset or PRESETS[args.dataset], args.data or data_of(args.dataset)
    options = dict(item.split("=", 1) for item in args.set)
    jobs = [
        Job(
            recipe,
            preset,
            data,
            seed,
            args.threads,
            options,
            args.runs / args.dataset,
            args.subset,
            args.initialisations,
        )
        for seed in args.seeds
        for recipe in args.recipes
    ]
    os.environ |= {"OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        try:
            list(pool.map(run, jobs))
            probing = Probing(
                args.classical, tuple(args.few_label), tuple(args.per_class), args.draws, args.images
            )
            results = pool.submit(probe_all, jobs, probing).result()
        except UserError as error:
            raise SystemExit(str(error)) from None
    recipes = summarise(results)
    text = as_markdown(args.dataset, recipes)
    told = (
        "seeds",
        "threads",
        "jobs",
        "subset",
        "images",
        "initialisations",
        "classical",
        "few_label",
        "per_class",
        "draws",
        "note",
    )
    setting = {key: getattr(args, key) for key in told}
    name = "-".join(["learning", args.dataset, *(args.recipes if args.recipes != RECIPES else [])])
    path = record.write(name, {**setting, "recipes": recipes}, args.results)
    path.with_suffix(".md").write_text(text)
    print(text)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
