"""Build a real kube-apiserver and etcd from the Go module proxy, for tests against the real thing.

Needs Go and a module proxy, nothing else: no source checkout, no container, no root. Each program
is built in a small module of its own that only requires the released module. Kubernetes' own
``go.mod`` points at neighbouring folders (``staging/…``) that a module proxy does not serve; they
are released as modules as well, ``v1.33.13`` as ``v0.33.13``, so each is replaced by its release.
The list is read from the released ``go.mod``, so that it fits every version.

A program that is there already is kept. The tests take the results from
``TEST_ASSET_KUBE_APISERVER`` (several versions are separated as in PATH) and ``TEST_ASSET_ETCD``,
the names that controller authors know from envtest. On one busy core etcd takes 3 minutes, a
kube-apiserver 10 to 16 and a kube-controller-manager 10, with up to 1.9 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import string
import subprocess
import sys
import time
from pathlib import Path

KUBERNETES = "k8s.io/kubernetes"
ETCD = "go.etcd.io/etcd/server/v3"
STAGING = re.compile(r"^\s*(?:replace\s+)?(\S+)\s+=>\s+\./staging/\S+", re.MULTILINE)
GO_VERSION = re.compile(r"^go\s+(\S+)", re.MULTILINE)
GO_MOD = string.Template("module build\n\ngo $go\n\nrequire $module $version\n$replaced")


def replacements(go_mod: str, version: str) -> list[str]:
    """List the ``replace`` lines for a Kubernetes version, from its released ``go.mod``."""
    staged = "v0." + version.removeprefix("v1.")
    return [f"replace {name} => {name} {staged}" for name in STAGING.findall(go_mod)]


def wrapper(module: str, version: str, go_mod: str) -> str:
    """Return the ``go.mod`` of the small module that a program is built in."""
    go = GO_VERSION.search(go_mod)
    if go is None:
        raise SystemExit(f"the go.mod of '{module}' {version} names no Go version")
    replaced = "\n".join(replacements(go_mod, version))
    return GO_MOD.substitute(go=go[1], module=module, version=version, replaced=replaced + "\n")


def version_flags(version: str) -> str:
    """Return linker flags: a server without them says v0.0.0 and refuses to emulate itself."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    names = " ".join(f"-X k8s.io/component-base/version.{k}={v}" for k, v in values.items())
    return f"-s -w {names}"


def run(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a program of Go in a folder; return what it printed."""
    done = subprocess.run(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"'{' '.join(arguments)}' ended with {done.returncode}, see above")
    return done.stdout


def build(module: str, package: str, version: str, out: Path, environment: dict[str, str]) -> None:
    """Build one program into the file ``out``."""
    folder = out.parent / f".build-{out.name}"
    folder.mkdir(parents=True, exist_ok=True)
    answer = run(["go", "mod", "download", "-json", f"{module}@{version}"], folder, environment)
    go_mod = Path(json.loads(answer)["GoMod"]).read_text()
    (folder / "go.mod").write_text(wrapper(module, version, go_mod))
    flags = version_flags(version) if module == KUBERNETES else "-s -w"
    arguments = ["go", "build", "-mod=mod", "-trimpath", f"-ldflags={flags}", "-o", str(out)]
    began = time.monotonic()
    run([*arguments, package], folder, environment)
    shutil.rmtree(folder)
    memory_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    size_mb = out.stat().st_size // 2**20
    sys.stderr.write(
        f"{out.name}: {time.monotonic() - began:.0f} s, {size_mb} MB,"
        f" largest process {memory_mb} MB\n"
    )


def main() -> None:
    """Build what is asked for and print the settings for the tests."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path, help="folder for the programs")
    parser.add_argument("--kubernetes", action="append", metavar="vX.Y.Z", help="repeatable")
    parser.add_argument(
        "--controllers",
        action="store_true",
        help="build kube-controller-manager beside each: garbage collection, namespaces, accounts",
    )
    parser.add_argument("--etcd", default="v3.6.16", metavar="vX.Y.Z", help="'' builds none")
    parser.add_argument("--jobs", type=int, default=1, help="compilers at a time")
    arguments = parser.parse_args()
    if shutil.which("go") is None:
        raise SystemExit("there is no Go on PATH")
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    jobs = str(arguments.jobs)
    environment = {**os.environ, "GOMAXPROCS": jobs, "CGO_ENABLED": "0"}
    environment["GOFLAGS"] = f"{os.environ.get('GOFLAGS', '')} -p={jobs} -modcacherw".strip()
    os.nice(19)
    if arguments.etcd and not (out / "etcd").exists():
        build(ETCD, ETCD, arguments.etcd, out / "etcd", environment)
    programs = ["kube-apiserver", *(["kube-controller-manager"] if arguments.controllers else [])]
    for version in arguments.kubernetes or ["v1.33.13"]:
        for name in programs:
            program = out / f"{name}-{version}"
            if not program.exists():
                build(KUBERNETES, f"{KUBERNETES}/cmd/{name}", version, program, environment)
    sys.stdout.write(f"export TEST_ASSET_ETCD={out / 'etcd'}\n")
    found = os.pathsep.join(str(path) for path in sorted(out.glob("kube-apiserver-*")))
    sys.stdout.write(f"export TEST_ASSET_KUBE_APISERVER={found}\n")


if __name__ == "__main__":
    main()
