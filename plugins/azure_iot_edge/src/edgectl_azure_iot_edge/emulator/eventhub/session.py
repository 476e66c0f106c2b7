"""A session: links by handle, windows, and what attach frames ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgectl_azure_iot_edge.emulator.eventhub import nodes
from edgectl_azure_iot_edge.emulator.eventhub.access import Claim
from edgectl_azure_iot_edge.emulator.eventhub.attaching import (
    MAX_MESSAGE,
    attach_answer,
    receiving,
    redirect,
    terminus,
)
from edgectl_azure_iot_edge.emulator.eventhub.endpoint import Endpoint
from edgectl_azure_iot_edge.emulator.eventhub.frames import (
    Fields,
    error,
    performative,
)
from edgectl_azure_iot_edge.emulator.eventhub.links import (
    CREDIT,
    EventLink,
    Incoming,
    Outgoing,
    Replies,
)
from edgectl_azure_iot_edge.emulator.eventhub.messages import Request, read_request
from edgectl_azure_iot_edge.emulator.eventhub.places import (
    BUILT_IN,
    CBS,
    MANAGEMENT,
    path_of,
    stream_of,
)
from edgectl_azure_iot_edge.emulator.eventhub.types import AmqpError, Described

WINDOW = 2048
MAX_HANDLE = 255
_MODULO = 1 << 32


class Wire(Protocol):
    """The connection that a session is on.

    Attributes:
        claims: What its tokens let it read.
        max_frame: The longest frame that the client takes.
    """

    claims: list[Claim]
    max_frame: int

    def write(self, body: Described, channel: int, payload: bytes = b"") -> None:
        """Send a frame."""

    def has_room(self) -> bool:
        """Say whether the socket takes more."""


class Session:
    """One session of a connection.

    Args:
        wire: The connection.
        channel: The server's number of it.
        begin: The client's begin.
        endpoint: What all connections share.
    """

    def __init__(self, wire: Wire, channel: int, begin: Fields, endpoint: Endpoint) -> None:
        self._wire = wire
        self._channel = channel
        self._endpoint = endpoint
        self._links: dict[int, Outgoing | Incoming] = {}
        self._next_out = 0
        self._next_in = begin["next-outgoing-id"] or 0
        self._window = begin["incoming-window"] or 0

    def send(self, body: Described, payload: bytes = b"") -> None:
        """Send a frame on this session."""
        self._wire.write(body, self._channel, payload)

    def room(self) -> bool:
        """Say whether the client's window and socket have room for more."""
        return self._window > 0 and self._wire.has_room()

    def transfer(self, handle: int, tag: bytes, payload: bytes) -> int:
        """Send a message, in as many frames as it takes; return its delivery id."""
        number = self._next_out
        size = self._wire.max_frame - 128
        parts = [payload[at : at + size] for at in range(0, max(len(payload), 1), size)]
        for at, part in enumerate(parts):
            first = {"delivery_id": number, "delivery_tag": tag, "message_format": 0}
            body = performative(
                "transfer",
                handle=handle,
                settled=False,
                more=at < len(parts) - 1,
                **(first if at == 0 else {}),
            )
            self.send(body, part)
            self._next_out = (self._next_out + 1) % _MODULO
            self._window -= 1
        return number

    def detach(self, link: Outgoing | Incoming, error_: AmqpError) -> None:
        """End a link with an error."""
        self._links = {key: one for key, one in self._links.items() if one is not link}
        self.send(
            performative(
                "detach",
                handle=link.handle,
                closed=True,
                error=error(error_.condition, str(error_), error_.info),
            )
        )

    def pump(self) -> None:
        """Send what there is and may be sent, and end what may not be read any more."""
        now = self._endpoint.gate.now()
        for link in tuple(self._links.values()):
            if isinstance(link, EventLink) and not self._may(link.path, now):
                link.close()
                said = "The token is expired. Put a new one on '$cbs'."
                self.detach(link, AmqpError("amqp:unauthorized-access", said))
            elif isinstance(link, Outgoing):
                link.pump()

    def close(self) -> None:
        """Forget all links."""
        for link in self._links.values():
            if isinstance(link, Outgoing):
                link.close()
        self._links.clear()

    def handle(self, name: str, fields: Fields, payload: bytes) -> None:
        """Take a frame.

        Raises:
            AmqpError: It breaks the protocol, so the session ends.
        """
        handlers: dict[str, Callable[[Fields, bytes], None]] = {
            "attach": self._attach,
            "flow": self._flow,
            "transfer": self._transfer,
            "disposition": lambda _fields, _payload: None,
            "detach": self._detached,
        }
        if name not in handlers:
            raise AmqpError("amqp:not-allowed", f"A {name} is not expected here.")
        handlers[name](fields, payload)

    def _attach(self, fields: Fields, _payload: bytes) -> None:
        handle = fields["handle"]
        if not isinstance(handle, int) or handle > MAX_HANDLE or handle in self._links:
            raise AmqpError("amqp:session:handle-in-use", f"The handle '{handle}' is in use.")
        place = terminus(fields["source"] if fields["role"] else fields["target"])
        address = place.get("address")
        path = path_of(address) if isinstance(address, str) else ""
        fields = {**fields, "source": terminus(fields["source"])}
        try:
            link = (
                self._sending(handle, path, fields) if fields["role"] else receiving(handle, path)
            )
        except AmqpError as exc:
            self._refuse(fields, exc)
            return
        self._links[handle] = link
        self.send(attach_answer(fields, found=True))
        if isinstance(link, Incoming):
            flow = self._flow_of(handle, link)
            self.send(performative("flow", **flow))

    def _refuse(self, fields: Fields, why: AmqpError) -> None:
        self.send(attach_answer(fields, found=False))
        link = Incoming(fields["handle"], "")
        self.detach(link, why)

    def _sending(self, handle: int, path: str, fields: Fields) -> Outgoing:
        if path in {CBS, MANAGEMENT} or path.lower().endswith(f"/{MANAGEMENT}"):
            if path.lower().startswith(BUILT_IN):
                raise self._elsewhere(path)
            target = terminus(fields["target"]).get("address")
            return Replies(self, handle, path, target if isinstance(target, str) else "")
        if path.lower().startswith(BUILT_IN):
            raise self._elsewhere(path)
        stream = stream_of(path)
        if stream is None:
            raise AmqpError("amqp:not-found", f"The messaging entity '{path}' could not be found.")
        if not self._may(path, self._endpoint.gate.now()):
            raise AmqpError(
                "amqp:unauthorized-access",
                "Unauthorized access. 'Listen' claim(s) are required to perform this operation. "
                f"Resource: '{path}'.",
            )
        self._endpoint.enter("Receive")
        return EventLink(self, handle, stream, fields, self._endpoint)

    def _elsewhere(self, path: str) -> AmqpError:
        """Return what IoT Hub says to who asks for its built-in endpoint."""
        if not self._may(BUILT_IN, self._endpoint.gate.now()):
            return AmqpError("amqp:unauthorized-access", "Unauthorized access.")
        return redirect(path, self._endpoint.settings.name, *self._endpoint.address())

    def _may(self, path: str, now: float) -> bool:
        return any(claim.covers(path, now) for claim in self._wire.claims)

    def _flow(self, fields: Fields, _payload: bytes) -> None:
        window, seen = fields["incoming-window"] or 0, fields["next-incoming-id"]
        self._window = ((seen or 0) + window - self._next_out) % _MODULO
        if self._window > _MODULO // 2:
            self._window = 0
        handle = fields["handle"]
        if handle is None:
            self.pump()
            return
        link = self._links.get(handle)
        if link is None:
            raise AmqpError("amqp:session:unattached-handle", f"No link has handle '{handle}'.")
        if isinstance(link, Outgoing):
            link.flow(fields)

    def _transfer(self, fields: Fields, payload: bytes) -> None:
        self._next_in = (self._next_in + 1) % _MODULO
        link = self._links.get(fields["handle"])
        if not isinstance(link, Incoming):
            raise AmqpError("amqp:session:unattached-handle", "A transfer on no such link.")
        try:
            whole = link.take(fields, payload, MAX_MESSAGE)
            if whole is None:
                return
            first, message = whole
            request = read_request(message)
        except AmqpError as exc:
            self.detach(link, exc)
            return
        if not first["settled"]:
            number = first["delivery-id"]
            accepted = performative("accepted")
            self.send(
                performative(
                    "disposition",
                    role=True,
                    first=number,
                    last=number,
                    settled=True,
                    state=accepted,
                )
            )
        if link.credit < CREDIT // 2:
            link.credit = CREDIT
            self.send(performative("flow", **self._flow_of(fields["handle"], link)))
        self._asked(link, request)

    def _asked(self, link: Incoming, request: Request) -> None:
        replies = self._replies(link.path, request.properties.get("reply-to"))
        if replies is None:
            said = "There is no link to answer on."
            self.detach(link, AmqpError("amqp:not-allowed", said))
        elif link.path == CBS:
            self._endpoint.enter("PutToken")
            answer, claim = nodes.put_token(request, self._endpoint.gate)
            if claim is not None:
                now = self._endpoint.gate.now()
                kept = [one for one in self._wire.claims if one.until > now]
                self._wire.claims[:] = [*kept, claim]
            replies.answer(answer)
        else:
            self._endpoint.enter("ReadManagement")
            name = self._endpoint.settings.name
            allowed = self._may(name, self._endpoint.gate.now())
            replies.answer(nodes.read(request, self._endpoint.log, name, allowed=allowed))

    def _replies(self, path: str, reply_to: object) -> Replies | None:
        found = [one for one in self._links.values() if isinstance(one, Replies)]
        same = [one for one in found if one.path == path]
        return next((one for one in same if one.address == reply_to), same[0] if same else None)

    def _detached(self, fields: Fields, _payload: bytes) -> None:
        link = self._links.pop(fields["handle"], None)
        if link is None:
            return  # the answer to our own detach
        if isinstance(link, Outgoing):
            link.close()
        self.send(performative("detach", handle=link.handle, closed=bool(fields["closed"])))

    def _flow_of(self, handle: int, link: Incoming) -> dict[str, int]:
        return {
            "next_incoming_id": self._next_in,
            "incoming_window": WINDOW,
            "next_outgoing_id": self._next_out,
            "outgoing_window": WINDOW,
            "handle": handle,
            "delivery_count": link.delivery_count,
            "link_credit": link.credit,
        }
