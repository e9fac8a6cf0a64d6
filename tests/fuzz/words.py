"""Command lines and config files of all commands and recipes, right ones and ones with something wrong in them."""

import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from openjepa.config import dotted_paths, kind_of, models_in
from openjepa.recipes import configure, registered

NASTY = [
    "", " ", "-1", "0", "-0.0", "1", "3", "0.5", "1e9", "1e309", "-1e309", "1e-320", "nan", ".nan", ".inf", "-.inf",
    "9223372036854775807", "9223372036854775808", "9" * 5000, "0x7fffffffffffffff", "1_0", "010", "1:30", "1e5",
    "2024", "2020-01-01", "2020-99-99", "0b_", "0o8", "true", "false", "yes", "null", "none", "None", "~", "~nobody/x",
    "[", "]", "[]", "{}", "[1, 2", "[" * 3000, "{" * 3000, "- " * 500, "[[[1]]]", "{a: 1}", "{kind: none}",
    "{kind: [1]}", "{1: 2}", "[null]", "[true, false]", "[0]", "[-1, -1]", "[2, 1]", "[1e9, 1e9]", "[.nan, .nan]",
    "[0.0, 0.0]", "[1, 2, 3, 4, 5, 6, 7, 8, 9]", "&a [*a]", "*x", "&a", "!!float abc", "!x y", "<<: {a: 1}", "? a",
    "!!python/object/apply:os.system [true]", ": ", "a: b: c", "# nothing", "%", "@", "`", "'", '"', "|", ">", "---",
    "...", "é", "日本", "\u202e", "\u200b", "\U0001f600", "\udcff", "a\nb", "\t", "\x1b[31m", "\x7f", "a" * 300,
    "a" * 5000, ".", "..", "./..", "/dev/null", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/proc/self/environ",
    "/proc/nowhere/at/all", "file://x", "http://127.0.0.1:9/x", "hub:", "hub:x", "gym:", "gym:x", "gym:os:system",
    "gym:openjepa/TwoRooms-v0", "*", "?.npy", "{a,b}", "$HOME", "-", "--", "---x", "--=", "--=x", "-x", "-h", "--json",
    "--help=1", "fifo", "empty", "junk.npy", "file.txt", "loop",
]  # fmt: skip
"""Values that some reader of text may stumble over."""
TYPED: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**30), 0.0, -0.5, 1e300, 1e-300, float("nan"),
    float("inf"), "", "none", "x", "é", "\u0000", "a" * 5000, [], {}, [1], [[]], [None], ["x"], {"kind": "none"},
    {"kind": None}, {"kind": 3}, {"kind": []}, {"": 1}, [0, 0], [1, -1], [1e9] * 3, [{}], {"a": {"b": {"c": []}}},
]  # fmt: skip
"""The same for values of a file."""
WHOLE = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "7",
    "8",
    "12",
    "16",
    "17",
    "24",
    "32",
    "64",
    "100",
    "1000",
    "4096",
    "65536",
]
REAL = ["0", "1e-12", "0.001", "0.05", "0.3", "0.5", "0.999", "1", "1.5", "2", "10", "1000", "1e12"]

SLOW = ("train.compile",)
"""Options that take long by themselves."""

Lines = Mapping[str, list[str]]


class Source:
    """Draws commands; a function of its seed alone.

    Args:
        lines: right commands.
        recipes: a right training of each recipe, small.
        texts: commands that read `FILE`, each with the file's right contents as its last word.
        write: keeps a text under a name, and says where it lies.
    """

    def __init__(
        self, seed: int, lines: Lines, recipes: Lines, texts: Lines, write: Callable[[str, bytes], str]
    ) -> None:
        self.random = random.Random(seed)
        self.lines, self.recipes, self.texts, self.write = lines, recipes, texts, write
        self.defaults = {name: configure(name, "tiny") for name in recipes}
        self.options = {
            name: [path for path in dotted_paths(registered()[name], config.model_dump()) if path not in SLOW]
            for name, config in self.defaults.items()
        }

    def draw(self) -> tuple[list[str], str]:
        """A command, and what to call the case."""
        return self.random.choice([self.option] * 5 + [self.word] * 4 + [self.file] * 3)()

    def option(self) -> tuple[list[str], str]:
        """A recipe with one to three of its options changed, to values of their type or others."""
        recipe = self.random.choice(sorted(self.recipes))
        words = list(self.recipes[recipe])
        for _ in range(self.random.choice([1, 1, 2, 3])):
            name = self.random.choice(self.options[recipe])
            value = self.nasty() if self.random.random() < 0.4 else self.fitting(self.defaults[recipe], name)
            words += self.random.choice([[f"--{name}", value], [f"--{name}={value}"]])
        return words, repr(words)

    def word(self) -> tuple[list[str], str]:
        """A right command, and one to three of its words left out, doubled, swapped, misspelled or replaced."""
        words = list(self.random.choice(list(self.lines.values())))
        for _ in range(self.random.choice([1, 1, 2, 3])):
            words = self.change(words)
        return words, repr(words)

    def file(self) -> tuple[list[str], str]:
        """A command that is given a file with something wrong in it."""
        name = self.random.choice(sorted(self.texts))
        *words, text = self.texts[name]
        data = json.loads(text)
        if self.random.random() < 0.7:
            for _ in range(self.random.choice([1, 1, 2, 3])):
                data = self.replaced(data)
            content = json.dumps(data).encode()
        else:
            content = self.damaged(json.dumps(data, indent=self.random.choice([None, 2])).encode())
        words = [word.replace("FILE", self.write(name, content)) for word in words]
        return words, f"{words!r} with {content[:4000]!r}"

    def change(self, words: list[str]) -> list[str]:
        i = self.random.randrange(len(words) + 1)
        before, word, after = words[:i], words[i : i + 1], words[i + 1 :]
        option = self.random.choice(self.options["i-jepa"])
        ways: list[list[str]] = [
            [*before, self.nasty(), *after],
            [*before, self.nasty(), *after],
            [*before, self.random.choice(WHOLE + REAL), *after],
            [*before, *after],
            [*before, self.nasty(), *word, *after],
            [*before, *word, *word, *after],
            self.random.sample(words, len(words)),
            [*before, *map(self.misspelled, word), *after],
            [*words, f"--{option}", self.nasty()],
        ]
        return self.random.choice(ways)

    def replaced(self, data: Any) -> Any:
        """A value anywhere in the data is another, or has another name, or is not there."""
        kind = self.random.random()
        if isinstance(data, dict) and data and kind < 0.9:
            key = self.random.choice(sorted(data))
            others = {k: v for k, v in data.items() if k != key}
            if kind < 0.7:
                return data | {key: self.replaced(data[key])}
            return others if kind < 0.8 else others | {self.misspelled(key): data[key]}
        if isinstance(data, list) and data and kind < 0.7:
            i = self.random.randrange(len(data))
            return [*data[:i], self.replaced(data[i]), *data[i + 1 :]]
        if isinstance(data, int | float) and kind < 0.5:
            return json.loads(self.random.choice(WHOLE + REAL))
        return self.random.choice(TYPED) if kind < 0.8 else self.random.choice(NASTY)

    def damaged(self, content: bytes) -> bytes:
        i = self.random.randrange(len(content))
        other = self.nasty().encode("utf-8", "surrogateescape")
        ways = [
            content[:i],
            content[:i] + bytes([self.random.randrange(256)]) + content[i + 1 :],
            content[:i] + other + content[i:],
            other,
            b"x: &a [1]\ny: *a\n" + content,
            b"[" * 100_000,
            b'{"a":' * 50_000,
            content * 100,
            b"\xff\xfe" + content,
            b"",
        ]
        return self.random.choice(ways)

    def fitting(self, config: BaseModel, path: str) -> str:
        """A value of the option's type, sensible or not."""
        *parents, name = path.split(".")
        owner: Any = config
        for parent in parents:
            owner = getattr(owner, parent)
        if owner is None:
            return self.nasty()
        annotation = type(owner).model_fields[name].annotation
        if kinds := [kind for model in models_in(annotation) if (kind := kind_of(model))]:
            return self.random.choice(kinds)
        return self.of_type(annotation)

    def of_type(self, annotation: Any) -> str:
        arguments = [a for a in get_args(annotation) if a is not type(None)]
        if get_origin(annotation) is Literal:
            return str(self.random.choice(arguments))
        if get_origin(annotation) is tuple:
            count = len(arguments) if ... not in arguments else self.random.randrange(4)
            return "[" + ", ".join(self.of_type(arguments[0]) for _ in range(count)) + "]"
        if arguments:
            return self.of_type(arguments[0])
        return self.random.choice({int: WHOLE, float: REAL, bool: ["true", "false"]}.get(annotation, NASTY))

    def nasty(self) -> str:
        return self.random.choice(NASTY)

    def misspelled(self, word: str) -> str:
        i = self.random.randrange(len(word) + 1)
        return word[:i] + self.random.choice(["", "x", "-", "_", ".", " ", "="]) + word[i + 1 :]


def flags(options: Mapping[str, Any]) -> list[str]:
    """`{"train.steps": 4}` as words."""
    return [
        word
        for name, value in options.items()
        for word in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]
