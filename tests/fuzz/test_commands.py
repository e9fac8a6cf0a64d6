"""A thousand commands and config files with something wrong in them: all commands, all recipes.

The same ones every time; `OPENJEPA_FUZZ_SEED=1` draws others, `OPENJEPA_FUZZ_COUNT=5000` more of them.
"""

import collections
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openjepa import cli
from openjepa.evals.planning import protocol_for, remote_protocol_for
from openjepa.recipes import configure, registered

from . import harness
from .recipes import training, write_samples
from .words import Source

pytest.importorskip("h5py")

SEED = int(os.environ.get("OPENJEPA_FUZZ_SEED", 0))
PROCESSES = 10
COUNT = int(os.environ.get("OPENJEPA_FUZZ_COUNT", 1000))
RUNS = ("i-jepa", "pldm", "latent-action", "remote-jepa")


COMMANDS = """
--version
recipes --json
train lejepa --data images.npz --steps 3 --on-collapse stop --out out
train i-jepa --guard sigreg --guard.slices 16 --target shared --data images.npz --out out
train lejepa --encoder timm --encoder.name resnet10t --train.batch_size 8 --data images.npz --out out
train --config i-jepa --train.lr 1e-3 --out out
train --resume i-jepa --data images.npz --json
train i-jepa --preset tiny --help
sweep i-jepa --over train.lr=1e-3,2e-3 --seeds 0 1 --steps 2 --score knn --data images.npz --out out --json
compare i-jepa pldm --out x.html --json
collect two-rooms --episodes 2 --steps 3 --size 16 --policy random --seed 1 --max-steps 9 --vary '[wall]' --out out
collect two-rooms --episodes 2 --steps 3 --difficulty '{distance: [0, 20]}' --policy scripted --out out --json
collect maze --rooms 3 --seen 9 --steps 3 --policy scripted --out out
collect branch --risk 0.5 --branches 2 --headings 4 --steps 3 --out out
collect cart-pole --begin upright --steps 3 --policy perturbed-expert --out out
collect arm --steps 3 --size 16 --policy wall-seeking-walk --out out
collect gym:CartPole-v1 --size 16 --steps 3 --measured [0,1] --tolerance 0.1 --out out
probe i-jepa --data images.npz --test images.npz --kinds linear knn --few-label 0.5 --seed 1 --json
openloop pldm --data rooms --horizon 2 --variables * --goals 4 --windows 20 --candidates 3 --seed 1 --out x.json --json
probe pldm --data rooms --test rooms --kinds linear --classical quick --labelled 99 --json
embed pldm --data rooms --split test -o x.csv
plan pldm --quick --out x.json
plan pldm --env two-rooms --planner mppi --planner.horizon 3 --cost.prediction_error 2 --baselines [random] --out x.json
plan pldm --difficulty '{distance: [0, 20]}' --surprise --probes 1 --episodes 2 --seed 1 --out x.json
plan pldm --level 2 --higher.planner.horizon 8 --out x.json
plan --protocol plan.json --out x.json
remote remote-jepa --env cart-pole --loss 0.1 --episodes 2 --actor.updates 5 --out x.json --json
remote remote-jepa --schedules '[{kind: every, steps: 5}, {kind: drift, threshold: 0.3}]' --out x.json
remote --protocol remote.json --out x.json
controls latent-action --data rooms --seed 1 --updates 2 --json
embed i-jepa --data images.npz --split test -o x.npy --json
embed i-jepa --data images.npz --labels labels.csv --label age --group who -o x.csv
probe i-jepa --data images.npz --test images.npz --labels labels.csv --label kind --as classes --kinds linear --save
predict i-jepa images.npz -o x.csv --labels labels.csv --id row --label kind --false-alarms 0.1 --probabilities
neighbours i-jepa --data images.npz --query 3 --count 2 -o x.html --json
health i-jepa --json
report i-jepa --data images.npz --json
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and runs of four recipes; and files that are none of these."""
    root = tmp_path_factory.mktemp("sandbox")
    here = root / "here"
    here.mkdir()
    random = np.random.default_rng(0)
    write_samples(here, random)
    rows = "".join(f"{i},{'ab'[i % 2]},{i / 3},p{i // 4}\n" for i in range(40))
    (here / "labels.csv").write_text(f"row,kind,age,who\n{rows}")
    (here / "junk.npy").write_bytes(random.bytes(300))
    (here / "file.txt").write_text("mine")
    (here / "empty").mkdir()
    (here / "loop").symlink_to("loop")
    os.mkfifo(here / "fifo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        for world, folder in (("two-rooms", "rooms"), ("cart-pole", "pole")):
            options = ["--episodes", "20", "--steps", "16", "--size", "16", "--json"]
            cli.main(["collect", world, "--out", folder, *options])
        for recipe in RUNS:
            cli.main([*training(recipe), "--out", recipe])
        plan, remote = protocol_for(["pldm"]), remote_protocol_for(["remote-jepa"])
        (here / "plan.json").write_text(plan.model_dump_json())
        (here / "remote.json").write_text(remote.model_dump_json())
    return root


@pytest.fixture
def inside(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(sandbox / "here")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return sandbox


@pytest.fixture
def source(inside: Path) -> Source:
    here = inside / "here"
    read = ["train", "--config", "FILE", "--out", "out"]
    texts = {f"{name}.yaml": [*read, configure(name, "tiny").model_dump_json()] for name in registered()}
    texts |= {f"{run} saved": [*read, (here / run / "config.json").read_text()] for run in RUNS}
    for command in ("plan", "remote"):
        words = [command, "--protocol", "FILE", "--out", "x.json"]
        texts[f"{command} saved"] = [*words, (here / f"{command}.json").read_text()]

    def write(name: str, content: bytes) -> str:
        (here / name).write_bytes(content)
        return name

    recipes = {name: training(name) for name in registered()}
    lines = {line: shlex.split(line) for line in COMMANDS.splitlines()} | recipes
    return Source(SEED, lines, recipes, texts, write)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # libraries warn of many of these values
def test_every_command_succeeds_or_ends_with_one_sentence(
    source: Source, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults: list[harness.Fault] = []
    ends: collections.Counter[str] = collections.Counter()
    with harness.stopped_early():
        for _ in range(COUNT):
            words, case = source.draw()
            ended, fault = harness.attempt(words, inside, capsys.readouterr, case)
            ends[ended] += 1
            faults += [fault] if fault else []
    assert not faults, f"{dict(ends)}\n{harness.report(faults)}"
    assert ends["refused"] > 0.4 * COUNT and ends["accepted"] > 0.1 * COUNT  # it is not all the same


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_process_says_the_same(source: Source, inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of commands that are refused, some without all that the test above puts in the way."""
    variables = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2]), "PYTHONIOENCODING": "ascii"}
    compared = 0
    while compared < PROCESSES:
        words, _ = source.draw()
        before = harness.tree(inside)
        with harness.stopped_early(), pytest.raises(BaseException) as ended:
            cli.main(words)
            raise harness.Accepted
        said = capsys.readouterr().err
        harness.clear(inside, before)
        if getattr(ended.value, "code", None) != 2 or any("\0" in word for word in words):
            continue
        command = [sys.executable, "-m", "openjepa", *words]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240)
        shown = said.encode("ascii", "backslashreplace").decode()
        assert (done.returncode, done.stdout, done.stderr) == (2, "", shown), words
        assert not harness.clear(inside, before)
        compared += 1
