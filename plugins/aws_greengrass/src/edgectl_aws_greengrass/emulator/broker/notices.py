"""Decides when devices are told that their jobs have changed.

``notify`` is sent when an execution joins or leaves a thing's list, ``notify-next`` when another
execution is next: docs.aws.amazon.com/iot/latest/developerguide/jobs-comm-notifications.html.
Only what somebody has subscribed to is looked at.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING

from edgectl.emulation.mqtt import Message
from edgectl_aws_greengrass.emulator.broker import documents
from edgectl_aws_greengrass.emulator.broker.reserved import JobsNotice

if TYPE_CHECKING:
    from edgectl_aws_greengrass.emulator.broker.server import Broker

Seen = tuple[str, ...]


class Notices:
    """What each watched topic told last."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self._watched: dict[str, dict[str, JobsNotice]] = {}
        self._seen: dict[str, Seen] = {}

    def watch(self, notice: JobsNotice, topic: str) -> None:
        """Take note of a subscription; what is there now is known and not told."""
        with self._lock:
            self._watched.setdefault(notice.thing, {})[topic] = notice
        self._look(topic, notice, quiet=True)

    def changed(self, thing: str) -> None:
        """Look at a thing's jobs again; called by the account, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._broker.loop.call_soon_threadsafe(self._begin, thing)

    def _begin(self, thing: str) -> None:
        if self._broker.is_closing:
            return
        task = self._broker.loop.create_task(self._look_again(thing))
        self._broker.tasks.add(task)
        task.add_done_callback(self._broker.tasks.discard)

    async def _look_again(self, thing: str) -> None:
        with self._lock:
            watched = dict(self._watched.get(thing, {}))
        for topic, notice in watched.items():
            await self._broker.ask(self._look, topic, notice, quiet=False)

    def _look(self, topic: str, notice: JobsNotice, *, quiet: bool) -> None:
        # The lock makes looking and remembering one step: two changes at once tell in their order.
        with self._lock:
            running, queued, following = self._broker.services.pending(notice)
            now = int(time.time())
            if notice.only_next:
                seen: Seen = (following.job_id,) if following is not None else ()
                document = documents.notify_next(following, now)
            else:
                seen = tuple(sorted(job.job_id for job in (*running, *queued)))
                document = documents.notify(running, queued, now)
            known = self._seen.get(topic)
            self._seen[topic] = seen
            if quiet or seen == (known or ()):
                return
            payload = json.dumps(document, separators=(",", ":")).encode()
            message = Message(topic=topic, payload=payload, qos=1)
            self._broker.loop.call_soon_threadsafe(self._broker.switchboard.route, message)
