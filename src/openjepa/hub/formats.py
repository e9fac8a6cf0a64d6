"""Models in other libraries' formats, told apart by the `model_type` of their config.json.

A new format is one line of `READERS`: a function from the folder of `config.json` and `*.safetensors` to a model of
ours, in eval mode, which raises UserError for what it cannot read, leaves no parameter unset and no tensor unused
without a word.
"""

from collections.abc import Callable
from pathlib import Path

from openjepa.common.files import CONFIG, read_json
from openjepa.common.hub import fetched, on_hub, repository
from openjepa.errors import UserError
from openjepa.hub import ijepa, licences, store, vjepa2
from openjepa.jepa import JEPA

READERS: dict[str, Callable[[Path], JEPA]] = {
    "ijepa": ijepa.read,
    "vjepa2": vjepa2.read,
}
"""By `model_type`."""


def is_foreign(folder: str | Path) -> bool:
    """Whether a folder holds a model that is described as Hugging Face's libraries do."""
    config = Path(folder) / CONFIG
    if not config.is_file():
        return False
    known = read_json(config)
    return "model_type" in known and "recipe" not in known


def read(source: str | Path) -> JEPA:
    """The model of a folder, or of the Hub (`hub:owner/name`), ours or of one of `READERS`; eval mode.

    Warns of a licence that forbids commercial use.

    Raises:
        UserError: it cannot be fetched or read, or is of a type that no reader is for.
    """
    name = repository(source)[0] if isinstance(source, str) and on_hub(source) else ""
    folder = fetched(str(source)) if name else Path(source)
    config = read_json(folder / CONFIG)
    licences.tell(str(source), licences.licence_of(folder, name or str(config.get("_name_or_path", ""))))
    if "recipe" in config:
        return store.load_model(folder)
    kind = config.get("model_type")
    if kind not in READERS:
        raise UserError(
            f"{source} is a model of type {kind!r}: models of ours can be loaded, and of type {', '.join(READERS)}; as "
            "the frozen encoder of a world model, any that transformers knows: --encoder.source"
        )
    return READERS[kind](folder)
