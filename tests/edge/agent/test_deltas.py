"""Devices that fetch a file as the difference to one that they have, or all of it if that fails."""

from __future__ import annotations

import io
import json
import random
import re
from pathlib import Path

import pytest
from ddi_server import Action, DdiServer
from device import Device
from edge_packages import Package, make_files, make_package, make_release

from edge_components.contract.delta import delta_file_name
from edge_components.contract.digest import digest_hex, sha256_digest
from edge_components.contract.package import WEIGHT_TYPE
from edgectl.delta.make import make_delta

SIZE = 300_000


def model(answer: str, *, size: int = SIZE, seed: int = 1) -> bytes:
    """Return a fake model with ballast that cannot be compressed."""
    ballast = random.Random(seed).randbytes(size // 2).hex()
    return json.dumps({"answer": answer.ljust(8, "_"), "ballast": ballast}).encode()


def package(device: Device, answer: str, **how: int) -> Package:
    return make_package(device.publisher, {"int8": model(answer, **how)})


def weights(one: Package) -> tuple[str, bytes]:
    """Return digest and bytes of a package's weights."""
    layer = next(layer for layer in one.manifest.layers if layer.media_type == WEIGHT_TYPE)
    return layer.digest, one.blobs[layer.digest]


def delta(folder: Path, old: bytes, new: bytes) -> bytes:
    out = io.BytesIO()
    (folder / "old").write_bytes(old)
    (folder / "new").write_bytes(new)
    make_delta(folder / "old", folder / "new", out)
    return out.getvalue()


class Delivery:
    """Gives a device releases with deltas between them."""

    def __init__(self, device: Device, folder: Path) -> None:
        self.device = device
        self.folder = folder
        self.last = package(device, "v1")
        self._number = 0

    @property
    def server(self) -> DdiServer:
        return self.device.server

    def order(self, one: Package, deltas: dict[str, bytes] | None = None) -> Action:
        """Order a release with these deltas beside it."""
        self.last = one
        self._number += 1
        envelope = make_release(self.device.publisher, one, self._number)
        self.server.requests.clear()
        return self.server.assign(
            f"a{self._number}", {**make_files(envelope, one), **(deltas or {})}
        )

    def give(self, answer: str, made: bytes | None = None, **how: int) -> Action:
        """Order a release; its delta to the one before is the right one unless given."""
        new = package(self.device, answer, **how)
        (old_digest, old), (new_digest, data) = weights(self.last), weights(new)
        made = delta(self.folder, old, data) if made is None else made
        return self.order(new, {delta_file_name(old_digest, new_digest): made})

    def fetched(self) -> list[str]:
        """Return the names of the files that were asked for since the last order."""
        paths = [path for method, path, _ in self.server.requests if method == "GET"]
        return [path.rpartition("/")[2] for path in paths if path.startswith("/files/")]

    def fetched_weights(self) -> bool:
        """Whether the whole file was asked for."""
        digest, _ = weights(self.last)
        return any(digest_hex(digest)[:12] in name for name in self.fetched() if ".bin" in name)


@pytest.fixture
def delivery(device: Device, fast_folder: Path) -> Delivery:
    made = Delivery(device, fast_folder)
    device.start()
    assert device.server.wait_closed(made.order(made.last).id) == "success", device.tail()
    return made


def details(action: Action) -> str:
    return " ".join(text for status in action.feedback for text in status["details"])


def test_only_the_difference_is_fetched_and_told(delivery: Delivery) -> None:
    before = delivery.server.sent_bytes
    action = delivery.give("v2")
    assert delivery.server.wait_closed(action.id) == "success", delivery.device.tail()
    delivery.device.wait_answer("v2______")
    delivery.device.assert_whole()
    assert not delivery.fetched_weights()
    assert delivery.server.sent_bytes - before < 20_000
    assert re.search(r"fetched \d+ bytes of \d{6}; 1 by delta", details(action))


def useless(delivery: Delivery, answer: str, bad: str) -> bytes:
    """Return a delta to the next version that cannot be used."""
    old, new = weights(delivery.last)[1], model(answer)
    right = delta(delivery.folder, old, new)
    # Whole, and makes another file than the one that is wanted.
    other = delta(delivery.folder, old, model("other"))
    return {
        "garbage": b"\x00" * 5000,
        "cut": right[:-3],
        "to another file": other,
        "from another file": delta(delivery.folder, model("x", seed=9), new),
        # It says that it makes the right file, and makes another one of the same size.
        "hostile": other.replace(
            sha256_digest(model("other")).encode(), sha256_digest(new).encode()
        ),
    }[bad]


def test_a_delta_that_is_of_no_use_ends_in_the_whole_file(delivery: Delivery) -> None:
    kinds = ["garbage", "cut", "to another file", "from another file", "hostile"]
    for number, bad in enumerate(kinds, start=2):
        action = delivery.give(f"v{number}", useless(delivery, f"v{number}", bad))
        assert delivery.server.wait_closed(action.id) == "success", delivery.device.tail()
        delivery.device.wait_answer(f"v{number}______")
        delivery.device.assert_whole()
        assert any("edgectl-delta" in name for name in delivery.fetched()), bad
        assert delivery.fetched_weights(), bad
        assert "1 by a delta of no use first" in details(action), bad


def test_a_delta_that_does_not_come_as_it_is_ends_in_the_whole_file(delivery: Delivery) -> None:
    faults = delivery.server.faults
    faults.only = "edgectl-delta"
    for number, fault in enumerate(["corrupt", "truncate", "status"], start=2):
        setattr(faults, fault, {"status": 404}.get(fault, 100))
        action = delivery.give(f"v{number}")
        assert delivery.server.wait_closed(action.id) == "success", delivery.device.tail()
        delivery.device.wait_answer(f"v{number}______")
        assert delivery.fetched_weights(), fault
        setattr(faults, fault, 0)


def test_a_delta_from_a_version_that_the_device_does_not_have_is_not_fetched(
    delivery: Delivery,
) -> None:
    delivery.last = package(delivery.device, "v0", seed=5)
    action = delivery.give("v2", seed=5)
    assert delivery.server.wait_closed(action.id) == "success"
    assert delivery.fetched_weights()
    assert not any("edgectl-delta" in name for name in delivery.fetched())


def test_a_delta_that_is_no_smaller_than_the_file_is_not_fetched(delivery: Delivery) -> None:
    action = delivery.give("v2", b"x" * (SIZE + 1000))
    assert delivery.server.wait_closed(action.id) == "success"
    assert not any("edgectl-delta" in name for name in delivery.fetched())


def test_an_unchanged_file_is_not_fetched_again(delivery: Delivery) -> None:
    """The weights stay, another file of the package changes: a release of the pipeline only."""
    name, data = weights(delivery.last)
    changed = make_package(delivery.device.publisher, {"int8": data}, extra={"labels": b"new"})
    assert weights(changed)[0] == name
    before = delivery.server.sent_bytes
    action = delivery.order(changed)
    assert delivery.server.wait_closed(action.id) == "success"
    assert not delivery.fetched_weights()
    assert delivery.server.sent_bytes - before < 20_000


def test_killed_while_it_fetches_a_delta_it_goes_on_where_it_was(delivery: Delivery) -> None:
    device, server = delivery.device, delivery.server
    server.faults.only = "edgectl-delta"
    server.faults.piece, server.faults.delay_s = 8_000, 0.03
    # Half of the file changes, so that the delta takes some time.
    old = weights(delivery.last)[1]
    new = model("v2")[: SIZE // 2] + model("v2", seed=2)[SIZE // 2 :]
    made = delta(delivery.folder, old, new)
    assert 50_000 < len(made) < 0.6 * SIZE
    wanted = make_package(device.publisher, {"int8": new})
    name = delta_file_name(weights(delivery.last)[0], weights(wanted)[0])
    action = delivery.order(wanted, {name: made})
    partial = device.state_dir / "store/blobs/sha256" / f"{digest_hex(sha256_digest(made))}.partial"
    server.wait(lambda: partial.exists() and partial.stat().st_size > 20_000)
    device.kill()
    active = device.assert_whole().active
    assert active is not None
    assert active.number == 1
    there = partial.stat().st_size
    server.requests.clear()
    device.start()
    assert server.wait_closed(action.id) == "success", device.tail()
    device.wait_answer("v2______")
    device.assert_whole()
    asked = [headers for _, path, headers in server.requests if "edgectl-delta" in path]
    assert [headers["Range"] for headers in asked] == [f"bytes={there}-"]
    assert not delivery.fetched_weights()


@pytest.mark.slow
def test_killed_while_it_applies_a_delta_it_makes_the_file_after_all(delivery: Delivery) -> None:
    device, server = delivery.device, delivery.server
    caught = 0

    def large(answer: str) -> Package:
        return make_package(device.publisher, {"int8": model(answer, size=100).ljust(6_000_000)})

    big = delivery.order(large("big"))
    assert server.wait_closed(big.id, 60) == "success", device.tail()
    for answer in ("v3", "v4", "v5", "v6"):
        old, new = weights(delivery.last), weights(large(answer))
        name = delta_file_name(old[0], new[0])
        action = delivery.order(large(answer), {name: delta(delivery.folder, old[1], new[1])})
        partial = device.state_dir / "store/blobs/sha256" / f"{digest_hex(new[0])}.partial"
        while not action.finished:
            if partial.exists() and 0 < partial.stat().st_size < len(new[1]):
                device.kill()
                caught += 1
                break
        if device.pid == 0:
            device.assert_whole()
            device.start()
        assert server.wait_closed(action.id, 60) == "success", device.tail()
        device.wait_answer(answer.ljust(8, "_"))
        device.assert_whole()
        assert not delivery.fetched_weights()
    assert caught >= 1
