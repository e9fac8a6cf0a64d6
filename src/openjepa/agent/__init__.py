"""The agent of LeCun, "A Path Towards Autonomous Machine Intelligence", 2022: six modules, each replaceable.

perception `perception.py` · world model `protocols.py` · cost `cost.py`, `critic.py`, `detector.py` · short-term memory
`memory.py`, `keyvalue.py`, `doubt.py` · actor `actor.py`, `hierarchy.py`, `policy.py`, `planners/` · configurator
`configurator.py`
"""

from openjepa.agent.agent import Agent
from openjepa.agent.configurator import Configurator, Task
from openjepa.agent.cost import Cost, Danger, Effort, Explore, Goal, Time
from openjepa.agent.critic import Critic
from openjepa.agent.detector import Detector
from openjepa.agent.doubt import Doubt, Mistakes
from openjepa.agent.episodes import EpisodeResult
from openjepa.agent.experience import Lived, exercise, live, practise, rehearse, relive
from openjepa.agent.hierarchy import Foresight, Hierarchy
from openjepa.agent.keyvalue import KeyValueMemory
from openjepa.agent.memory import ShortTermMemory
from openjepa.agent.objective import Imagination, Risk
from openjepa.agent.policy import Policy
from openjepa.agent.protocols import Actor, Situation, Uncertain, WorldModel

__all__ = [
    "Actor",
    "Agent",
    "Configurator",
    "Cost",
    "Critic",
    "Danger",
    "Detector",
    "Doubt",
    "Effort",
    "EpisodeResult",
    "Explore",
    "Foresight",
    "Goal",
    "Hierarchy",
    "Imagination",
    "KeyValueMemory",
    "Lived",
    "Mistakes",
    "Policy",
    "Risk",
    "ShortTermMemory",
    "Situation",
    "Task",
    "Time",
    "Uncertain",
    "WorldModel",
    "exercise",
    "live",
    "practise",
    "rehearse",
    "relive",
]
