"""Bundles brought to a device: through its agent, without one, spoiled, and in the wrong moment."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import Bundle, make_bundle
from ddi_server import DdiServer
from device import Brought, Device, Zygote
from edge_packages import Publisher, make_files, make_release

from edge_components.agent.handover import HandoverError, Question, hand_over
from edge_components.agent.layout import Layout
from edge_components.contract.package import PACKAGE_FILE
from edge_components.contract.state import State

BIG = 300_000
OK, FAILED, REFUSED, ROLLED_BACK, TEMPORARY = 0, 1, 10, 11, 12


def bundle(device: Device, number: int, answer: str, **how: Any) -> Bundle:
    release = {k: how.pop(k) for k in ("application", "soak_s") if k in how}
    signer, signed = how.pop("signer", device.publisher), how.pop("signed", True)
    package = device.package(answer, **how)
    return make_bundle(make_release(signer, package, number, **release), package, signed=signed)


def stick(device: Device, data: bytes, name: str = "release.bundle") -> Path:
    """Write a file on another folder, as a USB stick is one."""
    folder = device.folder / "stick"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name


def bring(device: Device, data: bytes) -> tuple[int, dict[str, Any]]:
    return device.bring(stick(device, data)).end()


@pytest.fixture
def running(device: Device) -> Device:
    """A device whose agent runs release 5."""
    device.start()
    device.install(5, "five")
    return device


def test_bundle_is_installed_while_the_hub_is_away_and_the_hub_sees_it_when_it_is_back(
    running: Device, server: DdiServer
) -> None:
    server.wait(lambda: server.attributes["edgectl_active_release"] == "5")
    server.stop()
    package = running.package("six", size=BIG)
    envelope = make_release(running.publisher, package, 6)
    code, report = bring(running, make_bundle(envelope, package).tar())
    assert (code, report["state"], report["active_release"]) == (OK, "healthy", 6)
    assert running.wait_answer("six")["release"] == 6
    running.assert_whole()
    server.start()
    server.wait(lambda: server.attributes["edgectl_active_release"] == "6")
    # What it told last before the link was back may come first.
    server.wait(lambda: server.attributes["edgectl_state"] == "healthy")
    assert server.attributes["edgectl_release"] == "6"
    server.sent_bytes = 0
    server.assign("a6", make_files(envelope, package))
    assert server.wait_closed("a6") == "success"
    assert server.sent_bytes < BIG, "what the device has was sent again"
    running.deploy(4, running.package("four"))
    assert server.wait_closed("a4") == "failure"
    assert server.attributes["edgectl_reason"] == "release-not-newer"
    assert server.attributes["edgectl_active_release"] == "6"
    assert "import-" not in str(server.requests), "the hub was told of an action that is not its"


def test_same_bundle_again_is_done_at_once(running: Device) -> None:
    data = bundle(running, 6, "six").tar()
    assert bring(running, data)[0] == OK
    folder = running.state_dir / "store/versions/6"
    before = folder.stat().st_ino
    code, report = bring(running, data)
    assert (code, report["detail"]) == (OK, "already active")
    assert folder.stat().st_ino == before


@pytest.fixture(scope="module")
def settled(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device at release 5, of which everything that is brought must be refused."""
    server = DdiServer()
    device = Device(tmp_path_factory.mktemp("settled"), zygote, server)
    device.start()
    device.install(5, "five")
    server.wait(lambda: device.record().outcome.delivered)  # type: ignore[union-attr]  # installed
    yield device
    device.cleanup()
    server.stop()


def index_without(mark: str, made: Bundle) -> Bundle:
    made.files["index.json"] = made.files["index.json"].replace(mark.encode(), b"other")
    return made


def renamed(made: Bundle, old: str, new: str) -> Bundle:
    made.files = {new if name == old else name: data for name, data in made.files.items()}
    return made


def place(made: Bundle, data: bytes) -> str:
    return "blobs/" + made.add(data).replace(":", "/")


def with_other_number(device: Device, number: int, other: int) -> Bundle:
    """Return a bundle whose release was changed after it was signed; every digest is right."""
    package = device.package("six")
    envelope = json.loads(make_release(device.publisher, package, number))
    payload = base64.b64decode(envelope["payload"])
    payload = payload.replace(b'"number":%d' % number, b'"number":%d' % other)
    envelope["payload"] = base64.b64encode(payload).decode()
    return make_bundle(json.dumps(envelope).encode(), package)


def spoil(device: Device, how: str) -> bytes:
    made = bundle(device, 6, "six", size=20_000)
    layer = place(made, next(d for d in made.files.values() if len(d) >= 20_000))
    manifest = place(made, next(d for d in made.files.values() if PACKAGE_FILE.encode() in d))
    envelope = place(made, next(d for d in made.files.values() if b"payloadType" in d))
    changes = {"a byte of a layer": layer, "a byte of the manifest": manifest}
    changes["a byte of the release"] = envelope
    whole = made.tar()
    cuts = {"cut in a layer": made.places[layer] + 999, "nothing": 0}
    cuts["cut between files"] = made.places[layer] - 512
    match how:
        case "another number in the release":
            return with_other_number(device, 6, 9).tar()
        case "text":
            return b"this is a letter to grandmother\n" * 100
        case "a layer that is not there":
            del made.files[layer]
        case "no release in it":
            index_without("edgectl.bundle.release", made)
        case "no index":
            del made.files["index.json"]
        case "a path that climbs":
            renamed(made, "oci-layout", "../../oci-layout")
        case "an absolute path":
            renamed(made, "oci-layout", str(device.folder / "oci-layout"))
        case _ if how in changes:
            return made.spoiled(changes[how])
        case _:
            return whole[: cuts[how]]
    return made.tar()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("a byte of a layer", "digest-mismatch"),
        ("a byte of the manifest", "digest-mismatch"),
        ("a byte of the release", "digest-mismatch"),
        ("another number in the release", "bad-signature"),
        ("a layer that is not there", "bad-package"),
        ("cut in a layer", "bad-package"),
        ("cut between files", "bad-package"),
        ("nothing", "bad-package"),
        ("text", "bad-package"),
        ("no release in it", "bad-package"),
        ("no index", "bad-package"),
        ("a path that climbs", "bad-package"),
        ("an absolute path", "bad-package"),
    ],
)
def test_spoiled_bundle_is_refused_and_leaves_the_device_and_its_report_as_they_were(
    settled: Device, how: str, reason: str
) -> None:
    assert_refused(settled, spoil(settled, how), reason)


@pytest.mark.parametrize(
    ("number", "how", "reason"),
    [
        (100, {"signer": Publisher()}, "untrusted-publisher"),
        (101, {"signed": False}, "bad-signature"),
        (4, {}, "release-not-newer"),
        (5, {}, "release-not-newer"),
        (102, {"application": "others"}, "wrong-application"),
        (103, {"check": "golden"}, "golden-failed"),
        (104, {"precisions": "fp16"}, "hardware-mismatch"),
    ],
)
def test_release_that_is_not_for_this_device_is_refused(
    settled: Device, number: int, how: dict[str, Any], reason: str
) -> None:
    assert_refused(settled, bundle(settled, number, "other", **how).tar(), reason)


def assert_refused(device: Device, data: bytes, reason: str) -> None:
    before, told = device.record(), dict(device.server.attributes)
    code, report = bring(device, data)
    assert (code, report["state"], report["reason"]) == (REFUSED, "failed", reason), report
    assert report["detail"]
    assert report["active_release"] == 5
    record = device.record()
    assert (record.active, record.outcome, record.update) == (before.active, before.outcome, None)
    assert device.wait_answer("five")["release"] == 5
    device.assert_whole()
    polls = device.server.polls
    device.server.wait(lambda: device.server.polls > polls + 2)
    assert device.server.attributes == told


@pytest.mark.slow
def test_bundle_without_room_is_refused_before_its_files_are_copied(device: Device) -> None:
    device.configure(max_bytes=40_000)
    device.start()
    device.install(5, "five")
    code, report = bring(device, bundle(device, 6, "six", size=BIG).tar())
    assert (code, report["reason"]) == (REFUSED, "disk-full")
    assert device.wait_answer("five")["release"] == 5


def test_version_that_does_not_hold_its_soak_falls_back_and_the_hub_is_told(
    running: Device, server: DdiServer
) -> None:
    code, report = bring(running, bundle(running, 6, "six", serve="crash", soak_s=0.2).tar())
    assert (code, report["state"]) == (ROLLED_BACK, "rolled_back")
    assert running.wait_answer("five")["release"] == 5
    server.wait(lambda: server.attributes["edgectl_state"] == "rolled_back")
    assert server.attributes["edgectl_release"] == "6"


@pytest.mark.slow
def test_first_version_of_a_device_that_does_not_hold_is_told_to_the_hub(
    device: Device, server: DdiServer
) -> None:
    device.start()
    code, report = bring(device, bundle(device, 1, "one", serve="crash", soak_s=0.2).tar())
    assert (code, report["state"]) == (ROLLED_BACK, "failed")
    server.wait(lambda: server.attributes.get("edgectl_state") == "failed")
    assert server.attributes["edgectl_release"] == "1"


def wait_phase(device: Device, *phases: str) -> None:
    def there() -> bool:
        update = device.record().update
        return update is not None and update.phase in phases

    device.server.wait(there)


def test_import_during_another_import_is_put_off(running: Device) -> None:
    first = running.bring(stick(running, bundle(running, 6, "six", soak_s=60).tar()))
    wait_phase(running, "soak")
    second = running.bring(stick(running, bundle(running, 7, "seven").tar(), "second.bundle"))
    code, report = second.end()
    assert code == TEMPORARY
    assert "another update: release 6 (soak)" in report["detail"]
    assert running.stop() == 0
    assert first.end()[0] == TEMPORARY


@pytest.mark.slow
def test_import_does_not_disturb_an_order_of_the_hub_that_has_switched(
    running: Device, server: DdiServer
) -> None:
    action = running.deploy(6, running.package("six"), soak_s=1)
    wait_phase(running, "soak")
    assert bring(running, bundle(running, 7, "seven").tar())[0] == TEMPORARY
    assert server.wait_closed(action.id) == "success"


def test_import_takes_the_place_of_a_download_that_does_not_come_to_an_end(
    running: Device, server: DdiServer
) -> None:
    package = running.package("six", size=BIG)
    envelope = make_release(running.publisher, package, 6)
    server.faults.piece, server.faults.delay_s, server.faults.only = 100, 0.05, "bin$"
    server.assign("a6", make_files(envelope, package))
    wait_phase(running, "fetch")
    code, report = bring(running, make_bundle(envelope, package).tar())
    assert (code, report["active_release"]) == (OK, 6), report
    assert server.wait_closed("a6") == "success"
    assert server.sent_bytes < BIG


@pytest.mark.slow
def test_import_of_a_lower_release_than_the_hub_orders_is_put_off(
    running: Device, server: DdiServer
) -> None:
    server.faults.piece, server.faults.delay_s, server.faults.only = 1000, 0.05, "bin$"
    action = running.deploy(7, running.package("seven", size=BIG))
    wait_phase(running, "fetch")
    assert bring(running, bundle(running, 6, "six").tar())[0] == TEMPORARY
    server.faults.delay_s = 0
    assert server.wait_closed(action.id) == "success"


def start_again(device: Device) -> None:
    """Start the agent as a service manager does: again, if the store is not let go of at once."""
    path = Layout(state_dir=device.state_dir).agent_socket

    def listens() -> bool:
        if device.has_exited():
            device.start()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as visitor:
            return visitor.connect_ex(str(path)) == 0

    device.start()
    device.server.wait(listens)


def killed_import(device: Device, step: int) -> bool:
    """Import with an agent that dies at a step, and again; return whether it came so far."""
    device.start(kill_at=step)
    device.wait_answer("five", "six")
    number = device.record().active
    assert number is not None
    made = bundle(device, number.number + 1, "six", size=20_000).tar()
    file = stick(device, made)
    code, _report = device.bring(file).end()
    if code == OK and not device.has_exited():
        return False
    assert code == TEMPORARY
    device.server.wait(device.has_exited)
    record = device.assert_whole()
    assert record.active is not None
    assert record.active.number in {number.number, number.number + 1}
    start_again(device)
    # An update that was cut off after its switch goes on by itself.
    assert device.bring(file).end()[0] in {OK, TEMPORARY}
    device.wait_answer("six")
    device.server.wait(lambda: device.record().update is None)
    assert device.record().active == device.assert_whole().active
    device.stop()
    return True


@pytest.mark.parametrize("step", [21])
def test_agent_that_is_killed_in_the_middle_is_whole_and_takes_the_bundle_again(
    running: Device, step: int
) -> None:
    running.stop()
    assert killed_import(running, step)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_agent_that_is_killed_at_any_step_is_whole_and_takes_the_bundle_again(
    running: Device,
) -> None:
    running.stop()
    step = 1
    while killed_import(running, step):
        step += 1
    assert step > 25, "an import has more persistence steps than that"


def test_without_an_agent_the_command_updates_by_itself_and_the_next_agent_tells_the_hub(
    running: Device, server: DdiServer
) -> None:
    running.stop()
    code, report = bring(running, bundle(running, 6, "six").tar())
    assert (code, report["active_release"]) == (OK, 6)
    assert running.ask() is None, "the runtime ends with the command"
    assert server.attributes["edgectl_release"] == "5", "the command does not talk to the hub"
    running.start()
    assert running.wait_answer("six")["release"] == 6
    server.wait(lambda: server.attributes["edgectl_active_release"] == "6")


@pytest.mark.slow
def test_command_without_an_agent_that_is_killed_goes_on_when_it_runs_again(
    running: Device,
) -> None:
    running.stop()
    file = stick(running, bundle(running, 6, "six").tar())
    assert running.bring(file, kill_at=12).end()[0] == -signal.SIGKILL
    assert running.assert_whole().active is not None
    assert running.bring(file).end()[0] == OK


def test_runtime_that_something_else_keeps_running_is_not_taken_over(running: Device) -> None:
    running.kill()
    pid_file = running.state_dir / "runtime.pid"
    kept = pid_file.read_text()
    pid_file.unlink()
    imported = running.bring(stick(running, bundle(running, 6, "six").tar()))
    assert imported.end() == (TEMPORARY, {})
    assert f"something else keeps the runtime (process {kept}) running" in imported.said
    pid_file.write_text(kept)


def test_agent_of_another_device_is_left_alone(
    running: Device, zygote: Zygote, server: DdiServer, tmp_path: Path
) -> None:
    other = Device(tmp_path, zygote, server)
    data = bundle(other, 6, "six").tar()
    assert bring(other, data)[0] == OK
    active, unchanged = other.record().active, running.record().active
    assert active is not None
    assert unchanged is not None
    assert (active.number, unchanged.number) == (6, 5)


@pytest.mark.slow
def test_agent_that_is_not_of_the_configured_device_refuses(running: Device) -> None:
    text = running.config_path.read_text()
    running.config_path.write_text(text.replace('id = "d1"', 'id = "d2"'))
    imported = running.bring(stick(running, bundle(running, 6, "six").tar()))
    assert imported.end() == (TEMPORARY, {})
    assert "this is the agent of device 'd1'" in imported.said


def test_import_goes_on_when_whoever_asked_goes_away(running: Device) -> None:
    imported = running.bring(stick(running, bundle(running, 6, "six", soak_s=0.3).tar()))
    wait_phase(running, "soak", "activate", "check")
    os.kill(imported.pid, signal.SIGKILL)
    assert imported.end()[0] == -signal.SIGKILL
    running.server.wait(lambda: running.record().update is None)
    outcome = running.record().outcome
    assert outcome is not None
    assert (outcome.state, outcome.release) == (State.HEALTHY, 6)


@pytest.mark.slow
def test_stick_may_be_pulled_out_of_sight_once_the_agent_has_the_file(running: Device) -> None:
    file = stick(running, bundle(running, 6, "six", size=BIG, soak_s=0.2).tar())
    imported = running.bring(file)
    wait_phase(running, "package", "fetch", "stage", "check", "activate", "soak")
    file.unlink()
    assert imported.end()[0] == OK


def said(imported: Brought) -> tuple[int, str]:
    code, _report = imported.end()
    return code, imported.said


def test_file_that_cannot_be_opened_is_one_sentence(running: Device) -> None:
    code, words = said(running.bring(running.folder / "none.bundle"))
    assert code == FAILED
    assert "none.bundle' cannot be read: No such file" in words


def test_pipe_is_refused_and_makes_nobody_wait(running: Device) -> None:
    os.mkfifo(running.folder / "pipe.bundle")
    code, report = running.bring(running.folder / "pipe.bundle").end()
    assert (code, report["reason"]) == (REFUSED, "bad-package")
    assert "not a plain file" in report["detail"]


def test_device_with_a_long_path_can_be_brought_bundles(device: Device) -> None:
    device.state_dir = device.folder / ("deep" * 15) / ("er" * 30)
    device.configure()
    device.start()
    device.install(5, "five")
    imported = device.bring(stick(device, bundle(device, 6, "six").tar()))
    assert imported.end()[0] == OK, imported.said


@pytest.mark.parametrize(
    "message", [b"", b"{}", b"\xff", b'{"device":"d1","name":"x"}', b"[" * 9999]
)
def test_visitor_who_says_nonsense_is_told_so_and_the_next_one_is_served(
    settled: Device, message: bytes
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as visitor:
        visitor.connect(str(Layout(state_dir=settled.state_dir).agent_socket))
        visitor.send(message)
        assert b"cannot be read" in visitor.recv(1 << 16)
    layout = Layout(state_dir=settled.state_dir)
    with Path(os.devnull).open("rb") as nothing:
        answer = hand_over(
            layout.agent_socket,
            Question(device="d1", name="null"),
            nothing.fileno(),
            lambda _phase: None,
        )
    assert answer is not None
    assert answer.exit == REFUSED


def test_socket_is_for_the_agents_own_user_alone(settled: Device) -> None:
    path = Layout(state_dir=settled.state_dir).agent_socket
    assert path.stat().st_mode & 0o777 == 0o600


def test_nobody_listens_where_no_agent_runs(tmp_path: Path) -> None:
    question = Question(device="d1", name="x")
    with Path(os.devnull).open("rb") as file:
        assert hand_over(tmp_path / "agent.sock", question, file.fileno(), print) is None


def test_socket_of_another_kind_in_its_place_is_said(tmp_path: Path) -> None:
    question = Question(device="d1", name="x")
    with (
        Path(os.devnull).open("rb") as file,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other,
    ):
        other.bind(str(tmp_path / "agent.sock"))
        other.listen()
        with pytest.raises(HandoverError, match="cannot be asked"):
            hand_over(tmp_path / "agent.sock", question, file.fileno(), print)
