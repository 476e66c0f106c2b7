"""Find where the locks in ``requirements/`` and the distributions' dependencies disagree.

Rules: every dependency of a distribution of the self-hosted line is named in ``demo.in`` and
locked at a version that its pyproject allows, and ``demo.in`` names no library beside those; every
name of an ``.in`` file is locked; every locked package has hashes; ``dev`` holds all of ``demo``
and ``uv`` at the same versions; no lock names a registry or a path. Nothing is resolved and
nothing is fetched: `make lock` does that.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("uv", "demo", "dev", "kserve")
# Named in demo.in for the demonstration's training and for the set-up, not for a distribution.
BESIDE = {"scikit-learn", "skl2onnx", "hatchling", "editables", "uv"}
SELF_HOSTED = ("core", "edge_components", "plugins/selfhosted")
HOST_OR_PATH = re.compile(r"://|(^|\s)/[a-z]|--(index-url|extra-index-url|find-links)")

Lock = dict[str, dict[str, str]]  # name → marker ("" for none) → version


def read_wanted(text: str) -> list[str]:
    """List the names of an ``.in`` file, in order."""
    lines = (line.split("#", 1)[0].strip() for line in text.splitlines())
    return [canonicalize_name(Requirement(line).name) for line in lines if line and line[0] != "-"]


def read_lock(text: str) -> tuple[Lock, list[str]]:
    """Read a compiled requirements file, and say what is wrong with it by itself."""
    lock: Lock = {}
    problems = [
        f"names a registry or a path: '{line.strip()}'"
        for line in text.splitlines()
        if HOST_OR_PATH.search(line)
    ]
    for entry in re.sub(r"\\\n", " ", text).splitlines():
        if not entry.strip() or entry.lstrip().startswith(("#", "-")):
            continue
        specification, *hashes = entry.split("--hash=")
        requirement = Requirement(specification.strip())
        pins = [pin.version for pin in requirement.specifier if pin.operator == "=="]
        if len(pins) != 1 or not hashes:
            problems.append(f"'{requirement.name}' is not pinned with hashes")
            continue
        versions = lock.setdefault(canonicalize_name(requirement.name), {})
        versions[str(requirement.marker or "")] = pins[0]
    return lock, problems


def missing(wanted: Iterable[str], lock: Lock) -> list[str]:
    """Say which names of the ``.in`` file are not locked."""
    return [f"'{name}' is not locked; run `make lock`" for name in wanted if name not in lock]


def differing(part: Lock, whole: Lock) -> list[str]:
    """Say where a lock is not a part of the lock for development."""
    return [
        f"'{name}' is {sorted(versions.values())} here and "
        f"{sorted(whole.get(name, {}).values())} in dev.txt; run `make lock`"
        for name, versions in part.items()
        if whole.get(name) != versions
    ]


def uncovered(
    owner: str, dependencies: Iterable[str], wanted: Iterable[str], lock: Lock, own: set[str]
) -> list[str]:
    """Say which dependencies of a distribution demo.in or its lock do not cover."""
    problems = []
    named = set(wanted)
    for text in dependencies:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name in own:
            continue
        if name not in named:
            problems.append(f"'{name}' of {owner} is not in requirements/demo.in")
        problems += [
            f"'{text}' of {owner} is locked at {version}; run `make lock`"
            for version in lock.get(name, {}).values()
            if not requirement.specifier.contains(version, prereleases=True)
        ]
    return problems


def check(root: Path) -> list[str]:
    """List every disagreement below the workspace's root, each with its file."""
    folder = root / "requirements"
    locks: dict[str, Lock] = {}
    wanted: dict[str, list[str]] = {}
    found: list[str] = []
    for name in NAMES:
        locks[name], problems = read_lock((folder / f"{name}.txt").read_text())
        wanted[name] = read_wanted((folder / f"{name}.in").read_text())
        problems += missing(wanted[name], locks[name])
        found += [f"requirements/{name}.txt: {problem}" for problem in problems]
    for name in ("uv", "demo"):
        found += [
            f"requirements/{name}.txt: {problem}"
            for problem in differing(locks[name], locks["dev"])
        ]
    projects = {
        path: tomllib.loads((root / path / "pyproject.toml").read_text())["project"]
        for path in SELF_HOSTED
    }
    own: set[str] = {canonicalize_name(project["name"]) for project in projects.values()}
    for path, project in projects.items():
        dependencies = project["dependencies"]
        found += uncovered(path, dependencies, wanted["demo"], locks["demo"], own)
    declared = {
        canonicalize_name(Requirement(text).name)
        for project in projects.values()
        for text in project["dependencies"]
    }
    found += [
        f"requirements/demo.in: no distribution of the self-hosted line declares '{name}'"
        for name in wanted["demo"]
        if name not in declared | BESIDE
    ]
    return found


def main() -> int:
    """Print every disagreement; exit 1 when there is one."""
    problems = check(ROOT)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("requirements: the locks agree with the distributions")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
