"""Runs a project's training in a Kubernetes Job as it runs on the operator's machine.

Sources and inputs are fetched from the registry by digest, the command finds them where it finds
them at home, and what it leaves beside its model is pushed back as one artifact. Python's standard
library only, and nothing newer than 3.8: the image is the user's.
Source: OCI distribution-spec 1.1 (pull, push); the registry token flow of the distribution project.
"""

# ruff: noqa: S310 - every address is the registry's, or the metadata server's

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
KIND = "application/vnd.edgectl.trained.v1+json"
METADATA = (
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
)
CHUNK = 1 << 20
TIMEOUT_S = 60
MAX_FILES = 900


def main() -> int:
    """Run the job that the file in the first argument describes; return its exit code."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    work = Path(sys.argv[2])
    registry = Registry(job["registry"], job["repository"], job.get("login", ""))
    prepare(job, registry, work)
    before = files(work)
    code = run(job["command"], work, variables(job, work))
    if code != 0:
        how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        say(f"the training command '{job['command'][0]}' {how}")
        return code if code > 0 else 128 - code
    left = collect(job, work, before)
    registry.push(left, job["tag"])
    return 0


def prepare(job: dict[str, Any], registry: Registry, work: Path) -> None:
    """Lay out the project, with its inputs where it has them."""
    work.mkdir(parents=True, exist_ok=True)
    archive = work.parent / "source.tar.gz"
    registry.fetch(job["source"], archive)
    extract(archive, work)
    for entry in job["inputs"].values():
        place = place_of(entry, work)
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry["file"]:
            registry.fetch(entry["digest"], place)
        else:
            packed = work.parent / "input.tar.gz"
            registry.fetch(entry["digest"], packed)
            place.mkdir(exist_ok=True)
            extract(packed, place)
    for output in (job["model"], job["metrics"]):
        if output:
            (work / output).parent.mkdir(parents=True, exist_ok=True)


def extract(archive: Path, into: Path) -> None:
    """Unpack an archive that edgectl made."""
    with tarfile.open(str(archive)) as packed:
        packed.extractall(str(into))  # noqa: S202 - made by edgectl, and fetched by its digest
    archive.unlink()


def place_of(entry: dict[str, Any], work: Path) -> Path:
    """Return where the project has an input, or a place beside the project."""
    if entry["path"]:
        return work / str(entry["path"])
    return work.parent / "inputs" / str(entry["name"]) / str(entry["file"] or "data")


def variables(job: dict[str, Any], work: Path) -> dict[str, str]:
    """Return the variables that tell the command where its inputs and outputs are."""
    found = {name: str(place_of(entry, work)) for name, entry in job["inputs"].items()}
    found["EDGECTL_OUTPUT_MODEL"] = str(work / job["model"])
    if job["metrics"]:
        found["EDGECTL_OUTPUT_METRICS"] = str(work / job["metrics"])
    return found


def run(command: list[str], work: Path, extra: dict[str, str]) -> int:
    """Run the command in the project; a request to stop is passed on to all of it."""
    program = [sys.executable, *command[1:]] if command[0] in ("python", "python3") else command
    environment = {**os.environ, **extra, "PYTHONUNBUFFERED": "1"}
    try:
        process = subprocess.Popen(program, cwd=str(work), env=environment, start_new_session=True)
    except OSError as exc:
        say(f"the training command '{command[0]}' cannot be started: {exc.strerror}")
        return 127
    signal.signal(signal.SIGTERM, lambda number, frame: os.killpg(process.pid, signal.SIGTERM))
    return process.wait()


def files(work: Path) -> dict[str, int]:
    """Return the files of the project and when they were written."""
    found = {}
    for path in work.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found[path.relative_to(work).as_posix()] = path.stat().st_mtime_ns
    return found


def collect(job: dict[str, Any], work: Path, before: dict[str, int]) -> dict[str, Path]:
    """Return what the command wrote into the folder of its model, and its metrics."""
    folder = Path(job["model"]).parent.as_posix()
    inside = "" if folder == "." else folder + "/"
    found = {
        name: work / name
        for name, written in files(work).items()
        if before.get(name) != written
        and (name == job["metrics"] or name.startswith(inside))
        and not any(part.startswith(".") for part in name.split("/"))
    }
    if len(found) > MAX_FILES:
        raise SystemExit(f"the training left more than {MAX_FILES} files")
    return found


class Registry:
    """One repository of a registry."""

    def __init__(self, base: str, repository: str, login: str) -> None:
        self._base = base
        self._repository = repository
        self._basic = basic_login(login, urllib.parse.urlsplit(base).netloc)
        self._authorization = ""

    def fetch(self, digest: str, target: Path) -> None:
        """Bring a blob here, and check that it is what its digest says."""
        seen = hashlib.sha256()
        with self._ask("GET", "blobs/" + digest) as answer, target.open("wb") as out:
            while True:
                data = answer.read(CHUNK)
                if not data:
                    break
                seen.update(data)
                out.write(data)
        if "sha256:" + seen.hexdigest() != digest:
            raise SystemExit(f"the registry sent other content than {digest} has")

    def push(self, left: dict[str, Path], tag: str) -> None:
        """Push files as one artifact under a tag."""
        config = self._blob(b"{}")
        layers = []
        for name, path in sorted(left.items()):
            layer = self._blob(path)
            layers.append({**layer, "annotations": {TITLE: name}})
        empty = {"mediaType": EMPTY, **config}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": KIND,
            "config": empty,
            "layers": [{"mediaType": "application/octet-stream", **one} for one in layers]
            or [empty],
        }
        data = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
        headers = {"Content-Type": MANIFEST}
        self._ask("PUT", "manifests/" + tag, data, headers).close()

    def _blob(self, content: Any) -> dict[str, Any]:
        data = content if isinstance(content, bytes) else None
        seen, size = hashlib.sha256(data or b""), len(data or b"")
        if data is None:
            with content.open("rb") as file:
                for piece in iter(lambda: file.read(CHUNK), b""):
                    seen.update(piece)
                    size += len(piece)
        digest = "sha256:" + seen.hexdigest()
        try:
            self._ask("HEAD", "blobs/" + digest).close()
        except urllib.error.HTTPError as exc:
            if exc.code != 404:
                raise
            self._upload(content, digest, size)
        return {"digest": digest, "size": size}

    def _upload(self, content: Any, digest: str, size: int) -> None:
        with self._ask("POST", "blobs/uploads/", b"") as answer:
            place = urllib.parse.urljoin(answer.geturl(), answer.headers["Location"])
        place += ("&" if "?" in place else "?") + "digest=" + urllib.parse.quote(digest)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._ask("PUT", place, content, headers).close()

    def _ask(
        self, method: str, path: str, data: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        url = path if "://" in path else f"{self._base}/v2/{self._repository}/{path}"
        for last in (False, True):
            body = data.open("rb") if isinstance(data, Path) else data
            wanted = {**(headers or {})}
            if self._authorization:
                wanted["Authorization"] = self._authorization
            request = urllib.request.Request(url, data=body, headers=wanted, method=method)
            try:
                return urllib.request.urlopen(request, timeout=TIMEOUT_S)
            except urllib.error.HTTPError as exc:
                if exc.code != 401 or last:
                    raise
                self._authorization = self._login(exc.headers.get("WWW-Authenticate", ""))
        raise AssertionError("the second attempt returns or raises")

    def _login(self, challenge: str) -> str:
        if not challenge.lower().startswith("bearer"):
            return self._basic
        said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        query = {"scope": f"repository:{self._repository}:pull,push"}
        if "service" in said:
            query["service"] = said["service"]
        url = said["realm"] + "?" + urllib.parse.urlencode(query)
        headers = {"Authorization": self._basic} if self._basic else {}
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        ) as answer:
            told = json.loads(answer.read())
        return "Bearer " + str(told.get("token") or told["access_token"])


def basic_login(path: str, host: str) -> str:
    """Return the login of a registry: from docker's file, or of the node's own Google account."""
    if path:
        auths = json.loads(Path(path).read_text(encoding="utf-8")).get("auths", {})
        for name in (host, "https://" + host):
            if auths.get(name, {}).get("auth"):
                return "Basic " + str(auths[name]["auth"])
    if host.endswith("pkg.dev"):
        request = urllib.request.Request(METADATA, headers={"Metadata-Flavor": "Google"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            token = json.loads(answer.read())["access_token"]
        return "Basic " + base64.b64encode(("oauth2accesstoken:" + token).encode()).decode()
    return ""


def say(text: str) -> None:
    """Say something where the kubelet and the log have it."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        Path("/dev/termination-log").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
