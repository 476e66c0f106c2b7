"""Who runs when, and who runs together: the line before the threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from edge_components.runtime.lineup import Call, Lineup


class Kind:
    """Stands for a model in the line."""

    def __init__(self, max_batch: int = 1) -> None:
        self.max_batch = max_batch


class Worker:
    """Notes what was run together, and lets the first run wait until it is told to go on."""

    def __init__(self) -> None:
        self.runs: list[list[Any]] = []
        self.go_on = threading.Event()

    def __call__(self, _: Any, tasks: Sequence[Any]) -> list[Any]:
        self.runs.append(list(tasks))
        if len(self.runs) == 1:
            assert self.go_on.wait(10)
        return [task * 10 if isinstance(task, int) else task for task in tasks]


def plain(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def run(
    scene: Callable[[Worker, Lineup], Coroutine[Any, Any, None]],
    threads: int = 1,
    each: int | None = None,
) -> Worker:
    worker = Worker()

    async def play() -> None:
        lineup = Lineup(worker, threads, each)
        try:
            await asyncio.wait_for(scene(worker, lineup), 20)
        finally:
            worker.go_on.set()
            lineup.close()

    asyncio.run(play())
    return worker


def test_while_a_thread_is_free_each_request_runs_alone() -> None:
    async def scene(worker: Worker, lineup: Lineup) -> None:
        model: Any = Kind(max_batch=8)
        futures = [lineup.ask(model, task, plain) for task in (1, 2)]
        worker.go_on.set()
        assert await asyncio.gather(*futures) == [10, 20]

    assert sorted(run(scene, threads=2).runs) == [[1], [2]]


def test_requests_that_waited_run_together_and_each_gets_its_own_answer() -> None:
    async def scene(worker: Worker, lineup: Lineup) -> None:
        model: Any = Kind(max_batch=3)
        futures = [lineup.ask(model, task, plain) for task in range(1, 7)]
        worker.go_on.set()
        assert await asyncio.gather(*futures) == [10, 20, 30, 40, 50, 60]

    assert run(scene).runs == [[1], [2, 3, 4], [5, 6]]


def test_a_thread_leaves_their_share_of_the_line_to_the_others() -> None:
    async def scene(worker: Worker, lineup: Lineup) -> None:
        model: Any = Kind(max_batch=8)
        futures = [lineup.ask(model, task, plain) for task in range(1, 9)]
        worker.go_on.set()
        assert await asyncio.gather(*futures) == list(range(10, 90, 10))

    assert max(len(tasks) for tasks in run(scene, threads=2).runs) == 3


def test_one_model_leaves_a_thread_to_the_others_where_it_may_not_have_all() -> None:
    async def scene(worker: Worker, lineup: Lineup) -> None:
        slow: Any = Kind()
        quick: Any = Kind()
        waiting = [lineup.ask(slow, task, plain) for task in (1, 2, 3)]
        assert await lineup.ask(quick, 4, plain) == 40
        assert not any(future.done() for future in waiting)
        worker.go_on.set()
        assert await asyncio.gather(*waiting) == [10, 20, 30]

    assert run(scene, threads=2, each=1).runs == [[1], [4], [2], [3]]


def test_a_model_that_takes_no_batch_runs_one_after_the_other() -> None:
    async def scene(worker: Worker, lineup: Lineup) -> None:
        model: Any = Kind()
        futures = [lineup.ask(model, task, plain) for task in (1, 2, 3)]
        worker.go_on.set()
        await asyncio.gather(*futures)

    assert run(scene).runs == [[1], [2], [3]]


def test_models_take_turns_so_that_a_long_line_does_not_hold_up_a_short_one() -> None:
    async def scene(worker: Worker, lineup: Lineup) -> None:
        busy: Any = Kind(max_batch=2)
        other: Any = Kind()
        futures = [lineup.ask(busy, task, plain) for task in range(1, 8)]
        futures.append(lineup.ask(other, 100, plain))
        worker.go_on.set()
        await asyncio.gather(*futures)

    assert run(scene).runs.index([100]) == 2


def test_an_error_is_the_outcome_of_its_request_only() -> None:
    async def scene(worker: Worker, lineup: Lineup) -> None:
        model: Any = Kind(max_batch=4)
        futures = [lineup.ask(model, task, plain) for task in (1, 2, ValueError("mine"), 4)]
        worker.go_on.set()
        found = await asyncio.gather(*futures, return_exceptions=True)
        assert [found[0], found[1], found[3]] == [10, 20, 40]
        assert str(found[2]) == "mine"

    assert len(run(scene).runs) == 2


def test_a_worker_that_fails_fails_those_that_it_ran_and_the_line_goes_on() -> None:
    async def scene(worker: Worker, lineup: Lineup) -> None:
        model: Any = Kind(max_batch=2)
        futures = [lineup.ask(model, task, plain) for task in (1, None, 3, 4)]
        worker.go_on.set()
        found = await asyncio.gather(*futures, return_exceptions=True)
        assert found[0] == 10
        assert [type(error) for error in found[1:3]] == [RuntimeError, RuntimeError]
        assert found[3] == 40

    def failing(worker: Worker) -> Callable[[Any, Sequence[Any]], list[Any]]:
        def work(model: Any, tasks: Sequence[Any]) -> list[Any]:
            outcomes = worker(model, tasks)
            if None in tasks:
                raise RuntimeError("broken")
            return outcomes

        return work

    async def play() -> None:
        worker = Worker()
        lineup = Lineup(failing(worker), 1)
        await asyncio.wait_for(scene(worker, lineup), 20)
        lineup.close()

    asyncio.run(play())


def test_a_request_that_was_given_up_is_not_run() -> None:
    async def scene(worker: Worker, lineup: Lineup) -> None:
        model: Any = Kind()
        first, second, third = (lineup.ask(model, task, plain) for task in (1, 2, 3))
        second.cancel()
        worker.go_on.set()
        assert await asyncio.gather(first, third) == [10, 30]

    assert run(scene).runs == [[1], [3]]


def test_closing_cancels_those_that_wait() -> None:
    async def scene(worker: Worker, lineup: Lineup) -> None:
        model: Any = Kind()
        first, second = (lineup.ask(model, task, plain) for task in (1, 2))
        lineup.close()
        assert second.cancelled()
        worker.go_on.set()
        await first

    assert run(scene).runs == [[1]]


# -- what the loop runs itself


def test_the_loop_runs_its_tasks_one_by_one_and_sees_to_others_in_between() -> None:
    seen: list[Any] = []

    class Here(Worker):
        def __call__(self, _: Any, tasks: Sequence[Any]) -> list[Any]:
            seen.append((*tasks, threading.get_ident()))
            return [task * 10 for task in tasks]

    async def play() -> None:
        lineup = Lineup(Here(), 1)
        model: Any = Kind()
        first, second = (lineup.ask(model, task, plain, here=True) for task in (1, 2))
        first.add_done_callback(lambda _: seen.append("others"))
        assert await asyncio.gather(first, second) == [10, 20]
        lineup.close()

    asyncio.run(play())
    here = threading.get_ident()
    assert seen == [(1, here), "others", (2, here)]


def test_an_error_on_the_loop_is_the_outcome_of_its_request_only() -> None:
    class Failing(Worker):
        def __call__(self, _: Any, tasks: Sequence[Any]) -> list[Any]:
            if tasks == [1]:
                raise RuntimeError("worker")
            return list(tasks)

    async def play() -> None:
        lineup = Lineup(Failing(), 1)
        model: Any = Kind()
        first, gone, last = (lineup.ask(model, task, plain, here=True) for task in (1, 2, 3))
        gone.cancel()
        with pytest.raises(RuntimeError, match="worker"):
            await first
        assert await last == 3
        left = [lineup.ask(model, task, plain, here=True) for task in (4, 5)]
        lineup.close()
        await asyncio.sleep(0.01)
        assert all(future.cancelled() for future in left)

    asyncio.run(play())


def test_who_fails_when_told_does_not_hold_up_those_behind() -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("told")

    async def play() -> list[str]:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(str(context["exception"])))
        worker = Worker()
        worker.go_on.set()
        lineup = Lineup(worker, 1)
        model: Any = Kind()
        lineup.add(model, Call(1, fail), here=True)
        assert await lineup.ask(model, 2, plain, here=True) == 20
        assert await lineup.ask(model, 3, plain, here=True) == 30
        lineup.close()
        return seen

    assert asyncio.run(play()) == ["told"]


def test_who_is_told_directly_is_told_of_the_end_too() -> None:
    told: list[Any] = []

    async def scene(worker: Worker, lineup: Lineup) -> None:
        model: Any = Kind()
        first = lineup.ask(model, 1, plain)
        lineup.add(model, Call(2, told.append))
        lineup.close()
        worker.go_on.set()
        await first

    assert run(scene).runs == [[1]]
    assert [type(outcome) for outcome in told] == [asyncio.CancelledError]
