"""Hypothesis strategies for parameter spaces, shared by the property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from schedtuna.space import (
    Condition,
    Conflict,
    EqualCount,
    Implication,
    Ordering,
    ParameterSpace,
    ParameterSpec,
    ParameterType,
)

words = st.lists(st.text("abcxyz019", min_size=1, max_size=4), min_size=1, max_size=5, unique=True)


@st.composite
def numbers(draw: st.DrawFn, name: str, *, element_of_list: bool = False) -> dict[str, Any]:
    log = draw(st.booleans())
    if draw(st.booleans()):
        low = draw(st.integers(1 if log else -1000, 1000))
        high = low + draw(st.integers(6 if element_of_list else 0, 10**6))
        return {"name": name, "type": ParameterType.INTEGER, "min_value": low, "max_value": high, "log": log}
    low_f = draw(st.floats(0.001 if log else -1e3, 1e3))
    high_f = low_f + draw(st.floats(0.01, 1e4))
    return {"name": name, "type": ParameterType.FLOAT, "min_value": low_f, "max_value": high_f, "log": log}


@st.composite
def specs(draw: st.DrawFn, name: str, condition: Condition | None = None) -> ParameterSpec:
    kind = draw(st.sampled_from(list(ParameterType)))
    if kind is ParameterType.BOOLEAN:
        return ParameterSpec(name=name, type=kind, default=draw(st.booleans()), condition=condition)
    if kind is ParameterType.CATEGORICAL:
        choices = draw(words)
        default = draw(st.sampled_from(choices))
        return ParameterSpec(name=name, type=kind, choices=choices, default=default, condition=condition)
    if kind is not ParameterType.LIST:
        fields = draw(numbers(name))
        default = draw(st.sampled_from([fields["min_value"], fields["max_value"]]))
        return ParameterSpec(**fields, default=default, condition=condition)
    return draw(lists(name, condition))


@st.composite
def lists(draw: st.DrawFn, name: str, condition: Condition | None = None) -> ParameterSpec:
    min_length = draw(st.integers(0, 2))
    max_length = min_length + draw(st.integers(0, 3))
    shape = {"min_length": min_length, "max_length": max_length, "condition": condition}
    if draw(st.booleans()):
        choices = draw(words)
        return ParameterSpec(
            name=name,
            type=ParameterType.LIST,
            element_type=ParameterType.CATEGORICAL,
            choices=choices,
            default=(choices[0],) * min_length,
            **shape,
        )
    fields = draw(numbers(name, element_of_list=True))
    increasing = draw(st.booleans())
    first, last = fields["min_value"], fields["max_value"]
    default = (first, last)[:min_length]
    if not increasing:
        default = (last,) * min_length
    element_type = fields.pop("type")
    return ParameterSpec(
        **fields,
        type=ParameterType.LIST,
        element_type=element_type,
        increasing=increasing,
        default=default,
        **shape,
    )


@st.composite
def spaces(draw: st.DrawFn) -> ParameterSpace:
    """Spaces of 1 to 7 parameters with every kind of rule; their defaults follow the rules."""
    rows = [draw(specs("p0"))]
    for index in range(1, draw(st.integers(1, 4))):
        condition = draw(st.sampled_from([None, Condition(parameter=f"p{index - 1}")]))
        rows.append(draw(specs(f"p{index}", condition)))
    rules: list[Any] = []
    if draw(st.booleans()):
        rows += [
            ParameterSpec(name="low", type=ParameterType.INTEGER, min_value=1, max_value=90, default=3),
            ParameterSpec(name="high", type=ParameterType.FLOAT, min_value=2, max_value=80, default=7.5),
        ]
        rules.append(Ordering(parameters=("low", "high"), strict=draw(st.booleans())))
    if draw(st.booleans()):
        rows += [
            ParameterSpec(name="nr", type=ParameterType.INTEGER, min_value=1, max_value=5, default=2),
            ParameterSpec(
                name="slices",
                type=ParameterType.LIST,
                min_value=1,
                max_value=draw(st.integers(4, 1000)),
                min_length=1,
                max_length=4,
                increasing=True,
                default=(1, 3),
            ),
        ]
        rules.append(EqualCount(lists=("slices",), count="nr"))
    if draw(st.booleans()):
        rows += [
            ParameterSpec(name=name, type=ParameterType.BOOLEAN, default=False) for name in ("one", "two")
        ]
        rules.append(Conflict(at_most_one_of=(Condition(parameter="one"), Condition(parameter="two"))))
        rules.append(
            Implication(when=Condition(parameter="one"), any_of=(Condition(parameter=rows[0].name),))
        )
    return ParameterSpace(specs=tuple(rows), constraints=tuple(rules))
