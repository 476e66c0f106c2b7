"""What the hub does by itself: sightings, rollouts, automatic assignment, expiry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine

from edgectl_selfhosted.hub.errors import HubError
from edgectl_selfhosted.hub.hub import Hub
from edgectl_selfhosted.hub.rollout_driver import advance_rollouts
from edgectl_selfhosted.hub.store import telemetry

SIGHTINGS_S = 2.0
EXPIRY_S = 60.0
_CALM_S = 0.05
_LOG = logging.getLogger("edgectl.hub")


def chores(hub: Hub) -> list[Coroutine[None, None, None]]:
    """Return the loops that run as long as the hub does."""
    return [
        _every(SIGHTINGS_S, hub.write_sightings),
        _every(EXPIRY_S, lambda: _expire(hub)),
        _rollouts(hub),
    ]


async def _every(interval_s: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        await _guarded(work)
        await asyncio.sleep(interval_s)


async def _rollouts(hub: Hub) -> None:
    while True:
        hub.wake.clear()
        await _guarded(lambda: advance_rollouts(hub))
        # Feedback comes in storms; one look at all rollouts serves many.
        await asyncio.sleep(_CALM_S)
        try:
            async with asyncio.timeout(hub.config.rollout_interval_s):
                await hub.wake.wait()
        except TimeoutError:
            continue


async def _guarded(work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except HubError as exc:
        _LOG.warning("a chore failed and is tried again: %s", exc)
    except Exception:  # noqa: BLE001 - a chore that stops would stop all rollouts
        _LOG.exception("a chore failed and is tried again")


async def _expire(hub: Hub) -> None:
    limits = hub.config.telemetry
    await hub.write(
        lambda tx: telemetry.expire(tx, keep_bytes=limits.keep_bytes, keep_ms=1000 * limits.keep_s),
        actor="system",
    )
