"""Sound: files of any rate and channels, folders, tar shards and arrays, as log-mel spectrograms of one length."""

from openjepa.signals.audio.batch import Sounds, Waves
from openjepa.signals.audio.opening import open_sounds
from openjepa.signals.audio.signal import AudioSignal
from openjepa.signals.audio.sound_set import SoundSet

__all__ = ["AudioSignal", "SoundSet", "Sounds", "Waves", "open_sounds"]
