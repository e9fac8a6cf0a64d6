"""What the Hugging Face Hub holds, as folders on this machine: `hub:owner/name`, or `hub:owner/name@revision`."""

import re
from pathlib import Path
from typing import Any

from openjepa.errors import UserError, first_line

HUB = "hub:"
READ = ("*.safetensors", "*.json", "README.md")
"""Files that are fetched: tensors, configs and the card. Pickles and code stay where they are."""
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def on_hub(source: object) -> bool:
    """Whether a model is named as one of the Hub's."""
    return isinstance(source, str) and source.startswith(HUB)


def repository(source: str) -> tuple[str, str | None]:
    """`owner/name` and the revision that `hub:owner/name@revision` names; UserError for another form."""
    name, _, revision = source.removeprefix(HUB).partition("@")
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{source[:80]!r} names no model of the Hub: write hub:owner/name, such as hub:facebook/ijepa_vith14_1k"
        )
    return name, revision or None


def fetched(source: str) -> Path:
    """The folder of a Hub's model, downloaded once and kept in the Hub's own cache.

    Raises:
        UserError: another form than `hub:owner/name`, huggingface_hub missing, no such model, no way to reach it, or no
            tensors that are not pickled.
    """
    name, revision = repository(source)
    library = huggingface_hub()
    try:
        folder = Path(library.snapshot_download(name, revision=revision, allow_patterns=list(READ)))
    except Exception as error:  # of its own, of the network's and of the cache's libraries
        raise UserError(f"{source} cannot be fetched: {why(error)}") from error
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{source} holds no safetensors, and pickled files are never opened: name another")
    return folder


def huggingface_hub() -> Any:
    """The library; UserError where it is missing."""
    try:
        import huggingface_hub as library
    except ImportError:
        raise UserError("models of the Hub need huggingface_hub: pip install 'openjepa[hub]'") from None
    return library


_WHY = {
    "RepositoryNotFoundError": "there is no such model, or it is private",
    "RevisionNotFoundError": "it has no such revision",
    "GatedRepoError": "its owner wants to be asked for it first, on its page",
    "LocalEntryNotFoundError": "the Hub cannot be reached, and it is not among what was fetched before",
    "LocalTokenNotFoundError": "nobody is logged in: hf auth login",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set, and it is not among what was fetched before",
}
"""By names of huggingface_hub's errors."""


def why(error: BaseException) -> str:
    """What went wrong between this machine and the Hub."""
    return next(
        (_WHY[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in _WHY), first_line(error)
    )
