"""What world models learn of a real robot's logs: Unitree G1 picks up a bottle, 93 teleoperated episodes, one camera.

python -m benchmarks.robot DATA --out DIR                 # trains pldm tiny, predicts held-out episodes, reads joints
python -m benchmarks.robot DATA --out DIR --recipe lewm --seed 1 --set train.steps=2000
python -m benchmarks.robot DATA --out DIR --recipe vjepa2-ac   # on a V-JEPA 2 of the same films, trained before

DATA holds `g1-video.tar` and `g1-joints.npz`: films of 128 x 96 px at 10 Hz, joints and commands at 30 Hz, of which
every third row is of a frame (YifanTian07/G1-policy-train, MIT). They are written as LeRobot's folders, every fifth
episode apart. A model is trained on the others, a step of the model being two rows (0.2 s), and judged on every fifth
by `openjepa openloop` and `openjepa probe`: the joints of the right arm and hand, one second ahead. A run that is in
DIR already is not trained again.

V-JEPA 2-AC is given the joints with every picture, and moves them by its actions, as its paper does. So its actions are
by how much commands change (`CHANGE`), not the commands, which are positions; `--set names.actions=action --set
condition.future=predicted` gives it these, and lets it predict the joints.
"""

import argparse
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

import openjepa
from benchmarks.acting.arm import ENCODERS, films_of
from benchmarks.record import circumstances, write_json
from openjepa.evals import probe_runs
from openjepa.evals.runs import training_cost
from openjepa.evals.world_models.open_loop import open_loop
from openjepa.evals.world_models.open_loop_table import OpenLoopTable
from openjepa.world_models.model import WorldJEPA
from openjepa.worlds.reading import open_episodes

FILM = "videos/chunk-000/observation.images.head/episode_{:06d}.mp4"
ARM = ("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow", "wrist_roll", "wrist_pitch", "wrist_yaw")
VARIABLES = [
    *(f"{side}_{joint}" for side in ("left", "right") for joint in ARM),
    *(f"{side}_hand_{i}" for side in ("left", "right") for i in range(6)),
]
"""Names of the joints, in their order: rad of the arms, 0..1 of full travel of the hands."""
CHANGE = "command.change"
"""Column of the commands' differences from row to row; of a first row, from the joints."""
UNIT, RATE, EVERY = 1e4, 10, 3
EPISODES, TESTED_EVERY = 93, 5
OPTIONS: dict[str, dict[str, Any]] = {
    "pldm": {"signal.block": 2, "hiding.frames": 6, "hiding.rollout": 5, "train.steps": 1000},
    "lewm": {"signal.block": 2, "train.steps": 1000},
    "vjepa2-ac": {
        "signal.block": 2,
        "names.actions": CHANGE,
        "hiding.frames": 6,
        "predictor.history": 5,
        "train.steps": 400,
        "train.health_every": 1.0,
    },
}
"""Of training, by recipe, beside preset `tiny`: a second is five steps."""
JUDGED = ("right_*",)
"""The left arm and hand hardly move."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the two files")
    parser.add_argument("--out", type=Path, required=True, help="folder for logs, runs and tables")
    parser.add_argument("--recipe", choices=OPTIONS, default="pldm")
    parser.add_argument("--seed", type=int, default=0, help="of training")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the recipe"
    )
    args = parser.parse_args(arguments)
    folders = {part: args.out / part for part in ("train", "test")}
    for part, folder in folders.items():
        if not folder.exists():
            tested = part == "test"
            lerobot(args.data, folder, [i for i in range(EPISODES) if (i % TESTED_EVERY == 0) == tested])
    run = args.out / f"{args.recipe}-{args.seed}"
    if not (run / "model").exists():
        options = (
            OPTIONS[args.recipe] | {"train.seed": args.seed} | dict(item.split("=", 1) for item in args.set)
        )
        if args.recipe == "vjepa2-ac":
            options["encoder.source"] = str(encoder(args.out, folders["train"], args.seed))
        openjepa.train(args.recipe, preset="tiny", data=str(folders["train"]), out=run, options=options)
    model = cast(WorldJEPA, openjepa.load(run))
    name = f"{args.recipe} tiny, seed {args.seed}"
    table = open_loop(
        model, str(folders["train"]), test=str(folders["test"]), variables=JUDGED, horizon=5, name=name
    )
    print(table, flush=True)
    read = probe_runs([run], data=str(folders["train"]), test=str(folders["test"]), classical="quick")
    print(read)
    found = {"minutes": training_cost(run).minutes, "openloop": table.to_dict(), "probe": read.to_dict()}
    write_json(args.out / f"robot-{args.recipe}-{args.seed}.json", {**circumstances(), **found})
    (args.out / f"robot-{args.recipe}-{args.seed}.md").write_text(as_markdown(table))


def encoder(out: Path, episodes: Path, seed: int) -> Path:
    """A V-JEPA 2 of the episodes' films, without their actions, trained if it is not there."""
    recipe, preset, options = ENCODERS["v-jepa-2"]
    run = out / f"{recipe}-{seed}"
    if not (run / "model").exists():
        films = films_of(open_episodes(episodes, size=options["signal.size"][0]))
        openjepa.train(recipe, preset=preset, data=films, out=run, options={**options, "train.seed": seed})
    return run


def as_markdown(table: OpenLoopTable) -> str:
    """Errors at the farthest step, and choices."""
    last = table.ahead(len(table.steps) - 1)
    lines = [f"### A real robot, {table.name}: {table.episodes} held-out episodes", ""]
    for title, curves in (
        (f"error of states {last} ahead, share of their variance", table.states),
        (f"rms of {len(table.variables)} joints {last} ahead, rad or travel", table.physical),
    ):
        lines += [f"| {title} | |", "| --- | --- |"]
        for one in curves:
            lines.append(f"| {one.name} | {one.values[-1]:.3f} [{one.low[-1]:.3f}, {one.high[-1]:.3f}] |")
        lines.append("")
    lines += [f"| true actions first among {table.candidates} | in % | mean rank |", "| --- | --- | --- |"]
    for one in table.preferences:
        share = f"{100 * one.first:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]"
        lines.append(f"| {one.name}; the others {one.among} | {share} | {one.rank:.1f} |")
    lines.append(f"| chance | {100 / table.candidates:.1f} | {(table.candidates + 1) / 2:.1f} |")
    return "\n".join([*lines, "", table.said]) + "\n"


def lerobot(data: Path, folder: Path, chosen: Sequence[int]) -> Path:
    """Some of the episodes as LeRobot's folder of version 2.1, at 10 Hz, the films as they are."""
    import pyarrow
    import pyarrow.parquet

    joints = np.load(data / "g1-joints.npz")
    offset, numbers = joints["offset"], joints["episode"]
    (folder / "meta").mkdir(parents=True)
    (folder / "data/chunk-000").mkdir(parents=True)
    (folder / FILM).parent.mkdir(parents=True)
    with tarfile.open(data / "g1-video.tar") as tar:
        films = {int(Path(member.name).stem): member for member in tar if member.isfile()}
        for i, place in enumerate(chosen):
            film = tar.extractfile(films[int(numbers[place])])
            assert film is not None
            (folder / FILM.format(i)).write_bytes(film.read())
            rows = slice(offset[place], offset[place + 1], EVERY)
            state, action = (joints[name][rows].astype(np.float32) / UNIT for name in ("state", "action"))
            columns = {
                "observation.state": state.tolist(),
                "action": action.tolist(),
                CHANGE: np.diff(action, axis=0, prepend=state[:1]).tolist(),
                "episode_index": [i] * len(state),
                "frame_index": list(range(len(state))),
            }
            path = folder / f"data/chunk-000/episode_{i:06d}.parquet"
            pyarrow.parquet.write_table(pyarrow.table(columns), path)
    numbers_of = {"dtype": "float32", "shape": [len(VARIABLES)], "names": VARIABLES}
    features = {
        "observation.images.head": {"dtype": "video", "shape": [96, 128, 3]},
        "observation.state": numbers_of,
        "action": numbers_of,
        CHANGE: numbers_of,
    }
    info = {
        "codebase_version": "v2.1",
        "robot_type": "Unitree_G1",
        "fps": RATE,
        "total_episodes": len(chosen),
        "chunks_size": 1000,
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }
    (folder / "meta/info.json").write_text(json.dumps(info, indent=2))
    return folder


if __name__ == "__main__":
    main()
