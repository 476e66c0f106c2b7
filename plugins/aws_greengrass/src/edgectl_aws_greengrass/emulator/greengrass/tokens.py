"""Client tokens: the same call again gets the first one's answer and changes nothing.

An answer is kept up to 8 hours (API reference, ``clientToken``).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

KEPT_S = 8 * 3600.0


class Tokens:
    """The answers to calls that had a token.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, Params, Params]] = {}

    def answer(self, params: Params) -> Params | None:
        """Return the first answer to a token, or None for a new one.

        Raises:
            ServiceError: ``ConflictException``: the token came with another request before.
        """
        token = params.get("clientToken")
        found = self._kept.get(token) if token else None
        if found is None or found[0] + KEPT_S < self._clock():
            return None
        if found[1] != params:
            raise ServiceError(
                "ConflictException",
                f"the client token '{token}' was used with other parameters",
                resourceId=token,
                resourceType="clientToken",
            )
        return found[2]

    def keep(self, params: Params, answer: Params) -> None:
        """Keep an answer."""
        token = params.get("clientToken")
        if token:
            self._kept[token] = (self._clock(), dict(params), answer)
