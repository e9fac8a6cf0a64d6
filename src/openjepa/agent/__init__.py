"""The agent of LeCun, "A Path Towards Autonomous Machine Intelligence", 2022: six modules, each replaceable.

perception `perception.py` · world model `protocols.py` · cost `cost.py`, `critic.py`, `detector.py` · short-term memory
`memory.py`, `keyvalue.py`, `prediction_error.py` · actor `actor.py`, `hierarchy.py`, `policy.py`, `planners/` ·
configurator `configurator.py`
"""

from openjepa.agent.agent import Agent
from openjepa.agent.configurator import Configurator, Task
from openjepa.agent.cost import Cost, Danger, Effort, Explore, Goal, Time
from openjepa.agent.critic import Critic
from openjepa.agent.detector import Detector
from openjepa.agent.episodes import EpisodeResult
from openjepa.agent.experience import (
    EncodedEpisode,
    encode_episodes,
    improve_on_policy,
    optimise_in_imagination,
    plan_from_memory,
    relabel,
)
from openjepa.agent.hierarchy import Hierarchy, SubgoalPlanner
from openjepa.agent.keyvalue import KeyValueMemory
from openjepa.agent.memory import ShortTermMemory
from openjepa.agent.objective import Imagination, Risk
from openjepa.agent.policy import Policy
from openjepa.agent.prediction_error import ErrorMemory, PredictionError
from openjepa.agent.protocols import Actor, Situation, Uncertain, WorldModel

__all__ = [
    "Actor",
    "Agent",
    "Configurator",
    "Cost",
    "Critic",
    "Danger",
    "Detector",
    "Effort",
    "EncodedEpisode",
    "EpisodeResult",
    "ErrorMemory",
    "Explore",
    "Goal",
    "Hierarchy",
    "Imagination",
    "KeyValueMemory",
    "Policy",
    "PredictionError",
    "Risk",
    "ShortTermMemory",
    "Situation",
    "SubgoalPlanner",
    "Task",
    "Time",
    "Uncertain",
    "WorldModel",
    "encode_episodes",
    "improve_on_policy",
    "optimise_in_imagination",
    "plan_from_memory",
    "relabel",
]
