"""Every fenced block of code in the documentation is run or read by a program.

- ``python`` runs in an empty folder; ``json``, ``toml`` and ``yaml`` are parsed; ``yaml`` with
  ``apiVersion: edgectl/v1`` is read as a project, its files made up where it names some.
- ``sh`` whose first line is ``# runs`` (or that follows ``<!-- runs -->``) is run: all such blocks
  of a page one after the other in one shell, as a reader would.
- A block that follows ``<!-- not run: reason -->`` is exempt, and the reason has to stand there.
  A ``sh`` block that is neither fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from edgectl.api import load_project

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/*/*.md", "core/*.md", "edge_components/*.md")
    for path in [*ROOT.glob(pattern)]
) + sorted(ROOT.glob("plugins/*/*.md"))
SHELL = {"sh", "bash", "console", "shell"}
PROSE = {"", "text", "mermaid", "http", "diff"}
DATA = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
EXEMPT = re.compile(r"^<!--\s*not run:(.*?)-->$")
RUNS = re.compile(r"^<!--\s*runs\s*-->$")


@dataclass(frozen=True)
class Block:
    """A fenced block: where its fence stands, its language, and what the line before says."""

    page: Path
    line: int
    language: str
    text: str
    before: str

    @property
    def exempt(self) -> re.Match[str] | None:
        """The mark that says not to run it."""
        return EXEMPT.match(self.before)

    @property
    def runs(self) -> bool:
        """Whether a shell block says that it runs."""
        first = self.text.partition("\n")[0].strip()
        return first == "# runs" or RUNS.match(self.before) is not None

    def __str__(self) -> str:
        return (
            f"{self.page.relative_to(ROOT) if self.page.is_absolute() else self.page}:{self.line}"
        )


def read_blocks(page: Path, text: str) -> list[Block]:
    """Find a page's fenced blocks; a fence that is never closed is an error."""
    blocks: list[Block] = []
    before = ""
    opened: tuple[int, str, str, list[str]] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if opened is None:
            if stripped.startswith("```"):
                words = stripped.strip("`").split()
                indent = line[: len(line) - len(line.lstrip())]
                opened = (number, words[0] if words else "", indent, [])
            elif stripped:
                before = stripped
        elif stripped == "```":
            start, language, indent, lines = opened
            content = "".join(f"{part.removeprefix(indent)}\n" for part in lines)
            blocks.append(Block(page, start, language, content, before))
            opened, before = None, ""
        else:
            opened[3].append(line)
    assert opened is None, f"{page}:{opened and opened[0]}: the fence is never closed"
    return blocks


BLOCKS = [block for page in PAGES for block in read_blocks(page, page.read_text())]


def of(*languages: str) -> list[Block]:
    """The blocks of these languages that are not exempt."""
    return [block for block in BLOCKS if block.language in languages and not block.exempt]


def run(command: list[str], folder: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, the environment's own programs first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(text, timeout=110)
        finally:
            with contextlib.suppress(ProcessLookupError):  # what it left, if it was cut off
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_runs(block: Block, tmp_path: Path) -> None:
    result = run([sys.executable, "-"], tmp_path, block.text)
    assert result.returncode == 0, f"{block}\n{result.stderr}"


@pytest.mark.parametrize(
    "page", sorted({b.page for b in of(*SHELL) if b.runs}), ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_pages_commands_run_one_after_the_other(page: Path, tmp_path: Path) -> None:
    blocks = [block for block in of(*SHELL) if block.page == page and block.runs]
    script = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n" + "\n".join(
        f"echo '== line {block.line}' >&2\n{block.text}" for block in blocks
    )
    result = run(["bash", "-euo", "pipefail", "-s"], tmp_path, script)
    assert result.returncode == 0, f"{page}\n{result.stdout}\n{result.stderr}"


@pytest.mark.parametrize("block", of(*DATA), ids=str)
def test_data_is_well_formed_and_a_project_file_is_accepted(block: Block, tmp_path: Path) -> None:
    content = DATA[block.language](block.text)
    if isinstance(content, dict) and content.get("apiVersion") == "edgectl/v1":
        (tmp_path / "labels.txt").write_text("zero\none\n")
        (tmp_path / "edgectl.yaml").write_text(block.text)
        assert load_project(tmp_path / "edgectl.yaml").spec.name == content["name"]


def test_every_shell_block_says_whether_it_runs() -> None:
    silent = [str(b) for b in BLOCKS if b.language in SHELL and not b.exempt and not b.runs]
    assert silent == [], "begin it with `# runs`, or put `<!-- not run: reason -->` before it"


def test_every_exempt_block_has_a_reason() -> None:
    marks = [(str(block), block.exempt[1].strip()) for block in BLOCKS if block.exempt]
    assert [where for where, reason in marks if len(reason) < 8] == []


def test_no_mark_stands_before_nothing() -> None:
    marks = sum(
        bool(EXEMPT.match(line.strip()) or RUNS.match(line.strip()))
        for page in PAGES
        for line in page.read_text().splitlines()
    )
    assert marks == sum(bool(b.exempt or RUNS.match(b.before)) for b in BLOCKS)


def test_every_block_has_a_language_that_is_known() -> None:
    known = SHELL | PROSE | DATA.keys() | {"python"}
    assert [f"{b}: {b.language}" for b in BLOCKS if b.language not in known] == []


def test_blocks_are_found_with_their_marks() -> None:
    text = "a\n\n<!-- not run: needs a cloud -->\n```sh\nx\n```\n- b\n\n  ```python\n  1\n  ```\n"
    first, second = read_blocks(Path("p.md"), text)
    assert (first.line, first.language, first.text) == (4, "sh", "x\n")
    assert first.exempt
    assert first.exempt[1].strip() == "needs a cloud"
    assert (second.line, second.language, second.text, second.before) == (9, "python", "1\n", "- b")


def test_an_open_fence_is_found() -> None:
    with pytest.raises(AssertionError, match="never closed"):
        read_blocks(Path("p.md"), "```sh\nx\n")
