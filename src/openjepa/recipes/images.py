"""Recipes for images: what the six choices are chosen from."""

from pathlib import Path

from openjepa.errors import UserError
from openjepa.hiding import Hiding
from openjepa.nets.encoders import Encoder
from openjepa.nets.predictor import Predictor
from openjepa.nets.transformer import ViT
from openjepa.recipes.base import Recipe
from openjepa.recipes.tokens import TokenRecipe
from openjepa.signals.images.signal import ImageSignal


class ImageRecipe(TokenRecipe):
    """Config of an image recipe."""

    data: str = "fashion-mnist"
    """A name, a folder of images, tar shards, or a numpy file."""
    signal: ImageSignal = ImageSignal()
    hiding: Hiding
    encoder: Encoder = ViT()
    predictor: Predictor


def require_images(who: str | Path, config: Recipe) -> ImageRecipe:
    """The config, of images; UserError, which names `who` asked, for a recipe of anything else."""
    if not isinstance(config, ImageRecipe):
        raise UserError(f"{who}: {config.recipe} learns from episodes, and this is for recipes of images")
    return config
