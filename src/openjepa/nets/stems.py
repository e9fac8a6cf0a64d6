"""Stems: what embeds raw tokens before a transformer's blocks.

All are built alike, `config.build(signal)`, into a module from a view to the kept tokens' features `[B, K, width]`. One
that mixes tokens embeds the whole sample and picks the kept ones at its end. Where it `embeds`, its outputs are the
embedded tokens; else a linear map follows.
"""

from typing import Annotated

from openjepa.config import OneOf
from openjepa.nets.channels import ChannelConv, ChannelPower
from openjepa.nets.convnet import ConvNet
from openjepa.nets.patches import PatchConv, SeriesConv
from openjepa.nets.pointnet import PointNet

Stem = Annotated[ConvNet | ChannelConv | ChannelPower | PatchConv | SeriesConv | PointNet, OneOf("stem")]
"""Stems, which make tokens of what a signal gives; of images convolutions (Xiao et al., arXiv:2106.14881)."""
