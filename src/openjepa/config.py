"""Typed configs: every choice is a tagged union, every mistake is named by its dotted path."""

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from openjepa.common.plain import parse_value, parse_words
from openjepa.errors import UserError

Positive = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Numbers in a layer."""
MOST_MISTAKES, LONGEST = 8, 80
"""Mistakes of a config that are named at most, and characters of a value that are shown."""


class Config(BaseModel):
    """Base of all settings: unknown keys are refused, values are checked, nothing changes after construction.

    Whole numbers have an upper bound, so that a slip of the pen asks for no absurd amount of memory or time. Where a
    list of any length is expected, one number or word alone will do; where a choice is, the name of its kind.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _one_alone(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        lists = {name for name, field in cls.model_fields.items() if _item(field.annotation) is not None}
        data = {k: [v] if k in lists and isinstance(v, str | int | float) else v for k, v in data.items()}
        named = {k: v for k, v in data.items() if isinstance(v, str) and v in _kinds(cls, k)}
        return data | {name: {"kind": kind} for name, kind in named.items()}

    @property
    def of_batch(self) -> bool:
        """Whether it computes something over the whole batch in training, which a part of the batch would change."""
        return False

    def within(self, path: str = "") -> "Iterator[tuple[str, Config]]":
        """Every config in this one, by its dotted path."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Config):
                yield path + name, value
                yield from value.within(f"{path}{name}.")

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Validate plain data.

        Raises:
            UserError: one sentence with *all* mistakes, each by its dotted path, with the nearest valid name.
        """
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            found = [_explain(cls, data, item) for item in error.errors()]
            more = f"; and {len(found) - MOST_MISTAKES} more" if len(found) > MOST_MISTAKES else ""
            raise UserError("; ".join(found[:MOST_MISTAKES]) + more) from None


def _kinds(cls: type[BaseModel], name: str) -> list[str]:
    """The kinds that a field's choice offers; none of a field that is no choice."""
    field = cls.model_fields.get(name)
    return (
        [] if field is None else [kind for member in models_in(type_of(field)) if (kind := kind_of(member))]
    )


class Choice(Config):
    """One member of a tagged union; `kind` names it in files and on the command line."""

    kind: str


PACKAGE = __name__.partition(".")[0]
_OWN: dict[str, dict[str, type[Choice]]] = {}
"""Members that were entered, by room and kind; see `enter`."""
_OURS: dict[str, set[str]] = {}
"""Kinds of the library's own members, by room."""


@dataclass(frozen=True)
class OneOf:
    """Makes a union of choices one that members can be entered into: `Annotated[L1 | L2, OneOf("energy")]`.

    Attributes:
        room: the name by which `enter` knows it; several unions may share it.
    """

    room: str

    @property
    def entered(self) -> dict[str, type[Choice]]:
        """The members that were entered, by kind."""
        return {k: cls for k, cls in _OWN.get(self.room, {}).items() if k not in _OURS.get(self.room, ())}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        members = models_in(source)
        ours = [member for member in members if member.__module__.startswith(f"{PACKAGE}.")]
        _OURS.setdefault(self.room, set()).update(filter(None, map(kind_of, ours)))
        tagged = Annotated[source, Field(discriminator="kind")] if len(members) > 1 else source
        inner = handler.generate_schema(tagged)

        def read(value: Any, known: Callable[[Any], Any]) -> Any:
            kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
            own = self.entered.get(kind) if isinstance(kind, str) else None
            if own is None:
                return known(value)
            plain = value.model_dump() if isinstance(value, Choice) and not isinstance(value, own) else value
            return own.model_validate(plain)

        def write(value: Any, known: Callable[[Any], Any], info: Any) -> Any:
            own = isinstance(value, Choice) and not isinstance(value, tuple(members))
            return value.model_dump(mode=info.mode) if own else known(value)

        written = core_schema.wrap_serializer_function_ser_schema(write, info_arg=True, schema=inner)
        return core_schema.no_info_wrap_validator_function(read, inner, serialization=written)


def enter(room: str, member: type[Choice]) -> None:
    """Add a member to every union of a room (see `OneOf`), under its `kind`.

    Raises:
        UserError: it has no kind, or one of the library has that kind.
    """
    kind = kind_of(member)
    if kind is None:
        raise UserError(f"{member.__name__} has no kind: begin it with `kind: Literal['mine'] = 'mine'`")
    if kind in _OURS.get(room, ()):
        raise UserError(
            f"{member.__name__} calls itself {kind!r}, as another {room} does: choose another name"
        )
    _OWN.setdefault(room, {})[kind] = member


def entered(room: str) -> Mapping[str, type[Choice]]:
    """The members of a room that were entered, by kind."""
    return OneOf(room).entered


def open_to_own(cls: type[Config], rooms: Iterable[str]) -> None:
    """Let members be entered into fields of a config that are one choice, or one of several, each by its own name."""
    closed = [
        (room, field)
        for room in rooms
        if (field := cls.model_fields.get(room)) is not None
        and any(map(kind_of, models_in(field.annotation)))
        and not any(isinstance(mark, OneOf) for mark in field.metadata)
    ]
    for room, field in closed:
        field.metadata = [*field.metadata, OneOf(room)]
        field.discriminator = None
    if closed:
        cls.model_rebuild(force=True)


def type_of(field: FieldInfo) -> Any:
    """A field's type, with what says which members were entered into its union (pydantic keeps that apart)."""
    marks = [mark for mark in field.metadata if isinstance(mark, OneOf)]
    kept: Any = field.annotation
    for mark in marks:
        kept = Annotated[kept, mark]
    return kept


def override(cls: type[Config], data: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    """Plain config data with dotted changes on top, e.g. `{"guard": "sigreg", "guard.slices": "512"}`.

    A bare name given to a tagged union switches its member; the old member's options go with it. Shorter paths
    are applied first, so the order on the command line does not matter. `guard.kind` means `guard`. An optional config
    that is not there begins with its defaults.

    Raises:
        UserError: a path that does not exist, with the nearest that does.

    Examples:
        >>> from openjepa.recipes.ijepa import IJEPA
        >>> override(IJEPA, {"guard": {"kind": "vicreg", "std": 2.0}}, {"guard": "sigreg", "guard.slices": "64"})
        {'guard': {'kind': 'sigreg', 'slices': 64}}
    """
    result = _plain(data)
    changes = {path.removesuffix(".kind"): value for path, value in changes.items()}
    for path in sorted(changes, key=lambda p: p.count(".")):
        *parents, leaf = path.split(".")
        node: Any = result
        for name in parents:
            if isinstance(node, dict) and node.get(name) is None:
                node[name] = {}
            node = node[name] if isinstance(node, dict) else None
        if not _exists(cls, path, result):
            raise UserError(f"unknown option {_shown(path)}{_nearest(path, dotted_paths(cls, result))}")
        if not isinstance(node, dict):
            raise UserError(
                f"{path} cannot be set: in the config below it {'.'.join(parents)} holds no options"
            )
        annotation = _annotation(cls, path, result)
        value = read_value(path, changes[path], annotation)
        kinds = [kind for member in models_in(annotation) if (kind := kind_of(member))]
        if kinds and isinstance(value, str):
            if value not in kinds:
                allowed = ", ".join(kinds)
                raise UserError(f"{path}: {_shown(value)} is not one of {allowed}{_nearest(value, kinds)}")
            if not isinstance(node.get(leaf), dict) or node[leaf].get("kind") != value:
                node[leaf] = {"kind": value}
        else:
            node[leaf] = value
    return result


def read_value(path: str, text: str, annotation: Any) -> Any:
    """An option's value: text stays as it is where the option's type is text, elsewhere it is YAML.

    Raises:
        UserError: a list or mapping that cannot be read.
    """
    if _is_text(annotation):
        return text
    try:
        value = (parse_words if _is_text(_item(annotation)) else parse_value)(text)
    except UserError as error:
        raise UserError(f"{path}: {_shown(text)} cannot be read: {error}") from None
    if _item(annotation) is not None and isinstance(value, str | int | float):
        return [value]
    return None if value == "none" and type(None) in get_args(annotation) else value


def _is_text(annotation: Any) -> bool:
    """Whether a type has text alone: `str`, or names to choose from."""
    if get_origin(annotation) is Literal:
        return all(isinstance(choice, str) for choice in get_args(annotation))
    return annotation is str


def _item(annotation: Any) -> Any:
    """What a list of any length holds; `None` for any other type."""
    arguments = get_args(annotation)
    return arguments[0] if get_origin(annotation) is tuple and arguments[1:] == (...,) else None


def dotted_paths(
    cls: type[BaseModel], data: Mapping[str, Any] | None = None, prefix: str = ""
) -> Iterator[str]:
    """Every option's dotted path, for the union members that `data` (or the defaults) select."""
    for name, member, value in _walk(cls, data or {}):
        yield prefix + name
        if member is not None:
            yield from dotted_paths(member, value if isinstance(value, Mapping) else None, f"{prefix}{name}.")


def kind_of(member: type[BaseModel]) -> str | None:
    """The tag of a union's member; `None` for a plain config."""
    field = member.model_fields.get("kind")
    return None if field is None or field.default is None else str(field.default)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The config classes inside a field's annotation (a class, a union, `Annotated`, or an optional of these)."""
    if isinstance(annotation, OneOf):
        return list(annotation.entered.values())
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for inner in get_args(annotation) for model in models_in(inner)]


def _walk(cls: type[BaseModel], data: Mapping[str, Any]) -> Iterator[tuple[str, type[BaseModel] | None, Any]]:
    for name, field in cls.model_fields.items():
        value = data.get(name, field.get_default(call_default_factory=True))
        value = value.model_dump() if isinstance(value, BaseModel) else value
        members = models_in(type_of(field))
        kind = value.get("kind") if isinstance(value, Mapping) else None
        chosen = next((m for m in members if kind_of(m) == kind), members[0] if members else None)
        if value is None and all(map(kind_of, members)):  # of a choice that is not made there are no options
            chosen = None
        yield name, chosen, value


def _annotation(cls: type[BaseModel], path: str, data: Mapping[str, Any]) -> Any:
    """The type of an option that exists."""
    first, _, rest = path.partition(".")
    if not rest:
        return type_of(cls.model_fields[first])
    member, value = next((member, value) for name, member, value in _walk(cls, data) if name == first)
    assert member is not None
    return _annotation(member, rest, value if isinstance(value, Mapping) else {})


def _exists(cls: type[BaseModel], path: str, data: Mapping[str, Any]) -> bool:
    return path in set(dotted_paths(cls, data))


def _plain(data: Any) -> Any:
    return {key: _plain(value) for key, value in data.items()} if isinstance(data, Mapping) else data


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _nearest(word: str, options: Iterable[str]) -> str:
    options, word = list(options), word[:LONGEST]
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.4)
    if not close:  # `--batch_size` for `train.batch_size`: compare with the last part alone
        leaves = {option.rsplit(".", 1)[-1]: option for option in options}
        close = [leaves[leaf] for leaf in difflib.get_close_matches(word.rsplit(".", 1)[-1], leaves, n=1)]
    return f"; did you mean {close[0]!r}?" if close else ""


def _explain(cls: type[BaseModel], data: Mapping[str, Any], error: Any) -> str:
    path, node = [], cls
    for part in error["loc"]:
        kinds = [] if not isinstance(part, str) else [m for m in _tagged(node, path) if kind_of(m) == part]
        if kinds and part not in path:
            continue  # pydantic puts the union's tag into the location; our users write no such level
        path.append(str(part))
    dotted = ".".join(path)
    if error["type"] == "extra_forbidden":
        return f"unknown option {_shown(dotted)}{_nearest(dotted, dotted_paths(cls, _plain(data)))}"
    given = error.get("input")
    shown = f" (given {_shown(given)})" if isinstance(given, str | int | float | bool | None) else ""
    return f"{dotted or 'config'}: {error['msg'].removeprefix('Value error, ')}{shown}"


def _tagged(cls: type[BaseModel], path: list[str]) -> list[type[BaseModel]]:
    models: list[type[BaseModel]] = [cls]
    for name in path:
        fields = [m.model_fields[name] for m in models if name in m.model_fields]
        models = [model for field in fields for model in models_in(type_of(field))]
    return [] if models == [cls] else models


def describe(cls: type[BaseModel], data: Mapping[str, Any], indent: str = "  ", prefix: str = "") -> str:
    """Every option with its value in `data` and its docstring, a line each; unions list their members."""
    lines = []
    for name, member, value in _walk(cls, data):
        field, option = cls.model_fields[name], f"{indent}--{prefix}{name}"
        if member is None:
            text = " ".join((field.description or "").split())
            lines += (
                [] if name == "kind" else [f"{option} {_written(value)}" + (f"   {text}" if text else "")]
            )
            continue
        kinds = [kind for model in models_in(type_of(field)) if (kind := kind_of(model))]
        chosen = kind_of(member) or "" if value is not None else "none"
        lines.append(f"{option} {chosen}" + (f"   one of {', '.join(kinds)}" if len(kinds) > 1 else ""))
        if isinstance(value, Mapping) or value is None:
            lines.append(describe(member, value or {}, f"{indent}  ", f"{prefix}{name}."))
    return "\n".join(lines)


def as_text(value: object) -> str:
    """A plain value as `override` and the command line read it."""
    return value if isinstance(value, str) else json.dumps(value)


def _written(value: Any) -> str:
    """A value as it would be typed."""
    if isinstance(value, str):
        return value or "''"
    return "none" if value is None else json.dumps(value)
