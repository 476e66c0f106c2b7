"""The line before the threads: who runs next, and who runs together.

Requests that are too slow for the event loop wait here for one of a few threads. As long as a
thread is free nobody waits, and nobody is run together with others. Where more wait than there are
threads, the next thread takes its share of a model's line at once, up to what the model runs
together. Models take turns.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from edge_components.runtime.model import Model

Outcome = Any
Work = Callable[[Model, Sequence[Any]], "list[Outcome | Exception]"]


class _Waiting(NamedTuple):
    task: Any
    future: asyncio.Future[Outcome]


class Lineup:
    """Runs tasks on threads; used from the event loop only.

    Args:
        work: Runs on a thread: takes tasks of one model and returns an outcome for each.
        threads: How many tasks, or batches, run at once.
    """

    def __init__(self, work: Work, threads: int) -> None:
        self._work = work
        self._free = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="infer")
        self._lines: dict[Model, deque[_Waiting]] = {}

    def add(self, model: Model, task: Any) -> asyncio.Future[Outcome]:
        """Let a task wait for its turn; the future has what ``work`` returns for it.

        A future that is cancelled before its turn is left out.
        """
        future = asyncio.get_running_loop().create_future()
        self._lines.setdefault(model, deque()).append(_Waiting(task, future))
        self._dispatch()
        return future

    def close(self) -> None:
        """Take nobody any more; what runs is not waited for."""
        for line in self._lines.values():
            for waiting in line:
                waiting.future.cancel()
        self._lines.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _dispatch(self) -> None:
        while self._free and self._lines:
            model = next(iter(self._lines))
            line = self._lines.pop(model)
            chosen = share(line, self._free, model.max_batch)
            if line:
                self._lines[model] = line  # behind the other models
            if chosen:
                self._begin(model, chosen)

    def _begin(self, model: Model, chosen: list[_Waiting]) -> None:
        self._free -= 1
        tasks = [waiting.task for waiting in chosen]
        running = asyncio.get_running_loop().run_in_executor(self._pool, self._work, model, tasks)
        running.add_done_callback(functools.partial(self._ended, chosen))

    def _ended(self, chosen: list[_Waiting], running: asyncio.Future[list[Outcome]]) -> None:
        self._free += 1
        if running.cancelled():
            for waiting in chosen:
                waiting.future.cancel()
            return
        error = running.exception()
        outcomes = running.result() if error is None else [error] * len(chosen)
        for waiting, outcome in zip(chosen, outcomes, strict=True):
            if waiting.future.done():
                continue
            if isinstance(outcome, BaseException):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)
        self._dispatch()


def share(line: deque[_Waiting], free: int, max_batch: int) -> list[_Waiting]:
    """Take from a line what the next thread is to run.

    Args:
        line: Who waits; those who are taken leave it.
        free: How many threads are free, this one included.
        max_batch: How many requests the model runs together.
    """
    count = min(max_batch, -(-len(line) // free))
    chosen = [line.popleft() for _ in range(min(len(line), count))]
    return [waiting for waiting in chosen if not waiting.future.done()]
