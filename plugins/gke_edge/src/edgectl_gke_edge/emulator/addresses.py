"""Which part of 127.0.0.0/8 a cluster has: held by a socket, so that two emulators never share."""

from __future__ import annotations

import random
import socket
from itertools import chain

from edgectl.api import ProviderError

_HOLD_PORT = 10_255
_TRIES = 400


class Block:
    """The addresses ``127.N.0.0/16`` of one cluster, until ``release``.

    Args:
        wanted: The network that the cluster had before, for example ``127.31``, or "".

    Raises:
        ProviderError: None is free, or this machine has no such addresses (it is not Linux).
    """

    def __init__(self, wanted: str = "") -> None:
        numbers = random.Random()  # noqa: S311 - only spreads emulators apart
        tried = (f"127.{numbers.randint(16, 250)}" for _ in range(_TRIES))
        for network in chain([wanted] if wanted else [], tried):
            holder = socket.socket()
            try:
                holder.bind((f"{network}.255.254", _HOLD_PORT))
                holder.listen(1)
            except OSError:
                holder.close()
                continue
            self.network = network
            self._holder = holder
            return
        raise ProviderError(
            "no block of loopback addresses is free for virtual nodes",
            hint="virtual nodes need Linux, where all of 127.0.0.0/8 is this machine",
        )

    def release(self) -> None:
        """Let others have it."""
        self._holder.close()
