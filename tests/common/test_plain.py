"""Plain data from text: what is read, and what never is."""

import json
import math
from typing import Any

import pytest
import yaml

from openjepa.common.plain import MOST_CHARACTERS, parse, parse_value, parse_words
from openjepa.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("1_000", 1000),
        ("010", 10),
        ("0x1F", 31),
        ("1e-3", 1e-3),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("yes", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("'true'", "true"),
        ("2020-01-01", "2020-01-01"),
        ("1:30", "1:30"),
        ("0b_", "0b_"),
        ("0o8", "0o8"),
        ("[1, [a, '2'], {b: null}]", [1, ["a", "2"], {"b": None}]),
        ("{no: 1, 2: x, <<: {a: 1}}", {"no": 1, "2": "x", "<<": {"a": 1}}),
        ("a:\n  - 1\n  - b # c\n", {"a": [1, "b"]}),
    ],
)
def test_what_is_read(text: str, value: Any) -> None:
    assert parse(text) == value


def test_json_is_read_as_json_is() -> None:
    data = {"a": [1, -2.5, 1e-7, 1e22, True, None, "x: [y", "\u00e9\n"], "b": {"c": {}, "d": [], "2": ""}}
    assert parse(json.dumps(data)) == parse(json.dumps(data, indent=2)) == data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x [1]\nb: *x", "line 1 has a YAML anchor or alias"),
        ("a: [&a [*a]]", "anchor or alias"),
        ("!!python/object/apply:os.system [true]", "tag"),
        ("a: !!float abc", "tag 'tag:yaml.org,2002:float'"),
        ("[" * 3000, "nested more than"),
        ("- " * 3000, "nested more than"),
        ("a: " + "x" * MOST_CHARACTERS, "characters, more than"),
        ("a: 1\na: 2", "'a' stands twice in line 2"),
        ("{[a]: 1}", "a name is a list or mapping"),
        ("{a", "neither JSON nor YAML"),
        ("a: \x00", "cannot be printed"),
        ("--- 1\n--- 2", "neither JSON nor YAML"),
    ],
)
def test_what_is_not_read_is_a_reason(text: str, expected: str) -> None:
    with pytest.raises(UserError, match=r"^(it|line \d+) ") as error:
        parse(text)
    assert expected in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 200


def test_the_same_without_the_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    from openjepa.common import plain

    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    try:
        slow = importlib.reload(plain)
        assert slow.parse("a: [1, 'b', {c: 1e-3}]") == {"a": [1, "b", {"c": 1e-3}]}
        with pytest.raises(UserError, match="nested"):
            slow.parse("[" * 3000)
    finally:
        monkeypatch.undo()
        importlib.reload(plain)


def test_a_word_on_the_command_line_need_not_be_yaml() -> None:
    assert [parse_value(word) for word in ("*x", "a: b: c", "\udcff", "@")] == [
        "*x",
        "a: b: c",
        "\udcff",
        "@",
    ]
    with pytest.raises(UserError, match="neither JSON nor YAML"):
        parse_value("[1, 2")
    assert parse_words("[1, yes, ~]") == ["1", "yes", "~"] and parse_words("1") == "1"


def test_a_list_of_names_that_no_reader_takes_is_refused_in_a_sentence():
    assert parse_words("[1, yes, a b]") == ["1", "yes", "a b"]
    with pytest.raises(UserError):
        parse_words("[-h, \t]")
