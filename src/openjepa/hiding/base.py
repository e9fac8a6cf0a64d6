"""What every hiding is."""

from typing import Any, ClassVar

from openjepa.config import Choice


class HidingChoice(Choice):
    """A hiding: `build(signal)` gives what makes pairs of a batch, a function of the batch and of `Rng` alone."""

    kinds: ClassVar[int] = 1
    """How many kinds of pairs it makes, each with its own mask token."""

    @property
    def hides(self) -> bool:
        """Whether the encoder is given less than all tokens of a view."""
        return True

    def build(self, signal: Any) -> Any:
        """Raises UserError for what can never hold."""
        raise NotImplementedError
