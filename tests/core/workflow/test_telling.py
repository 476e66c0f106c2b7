"""Progress of any size of fleet fits on a screen."""

from __future__ import annotations

from edgectl.workflow.telling import Teller

BUSY = "{} of 9000 devices of wave 3 have not settled"


def test_a_wave_of_a_day_with_other_numbers_at_every_look_takes_a_screenful() -> None:
    teller = Teller()
    told = [
        second
        for second in range(86_400)
        if teller.is_news(BUSY.format(90_000 - second), f"{second} healthy", float(second))
    ]
    assert told[:4] == [0, 5, 15, 35]
    assert len(told) < 20


def test_another_wave_and_another_sentence_are_news_at_once() -> None:
    teller = Teller()
    assert teller.is_news("wave 1 of 3: giving it to 1 devices", "", 0.0)
    assert teller.is_news("1 of 1 devices of wave 1 have not settled", "1 pending", 0.0)
    assert teller.is_news("wave 2 of 3: giving it to 9 devices", "1 healthy", 0.1)
    assert teller.is_news("9 of 9 devices of wave 2 have not settled", "1 healthy", 0.1)


def test_what_stays_as_it_is_is_told_once_and_again_when_it_comes_back() -> None:
    teller = Teller()
    paused = [teller.is_news("an operator paused the rollout", "", float(at)) for at in range(99)]
    assert paused.count(True) == 1
    assert teller.is_news("wave 1 of 3: giving it to 1 devices", "", 100.0)
    assert teller.is_news("an operator paused the rollout", "", 200.0)


def test_a_rollout_that_gives_it_to_a_few_at_a_time_does_not_tell_each_of_them() -> None:
    teller = Teller()
    told = 0
    for second in range(3_600):
        now, healthy = float(second), f"{second} healthy"
        told += teller.is_news(f"wave 3 of 3: giving it to {second % 3 + 1} devices", healthy, now)
        told += teller.is_news(BUSY.format(9_000 - second), healthy, now)
    assert told < 30
