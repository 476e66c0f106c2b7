"""Gates: what a metric has to reach before a model may be registered.

A gate is written as an operator and a number, for example ``>= 0.95``. Numbers have no units:
the metric's name carries them. A metric that is not finite passes no gate.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Literal

from edgectl.errors import GateError
from edgectl.records import Record

Comparison = Literal[">=", "<=", ">", "<", "=="]

_GATE = re.compile(r"\s*(>=|<=|==|>|<)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*")
_COMPARE: dict[Comparison, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}


class Gate(Record, frozen=True, kw_only=True):
    """A comparison with a number."""

    comparison: Comparison
    limit: float

    def holds(self, value: float) -> bool:
        """Whether a measured value passes; NaN and the infinities never do."""
        return math.isfinite(value) and _COMPARE[self.comparison](value, self.limit)


def parse_gate(text: str) -> Gate:
    """Read a gate such as ``>= 0.95``.

    Raises:
        ValueError: It is not one of ``>= <= > < ==`` and a number.
    """
    match = _GATE.fullmatch(text)
    if match is None or not math.isfinite(float(match[2])):
        raise ValueError(
            f"'{text[:80]}' is not a gate: write one of >= <= > < == and a number, "
            "for example '>= 0.95'"
        )
    comparison: Comparison = match[1]  # type: ignore[assignment]  # the pattern allows no other
    return Gate(comparison=comparison, limit=float(match[2]))


def check_gates(gates: dict[str, str], metrics: dict[str, float]) -> None:
    """Compare a model's metrics with its gates; every gate is looked at before one is reported.

    Raises:
        GateError: A metric misses its gate, or there is no metric of that name.
        ValueError: A gate cannot be read.
    """
    misses = [
        miss for name in sorted(gates) if (miss := _miss(name, parse_gate(gates[name]), metrics))
    ]
    if misses:
        unknown = any(name not in metrics for name in gates)
        raise GateError(
            "the model misses its gates: " + "; ".join(misses)
            if len(misses) > 1
            else "the model misses a gate: " + misses[0],
            hint="let training write the metric, or give an evaluation set with labels"
            if unknown
            else "improve the model, or change model.gates in the project file",
        )


def _miss(name: str, gate: Gate, metrics: dict[str, float]) -> str:
    """Say how a metric misses its gate, or "" if it does not."""
    if name not in metrics:
        known = ", ".join(sorted(metrics)) or "none"
        return f"'{name}' was not measured; the known metrics are: {known}"
    if gate.holds(metrics[name]):
        return ""
    return f"'{name}' is {metrics[name]:.6g}, the gate is '{gate.comparison} {gate.limit:.6g}'"
