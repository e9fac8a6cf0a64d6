"""A signal from outside the package: found by an entry point, trained, measured; ragged samples are not mixed up."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import openjepa
from openjepa.check import check_jepa
from openjepa.common.rng import Rng
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.jepa import gather
from openjepa.recipes import build
from openjepa.training.step import require_whole_batches

from . import ranks, toy_signal
from .toy_signal import MOST, Bags, BagSet, bags

CONFIG = toy_signal.BagJEPA(data="")


def test_the_contract_holds_on_samples_of_unequal_numbers():
    check_jepa(build(CONFIG), BagSet(bags(12)).read(range(12)))


def test_it_trains_measures_and_embeds(tmp_path):
    with pytest.warns(
        OpenJEPAWarning, match="not using the context"
    ):  # numbers at random tell nothing of others
        openjepa.train("bag-jepa", data=bags(), out=tmp_path / "run", progress=False)
    model = openjepa.load(tmp_path / "run")
    assert model.signal.mean != 0  # fitted to the data
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"kind": "verdict"' in lines and "NaN" not in lines
    assert model.embed(bags(5)).shape == (5, 16)


def test_padding_and_neighbours_change_no_embedding():
    model = build(CONFIG).eval()
    some = bags(6)
    batch = BagSet(some).read(range(6))
    noise = torch.where(batch.valid[..., None], batch.numbers, 1e4)
    noisy = Bags(noise, batch.places, batch.valid)
    alone = torch.cat([model.embed([bag]) for bag in some])
    torch.testing.assert_close(model.embed(batch), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.embed(noisy), alone, atol=1e-5, rtol=0)


def test_the_loss_does_not_know_what_is_padded():
    model = build(CONFIG).eval()
    batch = BagSet(bags(8)).read(range(8))
    noisy = Bags(torch.where(batch.valid[..., None], batch.numbers, 1e4), batch.places, batch.valid)
    losses = [model(some, Rng(0, 3)).loss for some in (batch, noisy)]
    torch.testing.assert_close(*losses, atol=1e-5, rtol=0)


def test_samples_keep_their_numbers_through_every_gather():
    """The number of a sample stands in its values: whatever is kept or asked for of it bears that number."""
    numbers = torch.arange(8.0).view(8, 1, 1).expand(8, MOST, 2)
    valid = torch.arange(MOST).expand(8, MOST) < torch.arange(3, 11).clamp_max(MOST)[:, None]
    batch = Bags(numbers, BagSet(bags(8)).read(range(8)).places, valid)
    (pair,) = build(CONFIG).pairs(batch, Rng(0, 0))
    present, asked = pair.context.present, pair.asked
    assert (
        present is not None
        and asked is not None
        and pair.context.keep is not None
        and pair.select is not None
    )
    kept = gather(pair.context.tokens.values, pair.context.keep)
    wanted = gather(pair.context.tokens.values, pair.select)[:, 0]
    for i in range(8):
        assert (kept[i] == i).all() and (wanted[i] == i).all()
        seen = pair.context.keep[i][present[i]].tolist()
        hidden = pair.select[i, 0][asked[i, 0]].tolist()
        assert (
            sorted(seen + hidden) == valid[i].nonzero()[:, 0].tolist()
        )  # they cover what is there, and are disjoint


@pytest.mark.parametrize("ways", [2, 4])
def test_every_process_hides_the_same(ways):
    model = build(CONFIG)
    batch = BagSet(bags(8)).read(range(8))
    (whole,) = model.pairs(batch, Rng(0, 1))
    size = 8 // ways
    for start in range(0, 8, size):
        (part,) = model.pairs(batch[start : start + size], Rng(0, 1, start=start, total=8))
        assert torch.equal(part.select, whole.select[start : start + size])


def on_rank(rank: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model, batch = build(CONFIG, seed=0).eval(), BagSet(bags(8)).read(range(8))
    loss = model(batch[rank * 4 : rank * 4 + 4], Rng(0, 1, start=rank * 4, total=8)).loss
    loss.backward()
    return loss, [p.grad for p in model.parameters() if p.grad is not None]


def test_two_processes_with_unequal_numbers_of_hidden_tokens_are_as_one():
    model, batch = build(CONFIG, seed=0).eval(), BagSet(bags(8)).read(range(8))
    loss = model(batch, Rng(0, 1)).loss
    loss.backward()
    expected = [p.grad for p in model.parameters() if p.grad is not None]
    (one, first), (other, second) = ranks.run(on_rank)
    torch.testing.assert_close((one + other) / 2, loss.detach())
    for a, b, wanted in zip(first, second, expected, strict=True):
        torch.testing.assert_close((a + b) / 2, wanted, atol=1e-6, rtol=1e-4)


def test_micro_batches_of_unequal_numbers_are_refused():
    training = CONFIG.train.model_copy(update={"accumulate": 2})
    with pytest.raises(UserError, match=r"train\.accumulate 2 would change .*hiding part"):
        require_whole_batches(build(CONFIG), training)


def test_an_installed_package_brings_its_signal(tmp_path):
    """A package on the path, with a recipe as an entry point, is known to the commands."""
    (tmp_path / "toy_signals.py").write_text(Path(toy_signal.__file__).read_text())
    about = tmp_path / "toy_signals-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-signals\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[openjepa.recipes]\nbag-jepa = toy_signals\n")
    code = (
        "import toy_signals, openjepa\n"
        f"model = openjepa.train('bag-jepa', data=toy_signals.bags(), out={str(tmp_path / 'run')!r})\n"
        "from openjepa.cli import main\n"
        f"main(['health', {str(tmp_path / 'run')!r}])\n"
        "main(['recipes'])\n"
    )
    path = f"{tmp_path}:{Path(openjepa.__file__).parents[1]}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": path, "PATH": "/usr/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert "bag-jepa" in done.stdout and "bags" in (tmp_path / "run" / "run.json").read_text()
