"""What a part of the emulated subscription is, and how one plugs in.

The account (``account.RunningAccount``) has one TLS server and any number of *rooms*. A room is an
object with a name, ``start``/``stop`` and ``settings``. There are two kinds:

- A **web room** answers requests on the one server: IoT Hub, Azure ML, ARM, Microsoft Entra ID. It
  has ``serves(request)``, asked in the order of ``account.ROOMS`` (the hub is last and takes what
  nobody wanted), ``operation(request)``, the name under which the call is counted and faults are
  set (``<room>.<operation>``), ``answer(request)``, and ``refusal(fault)``, which words a fault in
  the service's own error body.
- Any **other room** has ports of its own (blob, registry, MQTT for devices, AMQP for telemetry)
  and needs ``start``, ``stop`` and ``settings`` only.

To plug in: write ``class MyRoom`` with ``__init__(self, site: Site)`` and add it to ``ROOMS`` in
``account.py``. All it may use of the others is on the ``Site``: the folder to keep things in, the
certificate authority (``site.authority.server_context(site.names, demand=False)``), the URL of the
server (known once ``start`` is called), tokens of Microsoft Entra ID (``site.directory``), the
hub's device-to-cloud messages (``site.events``, see ``events.py``), counts and faults for rooms
that are not on the web server (``site.enter(room, operation)``), the account's clock
(``site.now()``), and what other rooms have to give (``site.find(Type)``, after all were made).
``settings`` are the environment variables that point a user's SDKs at the room; they are printed
by ``edgectl emulate azure`` and set for everything that it starts. ``controls`` adds routes below
``/emulator/`` for tests and users: (method, name) → function of the request's body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from werkzeug.wrappers import Request, Response

from edgectl.emulation import Fault

Controls = Mapping[tuple[str, str], Callable[[bytes], object]]


class AzureFault(Fault, frozen=True, kw_only=True):
    """What is to go wrong in an Azure service.

    Attributes:
        retry_after_s: Sent as ``Retry-After``; IoT Hub sends none with its 429.
    """

    retry_after_s: float | None = None


class Room(Protocol):
    """A part of the account.

    Attributes:
        name: A short word; calls and faults are named after it.
    """

    name: str

    def start(self) -> None:
        """Begin to work; the web server listens already.

        Raises:
            OSError: A port cannot be had.
        """

    def stop(self) -> None:
        """End everything that was begun; may be called without ``start``."""

    def settings(self) -> Mapping[str, str]:
        """Return environment variables for users, once it is started."""

    def controls(self) -> Controls:
        """Return routes below ``/emulator/``."""


@runtime_checkable
class WebRoom(Room, Protocol):
    """A part that answers on the account's web server."""

    def serves(self, request: Request) -> bool:
        """Say whether a request is for this room; cheap and without reading the body."""

    def operation(self, request: Request) -> str:
        """Return the name of what is asked for, for counts and faults; "" when it is nothing."""

    def answer(self, request: Request) -> Response:
        """Answer; errors of the service are answers too."""

    def refusal(self, fault: AzureFault) -> Response:
        """Word a fault as the service words its errors."""


class FaultError(Exception):
    """A fault with a code was set for a call.

    Attributes:
        fault: What to answer.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = (
            fault
            if isinstance(fault, AzureFault)
            else AzureFault(
                operation=fault.operation,
                code=fault.code,
                message=fault.message,
                status=fault.status,
            )
        )
