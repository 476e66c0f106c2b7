"""Two operators at once, as processes: who is refused, who goes on, and what the journal keeps."""

from __future__ import annotations

import getpass
import json
import re
import signal
import socket
from typing import Any

SLOW = '{devices: 6, behaviours: {"*": {observations: 1000000}}}'
ME = f"{getpass.getuser()}@{socket.gethostname()}"


def lines(site: Any, action: str) -> list[dict[str, Any]]:
    journal = site.folder / ".edgectl" / "journal.jsonl"
    found = [json.loads(line) for line in journal.read_text().splitlines()]
    return [line for line in found if line["action"] == action]


def fleet(site: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((site.folder / ".edgectl/memory/fleet.json").read_text())
    return found


def from_elsewhere(site: Any, **changed: Any) -> None:
    """Let the lease be one of another machine, where nobody here can look for the process."""
    found = fleet(site)
    key = next(key for key in found["shared"] if key.endswith("/lease"))
    lease = json.loads(found["shared"][key])
    lease |= {"by": "ann@lab-7", "place": "elsewhere", **changed}
    found["shared"][key] = json.dumps(lease, separators=(",", ":"))
    (site.folder / ".edgectl/memory/fleet.json").write_text(json.dumps(found))


def test_the_second_operator_is_told_who_where_and_since_when_and_one_killed_is_followed(
    site: Any,
) -> None:
    site.build(memory=SLOW)
    with site.start("deploy", "--poll", "0.1") as running:
        running.wait_for("giving it to")
        before = fleet(site)["releases"]
        said = site.run("deploy", code=1).stderr
        day = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        who = re.escape(f"all: {ME} (process {running.pid}) deploys to target 'all' since ")
        assert re.search(who + day, said), said
        assert "--take-over does not wait" in said
        assert fleet(site)["releases"] == before
        running.kill()
    site.write()
    site.run("deploy", "--poll", "0.05")
    (line,) = lines(site, "take-over-lease")
    assert line["detail"]["holder"] == f"{ME} (process {running.pid})"
    assert line["detail"]["why"] == "its process is no more"
    assert re.fullmatch(day, line["detail"]["since"])
    site.run("journal", "verify")


def test_one_killed_on_another_machine_is_followed_when_its_lease_stays_as_it_is(
    site: Any,
) -> None:
    """Though its clock was decades fast, so that its last sign of life is still to come."""
    site.build(memory=SLOW)
    with site.start("deploy", "--poll", "0.1") as running:
        running.wait_for("giving it to")
        running.kill()
    from_elsewhere(site, beat=4e9, ttl_s=1.0)
    site.write()
    done = site.run("deploy", "--poll", "0.05")
    assert "seems gone; watching for 1 s whether it gives a sign of life" in done.stderr
    assert done.stdout == "all: healthy - 6 of 6 devices are healthy\n"
    (line,) = lines(site, "take-over-lease")
    assert line["detail"]["holder"] == f"ann@lab-7 (process {running.pid})"
    assert line["detail"]["why"] == "no sign of life for 1 s"


def test_a_holder_that_comes_back_after_a_takeover_stops_without_a_change(site: Any) -> None:
    site.build(memory=SLOW)
    with site.start("deploy", "--poll", "1") as first:
        first.wait_for("have not settled")
        first.signal(signal.SIGSTOP)
        site.write(rollout="{waves: [100%], soak: 600s}")
        with site.start("deploy", "--poll", "0.05", "--take-over") as second:
            second.wait_for("soaks")
            before = fleet(site)
            first.signal(signal.SIGCONT)
            code, said = first.end()
            assert code == 1
            assert f"was taken over by {ME} (process {second.pid})" in said
            after = fleet(site)
            assert {key for key in after if after[key] != before[key]} <= {"shared"}
            control = next(key for key in after["shared"] if key.endswith("/control"))
            assert after["shared"][control] == before["shared"][control]
            assert f'"pid":{second.pid}' in after["shared"][control.replace("control", "lease")]
    (took,) = lines(site, "take-over-lease")
    assert took["detail"]["why"] == "asked for with --take-over"
    (lost,) = lines(site, "lose-lease")
    assert f"(process {second.pid})" in lost["detail"]["why"]
    assert lines(site, "rollout-end") == []
