"""What a device does with an order, seen from the hub's side and from the client's."""

from __future__ import annotations

import json
import os

import pytest
from ddi_server import DdiServer
from device import Device, weights
from edge_packages import Publisher, make_files, make_package, make_release

from edge_components.contract.package import PACKAGE_FILE
from edge_components.contract.release import RELEASE_FILE


@pytest.fixture
def updated(device: Device) -> Device:
    """A device that runs release 5 and answers "old"."""
    device.start()
    device.install(5, "old")
    return device


def assert_refused(device: Device, action: str, reason: str, state: str = "failed") -> None:
    """The order failed for this reason, and the device answers with the old version."""
    server = device.server
    assert server.wait_closed(action) == "failure"
    assert (server.attributes["edgectl_state"], server.attributes["edgectl_reason"]) == (
        state,
        reason,
    ), server.attributes
    assert server.attributes["edgectl_active_release"] == "5"
    assert device.wait_answer("old")["release"] == 5
    closing = server.actions[action].feedback[-1]
    assert f"state={state} reason={reason}" in closing["details"][0]


def test_first_release_is_installed_answers_and_is_reported(
    device: Device, server: DdiServer
) -> None:
    device.start()
    device.install(1, "one")
    assert device.wait_answer("one")["release"] == 1
    assert server.attributes["edgectl_state"] == "healthy"
    assert server.attributes["edgectl_active_release"] == "1"
    assert server.attributes["edgectl_variant"] == "int8"
    assert server.attributes["edgectl_provider"] == "CPUExecutionProvider"


def test_sigterm_ends_agent_and_runtime_with_exit_code_0(device: Device) -> None:
    device.start()
    device.install(1, "one")
    assert device.stop() == 0
    assert device.ask() is None
    assert not (device.state_dir / "runtime.pid").exists()


def test_the_same_process_answers_before_and_after_an_update(updated: Device) -> None:
    before = updated.wait_answer("old")
    updated.install(6, "new")
    assert updated.wait_answer("new")["pid"] == before["pid"]


def test_attributes_with_the_verdict_arrive_before_the_closing_feedback(updated: Device) -> None:
    events = updated.server.events
    assert events.index("attributes healthy") < events.index("deploymentBase closed")


def test_phases_are_reported_as_feedback(updated: Device) -> None:
    feedback = updated.server.actions["a5"].feedback
    executions = [status["execution"] for status in feedback]
    assert [e for e in ("proceeding", "download", "downloaded", "closed") if e in executions] == [
        "proceeding",
        "download",
        "downloaded",
        "closed",
    ]
    states = [status["details"][0].split()[0] for status in feedback]
    assert list(dict.fromkeys(states)) == [
        "state=pending",
        "state=downloading",
        "state=installing",
        "state=verifying",
        "state=healthy",
    ]


def test_wrong_signature_is_refused(updated: Device) -> None:
    package = updated.package("new")
    action = updated.deploy(6, package)
    envelope = json.loads(action.files[RELEASE_FILE])
    other = json.loads(make_release(updated.publisher, package, 7))
    envelope["payload"] = other["payload"]
    updated.server.actions.clear()
    updated.server.assign("b", {**action.files, RELEASE_FILE: json.dumps(envelope).encode()})
    assert_refused(updated, "b", "bad-signature")


def test_untrusted_publisher_is_refused(updated: Device) -> None:
    updated.deploy(6, updated.package("new"), signer=Publisher())
    assert_refused(updated, "a6", "untrusted-publisher")
    assert updated.server.attributes["edgectl_release"] == "6"


def test_package_signed_by_another_publisher_is_refused(updated: Device) -> None:
    package = make_package(Publisher(), {"int8": weights("new")})
    updated.deploy(6, package)
    assert_refused(updated, "a6", "untrusted-publisher")


def test_package_with_a_signature_over_other_files_is_refused(updated: Device) -> None:
    package = make_package(
        updated.publisher,
        {"int8": weights("new")},
        signed_files={PACKAGE_FILE: "sha256:" + "1" * 64},
    )
    updated.deploy(6, package)
    assert_refused(updated, "a6", "bad-signature")


def test_older_release_number_is_refused(updated: Device) -> None:
    updated.deploy(4, updated.package("older"))
    assert_refused(updated, "a4", "release-not-newer")


def test_equal_number_with_other_content_is_refused(updated: Device) -> None:
    updated.deploy(5, updated.package("other"), action="b")
    assert_refused(updated, "b", "release-not-newer")


def test_number_of_a_failed_release_stays_taken(updated: Device) -> None:
    updated.deploy(9, updated.package("new", check="golden"))
    assert_refused(updated, "a9", "golden-failed")
    updated.deploy(8, updated.package("newer"))
    assert_refused(updated, "a8", "release-not-newer")


def test_same_release_ordered_again_is_a_success_without_a_download(updated: Device) -> None:
    package = updated.package("old")
    updated.server.sent_bytes = 0
    updated.deploy(5, package, action="again")
    # The first order's release was built from the same bytes.
    assert updated.server.wait_closed("again") == "success"
    assert updated.server.sent_bytes < 2000


def test_release_of_another_application_is_refused(updated: Device) -> None:
    updated.deploy(6, updated.package("new"), application="parking")
    assert_refused(updated, "a6", "wrong-application")


def test_order_without_a_release_document_is_refused(updated: Device) -> None:
    updated.server.assign("foreign", {"firmware.bin": b"x"})
    assert_refused(updated, "foreign", "bad-package")


def test_order_without_one_of_the_layers_is_refused(updated: Device) -> None:
    package = updated.package("new")
    files = make_files(make_release(updated.publisher, package, 6), package)
    missing = next(name for name, data in files.items() if b'"new"' in data)
    del files[missing]
    updated.server.assign("a6", files)
    assert_refused(updated, "a6", "bad-package")


def test_package_without_a_variant_for_this_hardware_is_refused(updated: Device) -> None:
    updated.deploy(6, updated.package("new", precisions="fp16"))
    assert_refused(updated, "a6", "hardware-mismatch")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("golden", "golden-failed"),
        ("crash", "load-failed"),
        ("garbage", "load-failed"),
        ("hang", "load-failed"),
    ],
)
def test_model_that_fails_the_golden_check_never_serves(
    updated: Device, how: str, reason: str
) -> None:
    pid = updated.wait_answer("old")["pid"]
    updated.deploy(6, updated.package("new", check=how))
    assert_refused(updated, "a6", reason)
    assert updated.wait_answer("old")["pid"] == pid


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("crash", "runtime-crashed"),
        ("crash-late", "runtime-crashed"),
        ("refuse", "load-failed"),
        ("unready", "runtime-not-ready"),
        ("errors", "soak-failed"),
    ],
)
def test_model_that_fails_after_the_switch_is_rolled_back(
    updated: Device, how: str, reason: str
) -> None:
    updated.deploy(6, updated.package("new", serve=how), soak_s=3)
    assert_refused(updated, "a6", reason, state="rolled_back")
    assert updated.record().previous == ()


def test_first_release_that_crashes_leaves_nothing_serving(
    device: Device, server: DdiServer
) -> None:
    device.start()
    device.deploy(1, device.package("one", serve="crash-late"), soak_s=3)
    assert server.wait_closed("a1") == "failure"
    assert server.attributes["edgectl_state"] == "failed"
    assert server.attributes["edgectl_reason"] == "runtime-crashed"
    assert server.attributes["edgectl_active_release"] == "0"
    assert device.ask() is None
    device.install(2, "two")
    device.wait_answer("two")


def test_second_variant_is_fetched_only_when_the_first_fails_its_check(
    device: Device, server: DdiServer
) -> None:
    device.start()
    package = make_package(
        device.publisher,
        {"int8": weights("bad", check="golden"), "fp32": weights("good", size=50_000)},
    )
    device.deploy(1, package)
    assert server.wait_closed("a1") == "success"
    assert server.attributes["edgectl_variant"] == "fp32"
    server.sent_bytes = 0
    package = make_package(
        device.publisher, {"int8": weights("small"), "fp32": weights("large", size=60_000)}
    )
    device.deploy(2, package)
    assert server.wait_closed("a2") == "success"
    assert server.attributes["edgectl_variant"] == "int8"
    assert server.sent_bytes < 50_000


def test_precision_asked_for_by_the_release_is_used(device: Device, server: DdiServer) -> None:
    device.start()
    package = make_package(device.publisher, {"int8": weights("i"), "fp32": weights("f")})
    device.deploy(1, package, precision="fp32")
    assert server.wait_closed("a1") == "success"
    device.wait_answer("f")


def test_store_over_its_budget_refuses_before_the_first_byte(device: Device) -> None:
    device.configure(max_bytes=40_000)
    device.start()
    device.install(5, "old")
    device.server.sent_bytes = 0
    device.deploy(6, device.package("new", size=100_000))
    assert_refused(device, "a6", "disk-full")
    assert device.server.sent_bytes < 20_000
    device.install(7, "small")
    device.wait_answer("small")


def test_disk_that_fills_up_in_mid_download_leaves_the_old_version(
    device: Device, server: DdiServer
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    device.state_dir.mkdir()
    mounted = os.system(f"mount -t tmpfs -o size=400k tmpfs {device.state_dir} 2>/dev/null")
    if mounted != 0:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        device.start()
        device.install(5, "old")
        server.faults.delay_s = 0.05
        server.faults.piece = 10_000
        server.faults.only = "bin$"
        device.deploy(6, device.package("new", size=200_000))
        server.wait(lambda: list((device.state_dir / "store/blobs/sha256").glob("*.partial")))
        ballast = device.state_dir / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 4096)
        assert server.wait_closed("a6") == "failure"
        ballast.unlink()
        assert server.attributes["edgectl_reason"] == "disk-full"
        device.wait_answer("old")
        server.faults.delay_s = 0
        device.install(7, "next", size=100_000)
        assert device.stop() == 0
    finally:
        device.cleanup()
        os.system(f"umount -l {device.state_dir}")


def test_store_that_becomes_read_only_leaves_the_old_version_answering(
    device: Device, server: DdiServer
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a folder read-only needs root")
    device.start()
    device.install(5, "old")
    store = device.state_dir / "store"
    mounted = os.system(f"mount --bind {store} {store} && mount -o remount,ro,bind {store}")
    if mounted != 0:
        pytest.skip("a folder cannot be mounted read-only here")
    try:
        device.deploy(6, device.package("new"))
        server.wait(lambda: device.log.read_text().count("Read-only file system") > 1)
        assert device.wait_answer("old")["release"] == 5
    finally:
        os.system(f"umount -l {store}")
    # A card that is writable again goes on by itself.
    assert server.wait_closed("a6") == "success"
    device.wait_answer("new")
    assert device.stop() == 0


def test_only_kept_versions_and_their_blobs_stay(updated: Device) -> None:
    for number in range(6, 10):
        updated.install(number, f"v{number}")
    store = updated.state_dir / "store"
    updated.server.wait(
        lambda: sorted(p.name for p in (store / "versions").iterdir()) == ["8", "9"]
    )
    # Per version: package.json and weights; the SBOM is shared.
    assert len(list((store / "blobs/sha256").iterdir())) == 4
    assert [v.number for v in updated.record().kept()] == [9, 8]
