"""How alive a run is: label-free metrics, a monitor that measures them, and a verdict in words.

`metrics` and `verdict` depend on tensors and numbers alone; `monitor` is the part that knows models.
"""

from openjepa.health.monitor import Monitor as Monitor
from openjepa.health.verdict import judge as judge
from openjepa.health.verdict import judged as judged
from openjepa.health.words import Verdict as Verdict
