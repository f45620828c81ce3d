"""What can be varied: parameters, their types and bounds, and the space they span. Pure."""

from schedtuna.space.condition import Assignment, Condition, ParameterValue, spell_assignment, spell_value
from schedtuna.space.constraint import (
    Conflict,
    Constraint,
    EqualCount,
    Implication,
    Ordering,
)
from schedtuna.space.parameter import ElementType, ParameterSpec, ParameterType
from schedtuna.space.parameter_space import ParameterSpace

__all__ = [
    "Assignment",
    "Condition",
    "Conflict",
    "Constraint",
    "ElementType",
    "EqualCount",
    "Implication",
    "Ordering",
    "ParameterSpace",
    "ParameterSpec",
    "ParameterType",
    "ParameterValue",
    "spell_assignment",
    "spell_value",
]
