"""Plain data from text: the part of YAML that options and config files need, bounded.

Mappings, lists, numbers, words, true, false and null. No anchors, aliases, tags or merge keys: no option needs them,
and they can make a small file unfold without end. Dates stay words, and names of a mapping are words as written.
"""

import math
import re
from typing import Any, ClassVar

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from openjepa.errors import UserError

MOST_CHARACTERS, DEEPEST, MOST_DIGITS = 200_000, 20, 40
MOST_BYTES = 4 * MOST_CHARACTERS

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WHOLE = re.compile(rf"[-+]?(?:0x[0-9a-fA-F]{{1,{MOST_DIGITS}}}|[0-9][0-9_]{{0,{MOST_DIGITS}}})")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS = {"null": None, "true": True, "yes": True, "on": True, "false": False, "no": False, "off": False} | {
    ".inf": math.inf,
    "+.inf": math.inf,
    "-.inf": -math.inf,
    ".nan": math.nan,
    "~": None,
    "": None,
}


def parse(text: str) -> Any:
    """What a YAML document says.

    Raises:
        UserError: why it cannot be read, as the end of a sentence that begins with where the text stands.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"it has {len(text):,} characters, more than {MOST_CHARACTERS:,}")
    try:
        _check(text)
        return yaml.load(text, Loader=_Plain)
    except (yaml.YAMLError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "characters that cannot be printed"
        raise UserError(f"it is neither JSON nor YAML: {what}{place}") from None


def parse_value(text: str) -> Any:
    """An option's value from the command line: `parse`, and what is not YAML is a word.

    Raises:
        UserError: a list or mapping that cannot be read.
    """
    try:
        return parse(text)
    except UserError:
        if text.lstrip().startswith(("[", "{")):
            raise
        return text


def parse_words(text: str) -> Any:
    """The same where every word and number is text: a list of names.

    Raises:
        UserError: a list that cannot be read.
    """
    value = parse_value(text)
    if not isinstance(value, list):
        return text
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise UserError(f"it is no list of names: {getattr(error, 'problem', None) or error}") from None


def _check(text: str) -> None:
    """Raises UserError for what is not read, before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise UserError(f"line {line} is nested more than {DEEPEST} deep")
        if getattr(event, "anchor", None) is not None:
            raise UserError(
                f"line {line} has a YAML anchor or alias, which are not read: write the value out"
            )
        if getattr(event, "tag", None) is not None:
            raise UserError(f"line {line} has the YAML tag {event.tag!r}, which are not read: leave it out")


class _Plain(_Loader):
    yaml_implicit_resolvers: ClassVar[Any] = {}
    yaml_constructors: ClassVar[Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a name is a list or mapping", problem_mark=key.start_mark)
            if key.value in found:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
            found[key.value] = self.construct_object(value, deep=True)
        return found

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        return node.value if node.style in ("'", '"', "|", ">") else scalar(node.value)


def scalar(word: str) -> Any:
    """What an unquoted word means; `1e-3` is a number (YAML 1.1 reads it as text)."""
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    if _WHOLE.fullmatch(word):
        return int(word.replace("_", ""), 0 if "x" in word else 10)
    if _DECIMAL.fullmatch(word):
        return float(word.replace("_", ""))
    return word


_Plain.add_constructor(Resolver.DEFAULT_SCALAR_TAG, _Plain.construct_scalar)
_Plain.add_constructor(Resolver.DEFAULT_SEQUENCE_TAG, SafeConstructor.construct_yaml_seq)
_Plain.add_constructor(Resolver.DEFAULT_MAPPING_TAG, lambda loader, node: loader.construct_mapping(node))
