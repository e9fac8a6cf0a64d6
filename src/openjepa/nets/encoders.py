"""Encoders of images that a recipe can choose from.

All are built alike: `config.build(signal)` gives a network from a view to the tokens' features.
"""

from typing import Annotated

from openjepa.config import OneOf
from openjepa.nets.convnet import ConvNet
from openjepa.nets.levels import LevelsViT
from openjepa.nets.timm import Timm
from openjepa.nets.transformer import ViT

Encoder = Annotated[ViT | LevelsViT | ConvNet | Timm, OneOf("encoder")]
ClipEncoder = Annotated[ViT | ConvNet, OneOf("encoder")]
"""Of those, what clips can be encoded by."""
