"""Point clouds and meshes: PLY, OFF, OBJ, PCD, LAS, numpy files, folders and arrays, as groups of points."""

from openjepa.signals.points.batch import Clouds
from openjepa.signals.points.cloud_set import CloudSet
from openjepa.signals.points.opening import open_clouds
from openjepa.signals.points.signal import PointSignal

__all__ = ["CloudSet", "Clouds", "PointSignal", "open_clouds"]
