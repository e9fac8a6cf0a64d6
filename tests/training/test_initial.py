"""Runs that start from trained weights: what is taken is the source's, what is not is said, and the source may go."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import openjepa
from openjepa.cli import main
from openjepa.errors import UserError
from openjepa.hub.store import save_model
from openjepa.recipes import build, configure
from openjepa.signals.electrodes.montage import place
from openjepa.training import Run, resume
from openjepa.training.initial import begin_from, config_of
from openjepa.training.loop import Trainer

from . import small


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of i-jepa whose encoder and average differ."""
    path = tmp_path_factory.mktemp("source") / "run"
    openjepa.train(
        "i-jepa", preset="tiny-vit", data=small.pixels(), out=path, options=small.options(), progress=False
    )
    return path


def model(recipe: str = "i-jepa", **changes: object) -> openjepa.JEPA:
    return build(small.config(recipe, **changes), seed=7)


def same(part: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = part.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_same_recipe_takes_everything(source: Path) -> None:
    begun, trained = model(), openjepa.load(source)
    start = begin_from(begun, str(source))
    assert same(begun, trained) and set(start.taken) == {"encoder", "predictor", "target"} and not start.kept
    assert not same(trained.encoder, trained.target.encoder)  # else the next test proves nothing


def test_without_an_average_the_encoder_is_the_one_that_gives_features(source: Path) -> None:
    begun, trained = model("lejepa"), openjepa.load(source)
    start = begin_from(begun, str(source))
    assert same(begun.encoder, trained.target.encoder)
    assert set(start.taken) == {"encoder"} and start.kept == {"head": "the source has none"}
    assert "head is as it was drawn: the source has none" in str(start)


def test_an_average_begins_as_the_encoder_that_was_taken(tmp_path: Path) -> None:
    save_model(model("lejepa"), tmp_path / "m")
    begun = model()
    start = begin_from(begun, str(tmp_path / "m"))
    assert same(begun.encoder, openjepa.load(tmp_path / "m").encoder)
    assert same(begun.target.encoder, begun.encoder)
    assert not any(p.requires_grad for p in begun.target.parameters())
    assert start.kept == {"predictor": "the source has none"}


def test_a_predictor_of_other_sizes_stays_as_drawn(source: Path) -> None:
    begun = model(predictor__depth=2)
    before = {name: value.clone() for name, value in begun.predictor.state_dict().items()}
    start = begin_from(begun, str(source))
    assert start.kept["predictor"].startswith("the source has no predictor.blocks.1.")
    assert all(torch.equal(value, before[name]) for name, value in begun.predictor.state_dict().items())


def test_an_encoder_that_does_not_fit_is_one_sentence_and_nothing_changes(source: Path) -> None:
    for changes, why in [
        ({"encoder__width": 32}, "has shape"),
        ({"encoder__depth": 2}, r"the source has no encoder\.blocks\.1"),
        ({"signal__patch": 8}, r"encoder\.embed\.weight has shape \[16, 16\] there and \[16, 64\] here"),
    ]:
        begun = model(**changes)
        before = {name: value.clone() for name, value in begun.state_dict().items()}
        with pytest.raises(UserError, match=why) as caught:
            begin_from(begun, str(source))
        assert "leave out recipe and preset" in str(caught.value)
        assert all(torch.equal(value, before[name]) for name, value in begun.state_dict().items())


def test_a_shallower_encoder_is_not_filled_from_a_deeper_one(tmp_path: Path) -> None:
    save_model(model(encoder__depth=2), tmp_path / "m")
    with pytest.raises(UserError, match=r"the source also has encoder\.blocks\.1"):
        begin_from(model(), str(tmp_path / "m"))


def test_positions_are_made_anew_for_another_size_of_picture(tmp_path: Path) -> None:
    trained = model(encoder__positions="learned")
    save_model(trained, tmp_path / "m")
    begun = model(encoder__positions="learned", signal__size=24)
    start = begin_from(begun, str(tmp_path / "m"))
    assert "encoder.positions.position_table" in start.remade and "made anew" in str(start)
    table, old = begun.encoder.positions.position_table, trained.encoder.positions.position_table
    assert table.shape == (1, 6, 6, 16) and old.shape == (1, 4, 4, 16)
    batch = torch.rand(2, 1, 24, 24)  # the trained model resizes its table in the same way
    torch.testing.assert_close(begun.encoder(begun.whole(batch)), trained.encoder(trained.whole(batch)))
    fixed = begin_from(model(signal__size=24), str(_saved(model(), tmp_path / "fixed")))
    assert not fixed.remade


def _saved(of: openjepa.JEPA, path: Path) -> Path:
    save_model(of, path)
    return path


def test_other_electrodes_have_the_places_that_the_source_gives_them(tmp_path: Path) -> None:
    def electrodes(*names: str) -> openjepa.JEPA:
        config = configure("signal-jepa", "tiny")
        known = {"channels": names, "places": tuple(map(place, names)), "scale": 10.0}
        return build(config.model_copy(update={"signal": config.signal.model_copy(update=known)}), 0)

    trained = electrodes("C3", "C4", "Cz", "Pz")
    torch.nn.init.normal_(trained.encoder.positions.table)
    begun = electrodes("Pz", "C3", "Fz", "C4", "Oz")
    start = begin_from(begun, str(_saved(trained, tmp_path / "m")))
    table = begun.encoder.positions.table
    assert torch.equal(table[0], trained.encoder.positions.table[3])
    assert torch.equal(table[1], trained.encoder.positions.table[0])
    assert "encoder.positions.table" in start.remade


def test_a_run_says_what_it_took_and_continues_without_its_source(source: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    options = small.options(init=str(moved), train__lr=1e-4)
    whole = tmp_path / "whole"
    openjepa.train(
        "i-jepa", preset="tiny-vit", data=small.pixels(), out=whole, options=options, progress=False
    )
    run = Run.open(whole)
    assert run.config.init == str(moved)
    assert "started from" in next(iter(run.records("event")))["text"]
    assert run.about["init"]["taken"]["encoder"] > 0
    assert same(openjepa.load(run.start), openjepa.load(source))
    partly = tmp_path / "partly"
    shutil.copytree(whole, partly)
    shutil.rmtree(moved)
    shutil.rmtree(partly / "model")
    for checkpoint in Run.open(partly).checkpoints.all()[1:]:
        shutil.rmtree(checkpoint)
    assert Run.open(partly).checkpoints.newest() != Run.open(whole).checkpoints.newest()
    resume(partly, data=small.pixels())
    assert small.losses(partly) == small.losses(whole)
    health = [[{**line} for line in Run.open(path).records("health")] for path in (partly, whole)]
    assert health[0] == health[1]
    assert same(openjepa.load(partly), openjepa.load(whole))


def test_the_random_encoder_beside_it_is_random(source: Path) -> None:
    config = small.config(init=str(source))
    assert not same(build(config.from_scratch(), 0).encoder, openjepa.load(source).encoder)
    begun = Trainer(config, small.images(), torch.device("cpu"), None, None)
    assert same(begun.state.model.encoder, openjepa.load(source).encoder)


def test_without_a_recipe_the_sizes_are_the_sources(source: Path, tmp_path: Path, capsys) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", small.pixels(40)[..., 0])
    command = [
        "train",
        "--init",
        str(source),
        "--data",
        str(tmp_path / "x.npy"),
        "--out",
        str(tmp_path / "run"),
    ]
    main([*command, "--steps", "2"])
    config = Run.open(tmp_path / "run").config
    assert config.recipe == "i-jepa" and config.encoder.width == 16 and config.train.steps == 2
    assert "started from" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "lejepa", *command[1:5], "--train.batch_size", "8", "--out", str(tmp_path / "o")])
    said = capsys.readouterr().err
    assert "cannot be started from" in said and not (tmp_path / "o").exists()


def test_a_checkpoint_of_the_hub_gives_its_encoder_and_its_licence(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    config = transformers.IJepaConfig(**sizes, image_size=16, patch_size=4, num_channels=1)
    transformers.IJepaModel(config).save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    begun = build(configure("i-jepa", None, {"data": "x"}, config_of(str(tmp_path))), 3)
    before = begun.predictor.blocks[0].mlp[0].weight.clone()
    start = begin_from(begun, str(tmp_path))
    assert same(begun.encoder, openjepa.load(tmp_path).encoder)
    assert start.licence == "cc-by-nc-4.0" and start.kept == {"predictor": "the source has none"}
    assert torch.equal(begun.predictor.blocks[0].mlp[0].weight, before)
    assert json.loads(json.dumps(start.taken)) == start.taken
