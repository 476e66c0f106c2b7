"""The lease of a target: who is alive, judged by the watcher's own clock, and who has to stop."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import Provider, ProviderContext, Target
from edgectl.errors import LeaseError
from edgectl.plugins import open_provider
from edgectl.workflow.holder import Claim, Holder
from edgectl.workflow.lease import Lease, Sightings, Takeover, judge, new_lease, place
from edgectl.workflow.texts import Texts, encode

TARGET = Target(name="lots", provider="memory")
NOW = 1_000_000.0
HOUR = 3600.0
ANN = Lease(by="ann@lab-7", pid=7, since=NOW, beat=NOW, place="elsewhere")


class Operator:
    """Somebody at a machine with a clock of its own."""

    def __init__(self, provider: Provider, wrong_by: float, memory: Path | None) -> None:
        self.texts = Texts(provider, TARGET, "plates")
        self.awake = 0.0
        self.wrong_by = wrong_by
        self.rested = 0.0
        self.said: list[str] = []
        self.taken: list[Takeover] = []
        self.at_rest: Callable[[], None] = lambda: None
        self.holder = Holder(self.texts, Sightings(memory, lambda: self.awake), self.time)

    def time(self) -> float:
        return NOW + self.wrong_by + self.awake

    def rest(self, seconds: float) -> None:
        self.awake += seconds
        self.rested += seconds
        self.at_rest()

    def take(self, *, force: bool = False) -> None:
        self.holder.take(
            Claim(taken_over=self.taken.append, force=force, sleep=self.rest, say=self.said.append)
        )


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    context = ProviderContext(project_dir=tmp_path, state_dir=tmp_path, progress=lambda line: None)
    return open_provider("memory", {"devices": 1}, context)


@pytest.fixture
def operator(provider: Provider) -> Callable[..., Operator]:
    def make(wrong_by: float = 0.0, memory: Path | None = None) -> Operator:
        return Operator(provider, wrong_by, memory)

    return make


def put(operator: Operator, lease: Lease | None) -> None:
    """Let somebody else's lease stand at the provider."""
    present = operator.texts.read("lease")
    value = None if lease is None else encode(lease)
    assert operator.texts.swap("lease", present, value).swapped


def alive(lease: Lease) -> Lease:
    return msgspec.structs.replace(lease, beat=lease.beat + 15, turn=lease.turn + 1)


def test_a_holder_who_was_heard_of_is_named_with_place_and_time(
    operator: Callable[..., Operator],
) -> None:
    bob = operator()
    put(bob, ANN)
    words = r"ann@lab-7 \(process 7\) deploys to target 'lots' since 1970-01-12 13:46:40 UTC"
    with pytest.raises(LeaseError, match=words):
        bob.take()
    assert bob.rested == 0


@pytest.mark.parametrize("wrong_by", [HOUR, -HOUR])
def test_a_living_holder_is_left_alone_however_wrong_the_clocks_are(
    operator: Callable[..., Operator], wrong_by: float
) -> None:
    bob = operator(wrong_by)
    put(bob, ANN)
    bob.at_rest = lambda: put(bob, alive(ANN)) if bob.rested >= 15 else None
    with pytest.raises(LeaseError, match="ann@lab-7"):
        bob.take()
    assert 15 <= bob.rested < ANN.ttl_s
    assert bob.taken == []


@pytest.mark.parametrize("wrong_by", [HOUR, -HOUR])
def test_a_silent_holder_is_followed_after_its_time_by_the_watchers_clock(
    operator: Callable[..., Operator], wrong_by: float
) -> None:
    bob = operator(wrong_by)
    put(bob, ANN)
    bob.take()
    assert bob.rested >= ANN.ttl_s
    ((holder, why),) = [(one.holder, one.why) for one in bob.taken]
    assert (holder, why) == (ANN, "no sign of life for 60 s")
    assert len(bob.said) == 1


def test_an_earlier_command_of_the_same_machine_has_watched_already(
    operator: Callable[..., Operator], tmp_path: Path
) -> None:
    memory = tmp_path / "seen.json"
    bob = operator(memory=memory)
    put(bob, ANN)
    with pytest.raises(LeaseError):
        bob.take()
    again = operator(memory=memory)
    again.awake = ANN.ttl_s
    again.take()
    assert again.rested == 0
    assert again.taken[0].holder == ANN


def test_what_another_machine_has_seen_does_not_count(
    operator: Callable[..., Operator], tmp_path: Path
) -> None:
    memory = tmp_path / "seen.json"
    bob = operator(memory=memory)
    put(bob, ANN)
    with pytest.raises(LeaseError):
        bob.take()
    memory.write_text(memory.read_text().replace(place(), "another"))
    again = operator(HOUR, memory=memory)
    again.awake = ANN.ttl_s
    again.take()
    assert again.rested >= ANN.ttl_s


def test_a_lease_that_is_given_back_while_it_is_watched_is_taken_without_a_word(
    operator: Callable[..., Operator],
) -> None:
    bob = operator(HOUR)
    put(bob, ANN)
    bob.at_rest = lambda: put(bob, None)
    bob.take()
    assert bob.taken == []


def test_a_takeover_does_not_wait_and_the_holder_hears_of_it_before_its_next_change(
    operator: Callable[..., Operator],
) -> None:
    ann, bob = operator(), operator(1.0)
    ann.take()
    bob.take(force=True)
    assert [one.why for one in bob.taken] == ["asked for with --take-over"]
    ann.holder.refresh()  # a moment ago it was hers: this asks nobody
    with pytest.raises(LeaseError, match="taken over by"):
        ann.holder.refresh(surely=True)
    with pytest.raises(LeaseError, match="taken over by"):
        ann.holder.refresh()
    ann.holder.give_back()
    bob.holder.refresh(surely=True)


def test_a_holder_that_slept_asks_before_it_goes_on(operator: Callable[..., Operator]) -> None:
    ann, bob = operator(), operator(1.0)
    ann.take()
    bob.take(force=True)
    ann.wrong_by = 8 * HOUR
    with pytest.raises(LeaseError, match="taken over by"):
        ann.holder.refresh()


def test_a_sign_of_life_whose_answer_was_lost_is_still_the_holders(
    operator: Callable[..., Operator],
) -> None:
    ann = operator()
    ann.take()
    text = ann.texts.read("lease")
    assert text is not None
    put(ann, alive(msgspec.json.decode(text, type=Lease)))
    ann.holder.refresh(surely=True)
    ann.holder.give_back()
    assert ann.texts.read("lease") is None


def test_a_process_of_this_machine_that_is_no_more_holds_nothing(
    operator: Callable[..., Operator],
) -> None:
    bob = operator()
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    put(bob, msgspec.structs.replace(new_lease(NOW), pid=gone.pid))
    bob.take()
    assert [one.why for one in bob.taken] == ["its process is no more"]


def test_a_process_number_of_another_machine_says_nothing_here() -> None:
    twin = msgspec.structs.replace(new_lease(NOW), pid=2**22 + 1)
    assert judge(twin, now=NOW, unchanged_s=0) == "abandoned"
    other = msgspec.structs.replace(twin, place="elsewhere")
    assert judge(other, now=NOW, unchanged_s=0) == "held"
    assert judge(new_lease(NOW), now=NOW, unchanged_s=0) == "held"
    assert os.getpid() == new_lease(NOW).pid


@given(skew=st.floats(-1e6, 1e6), unchanged=st.floats(0, 59.9))
def test_a_holder_that_beats_in_time_is_never_taken_for_dead(skew: float, unchanged: float) -> None:
    """Whatever the clocks say: its text changes before anybody has watched for its time."""
    assert judge(ANN, now=NOW + skew, unchanged_s=unchanged) != "abandoned"


def test_a_long_call_of_the_driver_does_not_let_the_lease_look_abandoned(
    provider: Provider,
) -> None:
    texts = Texts(provider, TARGET, "plates")
    holder = Holder(texts, Sightings(), time.time, refresh_s=0.01)
    holder.take(Claim(taken_over=lambda takeover: None, companion=lambda: provider))
    deadline = time.monotonic() + 30
    turn = 0
    while turn < 3 and time.monotonic() < deadline:
        turn = msgspec.json.decode(texts.read("lease") or "", type=Lease).turn
    holder.give_back()
    assert turn >= 3
    assert texts.read("lease") is None


def test_a_driver_in_a_long_call_hears_of_a_takeover_when_it_is_back(provider: Provider) -> None:
    texts = Texts(provider, TARGET, "plates")
    holder = Holder(texts, Sightings(), time.time, refresh_s=0.01)
    holder.take(Claim(taken_over=lambda takeover: None, companion=lambda: provider))
    present = texts.read("lease")
    while not texts.swap("lease", present, encode(ANN)).swapped:
        present = texts.read("lease")
    with pytest.raises(LeaseError, match=r"taken over by ann@lab-7 \(process 7\)"):
        holder.refresh(surely=True)
    holder.give_back()
    assert texts.read("lease") == encode(ANN)
