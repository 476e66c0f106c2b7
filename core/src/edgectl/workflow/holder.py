"""Taking a target's lease, keeping it alive, and stopping when it is somebody else's.

Before each change the holder asks the provider for its lease, so one that was suspended, or whose
lease was taken by ``--take-over``, changes nothing after it. While a long call keeps the driver
busy, a thread gives the signs of life.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from edgectl.errors import EdgectlError, LeaseError
from edgectl.provider import Provider
from edgectl.workflow.lease import (
    REFRESH_S,
    Lease,
    Sightings,
    Standing,
    Takeover,
    is_dead,
    judge,
    new_lease,
)
from edgectl.workflow.texts import Texts, encode

KEY = "lease"
LOOK_S = 5.0
# Made at import: msgspec crashes when two threads decode a type for the first time at once.
_LEASES = msgspec.json.Decoder(Lease)


class Claim(NamedTuple):
    """How a lease is asked for.

    Attributes:
        taken_over: Told when it was taken from an operator that fell silent, or was made to.
        force: Take it whoever has it.
        companion: Opens the provider once more, for signs of life while the driver is in a call.
        sleep: Rests while somebody else's lease is watched.
        say: Takes a line of progress.
    """

    taken_over: Callable[[Takeover], None]
    force: bool = False
    companion: Callable[[], Provider] | None = None
    sleep: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = lambda line: None


class Holder:
    """One operator's view of a target's lease, and the lease itself while they have it.

    Args:
        texts: The target's shared texts.
        sightings: Since when somebody else's lease looks as it does.
        clock: Tells the time, seconds since 1970 UTC.
        refresh_s: Seconds between signs of life.
    """

    def __init__(
        self,
        texts: Texts,
        sightings: Sightings,
        clock: Callable[[], float],
        *,
        refresh_s: float = REFRESH_S,
    ) -> None:
        self._refresh_s = refresh_s
        self._texts = texts
        self._sightings = sightings
        self._clock = clock
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._lease: str | None = None
        self._lost = ""

    def other(self) -> tuple[Lease, Standing] | None:
        """Return who has the lease, and whether they live; None if nobody has it."""
        text = self._texts.read(KEY)
        if text is None:
            return None
        found = self._texts.decode(text, _LEASES)
        return found, self._judge(text, found)

    def take(self, claim: Claim) -> None:
        """Take the lease, and keep it alive until it is given back.

        Raises:
            LeaseError: Somebody else has it.
        """
        mine = encode(new_lease(self._clock()))
        there = self._texts.swap(KEY, None, mine)
        if not there.swapped and there.value is not None:
            taken = self._claim(there.value, claim)
            there = self._texts.swap(KEY, there.value if taken else None, mine)
            if there.swapped and taken is not None:
                claim.taken_over(taken)
        if not there.swapped:
            who = self._texts.decode(there.value, _LEASES) if there.value else "somebody else"
            target = self._texts.target.name
            raise LeaseError(f"{who} just began to deploy to target '{target}'")
        self._lease, self._lost = mine, ""
        self._done = threading.Event()
        if claim.companion is not None:
            keep = threading.Thread(target=self._keep, args=(claim.companion,), daemon=True)
            keep.start()

    def give_back(self) -> None:
        """Let the next operator have it; does nothing where it was taken away."""
        self._done.set()
        with self._lock:
            mine, self._lease = self._lease, None
            if mine is not None:
                self._texts.swap(KEY, mine, None)

    def refresh(self, *, surely: bool = False) -> None:
        """Say that the holder is alive; does nothing where there is no lease.

        Args:
            surely: Also when that was said a moment ago.

        Raises:
            LeaseError: Somebody else has taken it.
        """
        with self._lock:
            self._beat(self._texts, surely=surely)

    def _beat(self, texts: Texts, *, surely: bool = False) -> None:
        if self._lost:
            raise self._lost_error()
        if self._lease is None:
            return
        held, now = texts.decode(self._lease, _LEASES), self._clock()
        if not surely and 0 <= now - held.beat < self._refresh_s:
            return
        fresh = encode(_alive(held, now))
        there = texts.swap(KEY, self._lease, fresh)
        found = texts.decode(there.value, _LEASES) if there.value else None
        if not there.swapped and found is not None and found.is_of(held):
            # An earlier sign of life was written, and only the answer to it was lost.
            fresh = encode(_alive(found, now))
            there = texts.swap(KEY, there.value, fresh)
        if not there.swapped:
            self._lease = None
            self._lost = f"{found} at {found.begun}" if found is not None else "somebody else"
            raise self._lost_error()
        self._lease = fresh

    def _lost_error(self) -> LeaseError:
        return LeaseError(
            f"the lease on target '{self._texts.target.name}' was taken over by {self._lost}",
            hint="nothing more was changed from here; `edgectl status` shows where it stands",
        )

    def _keep(self, companion: Callable[[], Provider]) -> None:
        """Give signs of life while a long call keeps the driver from it."""
        texts: Texts | None = None
        while not self._done.wait(self._refresh_s):
            with self._lock:
                try:
                    texts = texts or self._texts.by(companion())
                    self._beat(texts)
                except LeaseError:
                    return  # the driver hears of it at its next turn
                except EdgectlError:
                    continue  # a provider that cannot be reached is asked again

    def _claim(self, text: str, claim: Claim) -> Takeover | None:
        """Return why a lease may be taken from its holder; None if they gave it back meanwhile.

        Raises:
            LeaseError: They are alive.
        """
        other = self._texts.decode(text, _LEASES)
        if claim.force:
            return Takeover(holder=other, why="asked for with --take-over")
        if is_dead(other):
            return Takeover(holder=other, why="its process is no more")
        standing = self._judge(text, other)
        if standing == "unsure":
            claim.say(
                f"{self._texts.target.name}: {other} holds it since {other.begun} and seems gone; "
                f"watching for {other.ttl_s:g} s whether it gives a sign of life"
            )
        while standing == "unsure":
            claim.sleep(min(LOOK_S, other.ttl_s / 4))
            now = self._texts.read(KEY)
            if now is None:
                return None
            if now != text:
                raise self._refusal(self._texts.decode(now, _LEASES))
            standing = self._judge(text, other)
        if standing == "held":
            raise self._refusal(other)
        return Takeover(holder=other, why=f"no sign of life for {other.ttl_s:g} s")

    def _refusal(self, other: Lease) -> LeaseError:
        return LeaseError(
            f"{other} deploys to target '{self._texts.target.name}' since {other.begun}",
            hint="wait for it, or `edgectl abort`; one that gives no sign of life for "
            f"{other.ttl_s:g} s is followed by the next who asks, --take-over does not wait",
        )

    def _judge(self, text: str, lease: Lease) -> Standing:
        unchanged = self._sightings.unchanged_s(text)
        return judge(lease, now=self._clock(), unchanged_s=unchanged)


def _alive(lease: Lease, now: float) -> Lease:
    return msgspec.structs.replace(lease, beat=now, turn=lease.turn + 1)
