"""What ``edge-agent apply`` makes of an order, and what it tells whoever gave it."""

from __future__ import annotations

import json
import signal
import time

import msgspec
from apply_device import ApplyDevice, end_process
from edge_packages import Publisher

from edge_components.contract.state import DeviceReport


def wait_phase(device: ApplyDevice, phase: str) -> None:
    deadline = time.monotonic() + 10
    while (update := device.record().update) is None or update.phase.value != phase:
        assert time.monotonic() < deadline, device.tail()
        time.sleep(0.005)


def test_a_first_release_ends_healthy_and_answers(device: ApplyDevice) -> None:
    device.serve()
    package = device.package("one")
    code, report = device.apply(device.deliver(1, package))
    assert code == 0
    assert report is not None
    assert (report.state, report.release, report.active_release) == ("healthy", 1, 1)
    assert report.active_package == package.digest
    device.wait_answer("one")


def test_the_report_lies_beside_the_store_too(device: ApplyDevice) -> None:
    device.serve()
    _, report = device.apply(device.deliver(1, device.package("one")))
    written = json.loads((device.state_dir / "report.json").read_text())
    assert msgspec.convert(written, DeviceReport) == report


def test_the_same_order_again_is_healthy_and_changes_nothing(device: ApplyDevice) -> None:
    device.serve()
    folder = device.install(1, "one")
    before = (device.state_dir / "store/state.json").stat().st_mtime_ns
    assert device.apply(folder)[0] == 0
    assert (device.state_dir / "store/state.json").stat().st_mtime_ns == before


def test_a_newer_release_takes_over_without_a_new_process(device: ApplyDevice) -> None:
    device.serve()
    device.install(1, "one")
    pid = (device.ask() or {})["pid"]
    device.install(2, "two")
    assert (device.ask() or {})["pid"] == pid
    device.wait_answer("two")


def test_a_failed_golden_check_is_refused_before_the_switch(device: ApplyDevice) -> None:
    device.serve()
    device.install(1, "one")
    code, report = device.apply(device.deliver(2, device.package("two", check="golden")))
    assert code == 10
    assert report is not None
    assert (report.state, report.reason) == ("failed", "golden-failed")
    assert (report.release, report.active_release) == (2, 1)
    device.wait_answer("one")


def test_a_stranger_s_release_is_refused(device: ApplyDevice) -> None:
    device.serve()
    device.install(1, "one")
    folder = device.deliver(2, device.package("two"), signer=Publisher())
    code, report = device.apply(folder)
    assert code == 10
    assert report is not None
    assert report.reason == "untrusted-publisher"
    device.wait_answer("one")


def test_a_file_that_was_not_delivered_is_named(device: ApplyDevice) -> None:
    device.serve()
    package = device.package("one")
    folder = device.deliver(1, package)
    missing = min(package.blobs).removeprefix("sha256:")
    (folder / missing).unlink()
    code, report = device.apply(folder)
    assert code == 10
    assert report is not None
    assert report.reason == "download-failed"
    assert missing in report.detail


def test_a_changed_file_is_refused(device: ApplyDevice) -> None:
    device.serve()
    package = device.package("one")
    folder = device.deliver(1, package)
    weights = package.manifest.layers[-1].digest.removeprefix("sha256:")
    (folder / weights).write_bytes(b"x" * package.manifest.layers[-1].size)
    code, report = device.apply(folder)
    assert code == 10
    assert report is not None
    assert report.reason == "digest-mismatch"


def test_no_release_at_all_is_refused(device: ApplyDevice) -> None:
    device.serve()
    folder = device.folder / "empty"
    folder.mkdir()
    code, report = device.apply(folder)
    assert code == 10
    assert report is not None
    assert report.reason == "download-failed"


def test_a_runtime_that_dies_in_the_soak_brings_the_version_before_back(
    device: ApplyDevice,
) -> None:
    device.serve()
    device.install(1, "one")
    folder = device.deliver(2, device.package("two", serve="crash-late"), soak_s=5.0)
    code, report = device.apply(folder)
    assert code == 11
    assert report is not None
    assert (report.state, report.reason) == ("rolled_back", "runtime-crashed")
    assert report.active_release == 1
    device.wait_answer("one")


def test_a_version_that_crashes_the_runtime_when_it_loads_is_left(device: ApplyDevice) -> None:
    device.serve()
    device.install(1, "one")
    code, report = device.apply(device.deliver(2, device.package("two", serve="crash")))
    assert code == 11
    assert report is not None
    assert report.reason == "runtime-crashed", report.detail
    device.wait_answer("one")


def test_failing_inferences_in_the_soak_bring_the_version_before_back(
    device: ApplyDevice,
) -> None:
    device.serve()
    device.install(1, "one")
    folder = device.deliver(2, device.package("two", serve="errors"), soak_s=5.0)
    code, report = device.apply(folder)
    assert code == 11
    assert report is not None
    assert report.reason == "soak-failed"
    device.wait_answer("one")


def test_a_first_release_that_fails_its_soak_leaves_nothing_answering(
    device: ApplyDevice,
) -> None:
    device.serve()
    folder = device.deliver(1, device.package("one", serve="errors"), soak_s=5.0)
    code, report = device.apply(folder)
    assert code == 11
    assert report is not None
    assert (report.state, report.active_release) == ("failed", 0)
    device.wait_answer(None)


def test_a_version_that_fell_back_is_not_inflicted_again_by_a_repeated_order(
    device: ApplyDevice,
) -> None:
    device.serve()
    device.install(1, "one")
    folder = device.deliver(2, device.package("two", serve="errors"), soak_s=5.0)
    assert device.apply(folder)[0] == 11
    before = (device.state_dir / "store/state.json").stat().st_mtime_ns
    code, report = device.apply(folder)
    assert code == 11
    assert report is not None
    assert report.reason == "soak-failed"
    assert (device.state_dir / "store/state.json").stat().st_mtime_ns == before


def test_after_the_supervisor_went_back_the_same_release_may_be_tried_again(
    device: ApplyDevice,
) -> None:
    device.serve()
    one = device.install(1, "one")
    folder = device.deliver(2, device.package("two", serve="crash-late"), soak_s=5.0)
    assert device.apply(folder)[0] == 11
    assert device.apply(one)[0] == 0
    before = device.log.read_text().count("Soak failed")
    assert device.apply(folder)[0] == 11
    assert device.log.read_text().count("Soak failed") > before


def test_a_refused_release_may_be_tried_again_at_once(device: ApplyDevice) -> None:
    device.serve()
    package = device.package("one")
    folder = device.deliver(1, package)
    weights = folder / package.manifest.layers[-1].digest.removeprefix("sha256:")
    data = weights.read_bytes()
    weights.unlink()
    assert device.apply(folder)[0] == 10
    weights.write_bytes(data)
    assert device.apply(folder)[0] == 0


def test_the_version_before_is_healthy_when_the_supervisor_takes_a_refused_one_back(
    device: ApplyDevice,
) -> None:
    device.serve()
    one = device.install(1, "one")
    assert device.apply(device.deliver(2, device.package("two", check="golden")))[0] == 10
    code, report = device.apply(one)
    assert code == 0
    assert report is not None
    # The fleet's operator asks about release 2.
    assert (report.release, report.state, report.reason) == (2, "failed", "golden-failed")
    assert report.active_release == 1


def test_the_supervisor_may_go_back_from_a_good_version_to_the_one_that_is_kept(
    device: ApplyDevice,
) -> None:
    device.serve()
    one = device.install(1, "one")
    device.install(2, "two")
    code, report = device.apply(one)
    assert code == 0
    assert report is not None
    assert (report.release, report.state, report.reason) == (2, "rolled_back", "canceled")
    assert report.active_release == 1
    device.wait_answer("one")


def test_after_going_back_the_left_release_can_be_ordered_again(device: ApplyDevice) -> None:
    device.serve()
    one = device.install(1, "one")
    two = device.install(2, "two")
    assert device.apply(one)[0] == 0
    assert device.apply(two)[0] == 0
    device.wait_answer("two")


def test_an_older_release_that_is_not_kept_is_refused(device: ApplyDevice) -> None:
    device.serve()
    one = device.install(1, "one")
    device.install(2, "two")
    device.install(3, "three")
    code, report = device.apply(one)
    assert code == 10
    assert report is not None
    assert report.reason == "release-not-newer"
    device.wait_answer("three")


def test_other_content_under_the_number_of_the_version_before_is_refused(
    device: ApplyDevice,
) -> None:
    device.serve()
    device.install(1, "one")
    device.install(2, "two")
    code, report = device.apply(device.deliver(1, device.package("another")))
    assert code == 10
    assert report is not None
    assert report.reason == "release-not-newer"
    device.wait_answer("two")


def test_without_a_runtime_nothing_is_changed_and_the_order_can_be_repeated(
    device: ApplyDevice,
) -> None:
    folder = device.deliver(1, device.package("one"))
    code, report = device.apply(folder)
    assert code == 12
    assert report is not None
    assert (report.release, report.reason) == (1, "runtime-not-ready")
    assert device.record().active is None
    device.serve()
    assert device.apply(folder)[0] == 0


def test_a_version_that_keeps_the_runtime_down_does_not_keep_a_better_one_away(
    device: ApplyDevice,
) -> None:
    device.serve()
    device.install(1, "one")
    record = device.record()
    assert record.active is not None
    # The model that was good until yesterday now ends the runtime when it starts.
    model = device.state_dir / "store/versions/1/package/int8/model.onnx"
    size = model.stat().st_size
    model.unlink()
    model.write_bytes(json.dumps({"answer": "x", "serve": "crash"}).encode()[:size].ljust(size))
    assert device.keeper is not None
    device.keeper.kill()
    assert device.apply(device.deliver(2, device.package("two")))[0] == 0
    device.wait_answer("two")


def test_two_orders_at_once_end_with_one_update(device: ApplyDevice) -> None:
    device.serve()
    device.install(1, "one")
    folder = device.deliver(2, device.package("two"), soak_s=0.3)
    first, _ = device.begin(folder)
    second, _ = device.begin(folder)
    assert (device.end(first), device.end(second)) == (0, 0)
    record = device.record()
    assert [version.number for version in record.kept()] == [2, 1]


def test_an_order_that_is_ended_in_the_soak_goes_on_with_the_next(device: ApplyDevice) -> None:
    device.serve()
    device.install(1, "one")
    folder = device.deliver(2, device.package("two"), soak_s=0.5)
    pid, output = device.begin(folder)
    wait_phase(device, "soak")
    end_process(pid, signal.SIGTERM)
    assert device.end(pid) == 12
    assert msgspec.json.decode(output.read_bytes())["state"] == "verifying"
    assert device.apply(folder)[0] == 0
    device.wait_answer("two")


def test_another_order_does_not_wait_for_a_soak_that_was_cut_off(device: ApplyDevice) -> None:
    device.serve()
    one = device.install(1, "one")
    folder = device.deliver(2, device.package("two"), soak_s=3600.0)
    pid, _ = device.begin(folder)
    wait_phase(device, "soak")
    end_process(pid, signal.SIGKILL)
    device.end(pid)
    code, report = device.apply(one)
    assert code == 0
    assert report is not None
    assert (report.release, report.state, report.reason) == (2, "rolled_back", "canceled")
    device.wait_answer("one")


def test_a_full_budget_is_refused_with_its_reason(device: ApplyDevice) -> None:
    device.serve()
    device.install(1, "one")
    device.configure(max_bytes=50_000)
    code, report = device.apply(device.deliver(2, device.package("two", size=100_000)))
    assert code == 10
    assert report is not None
    assert report.reason == "disk-full"
    device.wait_answer("one")


def test_a_disk_that_fills_while_files_are_copied_is_refused_with_its_reason(
    device: ApplyDevice,
) -> None:
    device.serve()
    device.install(1, "one")
    folder = device.deliver(2, device.package("two", size=200_000))
    code, report = device.apply(folder, largest_file=100_000)
    assert code == 10
    assert report is not None
    assert report.reason == "disk-full"
    device.wait_answer("one")
    assert device.apply(folder)[0] == 0


def test_a_disk_that_takes_nothing_at_all_still_gives_a_report(device: ApplyDevice) -> None:
    device.serve()
    device.install(1, "one")
    folder = device.deliver(2, device.package("two"))
    (device.state_dir / "store/spare").unlink()
    code, report = device.apply(folder, full=True)
    assert code == 10
    assert report is not None
    assert (report.release, report.reason) == (2, "disk-full")
    device.wait_answer("one")
