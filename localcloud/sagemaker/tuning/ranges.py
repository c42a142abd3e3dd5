"""Ranges of hyper-parameters, and the values that a strategy chooses from them."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Values = dict[str, str]


@dataclass(frozen=True)
class NumberRange:
    """Numbers from ``low`` to ``high``.

    :param scaling: a ScalingType of SageMaker; ``Auto`` is linear here.
    """

    name: str
    low: float
    high: float
    scaling: str
    is_integer: bool

    def draw(self, source: random.Random) -> str:
        """Return a value, uniform on the range's scale."""
        if self.is_integer and self.scaling in ("Auto", "Linear"):
            return str(source.randint(int(self.low), int(self.high)))
        forward, backward = _SCALES.get(self.scaling, _LINEAR)
        value = backward(source.uniform(forward(self.low), forward(self.high)))
        # Rounding errors of the scale must not leave the range.
        value = min(max(value, self.low), self.high)
        return str(round(value)) if self.is_integer else repr(value)


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    name: str
    values: tuple[str, ...]

    def draw(self, source: random.Random) -> str:
        """Return one of the values."""
        return source.choice(self.values)


Range = NumberRange | Choice
_Scale = tuple[Callable[[float], float], Callable[[float], float]]
_LINEAR: _Scale = (lambda value: value, lambda value: value)
_SCALES: Mapping[str, _Scale] = {
    "Logarithmic": (math.log, math.exp),
    "ReverseLogarithmic": (lambda value: -math.log1p(-value), lambda value: -math.expm1(-value)),
}


def read(ranges: Mapping[str, Any]) -> list[Range]:
    """Return the ranges of ParameterRanges.

    :raises ValueError: a limit is not a number.
    """
    numbers = [
        NumberRange(
            item["Name"],
            float(item["MinValue"]),
            float(item["MaxValue"]),
            item.get("ScalingType", "Auto"),
            kind == "IntegerParameterRanges",
        )
        for kind in ("IntegerParameterRanges", "ContinuousParameterRanges")
        for item in ranges.get(kind, [])
    ]
    choices = [Choice(item["Name"], tuple(item["Values"])) for item in ranges.get("CategoricalParameterRanges", [])]
    return [*numbers, *choices]


def grid(ranges: Sequence[Range]) -> list[Values]:
    """Return every combination of the values of categorical ranges."""
    choices = [item for item in ranges if isinstance(item, Choice)]
    names = [choice.name for choice in choices]
    return [
        dict(zip(names, values, strict=True)) for values in itertools.product(*(choice.values for choice in choices))
    ]


def candidates(strategy: str, ranges: Sequence[Range], source: random.Random) -> Iterator[Values]:
    """Yield the values of one child after the other: all combinations for Grid, random ones without end otherwise.

    Bayesian and Hyperband draw at random, too: the interface is theirs, the choice is not.
    """
    if strategy == "Grid":
        yield from grid(ranges)
        return
    while True:
        yield {item.name: item.draw(source) for item in ranges}
