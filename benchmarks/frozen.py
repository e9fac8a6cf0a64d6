"""What one recipe learns without labels: seeds trained and probed beside untrained encoders and classical features."""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import record


@dataclass(frozen=True)
class Asked:
    """One thing that is asked of the features.

    Attributes:
        train, test: labelled samples to fit on and to score.
        task: what is asked; `None`: what the labels are.
        per_class: examples a class of which scores are given besides.
        classical: features beside the model's.
    """

    train: Any
    test: Any
    task: Any = None
    per_class: Sequence[int] = ()
    classical: Sequence[Any] = ()


def judge(
    recipe: str,
    data: Any,
    asked: Sequence[Asked],
    options: Mapping[str, str],
    args: argparse.Namespace,
    name: str,
) -> tuple[Any, list[dict[str, Any]]]:
    """The table over all seeds, and what each gave; a run that has finished is not trained again.

    Args:
        data: samples to train on, without their labels.
        args: see `add_arguments`.
        name: what runs are called, before preset and seed.
    """
    import openjepa
    from openjepa.evals import combine
    from openjepa.evals.protocol import Comparison
    from openjepa.evals.runs import training_cost, untrained
    from openjepa.evals.table import together
    from openjepa.training import load

    comparisons = [
        Comparison(
            one.train,
            one.test,
            kinds=tuple(args.kinds),
            classical=one.classical,
            task=one.task,
            per_class=one.per_class,
        )
        for one in asked
    ]
    tables, runs = [], []
    for comparison in () if args.train_only else comparisons:
        comparison.rows()  # first, so that seeds may be trained elsewhere meanwhile
        tell("classical features are scored")
    for seed in args.seeds:
        path = args.runs / f"{name}-{args.preset}-seed{seed}"
        if not (path / "model").is_dir():
            given = {**options, "train.seed": str(seed)}
            openjepa.train(recipe, preset=args.preset, data=data, options=given, out=path)
        cost, model = training_cost(path), load(path)
        tell(f"seed {seed}: trained, {cost.minutes or 0:.1f} CPU minutes")
        if args.train_only:
            continue
        first = args.initialisations * seed
        of_tasks = [
            comparison.table(
                model,
                random_init=partial(untrained, model.config),
                seeds=range(first, first + args.initialisations),
                cost=cost,
                name=path.name,
            )
            for comparison in comparisons
        ]
        table = together(of_tasks)
        tell(f"seed {seed}: probed\n{table.markdown()}")
        tables.append(table)
        runs.append({"seed": seed, "core_minutes": cost.minutes, "table": table.to_dict()})
    if args.train_only:
        sys.exit(0)
    return tables[0] if len(tables) == 1 else combine(tables), runs


def add_arguments(parser: argparse.ArgumentParser, runs: str) -> None:
    """Those that such benchmarks share."""
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="OPTION=VALUE", help="as in openjepa train")
    parser.add_argument("--kinds", nargs="+", default=["linear", "knn"], help="probes")
    parser.add_argument("--classical", default="all", help="all, quick or none")
    parser.add_argument("--initialisations", type=int, default=1, help="random encoders beside every seed")
    parser.add_argument("--train-only", action="store_true", help="train the seeds and end")
    parser.add_argument("--runs", type=Path, default=Path(runs), help="where runs are kept")
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    parser.add_argument(
        "--note", default="", help="what a reader should know, e.g. other load on the machine"
    )


def alone() -> None:
    """One thread, as all such results have it."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    import torch

    torch.set_num_threads(1)


def write(name: str, title: str, table: Any, runs: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """`NAME.json` and `NAME.md` among the results; the markdown is printed."""
    text = f"### {title}\n\n{table.markdown()}\n" + "".join(f"\n{note}" for note in table.notes) + "\n"
    text += f"\n{args.note}\n" if args.note else ""
    told = {"seeds": args.seeds, "preset": args.preset, "set": args.set, "note": args.note}
    path = record.write(name, {**told, "table": table.to_dict(), "runs": runs}, args.results)
    path.with_suffix(".md").write_text(text)
    print(text)


def tell(text: str) -> None:
    """On standard error, with the time."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


class Whole:
    """Classical features of the same samples, read in another way (larger, longer, more points)."""

    def __init__(self, row: Any, train: Any, test: Any) -> None:
        self.row, self.name, self.sets = row, row.name, {len(train): train, len(test): test}
        self.train = train

    def fit(self, samples: Any, **options: Any) -> "WholeSource":
        return WholeSource(self.row.fit(self.train, **options), self.sets)


class WholeSource:
    """A source that reads its samples from another set of the same length."""

    def __init__(self, source: Any, sets: dict[int, Any]) -> None:
        self.source, self.sets = source, sets
        self.name, self.poolings, self.default, self.notes = (
            source.name,
            source.poolings,
            source.default,
            source.notes,
        )

    def stream(self, samples: Any, rows: Any, names: Sequence[str]) -> Any:
        return self.source.stream(self.sets[len(samples)], rows, names)
