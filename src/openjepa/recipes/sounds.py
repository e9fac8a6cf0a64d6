"""Recipes for sound: what the six choices are chosen from."""

from typing import Annotated

from pydantic import Field

from openjepa.hiding import GridBlocks, RandomTokens, TimeFrequency
from openjepa.nets.convnet import ConvNet
from openjepa.nets.predictor import Convolutional, Narrow
from openjepa.nets.transformer import ViT
from openjepa.recipes.tokens import TokenRecipe
from openjepa.signals.audio.signal import AudioSignal

SoundHiding = Annotated[GridBlocks | RandomTokens | TimeFrequency, Field(discriminator="kind")]
SoundEncoder = Annotated[ViT | ConvNet, Field(discriminator="kind")]
SoundPredictor = Annotated[Narrow | Convolutional, Field(discriminator="kind")]


class SoundRecipe(TokenRecipe):
    """Config of a recipe for sound."""

    data: str = ""
    """A folder of wav, flac, ogg or mp3 files, tar shards of them, one file, or a numpy file."""
    signal: AudioSignal = AudioSignal()
    hiding: SoundHiding
    encoder: SoundEncoder = ViT()
    predictor: SoundPredictor
