"""The sink to another module of IoT Edge: through the module's own connection, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edge_components.contract.pipeline import ModuleSink
from edge_components.iotedge.link import LinkError
from edge_components.iotedge.local import MAX_MESSAGE_BYTES, SOCKET_VARIABLE, LocalServer
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.parts import Site, build_writer
from edge_components.pipeline.reports import Reports, Silence
from edge_components.pipeline.sinks.module import ModuleWriter
from edge_components.runtime.metrics import Metrics

Publish = Callable[[str, bytes], None]


class Module:
    """What a module's own process does with what it is handed."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, object]] = []
        self.away = 0
        self.more = threading.Condition()

    def publish(self, output: str, body: bytes) -> None:
        with self.more:
            if self.away:
                self.away -= 1
                raise LinkError("edgeHub is not connected")
            self.taken.append((output, msgspec.json.decode(body)))
            self.more.notify_all()

    def wait(self, count: int) -> list[tuple[str, object]]:
        with self.more:
            assert self.more.wait_for(lambda: len(self.taken) >= count, 20)
            return list(self.taken)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    made = Module()
    server = LocalServer(tmp_path / "edgehub.sock", made.publish)
    server.start()
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "edgehub.sock"))
    yield made
    server.stop()


def test_away_from_iot_edge_the_release_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)
    site = Site(state_dir=tmp_path, package=tmp_path)
    with pytest.raises(PipelineError, match="needs Azure IoT Edge"):
        build_writer(ModuleSink(module="count"), site, Reports(Silence(), Metrics()))


def test_answers_go_to_the_output_of_that_module_in_order(module: Module, tmp_path: Path) -> None:
    metrics = Metrics()
    site = Site(state_dir=tmp_path, package=tmp_path)
    writer = build_writer(ModuleSink(module="count"), site, Reports(Silence(), metrics))
    for number in range(5):
        writer.write("r", {"number": number})
    assert module.wait(5) == [("answers-count", {"number": number}) for number in range(5)]
    writer.close(5.0)
    assert metrics.pipeline["module_delivered"] == 5


def test_an_answer_waits_while_edgehub_is_away(module: Module) -> None:
    module.away = 1
    writer = ModuleWriter(ModuleSink(module="count"), Reports(Silence(), Metrics()))
    writer.write("r", {"number": 1})
    assert module.wait(1) == [("answers-count", {"number": 1})]
    writer.close(5.0)


def test_what_edgehub_never_takes_does_not_hold_up_the_others(module: Module) -> None:
    metrics = Metrics()
    writer = ModuleWriter(ModuleSink(module="count"), Reports(Silence(), metrics))
    writer.write("r", {"text": "x" * MAX_MESSAGE_BYTES})
    writer.write("r", {"number": 2})
    assert module.wait(1) == [("answers-count", {"number": 2})]
    writer.close(5.0)
    assert metrics.pipeline["module_refused"] == 1
