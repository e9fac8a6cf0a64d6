"""Which parameters of our networks no step of training reads."""

from torch import nn

from openjepa.nets.predictor import MapPredictor
from openjepa.nets.timm import TimmEncoder
from openjepa.nets.transformer import TokenEncoder


def unused(model: nn.Module, hidden: bool) -> set[str]:
    """Names of parameters in `model`: mask tokens that replace nothing, what a backbone has beyond its features.

    Args:
        hidden: whether views hide tokens.
    """
    modules = dict(model.named_modules())
    replaced = any(isinstance(m, TokenEncoder) and m.config.hide == "replace" for m in modules.values())
    found = set()
    for path, module in modules.items():
        if isinstance(module, TokenEncoder) and module.config.hide == "replace" and not hidden:
            found.add(f"{path}.mask_token")
        if isinstance(module, MapPredictor) and (replaced or not hidden):  # it is given every token
            found.add(f"{path}.mask_token")
        if isinstance(module, TimmEncoder):
            found |= {f"{path}.{name}" for name in module.unused()}
    return found
