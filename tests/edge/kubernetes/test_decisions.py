"""What a pod decides without a disk, a clock or a runtime."""

from __future__ import annotations

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from edge_components.contract.device import DeviceConfig, DeviceSection, TrustSection
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import DeviceReport, Reason, State
from edge_components.kubernetes.ledger import Entries, refusal, with_accepted
from edge_components.kubernetes.pod import Place, own_config
from edge_components.kubernetes.report import Soak, at_end, at_start, judge
from edge_components.kubernetes.termination import MAX_BYTES, message
from edge_components.runtime.control import Status


def release(number: int, package: str = "a") -> ReleaseDocument:
    return ReleaseDocument(application="plates", number=number, version="1", package=package)


@given(st.builds(lambda text, times: text * times, st.text(max_size=60), st.integers(0, 400)))
@example("x" * 9000)
@example("\x00" * 4000)
def test_a_termination_message_is_whole_json_within_the_kubelet_s_limit(detail: str) -> None:
    report = DeviceReport(release=7, state=State.FAILED, reason=Reason.GOLDEN_FAILED, detail=detail)
    data = message(report)
    assert len(data) <= MAX_BYTES
    read = msgspec.json.decode(data, type=DeviceReport)
    assert (read.release, read.reason) == (7, Reason.GOLDEN_FAILED)
    assert detail.startswith(read.detail.removesuffix("…")) or read.detail == detail


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_the_number_of_the_newest_accepted_release_never_falls(numbers: list[int]) -> None:
    entries, highest = Entries(), 0
    for number in numbers:
        if not refusal(entries, release(number)):
            entries = with_accepted(entries, release(number), keep=2)
        assert entries.accepted[0].number >= highest
        highest = entries.accepted[0].number


def test_an_old_number_with_other_content_is_refused_though_it_was_accepted() -> None:
    entries = with_accepted(Entries(), release(1), keep=2)
    entries = with_accepted(entries, release(2), keep=2)
    assert refusal(entries, release(1)) == ""
    assert "older than 2" in refusal(entries, release(1, "b"))
    assert "other content" in refusal(entries, release(2, "b"))


def test_the_pod_s_configuration_takes_its_node_its_address_and_its_folder() -> None:
    shared = DeviceConfig(
        device=DeviceSection(id="any", application="a", hardware="h", state_dir="/x"),
        trust=TrustSection(publishers=("k",)),
    )
    own = own_config(shared, Place(device="node-7", host="10.1.2.3"))
    assert (own.device.id, own.runtime.host) == ("node-7", "10.1.2.3")
    assert own.device.state_dir == "/var/lib/edgectl"
    assert own_config(shared, Place()).device.id == "any"


def status(*, ready: bool = True, errors: int = 0) -> Status:
    return Status(
        pid=1,
        ready=ready,
        release=2 if ready else 0,
        package="p" if ready else "",
        version_dir="",
        precision="fp32",
        provider="CPU",
        requests=0,
        errors=errors,
        uptime_s=1,
        rss_bytes=1,
    )


def test_a_pod_is_healthy_only_when_it_answered_through_its_soak() -> None:
    base = DeviceReport(release=2)
    soak = Soak(release=2, running=True)

    def state(found: Status, answering_s: float) -> tuple[State, str]:
        report = judge(base, found, soak, answering_s=answering_s, soak_s=10)
        return report.state, report.reason

    assert state(status(ready=False), 0) == (State.VERIFYING, "")
    assert state(status(), 9) == (State.VERIFYING, "")
    assert state(status(), 10) == (State.HEALTHY, "")
    assert state(status(errors=1), 10) == (State.FAILED, Reason.SOAK_FAILED)


def test_only_an_end_in_the_soak_that_nobody_asked_for_is_a_crash() -> None:
    first = at_start(Soak(), 2, now=100, soak_s=60)
    assert at_start(first, 2, now=130, soak_s=60).crashed
    assert at_start(first, 2, now=170, soak_s=60).passed
    assert not at_start(at_end(first), 2, now=130, soak_s=60).crashed
    assert not at_start(first, 3, now=130, soak_s=60).crashed
