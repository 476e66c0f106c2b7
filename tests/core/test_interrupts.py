"""Signals that are held back while something is half done."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from edgectl.interrupts import HELD, held_back


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in HELD}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", HELD)
def test_a_signal_takes_effect_when_the_block_has_ended(number: signal.Signals) -> None:
    heard: list[int] = []
    signal.signal(number, lambda n, frame: heard.append(n))
    with held_back():
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert heard == []
    assert heard == [number]
    signal.raise_signal(number)
    assert heard == [number, number]


def test_ctrl_c_interrupts_behind_the_block_and_not_in_it() -> None:
    done = []

    def act() -> None:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        act()
    assert done == ["whole"]


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with held_back():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_an_error_in_the_block_is_not_hidden_and_the_handlers_are_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="broken"), held_back():
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_is_left_as_it_is() -> None:
    thread = threading.Thread(target=lambda: held_back().__enter__())
    thread.start()
    thread.join()


def test_a_process_that_is_started_within_can_be_ended_by_the_signal() -> None:
    with held_back():
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
