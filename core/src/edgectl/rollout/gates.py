"""Gates of a rollout: what the devices of a wave must keep to while it soaks.

A gate is a measure and the most that it may be: ``latency_p99: "<= 50ms"``. This module reads and
writes them; ``judge`` decides. These gates lie within a target's rollout. What lies between two
targets (``targets.X.gate``) only waits and asks for approval.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from edgectl.durations import format_duration, parse_duration
from edgectl.records import Record

Measure = Literal["error_rate", "latency_p50", "latency_p95", "latency_p99", "restarts", "drift"]
OnMissing = Literal["pass", "fail"]
Result = Literal["met", "missed", "missing", "open"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
QUANTILES: dict[Measure, float] = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}
DEFAULT_MIN_SAMPLES = 100
MAX_FACTOR = 1000.0
_EXAMPLES: dict[Measure, str] = {
    "error_rate": "'<= 1%'",
    "restarts": "'<= 0', or '<= 0.05' restarts per device",
    "drift": "'<= 0.25'",
}
_LATENCY_EXAMPLE = "'<= 50ms', or '<= 1.5x' of the release before"
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


class Gate(Record, frozen=True, kw_only=True):
    """The most that a measure may be.

    Attributes:
        limit: A share, seconds, restarts per device, or PSI; where ``relative``, a factor.
        relative: Whether the limit is a multiple of what the same devices told of the release
            before.
    """

    measure: Measure
    limit: float
    relative: bool = False

    def __str__(self) -> str:
        return f"{self.measure} {self.written}"

    @property
    def written(self) -> str:
        """The gate without its measure, as people write it."""
        limit = f"{self.limit:g}x" if self.relative else show(self.measure, self.limit)
        return f"<= {limit}"


class GatePolicy(Record, frozen=True, kw_only=True):
    """The gates of a rollout.

    Attributes:
        gates: At least one; no measure twice.
        on_missing: Whether a wave passes a gate that its devices told too little for.
        min_samples: How many answers of a wave its error rate and latencies are judged by, at
            least.
    """

    gates: tuple[Gate, ...]
    on_missing: OnMissing = "pass"
    min_samples: int = DEFAULT_MIN_SAMPLES

    def __post_init__(self) -> None:
        """Refuse what cannot be judged.

        Raises:
            ValueError: There is no gate, one is there twice, or a number is out of its range.
        """
        measures = [gate.measure for gate in self.gates]
        if not measures:
            raise ValueError(f"there is no gate; known measures: {', '.join(MEASURES)}")
        if len(set(measures)) != len(measures):
            raise ValueError("a measure has two gates")
        if self.min_samples < 1:
            raise ValueError(f"min_samples is {self.min_samples}; allowed: 1 or more")

    @property
    def is_relative(self) -> bool:
        """Whether it matters what the devices told of the release before."""
        return any(gate.relative for gate in self.gates)

    @property
    def measures(self) -> frozenset[Measure]:
        """What is measured."""
        return frozenset(gate.measure for gate in self.gates)


class Finding(Record, frozen=True, kw_only=True):
    """What one gate of one wave came to.

    Attributes:
        wave: Its number, from 1.
        limit: As it was written.
        result: ``missing`` where the soak is over and too little was told; ``open`` while it
            lasts.
        value: What was measured, in the unit of the limit, or None.
        allowed: The most that was allowed, in the same unit, or None where that is not known.
        samples: Of how many answers, or for restarts and drift of how many devices.
        devices: Those that weigh most in a missed gate, the heaviest first.
        why: One sentence for people.
    """

    wave: int
    measure: Measure
    limit: str
    result: Result
    value: float | None = None
    allowed: float | None = None
    samples: int = 0
    devices: tuple[str, ...] = ()
    why: str = ""


class Judged(Record, frozen=True, kw_only=True):
    """What the gates of one wave came to at one time.

    Attributes:
        at: Seconds since 1970 UTC.
        missed: Why the wave fails, or "".
    """

    at: float
    findings: tuple[Finding, ...] = ()
    missed: str = ""


def read_gate(measure: Measure, text: str) -> Gate:
    """Read a gate as the project file has it.

    Raises:
        ValueError: It is not ``<=`` and a limit of that measure; the message shows one.
    """
    before, relation, limit = text.partition("<=")
    gate = _read(measure, limit.strip()) if relation and not before.strip() else None
    if gate is None:
        example = _EXAMPLES.get(measure, _LATENCY_EXAMPLE)
        raise ValueError(f"'{text[:40]}' is no gate for {measure}; allowed: {example}")
    return gate


def show(measure: Measure, value: float) -> str:
    """Write a value of a measure for people."""
    if measure == "error_rate":
        return f"{value * 100:.3g}%"
    if measure in QUANTILES:
        return f"{value * 1000:.4g}ms" if value < 1 else format_duration(value)
    return f"{value:.3g}"


def _read(measure: Measure, limit: str) -> Gate | None:
    if measure in QUANTILES:
        return _read_latency(measure, limit)
    is_percent = measure == "error_rate" and limit.endswith("%")
    number = limit.removesuffix("%").rstrip() if is_percent else limit
    if _NUMBER.fullmatch(number) is None:
        return None
    value = float(number) / 100 if is_percent else float(number)
    most = 1.0 if measure == "error_rate" else 1e9
    return Gate(measure=measure, limit=value) if value <= most else None


def _read_latency(measure: Measure, limit: str) -> Gate | None:
    factor = limit.removesuffix("x").rstrip()
    if factor != limit and _NUMBER.fullmatch(factor) and 0 < float(factor) <= MAX_FACTOR:
        return Gate(measure=measure, limit=float(factor), relative=True)
    if _NUMBER.fullmatch(limit):  # 50 might be meant as milliseconds, and would be seconds
        return None
    try:
        seconds = parse_duration(limit)
    except ValueError:
        return None
    return Gate(measure=measure, limit=seconds) if seconds > 0 else None
