"""The Lambda sink where there is no nucleus, or one that does not answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_components.contract.pipeline import LambdaSink
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.parts import Site, build_writer
from edge_components.pipeline.reports import Reports, Silence
from edge_components.pipeline.sinks.function import FunctionWriter
from edge_components.runtime.metrics import Metrics

ARN = "arn:aws:lambda:us-east-1:123456789012:function:count:3"


@pytest.fixture
def silent_nucleus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A socket that takes connections and says nothing."""
    path = tmp_path / "ipc"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        monkeypatch.setenv("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", str(path))
        monkeypatch.setenv("SVCUID", "token")
        yield


def test_away_from_a_nucleus_the_release_is_refused(tmp_path: Path) -> None:
    site = Site(state_dir=tmp_path, package=tmp_path)
    with pytest.raises(PipelineError, match="needs AWS IoT Greengrass"):
        build_writer(LambdaSink(arn=ARN), site, Reports(Silence(), Metrics()))


@pytest.mark.usefixtures("silent_nucleus")
def test_answers_that_do_not_fit_drop_the_oldest_and_are_counted() -> None:
    metrics = Metrics()
    writer = FunctionWriter(LambdaSink(arn=ARN, max_waiting=2), Reports(Silence(), metrics))
    for number in range(6):
        writer.write("r", {"number": number})
    writer.close(0.0)
    counted = metrics.pipeline
    assert counted["lambda_dropped_oldest"] >= 3
    assert counted["lambda_dropped_oldest"] + counted["lambda_lost"] == 6


@pytest.mark.usefixtures("silent_nucleus")
def test_a_pipeline_may_wait_for_the_nucleus_instead() -> None:
    metrics = Metrics()
    sink = LambdaSink(arn=ARN, max_waiting=1, when_full="block")
    writer = FunctionWriter(sink, Reports(Silence(), metrics))

    def fill() -> None:
        for number in range(3):
            writer.write("r", {"number": number})

    with pytest.raises(OSError, match="wait for the nucleus"):
        fill()
    writer.close(0.0)
    assert metrics.pipeline["lambda_dropped_oldest"] == 0


def test_a_function_is_known_by_its_arn() -> None:
    sink = LambdaSink(arn=ARN)
    assert (sink.function, sink.number, sink.topic) == ("count", 3, "edgectl/lambda/count")
