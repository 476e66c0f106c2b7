"""Telemetry through edgeHub to IoT Hub: each batch is one message from an output of the module.

``edgehub:telemetry``: behind the colon stands the output's name, which the deployment's route names
too. The payload is plain OTLP JSON, because IoT Hub's routes read JSON. The module beside the
runtime holds the only connection that it may have, so a batch goes to it over a unix socket, and is
delivered when edgeHub has acknowledged it. edgeHub keeps it while the device is offline; what
edgeHub does not take stays in our queue, which has a bound where edgeHub's has none.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edge_components.iotedge.local import (
    MAX_MESSAGE_BYTES,
    SOCKET_VARIABLE,
    LocalClient,
)
from edge_components.telemetry.sender import Answer, Outcome, SenderError, UplinkSettings

_OUTPUT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DEFAULT = "telemetry"


class EdgeHubSender:
    """Hands batches to the module.

    Raises:
        SenderError: The address names no output, or no module runs this.
    """

    def __init__(self, settings: UplinkSettings) -> None:
        self._output = unquote(urlsplit(settings.url).path).strip("/") or _DEFAULT
        if not _OUTPUT.fullmatch(self._output):
            raise SenderError(f"'{self._output}' is no name of a module's output")
        path = os.environ.get(SOCKET_VARIABLE, "")
        if not path:
            raise SenderError(
                f"an edgehub uplink needs '{SOCKET_VARIABLE}', which 'edge-module' sets"
            )
        self._client = LocalClient(Path(path), settings.read_timeout_s)

    def send(self, body: bytes) -> Answer:
        """Have a batch sent; it is delivered when edgeHub has it."""
        if len(body) > MAX_MESSAGE_BYTES:
            why = f"{len(body)} bytes, IoT Hub takes {MAX_MESSAGE_BYTES} at most"
            return Answer(Outcome.POISON, why)
        try:
            taken = self._client.hand_over(self._output, body)
        except OSError as exc:
            return Answer(Outcome.KEPT, f"the module cannot be reached: {exc}")
        known = {outcome.value: outcome for outcome in Outcome}
        return Answer(known.get(taken.outcome, Outcome.KEPT), taken.why)

    def close(self) -> None:
        """End the connection to the module."""
        self._client.close()
