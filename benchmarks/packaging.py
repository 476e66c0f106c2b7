"""Packaging a large model against what any packaging has to do: one copy and one sha256.

Prints, from one run: the seconds of ``sha256sum`` of the file, of one ``cp``, of ``build_package``,
and the ratio of the last to the sum of the first two. Wanted: at most 1.5. Each is the best of
``--rounds`` rounds with the file in the page cache. Two harder peers stand beside: Python's hashlib
(some builds of ``sha256sum`` leave the processor's SHA instructions unused), and a copy that is
flushed to the disk, as ours is.

    python benchmarks/packaging.py [--mebibytes 500] [--rounds 3] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edge_components.contract.package import Variant
from edgectl.package.build import PackageContent, build_package
from edgectl.records import ModelVersion

WEIGHTS = "model/fp32/model.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mebibytes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        measure(Path(name), options.mebibytes << 20, options.rounds)


def measure(folder: Path, size: int, rounds: int) -> None:
    model = folder / "model.onnx"
    with model.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    os.sync()
    content = make_content(model, size)
    copy, store = folder / "copy", folder / "store"

    def clean() -> None:
        copy.unlink(missing_ok=True)
        shutil.rmtree(store, ignore_errors=True)
        os.sync()

    def flushed_copy() -> None:
        subprocess.run(["cp", model, copy], check=True)
        subprocess.run(["sync", copy], check=True)

    def sum_() -> None:
        subprocess.run(["sha256sum", model], check=True, stdout=subprocess.DEVNULL)

    def digest() -> None:
        with model.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    summing = best(rounds, clean, sum_)
    hashing = best(rounds, clean, digest)
    copying = best(rounds, clean, lambda: subprocess.run(["cp", model, copy], check=True))
    flushing = best(rounds, clean, flushed_copy)
    building = best(rounds, clean, lambda: build_package(content, store))
    print(f"model          {size >> 20} MiB")
    print(f"sha256sum      {summing:.2f} s")
    print(f"hashlib        {hashing:.2f} s (the sha256 that we use)")
    print(f"cp             {copying:.2f} s")
    print(f"cp and sync    {flushing:.2f} s")
    print(f"build_package  {building:.2f} s (flushed to the disk)")
    print(f"ratio to sha256sum + cp        {building / (summing + copying):.2f} (wanted: <= 1.5)")
    print(f"ratio to hashlib + cp          {building / (hashing + copying):.2f}")
    print(f"ratio to hashlib + cp and sync {building / (hashing + flushing):.2f}")


def best(rounds: int, before: Callable[[], None], action: Callable[[], object]) -> float:
    times = []
    for _ in range(rounds):
        before()
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def make_content(model: Path, size: int) -> PackageContent:
    variant = Variant(
        precision="fp32", path=WEIGHTS, files=(WEIGHTS,), size_bytes=size, atol=1e-5, rtol=1e-5
    )
    version = ModelVersion(
        name="benchmark",
        version="1",
        digest="sha256:" + "0" * 64,
        inputs=(),
        outputs=(),
        opset={"": 17},
        ir_version=9,
        variants=(variant,),
    )
    return PackageContent(
        application="benchmark", version="1", model=version, files={WEIGHTS: model}
    )


if __name__ == "__main__":
    main()
