"""What a recipe's tokens tell of each place of a street scene: CamVid, mean IoU on a drive of its own.

    OPENJEPA_TEST_DATA=... python -m benchmarks.dense --seeds 0 1 2
    OPENJEPA_TEST_DATA=... python -m benchmarks.dense --recipe dmt-jepa --seeds 0 1 2

Trains a recipe of images on the photos of CamVid's training drives, without labels, and `v-jepa-2-1` on these beside
clips of nine actions; then a linear classifier a place on frozen features, beside the same encoder untrained, classical
features, and both together, with the labels of all scenes and of ten. Layers and strength are chosen on a training
drive that the classifier does not see. The test drive, Seq05VD, is in neither; the other drives of the official test
set are drives of the training set, and are not used. A run under `--runs` that has finished is not trained again.
"""

import argparse
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import record
from benchmarks.clips import GROUPED, split
from benchmarks.frozen import alone, tell, write

NAMES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
VOID = 11
TEST = "Seq05VD"
FEW, DRAWS = 10, 3
"""Scenes whose labels alone are used in the second column, and how often they are drawn."""
SCENES = {
    "signal.size": "192",
    "signal.patch": "8",
    "encoder.strides": "[2, 2, 2, 1]",
    "hiding.augment.size": "64",
    "hiding.augment.scale": "[0.1, 0.4]",
    "hiding.target_augment.scale": "[0.1, 0.4]",
    "train.batch_size": "32",
}
"""What `tiny-cifar10` is of photos of 192 px, in crops of 64 px that show things about as large as the photos do."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and probe every seed, write JSON and markdown, print the markdown."""
    args = parse(arguments)
    alone()
    import openjepa
    from openjepa.evals.dense import ClassicalPlaces, EncodedPlaces, answers, dense_probe, encoded, labelled
    from openjepa.evals.runs import training_cost
    from openjepa.evals.table import ProbeTable, combine
    from openjepa.evals.tasks import Regions
    from openjepa.recipes import build, configure, find
    from openjepa.recipes.images import ImageRecipe
    from openjepa.signals.images.pixels import open_pixels

    whole = open_pixels(args.scenes, NAMES, void=VOID, group=drive)
    test = np.array([drive(key) == TEST for key in whole.keys])
    train = np.array([key.split("/")[0] == "train" for key in whole.keys])
    train, test = whole.subset(train), whole.subset(test)
    tell(f"{len(train)} scenes to fit on, {len(test)} to test on")
    classical = ClassicalPlaces(train.images)
    photos = unpacked(args.scenes, args.runs / "photos")
    of_images = issubclass(find(args.recipe), ImageRecipe)
    preset = args.preset or ("tiny-cifar10" if of_images else "tiny")
    options = SCENES if of_images else {**GROUPED, "signal.images": str(photos)}
    options = options | dict(item.split("=", 1) for item in args.set)
    places = encoded(classical, train, test)
    parts = labelled(train, FEW, DRAWS)
    answered = {classical.name: answers(Regions(len(NAMES)), places, train, test, parts)}
    tables: list[ProbeTable] = []
    runs = []
    for seed in args.seeds:
        given = options | {"train.seed": str(seed)}
        path = args.runs / f"{args.recipe}-{preset}-seed{seed}"
        if not (path / "model").is_dir():
            signal = configure(args.recipe, preset, given).signal
            data = photos if of_images else split(signal.open(args.data))[0]
            openjepa.train(args.recipe, preset=preset, data=data, options=given, out=path)
        cost = training_cost(path)
        tell(f"seed {seed}: trained, {cost.minutes or 0:.1f} CPU minutes")
        model = openjepa.load(path)
        untrained = build(model.config, seed=seed).eval()
        sources = [EncodedPlaces(model), EncodedPlaces(untrained, "random init"), places]
        together = ("model", classical.name)
        table = dense_probe(train, test, sources, join=together, few=FEW, draws=DRAWS, answered=answered)
        tell(f"seed {seed}: probed\n{table.markdown()}")
        tables.append(table)
        runs.append({"seed": seed, "core_minutes": cost.minutes, "table": table.to_dict()})
    table = tables[0] if len(tables) == 1 else combine(tables)
    title = f"CamVid, drive {TEST}, a linear classifier a place, mean IoU [95 % interval]"
    write(f"dense-camvid-{args.recipe}", title, table, runs, args)


def drive(key: str) -> str:
    """The drive that a scene is of, by its name."""
    return key.rpartition("/")[2].split("_")[0]


def unpacked(archive: Path, folder: Path) -> Path:
    """The photos of the training drives, in a folder."""
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as scenes:
            for member in scenes:
                if member.name.startswith("train/") and member.name.endswith(".jpg"):
                    source = scenes.extractfile(member)
                    assert source is not None
                    (part / member.name.rpartition("/")[2]).write_bytes(source.read())
        part.rename(folder)
    return folder


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dense", description=__doc__.split("\n")[0])
    root = os.environ.get("OPENJEPA_TEST_DATA")
    for name, where, what in (
        ("--data", "video/ucf9.tar", "ucf9.tar"),
        ("--scenes", "camvid/camvid.tar", "camvid.tar"),
    ):
        place = {"default": Path(root) / where} if root else {"required": True}
        parser.add_argument(name, type=Path, **place, help=what)
    parser.add_argument("--recipe", default="v-jepa-2-1", help="v-jepa-2-1, i-jepa or dmt-jepa")
    parser.add_argument("--preset", help="instead of tiny-cifar10 (of images, at the photos' size), tiny")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="OPTION=VALUE", help="as in openjepa train")
    parser.add_argument("--runs", type=Path, default=Path("runs/dense"), help="where runs are kept")
    parser.add_argument("--results", type=Path, default=record.RESULTS)
    parser.add_argument(
        "--note", default="", help="what a reader should know of the minutes, e.g. other load"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
