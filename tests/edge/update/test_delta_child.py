"""A delta is applied by a child that has bounds, into a file that may have been begun."""

from __future__ import annotations

import io
import lzma
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_components.contract.delta import DeltaDocument, Diff, Stream
from edge_components.contract.digest import sha256_digest
from edge_components.store.blobs import Blobs, Partial
from edge_components.store.disk import Disk
from edge_components.update.delta_child import DeltaChild
from edge_components.update.errors import CalledOffError, RefusedError
from edgectl.delta.make import make_delta

NEVER = threading.Event()


class Case:
    """An old file, a delta and the file that comes out, not yet in the store."""

    def __init__(self, folder: Path) -> None:
        self.old, self.delta = folder / "old", folder / "delta"
        given = np.random.default_rng(1).integers(0, 255, 2_000_000).astype(np.uint8)
        self.old.write_bytes(given.tobytes())
        given[::50] += 1
        self.wanted = given.tobytes()
        (folder / "new").write_bytes(self.wanted)
        out = io.BytesIO()
        make_delta(self.old, folder / "new", out)
        self.delta.write_bytes(out.getvalue())
        self.blobs = Blobs(folder / "blobs", Disk())

    def partial(self) -> Partial:
        return self.blobs.partial(sha256_digest(self.wanted), len(self.wanted))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.mark.parametrize("begun", [0, 1, 1_234_567])
def test_the_file_comes_out_from_wherever_it_had_come_to(case: Case, begun: int) -> None:
    with case.partial() as partial:
        partial.write(case.wanted[:begun])
        DeltaChild().apply(case.old, case.delta, partial, NEVER)
        partial.finish()
    assert case.blobs.path(sha256_digest(case.wanted)).read_bytes() == case.wanted


def test_a_child_that_wants_too_much_memory_is_refused(case: Case) -> None:
    # 8 MiB of zeros from a few bytes are allowed; with numpy's own needs they are too much here.
    size = 8 << 20
    case.old.write_bytes(bytes(size))
    packed = lzma.compress(bytes(size // 2), check=lzma.CHECK_NONE)
    document = DeltaDocument(
        old=sha256_digest(bytes(size)),
        new=sha256_digest(case.wanted),
        size=size,
        pieces=(
            Diff(
                size=size,
                at=0,
                width=2,
                kind="int",
                streams=(Stream("lzma", len(packed)), Stream("lzma", len(packed))),
            ),
        ),
    )
    case.delta.write_bytes(msgspec.json.encode(document) + b"\n" + packed + packed)
    with case.partial() as partial, pytest.raises(RefusedError, match=r"exit code [1-9]"):
        DeltaChild(memory_bytes=24 << 20).apply(case.old, case.delta, partial, NEVER)


def child(code: str, seconds: float = 60.0) -> DeltaChild:
    return DeltaChild([sys.executable, "-c", code], seconds=seconds)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.stderr.write('first\\nit is broken\\n'); sys.exit(3)", "it is broken"),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
        ("print('few', end='')", "it makes 3 bytes in place of 2000000"),
    ],
)
def test_a_child_that_ends_without_the_file_is_refused(case: Case, code: str, why: str) -> None:
    with case.partial() as partial, pytest.raises(RefusedError, match=why):
        child(code).apply(case.old, case.delta, partial, NEVER)


def test_a_child_that_hangs_is_ended(case: Case) -> None:
    with case.partial() as partial, pytest.raises(RefusedError, match="too long"):
        child("import time; time.sleep(600)", seconds=-1.5).apply(
            case.old, case.delta, partial, NEVER
        )


def test_a_child_gives_way_when_the_update_is_called_off(case: Case) -> None:
    stop = threading.Event()
    stop.set()
    with case.partial() as partial, pytest.raises(CalledOffError):
        child("import time; time.sleep(600)").apply(case.old, case.delta, partial, stop)
