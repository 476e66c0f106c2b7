"""What waits for a sink is bounded: the pipeline waits, or the oldest is dropped and counted."""

from __future__ import annotations

import pytest

from edge_components.pipeline.reports import Reports, Silence
from edge_components.pipeline.sinks.backlog import Backlog
from edge_components.runtime.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def backlog(metrics: Metrics, *, block: bool) -> Backlog[str]:
    reports = Reports(Silence(), metrics)
    return Backlog(most=2, block=block, word="mqtt", whom="the broker", reports=reports)


def test_the_oldest_answer_goes_and_is_counted(metrics: Metrics) -> None:
    waiting = backlog(metrics, block=False)
    for answer in "abc":
        waiting.add(answer)
    assert list(waiting) == ["b", "c"]
    assert metrics.pipeline["mqtt_dropped_oldest"] == 1


def test_the_pipeline_waits_and_loses_nothing(metrics: Metrics) -> None:
    waiting = backlog(metrics, block=True)
    waiting.extend("ab")
    with pytest.raises(OSError, match="2 answers wait for the broker"):
        waiting.add("c")
    assert list(waiting) == ["a", "b"]
    assert not metrics.pipeline["mqtt_dropped_oldest"]
