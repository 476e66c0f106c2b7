"""One client's connection: SASL, open, frames, heartbeats, and the end of it.

Sources: AMQP 1.0, part 2 (transport) and part 5 (security).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct

from edgectl.emulation import DropError
from edgectl_azure_iot_edge.emulator.eventhub.access import Claim, Refused
from edgectl_azure_iot_edge.emulator.eventhub.endpoint import Endpoint
from edgectl_azure_iot_edge.emulator.eventhub.frames import (
    AMQP_HEADER,
    MIN_FRAME,
    SASL_HEADER,
    Fields,
    error,
    frame,
    performative,
    read_body,
)
from edgectl_azure_iot_edge.emulator.eventhub.session import Session
from edgectl_azure_iot_edge.emulator.eventhub.types import AmqpError, Described, symbols
from edgectl_azure_iot_edge.emulator.rooms import FaultError

log = logging.getLogger(__name__)

MECHANISMS = ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"]
_HANDSHAKE_S = 20.0
_ROOM = 1 << 20
_AMQP, _SASL = 0, 1
_MAX_CHANNEL = 255


class Connection:
    """A connection; ``run`` returns when it has ended.

    Attributes:
        claims: What its tokens let it read.
        max_frame: The longest frame that the client takes.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: Endpoint
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._endpoint = endpoint
        self._sessions: dict[int, Session] = {}
        self.claims: list[Claim] = []
        self.max_frame = MIN_FRAME

    def write(self, body: Described, channel: int, payload: bytes = b"") -> None:
        """Send a frame."""
        self._writer.write(frame(body, channel=channel, payload=payload))

    def has_room(self) -> bool:
        """Say whether the socket takes more."""
        transport = self._writer.transport
        return not transport.is_closing() and transport.get_write_buffer_size() < _ROOM

    def pump(self) -> None:
        """Send what there is and may be sent."""
        for session in self._sessions.values():
            session.pump()

    def cut(self) -> None:
        """Cut the connection without a word."""
        self._writer.transport.abort()

    async def run(self) -> None:
        """Talk until one side has enough."""
        heartbeat: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                opened = await self._greet()
            if opened is not None:
                heartbeat = asyncio.create_task(self._beat(opened))
                await self._frames()
        except AmqpError as exc:
            self._close(exc)
        except (FaultError, DropError) as exc:
            log.info("a fault ends a connection: %s", exc)
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            if heartbeat is not None:
                heartbeat.cancel()
            for session in self._sessions.values():
                session.close()
            with contextlib.suppress(OSError):
                self._writer.close()

    async def _greet(self) -> Fields | None:
        """Let the client in; return its open, or None where it is turned away."""
        header = await self._reader.readexactly(8)
        if header != SASL_HEADER:
            # Nobody is let in without SASL; this is what is spoken here (part 2, section 2.2).
            self._writer.write(SASL_HEADER)
            return None
        self._writer.write(SASL_HEADER)
        if not await self._authenticate():
            return None
        if await self._reader.readexactly(8) != AMQP_HEADER:
            self._writer.write(AMQP_HEADER)
            return None
        self._writer.write(AMQP_HEADER)
        _channel, name, fields, _payload = await self._frame(_AMQP)
        if name != "open":
            raise AmqpError("amqp:not-allowed", f"A connection begins with open, not {name}.")
        self.max_frame = min(
            max(fields["max-frame-size"] or 1 << 31, MIN_FRAME), self._endpoint.settings.max_frame
        )
        host, _port = self._endpoint.address()
        settings = self._endpoint.settings
        self.write(
            performative(
                "open",
                container_id=f"{host}_G1",
                max_frame_size=settings.max_frame,
                channel_max=_MAX_CHANNEL,
                idle_time_out=settings.idle_ms,
            ),
            0,
        )
        return fields

    async def _authenticate(self) -> bool:
        self._sasl(performative("sasl-mechanisms", sasl_server_mechanisms=symbols(MECHANISMS)))
        _channel, name, fields, _payload = await self._frame(_SASL)
        if name != "sasl-init":
            raise AmqpError("amqp:not-allowed", f"A client begins with sasl-init, not {name}.")
        mechanism, response = fields["mechanism"], fields["initial-response"]
        code = 0
        if mechanism == "PLAIN":
            try:
                self.claims.append(self._endpoint.gate.plain(response or b""))
            except Refused as exc:
                log.info("a client is turned away: %s", exc)
                code = 1
        elif mechanism not in {"ANONYMOUS", "MSSBCBS"}:
            code = 1
        self._sasl(performative("sasl-outcome", code=code))
        await self._writer.drain()
        return code == 0

    def _sasl(self, body: Described) -> None:
        self._writer.write(frame(body, kind=_SASL))

    async def _frames(self) -> None:
        idle_s = self._endpoint.settings.idle_ms / 1000
        while True:
            try:
                found = await asyncio.wait_for(self._frame_or_beat(), idle_s)
            except TimeoutError:
                raise AmqpError(
                    "amqp:connection:forced",
                    "The connection was inactive for more than the allowed "
                    f"{self._endpoint.settings.idle_ms} milliseconds and is closed by container.",
                ) from None
            if found is None:
                continue
            channel, name, fields, payload = found
            if name == "close":
                self.write(performative("close"), 0)
                await self._writer.drain()
                return
            self._on_session(channel, name, fields, payload)
            await self._writer.drain()

    def _on_session(self, channel: int, name: str, fields: Fields, payload: bytes) -> None:
        if name == "begin":
            if channel > _MAX_CHANNEL or channel in self._sessions:
                raise AmqpError("amqp:not-allowed", f"The channel '{channel}' cannot be begun.")
            self._sessions[channel] = Session(self, channel, fields, self._endpoint)
            window = {"incoming_window": 2048, "outgoing_window": 2048, "handle_max": 255}
            body = performative("begin", remote_channel=channel, next_outgoing_id=0, **window)
            self.write(body, channel)
            return
        session = self._sessions.get(channel)
        if session is None:
            raise AmqpError("amqp:not-allowed", f"The channel '{channel}' was not begun.")
        if name == "end":
            self._sessions.pop(channel).close()
            self.write(performative("end"), channel)
            return
        try:
            session.handle(name, fields, payload)
        except AmqpError as exc:
            self._sessions.pop(channel).close()
            self.write(performative("end", error=error(exc.condition, str(exc))), channel)

    async def _frame(self, kind: int) -> tuple[int, str, Fields, bytes]:
        while True:
            found = await self._frame_or_beat(kind)
            if found is not None:
                return found

    async def _frame_or_beat(self, kind: int = _AMQP) -> tuple[int, str, Fields, bytes] | None:
        """Return the next frame's channel, performative, fields and payload; None for a beat."""
        head = await self._reader.readexactly(8)
        size, offset, found, channel = struct.unpack(">IBBH", head)
        if size < 8 or size > self._endpoint.settings.max_frame or offset < 2 or found != kind:
            raise AmqpError("amqp:connection:framing-error", "A frame has a malformed header.")
        body = await self._reader.readexactly(size - 8)
        body = body[4 * (offset - 2) :]
        if not body:
            return None
        name, fields, payload = read_body(body)
        return channel, name, fields, payload

    async def _beat(self, opened: Fields) -> None:
        """Send heartbeats twice as often as the client wants to hear of us (section 2.4.5)."""
        wanted = opened["idle-time-out"]
        if not wanted:
            return
        while True:
            await asyncio.sleep(max(wanted / 2000, 0.05))
            self._writer.write(frame(None))

    def _close(self, why: AmqpError) -> None:
        with contextlib.suppress(OSError):
            self.write(performative("close", error=error(why.condition, str(why))), 0)
