"""The words of a verdict."""

from dataclasses import dataclass
from typing import Literal, get_args

Word = Literal[
    "not trained yet",
    "alive",
    "no better",
    "better",
    "worse",
    "not using the context",
    "not using the actions",
    "not using z",
    "dimensions dying",
    "collapsed",
]
WORDS = get_args(Word)
FINE = ("not trained yet", "alive", "no better", "better")
"""Nothing is known to be wrong."""

Finding = tuple[Word, str, str]
"""Word, reason and advice of a verdict."""


@dataclass(frozen=True)
class Verdict:
    """A word, why (one sentence with the numbers), what to change (empty: nothing), and the step it was read at."""

    word: Word
    reason: str
    advice: str
    step: int

    @property
    def healthy(self) -> bool:
        """Whether nothing is known to be wrong."""
        return self.word in FINE

    def in_a_line(self) -> str:
        """Word, reason and, where there is some, advice."""
        return f"{self.word}: {self.reason}" + (f"; {self.advice}" if self.advice else "")
