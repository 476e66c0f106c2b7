"""The main job on the self-hosted provider, end to end: real hub, agents, runtimes and sockets."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import numpy as np


def spoil_golden(site: Any) -> None:
    """Make the registered golden set wrong, as a device that computes otherwise sees it."""
    prepared = json.loads((site.folder / ".edgectl/build/prepared.json").read_text())
    with np.load(prepared["golden"]) as data:
        arrays = {key: data[key] for key in data.files}
    arrays = {k: v + 1 if k.startswith("output.") else v for k, v in arrays.items()}
    np.savez(prepared["golden"], **arrays)


def test_a_release_is_answered_by_every_device_and_a_bad_one_by_none(site: Any) -> None:
    with site.fleet(2):
        good = site.build("1", 1.0)
        assert site.run("deploy", "--poll", "0.2") == "all: healthy - 2 of 2 devices are healthy\n"
        rows = site.rows()
        assert {(r["state"], r["active"], r["digest"]) for r in rows.values()} == {
            ("healthy", 1, good)
        }
        assert {tuple(site.answer(device)) for device in rows} == {(1, 1, 1, 1)}
        assert "have release 1 already" in site.run("deploy")

        site.write("2", 2.0)
        site.run("train")
        site.run("register")
        spoil_golden(site)
        site.run("package")
        said = site.run("deploy", "--poll", "0.2", code=6)
        assert "failed, golden-failed" in said
        assert {r["digest"] for r in site.rows().values()} == {good}
        assert {tuple(site.answer(device)) for device in rows} == {(1, 1, 1, 1)}

        newer = site.build("3", 3.0)
        site.run("deploy", "--poll", "0.2")
        assert {r["digest"] for r in site.rows().values()} == {newer}
        assert {tuple(site.answer(device)) for device in rows} == {(3, 3, 3, 3)}

        site.run("rollback", "--poll", "0.2")
        assert {r["digest"] for r in site.rows().values()} == {good}
        assert {tuple(site.answer(device)) for device in rows} == {(1, 1, 1, 1)}
        site.run("journal", "verify")
        kinds = {row["kind"] for row in json.loads(site.run("-o", "json", "telemetry"))}
        assert "prediction" in kinds


def test_killing_the_command_line_in_mid_rollout_and_running_it_again_finishes(
    site: Any,
) -> None:
    with site.fleet(3):
        digest = site.build("1", 1.0)
        with subprocess.Popen(
            site.command("deploy", "--poll", "0.1"),
            cwd=site.folder,
            env=site.env,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "have not settled" in line:
                    break
            process.send_signal(signal.SIGKILL)
        given = [r["device"] for r in site.rows().values() if r["release"] == 1]
        plan = json.loads(site.run("-o", "json", "plan"))
        waves = {d["device"]: d["wave"] for d in plan["targets"][0]["devices"]}
        assert [waves[device] for device in given] in ([], [1])
        site.run("deploy", "--poll", "0.2")
        assert {(r["active"], r["digest"]) for r in site.rows().values()} == {(1, digest)}


def test_another_machine_that_has_only_the_key_can_roll_back(site: Any) -> None:
    """Everything that a rollback needs is at the provider; only the signing key is not."""
    with site.fleet(1):
        old = site.build("1", 1.0)
        site.run("deploy", "--poll", "0.2")
        site.build("2", 2.0)
        site.run("deploy", "--poll", "0.2")
        key = site.folder / "key.pem"
        key.write_bytes((site.folder / ".edgectl/keys/publisher.pem").read_bytes())
        key.chmod(0o600)
        (site.folder / ".edgectl").rename(site.folder / "elsewhere")
        site.env["EDGECTL_SIGNING_KEY"] = str(key)
        site.run("rollback", "--poll", "0.2")
        (row,) = site.rows().values()
        assert (row["active"], row["digest"]) == (3, old)
        assert site.answer(row["device"]) == [1, 1, 1, 1]
