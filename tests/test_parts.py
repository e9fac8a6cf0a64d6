"""Parts of one's own: any function or module becomes a choice, keeps the contract, is saved and loaded again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

import openjepa
from openjepa import config as configs
from openjepa import parts
from openjepa.cli import main
from openjepa.common.rng import Rng
from openjepa.config import entered
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.hiding import Blocks
from openjepa.recipes import build, configure, own
from openjepa.recipes.ijepa import IJEPA
from openjepa.training import Run

from . import dots

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_parts.py"
TINY = {
    "signal.size": "16",
    "encoder.width": "16",
    "predictor.width": "16",
    "predictor.depth": "1",
    "train.steps": "3",
    "train.batch_size": "8",
    "train.precision": "fp32",
}
VIT = {"encoder.depth": "1", "encoder.heads": "2"}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test enters is forgotten after it."""
    monkeypatch.setattr(configs, "_OWN", {room: dict(kinds) for room, kinds in configs._OWN.items()})
    monkeypatch.setattr(own, "_FILES", dict(own._FILES))


def named(part: str) -> str:
    return f"{EXAMPLE}:{part}"


SWAPS = {
    "encoder": {"encoder": named("small_net"), "encoder.kernel": "5"},
    "stem": {**VIT, "encoder.stem": named("two_steps")},
    "predictor": {**VIT, "predictor": named("decoder")},
    "target": {**VIT, "target": named("edges"), "target.norm": "layer"},
    "energy": {**VIT, "energy": named("huber"), "energy.delta": "0.5"},
    "hiding": {**VIT, "hiding": named("specks"), "hiding.share": "0.6"},
    "guard": {**VIT, "guard": named("spread"), "guard.weight": "0.1", "guard.least": "0.5"},
}


def swapped(room: str):
    return configure("i-jepa", "tiny-vit", TINY | SWAPS[room])


def pictures(count: int = 8) -> torch.Tensor:
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("room", SWAPS)
def test_each_keeps_the_contract(room):
    openjepa.check_jepa(build(swapped(room), seed=0), pictures())


@pytest.mark.filterwarnings("ignore::openjepa.errors.OpenJEPAWarning")
@pytest.mark.parametrize("rooms", [SWAPS.keys() - {"stem"}, {"stem"}], ids=["all", "stem"])
def test_they_train_are_saved_and_loaded_again(tmp_path, rooms):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    options = {name: value for room in rooms for name, value in SWAPS[room].items() if name not in VIT}
    config = configure("i-jepa", "tiny-vit", TINY | (VIT if "stem" in rooms else {}) | options)
    model = openjepa.train(config, data=images, out=tmp_path / "run")
    saved = json.loads((tmp_path / "run/config.json").read_text())
    again = openjepa.load(tmp_path / "run")
    assert again.config == model.config
    assert torch.equal(again.embed(pictures()), model.embed(pictures()))
    origins = {o["what"]: o["file"] for o in json.loads((tmp_path / "run/run.json").read_text())["own"]}
    for room in rooms:
        part = saved["encoder"]["stem"] if room == "stem" else saved[room]
        name = SWAPS[room]["encoder.stem" if room == "stem" else room].rpartition(":")[2]
        assert part["kind"] == name.replace("_", "-")
        assert origins.pop(f"{room} {part['kind']}") == named(name)
    assert not origins


def test_options_are_typed_and_mistakes_named():
    config = configure("i-jepa", "tiny-vit", {"energy": named("huber"), "energy.delta": "0.25"})
    assert config.energy(torch.full((2, 3), 0.5), torch.zeros(2, 3)).tolist() == pytest.approx([0.09375] * 2)
    with pytest.raises(UserError, match=r"unknown option 'energy.dleta'; did you mean 'energy.delta'"):
        configure("i-jepa", "tiny-vit", {"energy": named("huber"), "energy.dleta": "0.25"})
    with pytest.raises(UserError, match=r"energy.delta: .*number.*'wide'"):
        configure("i-jepa", "tiny-vit", {"energy": named("huber"), "energy.delta": "wide"})
    with pytest.raises(UserError, match=r"energy: 'hubre' is not one of l1, .*huber; did you mean 'huber'"):
        configure("i-jepa", "tiny-vit", {"energy": "hubre"})


def test_a_vector_serves_whole_views_and_is_refused_for_tokens():
    options = {"signal.size": "16", "encoder": named("OneVector"), "encoder.width": "16", "head.hidden": "16"}
    model = build(configure("lejepa", "tiny-vit", options | {"guard.slices": "16"}))
    assert model.embed(pictures()).shape == (8, 16) and model.layout == (1, 1)
    openjepa.check_jepa(model, pictures())
    with pytest.raises(
        UserError, match=r"--encoder one-vector gives one vector an image, and --hiding blocks"
    ):
        build(configure("i-jepa", "tiny-vit", {"encoder": named("OneVector")}))


def test_hidden_patches_never_reach_the_network():
    model = build(swapped("encoder")).eval()
    images = pictures()
    (pair,) = model.pairs(images, Rng(0, 0))
    hidden = ~pair.context.shown
    noisy = pair.context.tokens.values + 100 * hidden[..., None]
    changed = type(pair.context)(
        type(pair.context.tokens)(noisy, pair.context.tokens.positions, pair.context.tokens.layout),
        pair.context.keep,
    )
    assert torch.equal(model.encoder(pair.context), model.encoder(changed))


def test_a_mask_covers_what_it_says_where_samples_hide_unequal_numbers():
    @parts.hiding
    def uneven(tokens, rng, least: int = 2):
        number = torch.arange(len(tokens.values))[:, None]
        return torch.arange(tokens.values.shape[1]) < least + number

    config = configure("i-jepa", "tiny-vit", TINY | VIT | {"hiding": "uneven"})
    model = build(config).eval()
    (pair,) = model.pairs(pictures(), Rng(0, 0))
    assert pair.select is not None and pair.valid is not None and pair.context.keep is not None
    for i in range(8):
        asked = pair.select[i, 0][pair.valid[i, 0]].tolist()
        assert asked == list(range(2 + i))
        assert sorted(asked + pair.context.shown[i].nonzero()[:, 0].tolist()) == list(range(16))
    openjepa.check_jepa(model, pictures())
    told = configure("i-jepa", "tiny-vit", TINY | VIT | {"hiding": "uneven", "predictor": named("decoder")})
    with pytest.raises(UserError, match=r"decoder is not told which tokens are there"):
        build(told)(pictures(), Rng(0, 0))
    with pytest.raises(
        UserError, match="may hide unequal numbers of tokens, which --predictor convolutional"
    ):
        build(configure("i-jepa", "tiny-vit", {"hiding": "uneven", "predictor": "convolutional"}))


def test_a_mask_that_hides_all_is_refused():
    @parts.hiding
    def everything(tokens, rng):
        return torch.ones(tokens.values.shape[:2], dtype=torch.bool)

    model = build(configure("i-jepa", "tiny-vit", TINY | VIT | {"hiding": "everything"}))
    with pytest.raises(UserError, match="everything must hide some tokens of every sample, and never all"):
        model.pairs(pictures(), Rng(0, 0))


def test_a_predictor_that_is_told_leaves_padding_out():
    class Told(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.out = nn.Linear(width, width)

        def forward(self, queries, context, queries_there=None, context_there=None):
            there = context_there[..., None]
            return queries + self.out((context * there).sum(1, keepdim=True) / there.sum(1, keepdim=True))

    @parts.predictor
    def told(width):
        return Told(width)

    @parts.hiding
    def uneven(tokens, rng):
        return torch.arange(16) < 2 + torch.arange(len(tokens.values))[:, None]

    options = TINY | VIT | {"hiding": "uneven", "predictor": "told"}
    del options["predictor.depth"]
    model = build(configure("i-jepa", "tiny-vit", options)).eval()
    images = pictures()
    (pair,) = model.pairs(images, Rng(0, 0))
    (s_x,) = model.represent([pair.context])
    wild = torch.where(pair.context.present[..., None], s_x, 1e3)
    one, other = model.predict([s_x], [pair])[0], model.predict([wild], [pair])[0]
    torch.testing.assert_close(one[pair.asked], other[pair.asked])


def test_a_target_is_never_trained_and_its_width_is_the_predictions():
    model = build(swapped("target"))
    output = model(pictures(), Rng(0, 0))
    assert output.s_y[0].shape[-1] == 2 and not output.s_y[0].requires_grad
    assert output.prediction[0].shape == output.s_y[0].shape


def test_a_clip_s_network_mask_and_predictor_serve_films():
    @parts.encoder
    class Clips(nn.Module):
        """Clips `[B, T, C, H, W]` to a map of one place a tubelet."""

        def __init__(self, signal, width: int = 16):
            super().__init__()
            size = (signal.tubelet, signal.patch, signal.patch)
            self.conv = nn.Conv3d(signal.channels, width, size, size)

        def forward(self, clips):
            return self.conv(clips.transpose(1, 2))

    sizes = {"signal.size": "[16, 24]", "signal.frames": "4", "signal.patch": "4", "target.layers": "1"}
    own_parts = {"encoder": "clips", "hiding": named("specks"), "predictor": named("decoder")}
    model = build(configure("v-jepa", "tiny", {**sizes, **own_parts}))
    assert model.layout == (2, 4, 6)
    openjepa.check_jepa(model, torch.rand(8, 4, 3, 16, 24, generator=torch.Generator().manual_seed(0)))


def test_a_network_of_states_and_actions_predicts_in_a_world_model():
    options = {name: str(value) for name, value in dots.options("pldm").items() if "predictor" not in name}
    config = configure("pldm", "tiny", options | {"predictor": named("Residual"), "predictor.hidden": "8"})
    model = build(config)
    assert model.predictor.net.mlp[0].out_features == 8 and model.unused() is None
    openjepa.check_jepa(model, dots.windows(8, 5))
    with pytest.raises(UserError, match=r"predictor: 'decoder' is not one of gru, .*residual"):
        configure("pldm", "tiny", {"predictor": "decoder"})


def test_a_choice_of_ones_own_may_be_a_recipe_s_field_and_an_option_elsewhere():
    @parts.hiding
    class Thirds(Blocks):
        kind: Literal["thirds"] = "thirds"

    class OfThirds(IJEPA):
        recipe: Literal["of-thirds"] = "of-thirds"
        hiding: Thirds = Thirds()

    assert OfThirds().hiding.kind == "thirds"
    assert configure("i-jepa", "tiny-vit", {"hiding": "thirds"}).hiding == Thirds()


def test_what_is_no_part_is_said_in_a_sentence(tmp_path):
    with pytest.raises(
        UserError, match="must take prediction and target, and options with a default; it takes x"
    ):
        parts.energy(lambda x: x)
    with pytest.raises(UserError, match="calls itself 'l1', as another energy does"):

        @parts.energy
        def l1(prediction, target):
            return prediction

    with pytest.raises(UserError, match="no option can be called 'kind'"):

        @parts.energy
        def odd(prediction, target, kind=1):
            return prediction

    @parts.encoder
    def wrong(signal):
        return nn.Flatten(0)

    with pytest.raises(UserError, match=r"wrong gives \[784\], not a map"):
        build(configure("i-jepa", "tiny-vit", {"encoder": "wrong"}))
    with pytest.raises(UserError, match=r"is not one energy: .* has huber; write @parts.energy"):
        configure("i-jepa", "tiny-vit", {"energy": named("small_net")})
    with pytest.raises(UserError, match="does not exist"):
        configure("i-jepa", "tiny-vit", {"energy": str(tmp_path / "none.py")})


def test_what_is_saved_with_batch_norm_and_a_classifier_knows_its_unused_parameters():
    @parts.encoder
    class Heavy(nn.Module):
        def __init__(self, signal, width: int = 16):
            super().__init__()
            self.conv = nn.Conv2d(signal.channels, width, signal.patch, signal.patch)
            self.fc = nn.Linear(width, 10)

        def forward(self, pictures):
            return self.conv(pictures)

    model = build(configure("i-jepa", "tiny-vit", {**TINY, "encoder": "heavy"}))
    unused = model.unused()
    assert unused is not None and {"encoder.net.fc.weight", "encoder.net.fc.bias"} <= set(unused)
    assert not any("conv" in name and name.startswith("encoder.") for name in unused)
    assert build(swapped("predictor")).unused() is None


@pytest.mark.filterwarnings("ignore::openjepa.errors.OpenJEPAWarning")
def test_the_command_line_imports_what_it_names_and_nothing_that_a_run_names(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(EXAMPLE.read_text())
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8))
    run, mine = str(tmp_path / "run"), str(tmp_path / "mine.py")
    options = [f"--{name}={value}" for name, value in (TINY | VIT).items()]
    data, named = (
        str(tmp_path / "x.npy"),
        ["--energy", f"{mine}:huber", "--encoder.stem", f"{mine}:two_steps"],
    )
    main(["train", "i-jepa", "--preset", "tiny-vit", "--data", data, "--out", run, *named, *options])
    for command in (["health", run], ["embed", run, "-o", str(tmp_path / "e.npy")]):
        configs._OWN.clear()
        own._FILES.clear()
        with pytest.raises(SystemExit) as stopped:
            main(command)
        said = capsys.readouterr().err
        assert stopped.value.code == 2 and "is a run of parts of your own" in said
        assert f"--own {mine}:huber" in said and f"--own {mine}:two_steps" in said
        assert not entered("energy")
        main([*command, "--own", mine])
    assert np.load(tmp_path / "e.npy").shape == (40, 16)
    main(["train", "--resume", run, "--own", mine])
    configs._OWN.clear()
    own._FILES.clear()
    (tmp_path / "mine.py").write_text(EXAMPLE.read_text() + "\n# changed\n")
    with pytest.warns(OpenJEPAWarning, match=r"mine.py has changed since .*run was started"):
        own.enter_all(mine)
        Run.open(run)


def test_an_installed_package_brings_its_parts(tmp_path):
    """A package on the path, with an entry point `openjepa.parts`, is known to every recipe."""
    (tmp_path / "my_parts.py").write_text(EXAMPLE.read_text())
    about = tmp_path / "my_parts-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-parts\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[openjepa.parts]\nmine = my_parts\n")
    code = "from openjepa.cli import main; main(['train', 'i-jepa', '--energy', 'huber', '--help'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{tmp_path}:{Path(openjepa.__file__).parents[1]}", "PATH": "/usr/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert "--energy huber   one of l1, l2, smooth-l1, cosine, huber" in done.stdout
    assert "--energy.delta 1.0" in done.stdout
