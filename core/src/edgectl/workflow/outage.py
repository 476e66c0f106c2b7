"""Going on with a rollout whose provider does not answer for a while.

Devices go on without the driver, and each of its turns reads anew how things stand, so a call that
came to nothing is made again a moment later. What fails before anything has begun is told at once.
"""

from __future__ import annotations

from collections.abc import Callable

from edgectl.errors import ProviderError, ThrottledError, UnreachableError

PASSING = (UnreachableError, ThrottledError)
"""What may be over in a moment."""


class Outage:
    """How long a provider has been away, and whether that may still pass.

    Args:
        most_s: Seconds after which it may not; 0 for at once.
        clock: Tells the time, seconds.
        say: Takes a line of progress.
    """

    def __init__(
        self, most_s: float, clock: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        self._most_s = most_s
        self._clock = clock
        self._say = say
        self._since: float | None = None

    def bear(self, error: ProviderError) -> None:
        """Take a failure for one that passes.

        Raises:
            ProviderError: The same, where it has lasted too long.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
            if self._most_s:
                self._say(f"{error.message}; trying again for {self._most_s:g} s")
        if now - self._since >= self._most_s:
            raise error

    def end(self) -> None:
        """The provider answers."""
        if self._since is not None:
            self._say(f"it answers again, after {self._clock() - self._since:.0f} s")
        self._since = None
