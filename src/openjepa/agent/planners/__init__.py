"""Search over action sequences: one interface, five ways."""

from typing import Annotated

from pydantic import Field

from openjepa.agent.planners.base import PlannerChoice
from openjepa.agent.planners.categorical import CategoricalCEM
from openjepa.agent.planners.cem import CEM
from openjepa.agent.planners.gradient import Gradient
from openjepa.agent.planners.icem import ICEM
from openjepa.agent.planners.mppi import MPPI
from openjepa.agent.planners.problem import Constraint, Objective, Plan, Trace, streams
from openjepa.agent.planners.space import Bounds, Discrete, Space, as_space

Planner = Annotated[CEM | ICEM | MPPI | Gradient | CategoricalCEM, Field(discriminator="kind")]
"""The field of a config that may hold any of them."""

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "Bounds",
    "CategoricalCEM",
    "Constraint",
    "Discrete",
    "Gradient",
    "Objective",
    "Plan",
    "Planner",
    "PlannerChoice",
    "Space",
    "Trace",
    "as_space",
    "streams",
]
