"""Cases that are sent to an API server, and what of the answers must be the same everywhere.

A case is a list of steps in YAML; its answers are recorded from a real kube-apiserver. Run as a
program it records them anew: ``python tests/plugins/gke/api/support/kube_replay.py record`` with
``TEST_ASSET_KUBE_APISERVER`` and ``TEST_ASSET_ETCD`` set.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from edgectl_gke_edge.emulator.kube.real import RealServer, find_programs

HERE = Path(__file__).parent.parent
CASES = sorted(path.stem for path in (HERE / "cases").glob("*.yaml"))
TYPES = {
    "apply": "application/apply-patch+yaml",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
# What differs from run to run: name of the field → what stands for it.
VOLATILE = {"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "time", "continue"}
VOLATILE |= {"lastTransitionTime"}
VOLATILE |= {"clusterIP", "nodePort", "batch.kubernetes.io/controller-uid", "controller-uid"}
# The client fixes what the cluster gives by itself.
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def normal(value: Any, key: str = "") -> Any:
    """Replace what differs from run to run."""
    if key in VOLATILE and isinstance(value, str | int) and value != "None":
        return f"<{key}>" if value else value
    if key == "clusterIPs":
        return ["<clusterIP>" for _ in value]
    if key == "managedFields":
        return sorted((normal(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
    if isinstance(value, dict):
        return {k: normal(v, k) for k, v in sorted(value.items()) if not _bare(k, v)}
    if isinstance(value, list):
        return [normal(v) for v in value]
    return UUID.sub("<uid>", value) if isinstance(value, str) else value


def _bare(key: str, value: Any) -> bool:
    """Say whether a field only stands for the admission plugin that a bare server is without."""
    account = key in {"serviceAccount", "serviceAccountName"} and value == "default"
    return value is None or account


def steps(case: str) -> list[dict[str, Any]]:
    """Read a case."""
    found: list[dict[str, Any]] = yaml.safe_load((HERE / "cases" / f"{case}.yaml").read_text())
    return found


def play(case: str, client: httpx.Client) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Send a case's steps; yield each with its answer, normalised."""
    for step in steps(case):
        method, _, path = step["send"].partition(" ")
        headers = {"User-Agent": step.get("agent", "replay/1.0")}
        body = step.get("body")
        content = None if body is None else json.dumps(body)
        if isinstance(body, str):
            content = body
        if content is not None:
            headers["Content-Type"] = TYPES.get(step.get("as", ""), "application/json")
        answer = client.request(method, path, content=content, headers=headers)
        try:
            found = answer.json()
        except ValueError:
            found = answer.text
        if isinstance(found, dict) and isinstance(found.get("items"), list):
            found["items"] = [o for o in found["items"] if not _of_the_cluster(o)]
        result: dict[str, Any] = {"status": answer.status_code, "body": normal(found)}
        warnings = sorted(answer.headers.get_list("warning", split_commas=False))
        if warnings:
            result["warnings"] = warnings
        yield step, compared(step, result)


def _of_the_cluster(obj: dict[str, Any]) -> bool:
    """Our server's namespaces come furnished; a bare kube-apiserver's do not."""
    return obj["metadata"]["name"] in {"kube-root-ca.crt", "default"}


def compared(step: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Keep what of an answer is compared: all, or what ``match`` names: reason, causes, status."""
    body = answer["body"]
    if not isinstance(body, dict):
        return answer
    if step.get("match") == "reason":
        return {"status": answer["status"], "reason": body.get("reason")}
    if step.get("match") == "status":
        return {"status": answer["status"], "object": body.get("status")}
    if step.get("match") == "causes":
        details = (body.get("details") or {}).get("causes") or []
        causes = sorted({(c.get("field", ""), c["reason"]) for c in details})
        return {"status": answer["status"], "causes": [list(c) for c in causes]}
    return answer


def client_of(server: Any) -> httpx.Client:
    """Open a client as the administrator."""
    return httpx.Client(
        base_url=server.url,
        verify=ssl.create_default_context(cadata=server.ca),
        headers={"Authorization": f"Bearer {server.token}"},
        timeout=30,
    )


def recorded(case: str, version: str) -> list[dict[str, Any]]:
    """Read the answers that a real server of a version (``1.33``) gave."""
    file = HERE / "answers" / version / f"{case}.json"
    found: list[dict[str, Any]] = json.loads(file.read_text())
    return found


def version_of(client: httpx.Client) -> str:
    """Ask a server for its version, ``1.33``."""
    found = client.get("/version").json()
    return f"{found['major']}.{found['minor']}"


def record() -> None:
    """Record all answers from the real servers that are set."""
    programs, etcd = find_programs()
    if not programs or etcd is None:
        raise SystemExit("TEST_ASSET_KUBE_APISERVER and TEST_ASSET_ETCD are not set")
    for program in programs:
        with (
            tempfile.TemporaryDirectory() as folder,
            RealServer(Path(folder), program, etcd, controllers=()) as server,
            client_of(server) as client,
        ):
            _record(client, sys.argv[2:] or CASES)


def _record(client: httpx.Client, cases: list[str]) -> None:
    folder = HERE / "answers" / version_of(client)
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        answers = [answer for _, answer in play(case, client)]
        (folder / f"{case}.json").write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")
        sys.stdout.write(f"{folder.name} {case}: {len(answers)} answers\n")


if __name__ == "__main__":
    record()
