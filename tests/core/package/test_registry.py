"""Push and pull against a real registry, with skopeo as the second opinion."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgectl.errors import RegistryError
from edgectl.package.build import PackageContent, build_package
from edgectl.package.keys import ensure_key
from edgectl.package.read import export_folder, open_package, verify_layout_package
from edgectl.package.registry import pull, push
from edgectl.package.sign import find_signature, sign_package
from edgectl.package.store import Layout

PUSH = """
import sys
from pathlib import Path
from edgectl.package.registry import push
print("ready", flush=True)
push(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
"""


@pytest.fixture
def repository(registry: str, request: pytest.FixtureRequest) -> str:
    """A repository of the real registry that no other test uses."""
    return f"{registry}/tests/{abs(hash(request.node.nodeid)):x}"


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=60
    )


def test_a_package_travels_with_its_signature(
    signed: Any, key: Any, repository: str, tmp_path: Path
) -> None:
    pushed = push(signed.layout, signed.digest, repository, tag="1.4.0")
    assert pushed.digest == signed.digest
    assert pull(f"{repository}:1.4.0", tmp_path / "other") == signed.digest
    opened = export_folder(
        tmp_path / "other", signed.digest, tmp_path / "out", publishers=(key.public_pem,)
    )
    assert opened.signed_by == key.hint
    assert Layout.open(tmp_path / "other").resolve("plates:1.4.0") == signed.digest


def test_a_pull_by_digest_needs_no_tag(signed: Any, repository: str, tmp_path: Path) -> None:
    push(signed.layout, signed.digest, repository)
    assert pull(f"{repository}@{signed.digest}", tmp_path / "other") == signed.digest


def test_the_second_push_sends_nothing(signed: Any, repository: str) -> None:
    assert push(signed.layout, signed.digest, repository, tag="a").uploaded_bytes > 16_000
    assert push(signed.layout, signed.digest, repository, tag="a").uploaded_bytes == 0


def test_a_new_version_sends_only_what_changed(
    signed: Any, make_content: Callable[..., PackageContent], repository: str
) -> None:
    push(signed.layout, signed.digest, repository)
    content = make_content()
    content.files["model/int8/model.onnx"].write_bytes(b"requantised")
    newer = build_package(content, signed.layout)
    sent = push(signed.layout, newer.digest, repository).uploaded_bytes
    assert 0 < sent < 9_000


def test_files_of_another_repository_are_mounted(signed: Any, repository: str) -> None:
    push(signed.layout, signed.digest, repository)
    source = repository.partition("/")[2]
    sent = push(signed.layout, signed.digest, f"{repository}/copy", mount_from=source)
    assert 0 < sent.uploaded_bytes < 5_000


def test_a_second_signature_joins_the_first(
    signed: Any, key: Any, repository: str, tmp_path: Path
) -> None:
    push(signed.layout, signed.digest, repository, tag="1")
    second = ensure_key(tmp_path / "second.pem")
    pull(f"{repository}:1", tmp_path / "colleague")
    sign_package(tmp_path / "colleague", signed.digest, second)
    push(tmp_path / "colleague", signed.digest, repository)
    pull(f"{repository}:1", tmp_path / "reader")
    for one in (key, second):
        publishers = (one.public_pem,)
        assert open_package(tmp_path / "reader", signed.digest, publishers=publishers).verified


def test_pulling_again_brings_a_signature_that_came_later(
    built: Any, repository: str, tmp_path: Path
) -> None:
    push(built.layout, built.digest, repository, tag="1")
    pull(f"{repository}:1", tmp_path / "other")
    assert find_signature(tmp_path / "other", built.digest) is None
    sign_package(built.layout, built.digest, ensure_key(tmp_path / "k.pem"))
    push(built.layout, built.digest, repository)
    pull(f"{repository}:1", tmp_path / "other")
    assert find_signature(tmp_path / "other", built.digest) is not None


def test_pulling_again_heals_a_damaged_file(signed: Any, repository: str, tmp_path: Path) -> None:
    push(signed.layout, signed.digest, repository, tag="1")
    pull(f"{repository}:1", tmp_path / "other")
    store = Layout.open(tmp_path / "other")
    largest = max(store.read_manifest(signed.digest).layers, key=lambda layer: layer.size)
    store.blob_path(largest.digest).write_bytes(b"\0" * largest.size)
    pull(f"{repository}:1", tmp_path / "other")
    verify_layout_package(tmp_path / "other", signed.digest, publishers=None)


def test_progress_reaches_the_total(signed: Any, repository: str, tmp_path: Path) -> None:
    for transfer in (
        lambda note: push(signed.layout, signed.digest, repository, tag="1", progress=note),
        lambda note: pull(f"{repository}:1", tmp_path / "other", progress=note),
        lambda note: pull(f"{repository}:1", tmp_path / "other", progress=note),
    ):
        seen: list[tuple[int, int]] = []
        transfer(lambda done, total, seen=seen: seen.append((done, total)))
        assert seen[-1][0] == seen[-1][1] > 16_000


def test_what_is_not_there_is_named(registry: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="has no 'v9' in 'tests/nothing'") as caught:
        pull(f"{registry}/tests/nothing:v9", tmp_path / "store")
    assert caught.value.hint


def test_a_pull_without_tag_or_digest_is_refused(registry: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="neither tag nor digest"):
        pull(f"{registry}/tests/x", tmp_path / "store")


def test_a_killed_push_can_be_repeated(
    make_content: Callable[..., PackageContent], repository: str, tmp_path: Path
) -> None:
    content = make_content()
    content.files["model/fp32/model.onnx.data"].write_bytes(os.urandom(24 << 20))
    package = build_package(content, tmp_path / "big")
    process = subprocess.Popen(
        [sys.executable, "-c", PUSH, tmp_path / "big", package.digest, repository],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.03)  # the moment of the kill does not matter
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    push(tmp_path / "big", package.digest, repository, tag="1")
    pull(f"{repository}:1", tmp_path / "other")
    verify_layout_package(tmp_path / "other", package.digest, publishers=None)


def test_skopeo_reads_the_layout(signed: Any, skopeo: str) -> None:
    done = run(skopeo, "inspect", "--raw", f"oci:{signed.layout}:plates:1.4.0")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["artifactType"].startswith("application/vnd.cncf.model")


def test_skopeo_carries_a_package_from_our_layout_to_a_registry(
    signed: Any, skopeo: str, repository: str, tmp_path: Path
) -> None:
    done = run(
        skopeo, "copy", "--dest-tls-verify=false",
        f"oci:{signed.layout}:plates:1.4.0", f"docker://{repository}:sk",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert pull(f"{repository}:sk", tmp_path / "other") == signed.digest


def test_we_read_a_layout_that_skopeo_wrote(
    signed: Any, skopeo: str, repository: str, tmp_path: Path
) -> None:
    push(signed.layout, signed.digest, repository, tag="1")
    done = run(
        skopeo, "copy", "--src-tls-verify=false",
        f"docker://{repository}:1", f"oci:{tmp_path}/theirs:plates:1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Layout.open(tmp_path / "theirs").resolve("plates:1") == signed.digest
    verify_layout_package(tmp_path / "theirs", signed.digest, publishers=None)


def test_we_add_to_a_layout_that_skopeo_wrote(
    signed: Any, skopeo: str, tmp_path: Path, key: Any
) -> None:
    run(skopeo, "copy", f"oci:{signed.layout}:plates:1.4.0", f"oci:{tmp_path}/theirs:x")
    sign_package(tmp_path / "theirs", signed.digest, key)
    assert run(skopeo, "inspect", "--raw", f"oci:{tmp_path}/theirs:x").returncode == 0
    publishers = (key.public_pem,)
    assert open_package(tmp_path / "theirs", signed.digest, publishers=publishers).verified
