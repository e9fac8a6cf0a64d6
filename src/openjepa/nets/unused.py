"""Which parameters of our networks no step of training reads."""

from torch import nn

from openjepa.nets.adapter import QueryPredictor, StepPredictor
from openjepa.nets.pictured import PictureEncoder
from openjepa.nets.predictor import MapPredictor
from openjepa.nets.transformer import TokenEncoder


def unused(model: nn.Module, hidden: bool) -> set[str] | None:
    """Names of parameters in `model`: mask tokens that replace nothing, what a backbone has beyond its features.

    `None` where a predictor of somebody's own may leave out any.

    Args:
        hidden: whether views hide tokens.
    """
    modules = dict(model.named_modules())
    if any(isinstance(module, QueryPredictor | StepPredictor) for module in modules.values()):
        return None
    replaced = any(isinstance(m, TokenEncoder) and m.config.hide == "replace" for m in modules.values())
    found = set()
    for path, module in modules.items():
        if isinstance(module, TokenEncoder) and module.config.hide == "replace" and not hidden:
            found.add(f"{path}.mask_token")
        if isinstance(module, MapPredictor) and (replaced or not hidden):  # it is given every token
            found.add(f"{path}.mask_token")
        if isinstance(module, PictureEncoder):
            found |= {f"{path}.{name}" for name in module.unused()}
    return found
