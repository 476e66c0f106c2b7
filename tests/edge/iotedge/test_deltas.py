"""The module fetches the difference to what it has, and the whole file where it cannot."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
from edge_device import EdgeDevice
from edge_packages import Package, make_package
from releases import REPOSITORY, Published, publish

from edge_components.contract.package import WEIGHT_TYPE
from edgectl.delta.make import make_delta

BALLAST = random.Random(3).randbytes(100_000).hex()


def package(device: EdgeDevice, answer: str) -> Package:
    model = json.dumps({"answer": answer, "ballast": BALLAST}).encode()
    return make_package(device.publisher, {"int8": model})


def weights(one: Package) -> str:
    """Return the digest of a package's weights."""
    return next(layer.digest for layer in one.manifest.layers if layer.media_type == WEIGHT_TYPE)


def with_delta(device: EdgeDevice, old: Package, folder: Path, *, spoil: bool) -> Published:
    """Publish release 2 with a delta from ``old``, which cannot be used if ``spoil``."""
    new = publish(device.publisher, 2, package=package(device, "v2"))
    names = weights(old), weights(new.package)
    (folder / "old").write_bytes(old.blobs[names[0]])
    (folder / "new").write_bytes(new.package.blobs[names[1]])
    out = io.BytesIO()
    make_delta(folder / "old", folder / "new", out)
    new.offer(old, {names: out.getvalue()[: -4 if spoil else None]})
    return device.registry.add(new)


@pytest.mark.parametrize("spoil", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_difference_to_the_version_before_is_fetched_by_itself(
    device: EdgeDevice, tmp_path: Path, spoil: bool
) -> None:
    counts, root = device.registry.counts, f"/v2/{REPOSITORY}"
    device.start()
    one = device.registry.add(publish(device.publisher, 1, package=package(device, "v1")))
    device.wish(1, one)
    device.until(desired=1, phase="healthy", current=1)
    # A device without an earlier version has no use for deltas, and asks for signatures only.
    assert counts[f"{root}/referrers/{one.package.digest}"] == 1
    two = with_delta(device, one.package, tmp_path, spoil=spoil)
    device.wish(2, two)
    device.until(desired=2, phase="healthy", current=2)
    device.wait_answer("v2")
    device.assert_whole()
    assert counts[f"{root}/referrers/{two.package.digest}"] == 2
    assert counts[f"{root}/blobs/{weights(two.package)}"] == (1 if spoil else 0)
