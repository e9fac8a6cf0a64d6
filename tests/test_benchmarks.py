"""Every benchmark runs at minimal sizes and writes what its README promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
SPEED = ("step", "small", "embed", "wait", "profile")
TINY = ("--tiny", "--batch", "2", "--small-batch", "4", "--rounds", "1", "--matmul", "64")
LEARNING = (
    *("train.steps=4", "train.batch_size=8", "signal.size=16"),
    *("encoder.width=16", "encoder.depth=1", "encoder.heads=2"),
    *("predictor.width=16", "predictor.depth=1"),
)


def run(*arguments: object, blocked: str = "") -> subprocess.CompletedProcess[str]:
    """A benchmark in a process of its own; modules in `blocked` cannot be imported there."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    code = (
        "import runpy, sys\n"
        f"sys.modules |= dict.fromkeys({blocked.split()!r})\n"
        f"runpy.run_module('benchmarks.{arguments[0]}', run_name='__main__', alter_sys=True)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments[1:])],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all parts that need one process, with no peer installed."""
    path = tmp_path_factory.mktemp("results")
    done = run("speed", *SPEED, *TINY, "--results", path, blocked="torch_world lightly timm transformers")
    assert done.returncode == 0, done.stderr
    return path


def read(results: Path, name: str) -> dict:
    return json.loads((results / f"{name}.json").read_text())


def test_results_say_how_they_came_about(results: Path) -> None:
    found = read(results, "speed-step")
    assert {"command", "versions", "machine", "seed"} <= found.keys()
    assert found["versions"]["torch"] and found["machine"]["cores"] >= 1
    assert str(results) in found["command"]


def test_without_peers_ours_are_measured_and_the_peers_named(results: Path) -> None:
    for part in ("step", "small"):
        found = read(results, f"speed-{part}")
        assert set(found["missing"]) == {"torch-world", "lightly"}
        assert set(found["seconds"]) == {"openjepa, block by block", "openjepa, all blocks jointly"}
    assert set(read(results, "speed-embed")["missing"]) == {"torch-world", "lightly", "timm", "transformers"}


def test_shares_are_shares(results: Path) -> None:
    for parts in read(results, "speed-wait")["shares"].values():
        assert all(0 <= parts[name] < 1 for name in ("waiting for data", "masks", "augmentation and patches"))
    assert all(share > 0 for share in read(results, "speed-step")["share_of_matmul_peak"].values())


def test_the_profile_lists_operators(results: Path) -> None:
    assert "aten::addmm" in (results / read(results, "speed-profile")["table"]).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["torch_world", "lightly"])
def test_a_peer_trains_on_the_same_images(peer: str, tmp_path: Path) -> None:
    pytest.importorskip(peer)
    other = {"torch_world": "lightly", "lightly": "torch_world"}[peer]
    done = run("speed", "step", "small", *TINY, "--results", tmp_path, blocked=other)
    assert done.returncode == 0, done.stderr
    for part in ("step", "small"):
        ratios = read(tmp_path, f"speed-{part}")["times_as_fast_as"]["openjepa, block by block"]
        assert ratios[peer.replace("_", "-")]["median"] > 0


def test_memory_is_that_of_a_fresh_process(tmp_path: Path) -> None:
    done = run("speed", "memory", *TINY, "--peers", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(100 < mib < 10_000 for mib in read(tmp_path, "speed-memory")["mib"].values())


def test_an_unknown_part_is_refused() -> None:
    done = run("speed", "stpe")
    assert done.returncode == 2 and "unknown part 'stpe'" in done.stderr


@pytest.mark.slow
def test_learning_trains_probes_and_is_not_repeated(tmp_path: Path) -> None:
    data, out = folder_of_images(tmp_path / "data"), tmp_path / "results"
    command = (
        "learning",
        "fashion-mnist",
        "--recipes",
        "i-jepa",
        "--preset",
        "tiny-vit",
        "--seeds",
        0,
        "--data",
        data,
    )
    command += ("--runs", tmp_path / "runs", "--results", out, "--subset", 30, "--classical", "quick")
    command += ("--set", *LEARNING)
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "no score with 0.01 of the labels" in done.stderr
    found = read(out, "learning-fashion-mnist-i-jepa")["recipes"]["i-jepa"]
    scores = found["table"]["scores"]
    assert list(dict.fromkeys(score["row"] for score in scores)) == [
        *("raw pixels", "HOG", "random init", "model", "model + best classical")
    ]
    assert {score["per_class"] for score in scores} == {0, 10, 1}
    cost = found["table"]["costs"]["model"]
    assert cost["minutes"] > 0 and cost["views_per_second"] > 0
    steps = [point["step"] for point in found["curve"]]
    assert steps[0] == 0 and steps[-1] == 4 and steps == sorted(steps)
    minutes = [point["core_minutes"] for point in found["curve"]]
    assert minutes[0] == 0 and minutes == sorted(minutes) and minutes[-1] > 0
    text = (out / "learning-fashion-mnist-i-jepa.md").read_text()
    assert "| model + best classical |" in text and "linear, 10 per class" in text
    assert "| CPU minutes | training views/s | images/s |" in text
    clock = tmp_path / "runs" / "fashion-mnist" / "i-jepa-tiny-vit-seed0" / "clock.json"
    before = clock.stat().st_mtime_ns
    assert run(*command).returncode == 0
    assert clock.stat().st_mtime_ns == before


@pytest.mark.slow
def test_amounts_are_of_images_and_of_steps(tmp_path: Path) -> None:
    data = folder_of_images(tmp_path / "data", 80)
    command = ("amounts", "fashion-mnist", "--data", data, "--images", 180, "--shares", 0.5, "--steps", 2)
    done = run(*command, "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path, "amounts-fashion-mnist-lejepa")["rows"]
    assert [(row["images"], row["steps"]) for row in rows] == [(0, 0), (180, 2), (240, 1)]
    assert [row["minutes"] > 0 for row in rows] == [False, True, True]
    assert "| 180 | 2 |" in (tmp_path / "amounts-fashion-mnist-lejepa.md").read_text()


def folder_of_images(path: Path, count: int = 20) -> Path:
    """Three classes of noise of different brightness, in `train` and `test`."""
    random = np.random.default_rng(0)
    for split, number in (("train", count), ("test", 10)):
        for label in range(3):
            folder = path / split / str(label)
            folder.mkdir(parents=True)
            for i in range(number):
                pixels = random.integers(0, 100, (16, 16)) + 70 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return path


def test_a_plan_and_a_world_s_step_are_timed_without_peers(tmp_path: Path) -> None:
    sizes = ("--samples", 8, "--elites", 2, "--iterations", 1, "--rounds", 1, "--worlds", 2, "--steps", 1)
    blocked = "torch_world stable_worldmodel pygame"
    done = run("planning_speed", "--tiny", *sizes, "--results", tmp_path, blocked=blocked)
    assert done.returncode == 0, done.stderr
    (solved,) = read(tmp_path, "planning-speed-solve")["models"].values()
    assert set(solved["missing"]) == {"torch-world", "stable-worldmodel"} and set(solved["seconds"]) == {
        "openjepa"
    }
    stepped = read(tmp_path, "planning-speed-worlds")
    assert len(stepped["cart-pole"]["missing"]) == len(stepped["two-rooms"]["missing"]) == 1
    assert all(rate > 0 for rate in stepped["two-rooms"]["steps_per_cpu_second"].values())


@pytest.mark.slow
def test_torch_world_s_planner_prices_plans_as_ours(tmp_path: Path) -> None:
    pytest.importorskip("torch_world")
    sizes = ("--samples", 8, "--elites", 2, "--iterations", 1, "--rounds", 1)
    done = run(
        "planning_speed", "solve", "--tiny", *sizes, "--results", tmp_path, blocked="stable_worldmodel"
    )
    assert done.returncode == 0, done.stderr
    (solved,) = read(tmp_path, "planning-speed-solve")["models"].values()
    assert solved["cost_differs_by"]["torch-world"] < 1e-3
    assert solved["times_as_fast_as"]["openjepa"]["torch-world"]["median"] > 0


def test_a_clip_s_step_is_timed_beside_transformers_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    sizes = {
        "width": 24,
        "depth": 1,
        "heads": 2,
        "size": 32,
        "frames": 4,
        "patch": 4,
        "batch": 2,
        "rounds": 1,
    }
    words = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    from benchmarks import clip_speed

    clip_speed.main([*words, "--lengths", "2", "4", "--sides", "32", "--results", str(tmp_path)])
    found = json.loads((tmp_path / "clip-speed.json").read_text())
    assert found["times_as_fast_as"]["openjepa"]["transformers"]["median"] > 0
    assert [one["tokens"] for one in found["growth"]] == [[1, 8, 8], [2, 8, 8]]
    assert "| 4 |" in (tmp_path / "clip-speed.md").read_text()
    assert (tmp_path / "clip-speed.svg").read_text().startswith("<?xml")
