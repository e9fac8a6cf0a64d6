"""What V-JEPA and its like learn of real clips in minutes, beside classical features: nine actions, a clean split.

    OPENJEPA_TEST_DATA=... python -m benchmarks.clips --seeds 0 1 2
    OPENJEPA_TEST_DATA=... python -m benchmarks.clips --recipe v-jepa-2 --seeds 0 1 2

Trains on clips of the training groups alone, one seed after another, on one thread; probes frozen features with all
labels and with ten a class, beside the same encoder at random initialisation and classical features. These are of
larger clips, all frames of them, since that is what a user can have without training. No group is cut, neither by the
split nor by what chooses settings. A run under `--runs` that has finished is not trained again.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import record
from benchmarks.frozen import Whole, tell

WHOLE = {"size": (96, 128), "frames": 32, "stride": 1}
"""Of the clips that classical features are of."""
TESTED = 7
"""Groups 1 to 7 are tested on (the official split 1)."""
SAME_SCENE = {"Basketball": (19, 22, 23, 25), "BasketballDunk": (10, 11)}
"""Training groups of the official split that show the scene of a test group, seen by eye: left out."""


def split(clips: Any) -> tuple[Any, Any]:
    """Training and test clips of a set whose names say their groups."""
    group = clips.labels.groups + 1
    names = np.array(clips.labels.names)[clips.labels.values]
    test = group <= TESTED
    leaks = np.array([g in SAME_SCENE.get(name, ()) for name, g in zip(names, group, strict=True)])
    return clips.subset(np.flatnonzero(~test & ~leaks)), clips.subset(np.flatnonzero(test))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and probe every seed, write JSON and markdown, print the markdown."""
    args = parse(arguments)
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    import torch

    import openjepa
    from openjepa.evals import combine
    from openjepa.evals.protocol import Comparison
    from openjepa.evals.runs import training_cost, untrained
    from openjepa.recipes import configure
    from openjepa.signals.video import clips as memory
    from openjepa.training import load

    torch.set_num_threads(1)
    memory.IN_MEMORY_BYTES = 2**31  # of the larger clips
    options = dict(item.split("=", 1) for item in args.set)
    config = configure(args.recipe, args.preset, options)
    train, test = split(config.signal.open(args.data))
    whole = split(config.signal.model_copy(update=WHOLE).open(args.data))
    tell(f"{len(train)} clips to train on, {len(test)} to test on")
    comparison = Comparison(
        train,
        test,
        kinds=tuple(args.kinds),
        classical=[Whole(row, *whole) for row in config.signal.classical(args.classical)],
        per_class=(10,),
        progress=None,
    )
    tables, runs = [], []
    for seed in args.seeds:
        path = args.runs / f"{args.recipe}-{args.preset}-seed{seed}"
        if not (path / "model").is_dir():
            given = {**options, "train.seed": str(seed)}
            openjepa.train(args.recipe, preset=args.preset, data=train, options=given, out=path)
        cost = training_cost(path)
        tell(f"seed {seed}: trained, {cost.minutes or 0:.1f} CPU minutes")
        table = comparison.table(
            load(path),
            random_init=partial(untrained, config),
            seeds=range(args.initialisations * seed, args.initialisations * (seed + 1)),
            cost=cost,
            name=path.name,
        )
        tell(f"seed {seed}: probed\n{table.markdown()}")
        tables.append(table)
        runs.append({"seed": seed, "core_minutes": cost.minutes, "table": table.to_dict()})
    table = combine(tables)
    text = f"### Nine actions, clean split, frozen features, accuracy in % [95 % interval]\n\n{table.markdown()}\n"
    text += "".join(f"\n{note}" for note in table.notes) + "\n"
    told = {"seeds": args.seeds, "preset": args.preset, "set": args.set, "note": args.note}
    path = record.write(
        f"learning-ucf9-{args.recipe}", {**told, "table": table.to_dict(), "runs": runs}, args.results
    )
    path.with_suffix(".md").write_text(text)
    print(text)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clips", description=__doc__.split("\n")[0])
    root = os.environ.get("OPENJEPA_TEST_DATA")
    place = {"default": str(Path(root) / "video" / "ucf9.tar")} if root else {"required": True}
    parser.add_argument("--data", **place, help="ucf9.tar")
    parser.add_argument("--recipe", default="v-jepa", help="of films: v-jepa, v-jepa-2 or v-jepa-2-1")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="OPTION=VALUE", help="as in openjepa train")
    parser.add_argument("--kinds", nargs="+", default=["linear", "knn"], help="probes")
    parser.add_argument("--classical", default="all", help="all, quick or none")
    parser.add_argument("--initialisations", type=int, default=1, help="random encoders beside every seed")
    parser.add_argument("--runs", type=Path, default=Path("runs/clips"), help="where runs are kept")
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    parser.add_argument(
        "--note", default="", help="what a reader should know of the minutes, e.g. other load"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
