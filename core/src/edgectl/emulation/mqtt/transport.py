"""Moves whole packets over one TLS connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl

from edgectl.emulation.mqtt import building, packets
from edgectl.emulation.mqtt.packets import PacketError, Reason

log = logging.getLogger(__name__)

MAX_PACKET = 149_504
_MAX_SHIFT = 21
_CLOSE_TIMEOUT_S = 2.0


class Transport:
    """A client's connection.

    Args:
        max_incoming: The longest packet that is taken, in bytes.

    Attributes:
        version: Of MQTT; set when CONNECT has come.
        max_packet: What the client takes at most, 0 for anything.
        is_open: Whether a CONNACK was sent, so that DISCONNECT may be.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        max_incoming: int = MAX_PACKET,
    ) -> None:
        self._max_incoming = max_incoming
        self.version = packets.V5
        self.max_packet = 0
        self.is_open = False
        self._reader = reader
        self._writer = writer
        self._ended = False

    @property
    def certificate(self) -> bytes | None:
        """The client's certificate as PEM."""
        tls = self._writer.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        return ssl.DER_cert_to_PEM_cert(der).encode() if der else None

    async def packet(self, timeout_s: float) -> tuple[int, int, bytes]:
        """Return the next packet's type, flags and body.

        Raises:
            PacketError: It is too long.
            TimeoutError: Nothing came.
            OSError: The connection is lost; EOFError when it ends within a packet or between two.
        """
        return await asyncio.wait_for(self._packet(), timeout_s)

    def write(self, packet: bytes) -> None:
        """Send a packet, if it is not too long for the client."""
        if self.max_packet and len(packet) > self.max_packet:
            log.warning("a client takes no packet of %d bytes", len(packet))
        elif not self._writer.is_closing():
            self._writer.write(packet)

    async def drain(self) -> None:
        """Wait until the client has room for more."""
        await self._writer.drain()

    def end(self, reason: Reason, why: str) -> None:
        """Cut the client off, with a word when it speaks MQTT 5."""
        if self._ended:
            return
        self._ended = True
        if self.version == packets.V5 and self.is_open:
            self.write(building.disconnect(reason, why))
        self._writer.close()

    async def close(self) -> None:
        """Close, and wait for it a little."""
        with contextlib.suppress(OSError, TimeoutError):
            self._writer.close()
            await asyncio.wait_for(self._writer.wait_closed(), _CLOSE_TIMEOUT_S)

    async def _packet(self) -> tuple[int, int, bytes]:
        first = (await self._reader.readexactly(1))[0]
        length = shift = 0
        while True:
            digit = (await self._reader.readexactly(1))[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                break
            if shift > _MAX_SHIFT:
                raise PacketError(Reason.MALFORMED, "a packet's length has five digits")
        if length > self._max_incoming:
            raise PacketError(Reason.PACKET_TOO_LARGE, f"a packet has {length} bytes")
        return first >> 4, first & 0x0F, await self._reader.readexactly(length)
