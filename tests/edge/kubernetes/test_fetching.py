"""A pod that fetches its release from a registry, alone or through its node's cache."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_packages import Publisher
from pod_support import Pod

from edge_components.contract.state import Reason

sys.path.insert(0, str(Path(__file__).parents[1] / "oci"))

from releases import Misbehaving, Published, publish


@pytest.fixture
def registry() -> Iterator[Misbehaving]:
    registry = Misbehaving()
    yield registry
    registry.close()


def order(registry: Misbehaving, published: Published, *more: str) -> list[str]:
    return ["--reference", registry.reference, "--release-digest", published.digest, *more]


def test_a_release_is_fetched_by_its_digest_into_the_pod_s_own_folder(
    pod: Pod, registry: Misbehaving
) -> None:
    published = registry.add(publish(pod.publisher, 4, package=pod.package()))
    code, report = pod.prepare(None, *order(registry, published, "--release", "4"))
    assert (code, report.release, report.package) == (0, 4, published.package.digest)


@pytest.mark.slow
def test_the_pods_of_a_node_fetch_once_and_go_on_when_the_registry_is_gone(
    tmp_path: Path, registry: Misbehaving
) -> None:
    publisher = Publisher()
    first = Pod(tmp_path / "first", publisher=publisher)
    published = registry.add(publish(publisher, 4, package=first.package()))
    more = order(registry, published, "--node-cache", str(tmp_path / "cache"))
    assert first.prepare(None, *more)[0] == 0
    blobs = sum(n for path, n in registry.counts.items() if "/blobs/" in path)
    second = Pod(tmp_path / "second", publisher=publisher)
    assert second.prepare(None, *more)[0] == 0
    assert sum(n for path, n in registry.counts.items() if "/blobs/" in path) == blobs


@pytest.mark.slow
def test_a_registry_that_lacks_the_release_is_asked_again_at_the_next_try(
    pod: Pod, registry: Misbehaving
) -> None:
    published = publish(pod.publisher, 4, package=pod.package())
    code, report = pod.prepare(None, *order(registry, published, "--release", "4"))
    assert (code, report.reason, report.release) == (12, Reason.DOWNLOAD_FAILED, 4)


@pytest.mark.slow
def test_an_order_without_a_place_to_fetch_from_is_wrong_usage(pod: Pod) -> None:
    done = pod.run("prepare", "--release", "4")
    assert done.returncode == 1
    assert b"give either --from or --reference" in done.stderr
