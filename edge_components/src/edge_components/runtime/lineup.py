"""The line before the threads: who runs next, and who runs together.

Requests that are too slow for the event loop wait here for one of a few threads. As long as a
thread is free nobody waits, and nobody is run together with others. Where more wait than there are
threads, the next thread takes its share of a model's line at once, up to what the model runs
together. Models take turns.

The threads are plain ones: after a run of some milliseconds the processor's caches hold nothing of
Python, so each step of an executor and its futures would cost many times what it costs otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from edge_components.runtime.model import Model

THREAD_NAME = "infer"
Outcome = Any
Work = Callable[[Model, Sequence[Any]], "list[Outcome | Exception]"]
Finish = Callable[[Outcome], Any]


class Waiting(NamedTuple):
    """A task in the line.

    Attributes:
        finish: Makes the future's result of the outcome, or raises it, on the event loop.
    """

    task: Any
    future: asyncio.Future[Any]
    finish: Finish


class Lineup:
    """Runs tasks on threads; used from the event loop only.

    Args:
        work: Runs on a thread: takes tasks of one model and returns an outcome for each.
        threads: How many tasks, or batches, run at once.
        each: How many of one model; by default all. On more threads than there are cores they
            would only take the caches from each other; the rest is for other models.
    """

    def __init__(self, work: Work, threads: int, each: int | None = None) -> None:
        self._work = work
        self._each = each or threads
        self._running: Counter[Model] = Counter()
        self._most = self._free = threads
        self._threads: list[threading.Thread] = []
        self._jobs: queue.SimpleQueue[tuple[Model, list[Waiting]] | None] = queue.SimpleQueue()
        self._lines: dict[Model, deque[Waiting]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, model: Model, task: Any, finish: Finish) -> asyncio.Future[Any]:
        """Let a task wait for its turn; return a future of what ``finish`` makes of its outcome.

        A future that is cancelled before its turn is left out.
        """
        loop = self._loop = self._loop or asyncio.get_running_loop()
        future = loop.create_future()
        self._lines.setdefault(model, deque()).append(Waiting(task, future, finish))
        self._dispatch()
        return future

    def close(self) -> None:
        """Take nobody any more; what runs is not waited for."""
        for line in self._lines.values():
            for waiting in line:
                waiting.future.cancel()
        self._lines.clear()
        for _ in self._threads:
            self._jobs.put(None)

    def _dispatch(self) -> None:
        while self._free:
            running = self._running
            model = next((one for one in self._lines if running[one] < self._each), None)
            if model is None:
                return
            line = self._lines.pop(model)
            chosen = share(line, self._each, model.max_batch)
            if line:
                self._lines[model] = line  # behind the other models
            if chosen:
                self._begin(model, chosen)

    def _begin(self, model: Model, chosen: list[Waiting]) -> None:
        self._free -= 1
        self._running[model] += 1
        if len(self._threads) < self._most - self._free:
            thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put((model, chosen))

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            model, chosen = job
            outcomes: list[Outcome | BaseException]
            try:
                outcomes = self._work(model, [waiting.task for waiting in chosen])
            except BaseException as exc:  # noqa: BLE001  # it is raised where they are answered
                outcomes = [exc] * len(chosen)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                assert self._loop is not None  # noqa: S101  # add() has set it
                self._loop.call_soon_threadsafe(self._ended, model, chosen, outcomes)
            # Nothing of a request is kept until the next one comes.
            del job, model, chosen, outcomes

    def _ended(
        self, model: Model, chosen: list[Waiting], outcomes: list[Outcome | BaseException]
    ) -> None:
        self._free += 1
        if self._running[model] == 1:
            del self._running[model]  # a model that is replaced must not be kept alive
        else:
            self._running[model] -= 1
        self._dispatch()  # first, so that the thread has work while these are answered
        for waiting, outcome in zip(chosen, outcomes, strict=True):
            if waiting.future.done():
                continue
            try:
                waiting.future.set_result(waiting.finish(outcome))
            except Exception as exc:  # noqa: BLE001  # it is raised where the request is answered
                waiting.future.set_exception(exc)


def share(line: deque[Waiting], threads: int, max_batch: int) -> list[Waiting]:
    """Take from a line what the next thread is to run.

    Args:
        line: Who waits; those who are taken leave it.
        threads: Among how many the line is shared.
        max_batch: How many requests the model runs together.
    """
    count = min(max_batch, -(-len(line) // threads))
    chosen = [line.popleft() for _ in range(min(len(line), count))]
    return [waiting for waiting in chosen if not waiting.future.done()]
