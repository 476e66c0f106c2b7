"""How long a kubelet waits before it tries again. Pure."""

from __future__ import annotations

import msgspec


class BackOff(msgspec.Struct, frozen=True, kw_only=True):
    """Waits that double up to a limit.

    A kubelet waits 10 s at first and 5 minutes at most; an emulator may be told to be quicker.

    Attributes:
        first_s: The first wait.
        most_s: The longest.
        forgive_s: A container that ran so long starts from the beginning.
    """

    first_s: float = 10.0
    most_s: float = 300.0
    forgive_s: float = 600.0

    def wait_s(self, failures: int) -> float:
        """Return the wait after so many failures in a row; none after the first."""
        if failures <= 1:
            return 0.0
        return min(self.first_s * 2.0 ** min(failures - 2, 30), self.most_s)

    def pull_wait_s(self, failures: int) -> float:
        """Return the wait after an image could not be pulled so often."""
        return min(self.first_s * 2.0 ** min(failures - 1, 30), self.most_s)
