"""Answers to a Lambda function on this device, through the nucleus's local messages.

The nucleus keeps nothing for a function that is not there, so an answer that was taken is out of
our hands.
"""

from __future__ import annotations

from typing import Any

from edge_components.contract.pipeline import LambdaSink
from edge_components.greengrass import NucleusError, NucleusLink, is_component
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reports import Reports
from edge_components.pipeline.sinks.handover import Handover, NotTakenError, Waiting


class _Nucleus:
    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._link = NucleusLink()

    def give(self, answer: dict[str, Any]) -> None:
        try:
            self._link.publish_locally(self._topic, answer)
        except NucleusError as exc:
            raise NotTakenError(str(exc)) from exc

    def close(self) -> None:
        self._link.close()


class FunctionWriter(Handover):
    """Publishes answers to the function's topic.

    Raises:
        PipelineError: This is no component of a nucleus.
    """

    def __init__(self, sink: LambdaSink, reports: Reports) -> None:
        if not is_component():
            raise PipelineError("a Lambda sink needs AWS IoT Greengrass: no nucleus runs this")
        waiting = Waiting(
            word="lambda",
            who="the function",
            carrier="the nucleus",
            max_waiting=sink.max_waiting,
            block=sink.when_full == "block",
        )
        super().__init__(waiting, reports, lambda: _Nucleus(sink.topic))
