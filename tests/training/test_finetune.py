"""Fine-tuning: it starts from the source's encoder, learns labels in the common loop, and holds whole groups out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import openjepa
from openjepa.cli import main
from openjepa.errors import UserError
from openjepa.recipes import build, configure
from openjepa.recipes.finetune import FineTuned, held_out
from openjepa.report import write_report
from openjepa.signals.base import Labels
from openjepa.signals.electrodes import ElectrodeSignal, open_recordings
from openjepa.signals.images import open_images
from openjepa.signals.labelled import LabelledSamples
from openjepa.training import Run

from . import small

ELECTRODES = ["C3", "C4", "Cz", "Pz"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "run"
    openjepa.train("i-jepa", preset="tiny-vit", data=small.pixels(), out=path, options=small.options())
    return path


def bright_and_dark(count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Images of two classes that anyone tells apart."""
    labels = np.arange(count) % 2
    return (small.pixels(count) // 4 + 120 * labels[:, None, None, None]).astype(np.uint8), labels


def tuned(source: Path, out: Path | None = None, **options: object) -> FineTuned:
    short = {"train.steps": 40, "train.batch_size": 16, "train.lr": 3e-3, "train.precision": "fp32"}
    dotted = {"source": str(source), **short, **{k.replace("__", "."): v for k, v in options.items()}}
    return openjepa.train("finetune", data=bright_and_dark(), out=out, options=dotted)  # ty: ignore


def test_labels_are_learned_from_the_sources_encoder(source: Path, tmp_path: Path) -> None:
    model = tuned(source, tmp_path / "tuned")
    images, labels = bright_and_dark()
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    probabilities = model.predict(batch)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(images)))
    assert (probabilities.argmax(1).numpy() == labels).mean() > 0.95
    run = Run.open(tmp_path / "tuned")
    assert run.verdict().word == "better" and "answered right" in run.verdict().reason
    again = openjepa.load(tmp_path / "tuned")  # needs the source no more
    assert torch.equal(again.predict(batch), probabilities)


def test_it_starts_from_the_average_and_a_frozen_encoder_stays(source: Path) -> None:
    start = openjepa.load(source).target.encoder.state_dict()
    frozen, free = tuned(source, frozen=1), tuned(source, frozen=0.5)
    assert all(torch.equal(value, start[name]) for name, value in frozen.encoder.state_dict().items())
    assert any(not torch.equal(value, start[name]) for name, value in free.encoder.state_dict().items())


def test_without_the_sources_weights_it_starts_at_random(source: Path) -> None:
    start = openjepa.load(source).target.encoder.state_dict()
    random = tuned(source, pretrained="false", frozen=1)
    assert not torch.equal(random.encoder.embed.weight, start["embed.weight"])


def test_a_killed_run_goes_on_bit_for_bit(source: Path, tmp_path: Path) -> None:
    whole = tuned(source, tmp_path / "whole")
    steps = tmp_path / "whole" / "checkpoints"
    newest = sorted(steps.iterdir())[-1]
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    (tmp_path / "whole" / "model" / "model.safetensors").unlink()
    (tmp_path / "whole" / "model" / "config.json").unlink()
    from openjepa.training import resume

    resume(tmp_path / "whole", data=bright_and_dark())
    again = openjepa.load(tmp_path / "whole")
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_whole_groups_are_held_out() -> None:
    images, classes = bright_and_dark(60)
    samples = open_images((images, classes))
    samples.labels = Labels(classes, ("dark", "bright"), groups=np.arange(60) // 6)
    rows = held_out(LabelledSamples(samples)).numpy()
    groups = np.arange(60) // 6
    assert len(rows) >= 6 and not set(groups[rows]) & set(groups[np.setdiff1d(np.arange(60), rows)])


def test_variables_are_learned_in_their_units(source: Path) -> None:
    images, _ = bright_and_dark()
    level = images.mean((1, 2, 3)).astype(np.float32)[:, None]
    samples = open_images(images)
    samples.labels = Labels(level, ("level",))
    config = configure("finetune", None, {"source": str(source), "train.steps": "60", "train.lr": "3e-3"})
    model = openjepa.train(config, data=LabelledSamples(samples))
    guess = model.predict(torch.from_numpy(images).permute(0, 3, 1, 2))  # ty: ignore
    assert float((guess - torch.from_numpy(level)).square().mean()) < 0.3 * float(level.var())


@pytest.mark.parametrize("kind", ["contextual", "post-local", "pre-local", "linear"])
def test_the_heads_of_electrodes_tell_where_it_swings(kind: str, tmp_path: Path) -> None:
    """Class 1 swings at C4, class 0 at C3."""
    random, classes = np.random.default_rng(0), np.arange(64) % 2
    values = random.normal(size=(64, 4, 280)).astype(np.float32)
    values[np.arange(64), classes] += 6 * np.sin(np.arange(280) / 2)
    signal = ElectrodeSignal(seconds=2, band=None)
    data = open_recordings(values, signal, channels=ELECTRODES, labels=classes)
    sizes = {
        "signal.seconds": 2,
        "signal.band": "none",
        "encoder.depth": 1,
        "train.steps": 2,
        "train.batch_size": 8,
    }
    openjepa.train("signal-jepa", data=data, out=tmp_path / "source", options=sizes)
    options = {"source": str(tmp_path / "source"), "classifier": kind, "train.steps": 60, "train.lr": 3e-3}
    model = openjepa.train("finetune", data=data, options=options)
    assert float((model.predict(data.read(range(64))).argmax(1).numpy() == classes).mean()) > 0.9  # ty: ignore


def test_what_cannot_be_fine_tuned_is_said_in_a_sentence(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name the run whose encoder is to be fine-tuned"):
        openjepa.train("finetune", data=bright_and_dark())
    with pytest.raises(UserError, match="no labels to fine-tune on"):
        openjepa.train("finetune", data=small.pixels(), options={"source": str(source)})
    with pytest.raises(UserError, match="a spatial filter mixes electrodes"):
        tuned(source, classifier="contextual")
    with pytest.raises(UserError, match=r"a local head needs|a spatial filter"):
        build(configure("finetune", None, {"source": str(source), "classifier": "pre-local", "answers": "2"}))


def test_a_report_of_it_shows_no_prediction(source: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x_train=bright_and_dark()[0], y_train=bright_and_dark()[1])
    options = {"source": str(source), "train.steps": "4"}
    openjepa.train("finetune", data=tmp_path / "data.npz", out=tmp_path / "run", options=options)
    page = write_report(tmp_path / "run").read_text()
    assert 'id="prediction"' not in page and "answered right" in page


def test_the_command_writes_a_run_beside_the_source(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    images, labels = bright_and_dark()
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels)
    shutil.copytree(source, tmp_path / "run")
    main(["finetune", str(tmp_path / "run"), "--data", str(tmp_path / "data.npz"), "--steps", "3", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == str(tmp_path / "run-finetuned") and found["verdict"] in ("better", "no better")


def test_regularised_masking_is_an_option_of_transformers_alone(source: Path, tmp_path: Path) -> None:
    model = tuned(source, barred=0.25)
    assert model.encoder.barred == 0.25
    images, labels = bright_and_dark()
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert torch.equal(model.predict(batch), model.predict(batch))  # off when it is asked
    assert (model.predict(batch).argmax(1).numpy() == labels).mean() > 0.9
    out = tmp_path / "convolutions"
    openjepa.train(
        "i-jepa",
        preset="tiny",
        data=small.pixels(),
        out=out,
        options={"train.steps": 2, "train.batch_size": 8},
    )
    with pytest.raises(UserError, match="--barred bars tokens from attention"):
        tuned(out, barred=0.1)
