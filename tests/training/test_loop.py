"""What the loop promises of every run, on runs of a second."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from openjepa import training
from openjepa.common.rng import Rng
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.health import Verdict
from openjepa.jepa import JEPA
from openjepa.recipes import base, build
from openjepa.signals.base import hold_out
from openjepa.signals.images import ImageSet
from openjepa.training import Collapsed, fit, loop
from openjepa.training.run import Run

from . import small


@pytest.mark.parametrize("recipe", small.RECIPES)
def test_a_run_leaves_metrics_checkpoints_and_a_model(recipe: str, tmp_path: Path) -> None:
    config = small.config(recipe)
    run = small.new_run(tmp_path / "run", config)
    model = fit(config, small.images(), run=run)
    assert not model.training
    records = list(run.records("train"))
    assert [record["step"] for record in records] == list(range(10))
    assert records[0]["lr"] == 0 and records[1]["lr"] > 0
    assert all(record["loss"] > 0 and 0 <= record["data_wait"] <= 1 for record in records)
    assert [record["step"] for record in run.records("health")] == [0, 5, 10]
    assert [record["step"] for record in run.records("verdict")] == [0, 5, 10]
    assert run.verdict().step == 10
    assert [path.name for path in run.checkpoints.all()] == ["step-000009", "step-000010"]
    loaded = training.load(tmp_path / "run")
    batch = small.images().read([0, 1, 2])
    assert torch.equal(loaded.embed(batch), model.embed(batch))


def test_training_lowers_the_loss_and_moves_the_target() -> None:
    config = small.config(train__steps=40, train__lr=5e-3)
    model, start = fit(config, small.images()), build(config)
    batch, rng = small.images().read(range(40)), Rng(0, 0)
    assert model(batch, rng).loss < 0.8 * start(batch, Rng(0, 0)).loss
    moved = dict(model.target.named_parameters())
    assert any(not torch.equal(p, moved[name]) for name, p in start.target.named_parameters())


def test_a_run_is_a_function_of_its_seed_alone(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    losses = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = small.config(train__seed=seed, train__steps=4)
        run = small.new_run(tmp_path / name, config)
        fit(config, small.images(), run=run)
        losses.append(small.losses(run))
        torch.rand(3)
    assert losses[0] == losses[1] != losses[2]
    torch.manual_seed(1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_training_leaves_the_callers_random_state_alone() -> None:
    state = torch.random.get_rng_state()
    fit(small.config(train__steps=2), small.images())
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_target_stands_still_at_the_last_step() -> None:
    config = small.config(target__half_life=1.0)
    target = build(config).config.target
    assert target.momentum(9, 10) == 1.0
    moved = []
    model_after_step = JEPA.after_step

    def spy(self: JEPA, step: int, total: int) -> None:
        before = [p.clone() for p in self.target.parameters()]
        model_after_step(self, step, total)
        moved.append(
            any(not torch.equal(a, b) for a, b in zip(before, self.target.parameters(), strict=True))
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JEPA, "after_step", spy)
        fit(config, small.images())
    assert len(moved) == 10  # once a step
    assert moved[1] and not moved[-1]


class Floats(ImageSet):
    """Images that a user's own loading has broken."""

    broken: tuple[int, ...] = ()

    def read(self, indices: Tensor, rng: Rng | None = None) -> Tensor:
        pixels = super().read(indices).float() / 255
        bad = torch.isin(torch.as_tensor(indices), torch.tensor(self.broken))
        pixels[bad, 0, 3, 3] = float("nan")
        return pixels


def test_an_input_that_is_not_finite_is_named(tmp_path: Path) -> None:
    config = small.config()
    plain = small.images()
    images = Floats(plain.name, plain._pixels)
    rows, _ = hold_out(images)
    images.broken = (int(rows[7]), int(rows[20]))
    run = small.new_run(tmp_path / "run", config)
    with pytest.raises(UserError) as caught:
        fit(config, images, run=run)
    text = str(caught.value)
    found = [row for row in images.broken if f"{row}" in text.split(":")[0].split("images ")[1].split(", ")]
    assert found
    assert "the input is not finite" in text and "\n" not in text
    assert f"the last good checkpoint is {run.checkpoints.newest()}" in text
    assert text.startswith(f"step {len(small.losses(run))}, images ")


def test_a_loss_that_is_not_finite_is_named_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small.config()
    forward = JEPA.forward

    def diverge(self: JEPA, batch: Tensor, rng: Rng):
        output = forward(self, batch, rng)
        if rng.step == 7:
            output.loss.data.fill_(float("inf"))
        return output

    monkeypatch.setattr(JEPA, "forward", diverge)
    run = small.new_run(tmp_path / "run", config)
    with pytest.raises(UserError, match=r"step 7, images .*: the loss is not finite although its input is"):
        fit(config, small.images(), run=run)
    assert run.checkpoints.newest() == tmp_path / "run/checkpoints/step-000006"
    assert [step for step, _ in small.losses(run)] == list(range(7))
    with pytest.warns(OpenJEPAWarning, match="after 6 of 10 steps"):
        loaded = training.load(tmp_path / "run")
    assert all(bool(p.isfinite().all()) for p in loaded.parameters())


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small.config(train__steps=3, train__save_every=0.3)

    def explode(self: JEPA, step: int, total: int) -> None:
        next(self.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(JEPA, "after_step", explode)
    run = small.new_run(tmp_path / "run", config)
    with pytest.raises(UserError, match=r"step 1: weights are not finite.*step-000000"):
        fit(config, small.images(), run=run)


def doomed(monkeypatch: pytest.MonkeyPatch, collapses_at: set[int], times: int) -> None:
    """Let the verdict be "collapsed" at some steps, the first few times."""
    left = [times]

    def judge(readings: list[dict[str, float]], total: int, config: object) -> Verdict:
        step = int(readings[-1]["step"])
        if step in collapses_at and left[0] > 0:
            left[0] -= 1
            return Verdict("collapsed", "all features are alike", "add a guard", step)
        return Verdict("better", "it is", "nothing", step)

    monkeypatch.setattr(base, "judge", judge)


class Told:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.total, self.steps, self.events, self.ended = 0, [], [], 0

    def started(self, total: int) -> None:
        self.total = total

    def step(self, step: int, loss: float, rate: float) -> None:
        assert rate > 0
        self.steps.append(step)

    def event(self, text: str) -> None:
        self.events.append(text)

    def finished(self) -> None:
        self.ended += 1


def test_a_collapse_is_told_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    doomed(monkeypatch, {5}, 1)
    told = Told()
    fit(small.config(), small.images(), progress=told)
    assert (told.total, told.steps, told.ended) == (10, list(range(1, 11)), 1)
    assert [event.split(":")[1].strip() for event in told.events] == ["better", "collapsed", "better"]
    assert "step 5: collapsed: all features are alike; add a guard" in told.events


def test_a_run_that_nobody_watches_warns_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    doomed(monkeypatch, {5, 10}, 2)
    with pytest.warns(OpenJEPAWarning, match="the run ended collapsed: all features are alike; add a guard"):
        fit(small.config(), small.images())


def test_a_collapse_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doomed(monkeypatch, {5}, 1)
    config = small.config(train__on_collapse="stop")
    run, told = small.new_run(tmp_path / "run", config), Told()
    with pytest.raises(
        Collapsed, match=r"collapsed at step 5: all features are alike; add a guard.*step-000005"
    ):
        fit(config, small.images(), run=run, progress=told)
    assert run.verdict().word == "collapsed"
    assert told.ended == 1


def test_a_collapse_rolls_back_and_halves_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small.config(train__on_collapse="rollback", train__health_every=0.1, train__warmup=0.0)
    doomed(monkeypatch, {5}, 2)
    run = small.new_run(tmp_path / "run", config)
    fit(config, small.images(), run=run)
    records = list(run.records("train"))
    assert [record["step"] for record in records] == list(range(10))  # as if the steps between had not been
    plain = small.new_run(tmp_path / "plain", small.config(train__warmup=0.0))
    fit(plain.config, small.images(), run=plain)
    rates = [a["lr"] / b["lr"] for a, b in zip(records[:9], plain.records("train"), strict=False)]
    assert rates == pytest.approx([1, 1, 1, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25])
    events = [record["text"] for record in run.records("event")]
    assert len(events) == 1 and "back at step 3 with 0.25 of the learning rate" in events[0]
    assert run.verdict().word == "better"


def test_a_rolled_back_run_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small.config(train__on_collapse="rollback", train__health_every=0.1)
    doomed(monkeypatch, {5}, 1)
    whole = small.new_run(tmp_path / "whole", config)
    fit(config, small.images(), run=whole)
    doomed(monkeypatch, {5}, 1)
    run = small.new_run(tmp_path / "run", config)
    with pytest.raises(KeyboardInterrupt):
        fit(config, small.images(), run=run, progress=InterruptedAt(8, after_event="back at"))
    fit(config, small.images(), run=Run.open(run.path), resume=True)
    assert small.losses(run) == small.losses(whole)


class InterruptedAt(Told):
    def __init__(self, at: int, after_event: str = "") -> None:
        super().__init__()
        self.at, self.after_event = at, after_event

    def step(self, step: int, loss: float, rate: float) -> None:
        if step == self.at and self.after_event in " ".join(self.events):
            raise KeyboardInterrupt


def test_rolling_back_in_vain_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doomed(monkeypatch, {5}, 99)
    config = small.config(train__on_collapse="rollback")
    run = small.new_run(tmp_path / "run", config)
    with pytest.raises(Collapsed, match="going back 3 times has not helped"):
        fit(config, small.images(), run=run)


def test_going_back_needs_a_directory() -> None:
    with pytest.raises(UserError, match="name a run directory"):
        fit(small.config(train__on_collapse="rollback"), small.images())


@pytest.mark.parametrize("recipe", small.RECIPES)
def test_bf16_trains(recipe: str) -> None:
    model = fit(small.config(recipe, train__precision="bf16", train__steps=2), small.images())
    assert all(bool(p.isfinite().all()) and p.dtype == torch.float32 for p in model.parameters())


def test_compile_compiles_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    fit(small.config(train__compile=True, train__steps=1, train__batch_size=4), small.images())
    assert compiled == ["Block"] * 3  # encoder, predictor, target


@pytest.mark.parametrize(
    ("recipe", "options", "views"),
    [
        ("i-jepa", {}, 16),  # of 8 images: a context, and a target of its own encoder
        ("i-jepa", {"target": "shared"}, 16),  # a context is a part of its image, the target all of it
        ("lejepa", {"hiding.global_views": 2}, 16),  # two views, which are the targets too
        (
            "lejepa",
            {
                "hiding.global_views": 2,
                "hiding.local_views": 2,
                "train.accumulate": 2,
                "guard": "none",
                "head.layers": 0,
            },
            32,
        ),
    ],
)
def test_a_step_tells_its_cpu_seconds_and_views(
    recipe: str, options: dict[str, object], views: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small.configured(recipe, small.options(recipe) | {"train.steps": 3} | options)
    run, readings = small.new_run(tmp_path / "run", config), itertools.count()
    monkeypatch.setattr(loop.time, "process_time", lambda: float(next(readings)))
    fit(config, small.images(), run=run)
    steps, looks = list(run.records("train")), list(run.records("verdict"))
    assert [record["views"] for record in steps] == [views] * 3
    assert [record["cpu_seconds"] for record in (*steps, *looks)] == [1] * (3 + len(looks))
    assert next(readings) == 2 * (3 + len(looks))  # nobody else has looked at the clock
