"""Pictures of telemetry: what they show, and that they are the same for the same records."""

from __future__ import annotations

import io
import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_components.contract.histogram import counted, to_attributes
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.cli.plot import png, svg
from edgectl.cli.plot.axes import time_scale, value_scale
from edgectl.cli.plot.canvas import WIDTH
from edgectl.cli.plot.png import dashed
from edgectl.cli.plot.series import Panel, at_share, bin_width_s, panels

NAMESPACE = {"svg": "http://www.w3.org/2000/svg"}
BEGIN = 1_790_000_000
BOUNDS = tuple(step / 1000 for step in range(1, 201))
ids = itertools.count()


def record(kind: Kind, seconds: float, device: str = "a", **attributes: Any) -> TelemetryRecord:
    return TelemetryRecord(
        id=f"r{next(ids)}",
        kind=kind,
        time_unix_ns=int((BEGIN + seconds) * 1e9),
        device=device,
        attributes=attributes,
    )


def health(seconds: float, device: str = "a", *, latency_s: float = 0.0105) -> TelemetryRecord:
    histogram = to_attributes("latency_s", counted([latency_s] * 10, BOUNDS))
    return record(Kind.HEALTH, seconds, device, **histogram)


def drift(seconds: float, device: str = "a", **more: Any) -> TelemetryRecord:
    return record(Kind.DRIFT, seconds, device, **{"input.x.psi": 0.1, **more})


def fleet(count: int, times: Iterable[float] = range(0, 6000, 60)) -> list[TelemetryRecord]:
    return [
        made
        for number in range(count)
        for seconds in times
        for made in (
            health(seconds, f"lot-{number:03}", latency_s=(number + 0.5) / 1000),
            drift(seconds, f"lot-{number:03}", **{"input.x.psi": number / 1000}),
        )
    ]


def names(panel: Panel) -> list[str]:
    return [curve.name for curve in panel.curves]


def texts(document: bytes) -> list[str]:
    root = ET.fromstring(document)
    return [found.text or "" for found in root.iterfind(".//svg:text", NAMESPACE)]


def test_one_device_shows_percentiles_and_each_input_and_output() -> None:
    made = [*fleet(1), drift(6000, "lot-000", **{"output.y.class.psi": 0.2})]
    latency, moved = panels("t", made)
    assert names(latency) == ["p50", "p95", "p99"]
    assert names(moved) == ["input.x", "output.y.class"]


def test_a_few_devices_have_a_curve_each() -> None:
    _, latency, moved = panels("t", fleet(4))
    assert names(latency) == names(moved) == [f"lot-{n:03}" for n in range(4)]
    assert latency.band is None


def test_of_many_devices_there_is_the_median_the_95th_and_the_worst() -> None:
    _, latency, moved = panels("t", fleet(100))
    assert names(latency) == [
        "median device",
        "95 % of devices below",
        "worst device (peak: lot-099)",
    ]
    assert latency.band == ("median device", "95 % of devices below")
    median, most, worst = (curve.pieces[0][0][1] for curve in moved.curves)
    assert (median, most, worst) == pytest.approx((0.0495, 0.094, 0.099))
    assert [curve.pieces[0][0][1] for curve in latency.curves] == pytest.approx(
        [50, 95, 100], abs=1.0
    )


def test_a_device_that_was_silent_leaves_a_gap() -> None:
    times = [*range(0, 3000, 60), *range(6000, 9000, 60)]
    latency, _ = panels("t", fleet(1, times))
    assert [len(curve.pieces) for curve in latency.curves] == [2, 2, 2]


def test_the_threshold_is_the_devices_own_and_else_the_usual_one() -> None:
    assert panels("t", [drift(0)])[-1].limits == (("threshold", 0.25),)
    assert panels("t", [drift(0)], measure="ks")[-1].limits == (("threshold", 0.2),)
    own = panels("t", [drift(0, **{"threshold.psi": 0.4})])[-1]
    assert own.limits == (("threshold", 0.4),)
    assert names(own) == ["input.x"]


def test_records_without_a_histogram_show_what_they_report() -> None:
    old = record(Kind.HEALTH, 0, latency_p50_ms=3.0, latency_p99_ms=9.0)
    latency, _ = panels("t", [old])
    assert [curve.pieces[0][0][1] for curve in latency.curves] == [3.0, 9.0, 9.0]


def test_a_record_whose_device_did_not_know_the_time_is_left_out() -> None:
    lost = record(Kind.DRIFT, -BEGIN, "a", **{"input.x.psi": 9.0, "clock.suspect": True})
    moved = panels("t", [drift(0), drift(60), lost])[-1]
    assert (moved.start_s, max(value for _, value in moved.points)) == (BEGIN, 0.1)


def test_doubles_count_once_and_the_order_of_records_does_not_matter() -> None:
    made = fleet(3)
    assert panels("t", made) == panels("t", [*reversed(made), *made[:10]])


def test_an_svg_has_units_limits_names_and_is_the_same_again() -> None:
    found = panels("t", fleet(3), limit_ms=20)
    document = svg.render(found)
    assert document == svg.render(found)
    said = texts(document)
    for wanted in ("ms", "PSI", "limit 20", "threshold 0.25", "lot-001", "p99"):
        assert wanted in said
    assert any(text.endswith("UTC") for text in said)


def test_no_records_give_a_picture_that_says_so() -> None:
    found = panels("t", [])
    assert texts(svg.render(found)).count("no records in this time") == 2
    assert Image.open(io.BytesIO(png.render(found))).width == 2 * WIDTH


def test_a_devices_name_cannot_become_markup() -> None:
    name = '<script>"&\x07'
    document = svg.render(panels("<b>", [health(0, name), health(60, name), health(0, "other")]))
    assert b"<script>" not in document
    assert '<script>"&\N{REPLACEMENT CHARACTER}' in texts(document)


def test_a_png_shows_every_curve_in_its_colour_and_is_the_same_again() -> None:
    found = panels("t", fleet(3))
    data = png.render(found)
    assert data == png.render(found)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    colours = image.getcolors(1 << 24) or []
    near = {
        wanted
        for wanted in ((0, 114, 178), (213, 94, 0), (0, 158, 115))
        for _, colour in colours
        if math.dist(wanted, colour) < 12  # type: ignore[arg-type]  # RGB has three numbers
    }
    assert len(near) == 3


def test_hundreds_of_devices_stay_a_small_picture() -> None:
    document = svg.render(panels("t", fleet(300, range(0, 3600, 600))))
    assert len(document) < 100_000


@given(st.lists(st.floats(1e-6, 1e6), min_size=1))
def test_a_value_axis_holds_all_values_between_rising_ticks(values: list[float]) -> None:
    scale = value_scale(values)
    marks = [tick.value for tick in scale.ticks]
    assert marks == sorted(set(marks))
    assert 2 <= len(marks) <= 14
    assert scale.low <= min(values) * 1.0001
    assert max(values) <= scale.high * 1.0001
    assert [scale.place(value) for value in sorted(values)] == sorted(map(scale.place, values))


@given(st.floats(1e9, 4e9), st.floats(0, 1e9))
def test_a_time_axis_has_few_ticks_within_it(start: float, span: float) -> None:
    scale = time_scale(start, start + span)
    assert 1 <= len(scale.ticks) <= 11
    assert all(scale.low <= tick.value <= scale.high for tick in scale.ticks)


@given(st.floats(0, 1e9))
def test_a_time_has_at_most_120_bins(span: float) -> None:
    assert span / bin_width_s(span) <= 120


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0.01, 1))
def test_at_least_the_share_does_not_exceed_its_value(values: list[float], share: float) -> None:
    limit = at_share(values, share)
    assert sum(value <= limit for value in values) >= share * len(values) - 1e-6


def test_dashes_and_gaps_alternate_over_corners() -> None:
    line = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)]
    drawn = list(dashed(line, (6, 3)))
    assert drawn == [
        [(0.0, 0.0), (6.0, 0.0)],
        [(9.0, 0.0), (10.0, 0.0), (10.0, 5.0)],
        [(10.0, 8.0), (10.0, 10.0)],
    ]
