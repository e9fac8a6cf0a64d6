"""How alive a run is: label-free metrics, a monitor that measures them, and a verdict in words.

`metrics` and `verdict` depend on tensors and numbers alone; `monitor` is the part that knows models.
"""

from openjepa.health.monitor import Monitor as Monitor
from openjepa.health.verdict import Verdict as Verdict
from openjepa.health.verdict import judge as judge
