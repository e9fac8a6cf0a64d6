"""Training: the loop, optimisation and schedules, checkpoints, run directories, several processes."""

from openjepa.training.loading import load as load
from openjepa.training.loop import Collapsed as Collapsed
from openjepa.training.loop import RunProgress as RunProgress
from openjepa.training.loop import fit as fit
from openjepa.training.run import Run as Run
from openjepa.training.start import carry_on as carry_on
from openjepa.training.start import has_ended as has_ended
from openjepa.training.start import resume as resume
from openjepa.training.start import start as start
from openjepa.training.start import train as train
from openjepa.training.stopping import Stopped as Stopped
