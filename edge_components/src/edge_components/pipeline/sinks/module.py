"""Answers to another module of this IoT Edge device, through edgeHub's routes.

The module beside the runtime holds the only connection to edgeHub that it may have, so an answer
goes to it over a unix socket and is delivered when edgeHub has it, which keeps it for the other
module as long as the route says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from edge_components.contract.pipeline import ModuleSink
from edge_components.iotedge.local import MAX_MESSAGE_BYTES, SOCKET_VARIABLE, LocalClient
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reports import Reports
from edge_components.pipeline.sinks.handover import Handover, NotTakenError, RefusedError, Waiting

_TIMEOUT_S = 10.0
_POISON = "poison"
_DELIVERED = "delivered"


class _EdgeHub:
    def __init__(self, socket: Path, output: str) -> None:
        self._client = LocalClient(socket, _TIMEOUT_S)
        self._output = output

    def give(self, answer: dict[str, Any]) -> None:
        body = msgspec.json.encode(answer)
        if len(body) > MAX_MESSAGE_BYTES:
            raise RefusedError  # edgeHub never will take it: the others shall not wait for it
        try:
            taken = self._client.hand_over(self._output, body)
        except OSError as exc:
            raise NotTakenError(str(exc)) from exc
        if taken.outcome == _POISON:
            raise RefusedError
        if taken.outcome != _DELIVERED:
            raise NotTakenError(taken.why)

    def close(self) -> None:
        self._client.close()


class ModuleWriter(Handover):
    """Hands answers to the module's own output for the other one.

    Raises:
        PipelineError: This is no module of IoT Edge.
    """

    def __init__(self, sink: ModuleSink, reports: Reports) -> None:
        path = os.environ.get(SOCKET_VARIABLE, "")
        if not path:
            raise PipelineError("a module sink needs Azure IoT Edge: no edge-module runs this")
        waiting = Waiting(
            word="module",
            who=f"the module '{sink.module}'",
            carrier="edgeHub",
            max_waiting=sink.max_waiting,
            block=sink.when_full == "block",
        )
        super().__init__(waiting, reports, lambda: _EdgeHub(Path(path), sink.output))
