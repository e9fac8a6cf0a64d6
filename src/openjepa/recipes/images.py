"""Recipes for images: what the six choices are chosen from."""

from openjepa.hiding import Hiding
from openjepa.nets.encoders import Encoder
from openjepa.nets.predictor import Predictor
from openjepa.nets.transformer import ViT
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
