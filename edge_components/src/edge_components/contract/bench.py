"""What ``edge-runtime bench`` measured on a device, and what follows from it.

The device keeps the last report (``bench.json`` in its store), the operator sees it with
``edgectl devices show``; it travels as one event with the report as JSON in an attribute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json
from edge_components.contract.telemetry import Value

ATTRIBUTE = "bench.report"
MAX_REPORT_BYTES = 64 << 10
# A variant that is preferred gives way only to one that is faster by more than chance.
MARGIN = 1.15
_ENDING = "ExecutionProvider"


class BenchRow(msgspec.Struct, frozen=True, kw_only=True):
    """One variant on one execution provider.

    Attributes:
        precision: The variant; "" for a plain model file.
        provider: What was asked for.
        used: What ONNX Runtime really used first, or "" where the model did not load.
        nodes: How many nodes of the model each provider got, where ONNX Runtime tells.
        ok: It loaded, and its golden set holds.
        batch: Samples in one run.
        throughput: Samples a second, one run after the other.
        peak_bytes: Most memory that the measuring process held.
        detail: Why it is not ``ok``.
    """

    precision: str
    provider: str
    used: str = ""
    nodes: dict[str, int] = {}
    ok: bool = False
    batch: int = 1
    load_s: float = 0.0
    median_ms: float | None = None
    p95_ms: float | None = None
    throughput: float | None = None
    peak_bytes: int = 0
    max_abs_error: float | None = None
    label_agreement: float | None = None
    detail: str = ""

    @property
    def is_as_asked(self) -> bool:
        """Whether it ran on the provider that was asked for."""
        return self.ok and self.used == self.provider


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that one bench measured.

    Attributes:
        model: The package's application, or the model file's name.
        engine: Name and version of the inference library.
        at_unix_s: When it ended, by the device's clock.
    """

    model: str
    version: str = ""
    package: str = ""
    release: int = 0
    hardware: str
    engine: str
    at_unix_s: float
    rows: tuple[BenchRow, ...]

    @property
    def best(self) -> BenchRow | None:
        """The fastest that is good, or None."""
        good = [row for row in self.rows if row.is_as_asked and row.median_ms is not None]
        return min(good, key=lambda row: row.median_ms or 0.0, default=None)

    def to_attributes(self) -> dict[str, Value]:
        """Return the attributes of an event that carries the report."""
        found: dict[str, Value] = {ATTRIBUTE: msgspec.json.encode(self).decode()}
        if (best := self.best) is not None and best.median_ms is not None:
            found |= {
                "bench.precision": best.precision,
                "bench.provider": best.provider,
                "bench.median_ms": best.median_ms,
            }
        return found


def parse_bench(data: bytes) -> BenchReport:
    """Read a report.

    Raises:
        ContractError: It is none.
    """
    return decode_json(data, BenchReport, what="the bench report", max_bytes=MAX_REPORT_BYTES)


def from_attributes(attributes: Mapping[str, Value]) -> BenchReport | None:
    """Return the report that an event carries; None where it carries none."""
    text = attributes.get(ATTRIBUTE)
    if not isinstance(text, str):
        return None
    try:
        return parse_bench(text.encode())
    except ContractError:
        return None


def speeds(report: BenchReport, hardware: str) -> dict[str, float]:
    """Return the best median in milliseconds by precision; nothing if it is of other hardware."""
    found: dict[str, float] = {}
    if report.hardware != hardware:
        return found
    for row in report.rows:
        if row.is_as_asked and row.precision and row.median_ms is not None:
            found[row.precision] = min(row.median_ms, found.get(row.precision, row.median_ms))
    return found


def fastest_first(preferred: Sequence[str], measured: Mapping[str, float]) -> tuple[str, ...]:
    """Return precisions in the order in which they are to be tried.

    Those that were measured change places among themselves, where the difference is more than
    chance; those that were not stay where the profile has them.
    """
    order = [name for name in preferred if name in measured]
    for end in range(len(order)):
        # Insertion keeps the profile's order among those that are about as fast as each other.
        place = end
        while place and measured[order[place]] * MARGIN < measured[order[place - 1]]:
            order[place - 1], order[place] = order[place], order[place - 1]
            place -= 1
    ordered = iter(order)
    return tuple(next(ordered) if name in measured else name for name in preferred)


def table(report: BenchReport) -> list[str]:
    """Return the rows as aligned lines under a head; a star marks the fastest that is good."""
    head = ("", "PRECISION", "PROVIDER", "MEDIAN", "P95", "SAMPLES/S", "LOAD", "PEAK", "GOLDEN")
    best = report.best
    lines = [head, *(_cells(row, is_best=row == best) for row in report.rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _cells(row: BenchRow, *, is_best: bool) -> tuple[str, ...]:
    where = row.provider.removesuffix(_ENDING)
    if row.used and row.used != row.provider:
        where += f" (ran on {row.used.removesuffix(_ENDING)})"
    state = row.detail or ("holds" if row.ok else "failed")
    if row.median_ms is None:
        return ("", row.precision, where, "-", "-", "-", "-", "-", state)
    return (
        "*" if is_best else "",
        row.precision,
        where,
        f"{row.median_ms:.4g} ms",
        f"{row.p95_ms or 0.0:.4g} ms",
        f"{row.throughput or 0.0:,.0f}",
        f"{row.load_s:.2f} s",
        f"{row.peak_bytes / (1 << 20):.0f} MiB",
        state,
    )
