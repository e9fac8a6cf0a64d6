"""Configs: overrides by dotted path, unions that switch, every mistake named at once, presets that validate."""

import contextlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import Field, TypeAdapter, ValidationError

from openjepa.config import Choice, Config, describe, dotted_paths, models_in, override
from openjepa.errors import OpenJEPAWarning, UserError
from openjepa.recipes import Recipe, base, build, configure, find, registered
from openjepa.recipes.table import as_dicts


class Round(Choice):
    kind: Literal["round"] = "round"
    radius: float = Field(1.0, gt=0)


class Square(Choice):
    kind: Literal["square"] = "square"
    side: int = Field(2, ge=1)
    corners: bool = True


class Inner(Config):
    size: int | None = None
    limits: tuple[float, float] = (0.0, 1.0)


class Thing(Config):
    name: str = "thing"
    mode: Literal["on", "1e5"] = "on"
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    rate: float = 0.1
    shape: Annotated[Round | Square, Field(discriminator="kind")] = Round()
    inner: Inner = Inner()


class Maybe(Config):
    inner: Inner | None = None


def changed(changes: dict[str, str], data: dict[str, Any] | None = None) -> Thing:
    return Thing.parse(override(Thing, data or Thing().model_dump(mode="json"), changes))


def test_values_are_read_as_their_types() -> None:
    thing = changed({"rate": "1e-3", "inner.size": "7", "inner.limits": "[0.2, 3]", "name": "other"})
    assert (thing.rate, thing.inner.size, thing.inner.limits, thing.name) == (1e-3, 7, (0.2, 3.0), "other")
    assert changed({"inner.size": "null"}, {"inner": {"size": 3}}).inner.size is None
    assert changed({"inner.size": "2e1"}).inner.size == 20


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "+1.e-3", "0.001", ".1e-2", "1.0e-3"])
def test_every_way_to_write_a_small_number(text: str) -> None:
    assert changed({"rate": text}).rate == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "text", ["2024", "1e5", "true", "null", "none", "2020-01-01", "", "[a", "{a: 1}", "!!float x"]
)
def test_text_stays_as_it_is_where_the_option_is_text(text: str) -> None:
    assert changed({"name": text}).name == text
    assert changed({"mode": "1e5"}).mode == "1e5" and changed({"mode": "on"}).mode == "on"
    assert changed({"names": "[1, true, null]"}).names == ("1", "true", "null")


def test_one_number_or_word_alone_is_a_list() -> None:
    assert changed({"names": "true"}).names == ("true",) and changed({"counts": "7"}).counts == (7,)
    assert Thing.parse({"names": "wall", "counts": 3}) == Thing(names=("wall",), counts=(3,))
    assert configure("i-jepa", "tiny-vit", {"signal.mean": "0.05"}).signal.mean == (0.05,)
    with pytest.raises(UserError, match=r"inner\.limits"):
        changed({"inner.limits": "3"})


@pytest.mark.parametrize(
    "text",
    [
        "2020-99-99",
        "0b_",
        "9" * 5000,
        "[" * 3000,
        "!!float abc",
        "[&a 1, *a]",
        "-1",
        "9223372036854775808",
        "1e400",
    ],
)
def test_what_is_no_seed_is_one_short_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"^train\.seed: ") as error:
        configure("i-jepa", "tiny-vit", {"train.seed": text})
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


@pytest.mark.parametrize("std", ["0", "[0.0]", "-1"])
def test_a_std_is_above_zero(std: str) -> None:
    with pytest.raises(UserError, match=r"signal\.std"):
        configure("i-jepa", "tiny-vit", {"signal.std": std})


def every_config(cls: type[Config] = Config) -> set[type[Config]]:
    return {cls}.union(*map(every_config, cls.__subclasses__()))


def test_every_whole_number_has_an_upper_bound() -> None:
    """So that a slip of the pen does not ask for a billion layers."""
    import openjepa.evals.planning  # noqa: F401  # its configs too

    found = {
        f"{cls.__name__}.{name}": field
        for cls in every_config()
        if cls.__module__.startswith("openjepa.")
        for name, field in cls.model_fields.items()
        if re.search(r"\bint\b", str(field.annotation)) and not models_in(field.annotation)
    }
    accepted = set()
    for name, field in found.items():
        adapter = TypeAdapter(field.rebuild_annotation())
        for value in (2**63 if name.endswith(".seed") else 10**10, [10**10]):
            with contextlib.suppress(ValidationError):
                accepted.add((name, adapter.validate_python(value)))
    assert len(found) > 100 and not accepted


def test_the_text_of_every_option_names_what_it_is() -> None:
    """`--help` shows it without the class around it."""
    told = {
        f"{config.__name__}.{name}": field.description or ""
        for config in every_config()
        if config.__module__.startswith("openjepa.")
        for name, field in config.model_fields.items()
    }
    assert len(told) > 300
    assert not {path for path, text in told.items() if text.startswith(("Of ", "By ", "As ", "At ", "From "))}


def test_a_bare_name_switches_the_choice_and_drops_the_old_ones_options() -> None:
    thing = changed({"shape": "square"}, {"shape": {"kind": "round", "radius": 3.0}})
    assert thing.shape == Square()
    assert changed({"shape.kind": "square", "shape.side": "5"}).shape == Square(side=5)


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_overrides_does_not_matter(order: int) -> None:
    pairs = [("shape", "square"), ("shape.side", "4")][::order]
    assert changed(dict(pairs)).shape == Square(side=4)


def test_naming_the_choice_that_is_there_keeps_its_options() -> None:
    assert changed({"shape": "round"}, {"shape": {"kind": "round", "radius": 3.0}}).shape == Round(radius=3)


def test_the_data_given_is_not_changed() -> None:
    data = Thing().model_dump(mode="json")
    before = json.dumps(data)
    override(Thing, data, {"shape": "square", "inner.size": "3"})
    assert json.dumps(data) == before


def test_an_optional_config_begins_with_its_defaults_where_an_option_of_it_is_set() -> None:
    plain = Maybe().model_dump(mode="json")
    assert Maybe.parse(override(Maybe, plain, {"inner.size": "3"})).inner == Inner(size=3)
    assert "--inner.size" in describe(Maybe, plain)


def test_an_option_below_what_holds_none_is_no_misspelt_one():
    with pytest.raises(
        UserError, match=r"inner\.size cannot be set: in the config below it inner holds no options"
    ):
        override(Thing, {"inner": 3}, {"inner.size": "1"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nam": "x"}, "unknown option 'nam'; did you mean 'name'?"),
        ({"size": "1"}, "unknown option 'size'; did you mean 'inner.size'?"),
        ({"inner.sise": "1"}, "unknown option 'inner.sise'; did you mean 'inner.size'?"),
        ({"shape": "squar"}, "shape: 'squar' is not one of round, square; did you mean 'square'?"),
        ({"shape.side": "3"}, "unknown option 'shape.side'"),  # of the member that is not chosen
        ({"name.more": "3"}, "unknown option 'name.more'"),
        ({"zzzzzz": "3"}, "unknown option 'zzzzzz'"),
    ],
)
def test_unknown_options_name_the_nearest(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        changed(changes)
    assert str(error.value).startswith(message)


def test_all_mistakes_come_at_once_each_with_its_path() -> None:
    data = {
        "rate": "fast",
        "shape": {"kind": "square", "side": 0, "edge": 1},
        "inner": {"sise": 1},
        "nam": "x",
    }
    with pytest.raises(UserError) as error:
        Thing.parse(data)
    message = str(error.value)
    for part in (
        "rate: Input should be a valid number",
        "(given 'fast')",
        "shape.side: Input should be greater than or equal to 1 (given 0)",
        "unknown option 'shape.edge'",
        "unknown option 'inner.sise'; did you mean 'inner.size'?",
        "unknown option 'nam'; did you mean 'name'?",
    ):
        assert part in message
    assert "\n" not in message


def test_an_unknown_kind_in_a_file_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"shape: .*'oval'.*'round', 'square'"):
        Thing.parse({"shape": {"kind": "oval"}})


def test_infinite_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="rate: Input should be a finite number"):
        changed({"rate": ".inf"})


def test_configs_do_not_change_after_construction() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Thing().name = "other"


def test_dotted_paths_follow_the_chosen_member() -> None:
    assert "shape.radius" in set(dotted_paths(Thing)) and "shape.side" not in set(dotted_paths(Thing))
    assert "shape.side" in set(dotted_paths(Thing, {"shape": {"kind": "square"}}))


PRESETS = [(name, preset) for name, cls in registered().items() for preset in cls.presets]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_preset_validates_and_survives_json(name: str, preset: str) -> None:
    config = configure(name, preset)
    assert (config.recipe, config.preset) == (name, preset)
    text = config.model_dump_json()
    assert find(name).parse(json.loads(text)) == config
    assert configure(name, base=json.loads(text)) == config  # as `--config FILE` does


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_preset_can_be_built(name: str, preset: str) -> None:
    config = configure(name, preset)
    if config.signal.kind == "electrodes":  # which ones, the data say
        named = {"channels": ("C3", "C4"), "places": ((-0.7, 0.0, 0.7), (0.7, 0.0, 0.7))}
        config = config.model_copy(update={"signal": config.signal.model_copy(update=named)})
    with torch.device("meta"):
        model = config.build()
    if config.hiding.kind not in (
        "crops",
        "future",
    ):  # whole views and frames have the layout of their encoder
        assert model.layout == model.signal.layout


@pytest.mark.parametrize("name", sorted(registered()))
def test_the_defaults_are_a_preset(name: str) -> None:
    default = configure(name)
    assert default == configure(name, default.preset)


def count(config: Recipe) -> tuple[float, float]:
    """Parameters of encoder and predictor, in millions, without allocating them."""
    with torch.device("meta"):
        model = config.build()
    return tuple(sum(p.numel() for p in part.parameters()) / 1e6 for part in (model.encoder, model.predictor))


@pytest.mark.parametrize(
    ("preset", "encoder", "predictor"),
    [("vit-b16", 85.6, 11.2), ("vit-l16", 303.1, 22.1), ("vit-h14", 630.4, 22.3)],
)
def test_the_papers_models_have_the_papers_sizes(preset: str, encoder: float, predictor: float) -> None:
    ours = count(configure("i-jepa", preset))
    assert ours == (
        pytest.approx(encoder, abs=0.4),
        pytest.approx(predictor, abs=0.2),
    )  # theirs store positions


def test_overrides_of_a_recipe() -> None:
    config = configure(
        "i-jepa",
        "tiny-vit",
        {"guard": "sigreg", "guard.slices": "64", "target": "shared", "train.lr": "3e-4"},
    )
    assert (config.guard.kind, config.guard.slices, config.target.kind, config.train.lr) == (
        "sigreg",
        64,
        "shared",
        3e-4,
    )
    assert config.encoder == configure("i-jepa", "tiny-vit").encoder


def test_a_saved_config_with_changes_on_top() -> None:
    saved = configure("i-jepa", "tiny-vit", {"train.steps": "77", "guard": "vicreg", "guard.std": "2"})
    again = configure("i-jepa", None, {"train.lr": "5e-4"}, base=saved.model_dump(mode="json"))
    assert (again.train.steps, again.guard.std, again.train.lr, again.preset) == (77, 2.0, 5e-4, "tiny-vit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ijepa",), "unknown recipe 'ijepa', known are .*; did you mean 'i-jepa'"),
        (("i-jepa", "tinny"), "i-jepa has no preset 'tinny', only .*; did you mean 'tiny'"),
        (
            ("i-jepa", None, {"batch_size": "4"}),
            "unknown option 'batch_size'; did you mean 'train.batch_size'",
        ),
        (("i-jepa", None, {"guard": "sigregg"}), "guard: 'sigregg' is not one of none, vicreg, sigreg"),
        (("i-jepa", None, {"signal.size": "8"}), "signal: images of 8 px are smaller than a patch of 14 px"),
        (("i-jepa", None, {"encoder.heads": "7"}), "encoder: width 1280 is not a multiple of heads 7"),
        (("i-jepa", None, {"train.lr": "-1"}), "train.lr: Input should be greater than 0"),
        (("lejepa", None, {}, {"recipe": "i-jepa"}), "recipe: .*'lejepa'"),
    ],
)
def test_mistakes_in_recipes_are_one_clear_sentence(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        configure(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("i-jepa", {"predictor": "none"}, "--hiding blocks .* add --predictor transformer"),
        ("i-jepa", {"head": "projector"}, "use --head none"),
        ("lejepa", {"head": "none"}, "use --head projector"),
        ("lejepa", {"predictor": "transformer"}, "use --predictor none"),
        ("i-jepa", {"hiding.min_context": "0.9"}, "masks can never hold"),
    ],
)
def test_choices_that_cannot_go_together_are_refused_when_built(
    name: str, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build(configure(name, "tiny-vit", changes))


def test_the_seed_alone_makes_the_weights() -> None:
    config = configure("i-jepa", "tiny-vit", {"encoder.width": "16", "encoder.depth": "1"})
    state = torch.get_rng_state()
    a, b, c = (build(config, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    pairs = [(a.encoder.embed.weight, other.encoder.embed.weight) for other in (b, c)]
    assert torch.equal(*pairs[0]) and not torch.equal(*pairs[1])


def test_none_empties_an_option_that_may_be_empty_and_only_such() -> None:
    config = configure("i-jepa", "tiny-vit", {"train.clip": "1.0", "guard": "none"})
    assert config.train.clip == 1.0 and config.guard.kind == "none"
    assert (
        configure("i-jepa", None, {"train.clip": "none"}, config.model_dump(mode="json")).train.clip is None
    )
    with pytest.raises(UserError, match=r"train\.lr"):
        configure("i-jepa", "tiny-vit", {"train.lr": "none"})


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        (
            "i-jepa",
            {"encoder.width": "65536", "encoder.depth": "16"},
            "most of them in its (encoder|target)",
        ),
        ("lejepa", {"head.hidden": "65536", "head.layers": "9"}, "most of them in its head"),
        ("pldm", {"encoder.width": "65536"}, "most of them in its predictor"),
    ],
)
def test_more_numbers_than_there_is_memory_are_refused_before_any_is_drawn(
    name: str, changes: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openjepa.common.memory.machine_memory", lambda: 2**33)
    preset = "two-rooms" if name == "pldm" else "tiny-vit"
    with pytest.raises(
        UserError, match=rf"^the model would have .* (b|tr)illion numbers.*, more than .*{expected}"
    ):
        build(configure(name, preset, changes))


def test_a_batch_larger_than_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openjepa.common.memory.machine_memory", lambda: 2**33)

    class Large:
        noun, name, shape = "images", "large", (3, 4096, 4096)

        def __len__(self) -> int:
            return 100_000

    with pytest.raises(
        UserError, match=r"512 images of shape \[3, 4096, 4096\] together would have 25.8 billion"
    ):
        configure("i-jepa", "tiny-vit").hold_out(Large())


def test_recipes_of_installed_packages_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my_recipes.py").write_text(
        "from typing import Literal\n"
        "from openjepa.recipes import register\n"
        "from openjepa.recipes.ijepa import IJEPA\n"
        "@register('my-own')\n"
        "class Mine(IJEPA):\n"
        "    recipe: Literal['my-own'] = 'my-own'\n"
    )
    (tmp_path / "my.dist-info").mkdir()
    (tmp_path / "my.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: my\nVersion: 1\n")
    (tmp_path / "my.dist-info" / "entry_points.txt").write_text(
        "[openjepa.recipes]\nmy-own = my_recipes\nbroken = nowhere_at_all\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))
    base._import_installed.cache_clear()
    with pytest.warns(OpenJEPAWarning, match="recipe broken of my cannot be used: ModuleNotFoundError"):
        assert find("my-own").presets == find("i-jepa").presets
    assert configure("my-own", "tiny").recipe == "my-own" and "my-own" in {
        row["recipe"] for row in as_dicts()
    }
    assert list(registered()) == sorted(registered())


@pytest.mark.parametrize("name", ["signal-jepa", "v-jepa"])
def test_data_without_a_name_are_not_the_working_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = configure(name, "tiny")
    for opened in (lambda: config.open("", adapt=True), lambda: config.samples("")):  # ty: ignore
        with pytest.raises(UserError, match=f"{name} learns from [a-z]+: name them with --data"):
            opened()
