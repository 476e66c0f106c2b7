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
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from edge_components.runtime.model import Model

THREAD_NAME = "infer"
Outcome = Any
Work = Callable[[Model, Sequence[Any]], "list[Outcome | Exception]"]
Finish = Callable[[Outcome], Any]


class Entry(Protocol):
    """Who stands in the line.

    Attributes:
        task: What is to be done.
    """

    task: Any

    @property
    def gone(self) -> bool:
        """Whether nobody waits for it any more."""

    def settle(self, outcome: Outcome | BaseException) -> None:
        """Take what became of the task; on the event loop."""

    def cancel(self) -> None:
        """Wait no more: it is not done."""


class Waiting(msgspec.Struct):
    """A task whose outcome a future waits for.

    Attributes:
        finish: Makes the future's result of the outcome, or raises it, on the event loop.
    """

    task: Any
    future: asyncio.Future[Any]
    finish: Finish

    @property
    def gone(self) -> bool:
        """Whether the future has been cancelled."""
        return self.future.done()

    def settle(self, outcome: Outcome | BaseException) -> None:
        """Set the future's result."""
        if self.future.done():
            return
        try:
            self.future.set_result(self.finish(outcome))
        except Exception as exc:  # noqa: BLE001  # it is raised where the request is answered
            self.future.set_exception(exc)

    def cancel(self) -> None:
        """Cancel the future."""
        self.future.cancel()


class Call(msgspec.Struct):
    """A task whose outcome somebody is told; it is done in any case.

    Attributes:
        settle: Takes the outcome, on the event loop; raises nothing.
    """

    task: Any
    settle: Callable[[Outcome | BaseException], None]
    gone: ClassVar[bool] = False

    def cancel(self) -> None:
        """Tell that it is not done."""
        self.settle(asyncio.CancelledError())


_Job = tuple[Model, list[Entry]]


class Lineup:
    """Runs tasks on threads; used from the event loop only.

    A thread that has done its task takes the next one itself, before the loop is told: else it
    would sleep and be woken for each task, and wait for the interpreter's lock in between.

    A task may also be run by the loop itself. Such tasks take turns with all else that the loop
    does: one task, then what has arrived meanwhile.

    Args:
        work: Runs on a thread: takes tasks of one model and returns an outcome for each.
        threads: How many tasks, or batches, run at once.
        each: How many of one model; by default all. On more threads than there are cores they
            would only take the caches from each other; the rest is for other models.
    """

    def __init__(self, work: Work, threads: int, each: int | None = None) -> None:
        self._work = work
        self._each = each or threads
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._here: deque[tuple[Model, Entry]] = deque()  # for the loop itself
        self._turning = False
        self._lock = threading.Lock()  # for what is below
        self._free = threads
        self._running: dict[Model, int] = {}
        self._lines: dict[Model, deque[Entry]] = {}

    def ask(
        self, model: Model, task: Any, finish: Finish, *, here: bool = False
    ) -> asyncio.Future[Any]:
        """Let a task wait for its turn; return a future of what ``finish`` makes of its outcome.

        A future that is cancelled before its turn is left out; for ``here`` see ``add``.
        """
        future = asyncio.get_running_loop().create_future()
        self.add(model, Waiting(task, future, finish), here=here)
        return future

    def add(self, model: Model, entry: Entry, *, here: bool = False) -> None:
        """Let somebody wait for a turn.

        Args:
            model: What the task is for.
            entry: Who waits.
            here: Whether the loop itself runs the task.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        if here:
            self._here.append((model, entry))
            if not self._turning:
                self._turning = True
                self._loop.call_soon(self._turn)
            return
        with self._lock:
            line = self._lines.get(model)
            if line is None:
                self._lines[model] = deque((entry,))
            else:
                line.append(entry)
            if self._free and self._running.get(model, 0) < self._each:
                self._wake()

    def close(self) -> None:
        """Take nobody any more; what runs is not waited for."""
        with self._lock:
            lines, self._lines = self._lines, {}
            for _ in self._threads:
                self._jobs.put(None)
        left = [entry for line in lines.values() for entry in line]
        left += [entry for _, entry in self._here]
        self._here.clear()
        for entry in left:
            entry.cancel()

    def _turn(self) -> None:
        """Run one task on the loop."""
        try:
            if self._here:
                model, entry = self._here.popleft()
                if not entry.gone:
                    entry.settle(self._outcome(model, entry))
        finally:
            self._turning = bool(self._here)
            if self._turning and self._loop is not None:
                self._loop.call_soon(self._turn)

    def _outcome(self, model: Model, entry: Entry) -> Outcome | BaseException:
        try:
            (outcome,) = self._work(model, [entry.task])
        except Exception as exc:  # noqa: BLE001  # it is raised where it is answered
            return exc
        return outcome

    def _wake(self) -> None:
        """Let threads that have nothing to do run what can be run; the lock is held."""
        while self._free and (job := self._next()) is not None:
            self._free -= 1
            if len(self._threads) < self._most - self._free:
                thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
                self._threads.append(thread)
                thread.start()
            self._jobs.put(job)

    def _next(self) -> _Job | None:
        """Return what is next, which counts as running from now on; the lock is held."""
        running, lines = self._running, self._lines
        while True:
            for model in lines:
                if running.get(model, 0) < self._each:
                    break
            else:
                return None
            line = lines.pop(model)
            if model.max_batch == 1:
                entry = line.popleft()
                chosen = [] if entry.gone else [entry]
            else:
                chosen = share(line, self._each, model.max_batch)
            if line:
                lines[model] = line  # behind the other models
            if chosen:
                running[model] = running.get(model, 0) + 1
                return model, chosen

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            while job is not None:  # nothing of a request is kept until the next one comes
                job = self._do(job)

    def _do(self, job: _Job) -> _Job | None:
        """Run a job and tell; return the next for this thread."""
        model, chosen = job
        tasks = [chosen[0].task] if len(chosen) == 1 else [entry.task for entry in chosen]
        outcomes: list[Outcome | BaseException]
        try:
            outcomes = self._work(model, tasks)
        except BaseException as exc:  # noqa: BLE001  # it is raised where they are answered
            outcomes = [exc] * len(chosen)
        following = self._ended(model)
        assert self._loop is not None  # noqa: S101  # add() has set it
        try:
            self._loop.call_soon_threadsafe(_tell, chosen, outcomes)
        except RuntimeError:
            return None  # the loop has ended meanwhile
        return following

    def _ended(self, model: Model) -> _Job | None:
        with self._lock:
            if self._running[model] == 1:
                del self._running[model]  # a model that is replaced must not be kept alive
            else:
                self._running[model] -= 1
            following = self._next()
            if following is None:
                self._free += 1
            elif self._free:
                self._wake()
        return following


def _tell(chosen: list[Entry], outcomes: list[Outcome | BaseException]) -> None:
    for entry, outcome in zip(chosen, outcomes, strict=True):
        entry.settle(outcome)


def share(line: deque[Entry], threads: int, max_batch: int) -> list[Entry]:
    """Take from a line what the next thread is to run.

    Args:
        line: Who waits; those who are taken leave it.
        threads: Among how many the line is shared.
        max_batch: How many requests the model runs together.
    """
    count = min(max_batch, -(-len(line) // threads))
    chosen = [line.popleft() for _ in range(min(len(line), count))]
    return [entry for entry in chosen if not entry.gone]
