"""Writing manifests: a folder is the plan, and nothing of others in it is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl.errors import ProjectError
from edgectl.workflow.manifests import write_files


def test_files_are_written_below_the_folder(tmp_path: Path) -> None:
    written = write_files(tmp_path / "all", {"lot-1/b.yaml": "b", "lot-1/a.yaml": "a"})
    assert written == [str(tmp_path / "all/lot-1/a.yaml"), str(tmp_path / "all/lot-1/b.yaml")]
    assert Path(written[0]).read_text() == "a"


def test_what_an_earlier_plan_left_is_removed(tmp_path: Path) -> None:
    write_files(tmp_path, {"old.yaml": "1", "same.yaml": "1"})
    write_files(tmp_path, {"same.yaml": "2"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"same.yaml": "2"}


def test_a_folder_with_something_else_in_it_is_refused_before_anything_changes(
    tmp_path: Path,
) -> None:
    (tmp_path / "README.md").write_text("ours")
    (tmp_path / "0.yaml").write_text("kept")
    with pytest.raises(ProjectError, match=r"README\.md' was not written by"):
        write_files(tmp_path, {"a.yaml": "1"})
    assert (tmp_path / "0.yaml").read_text() == "kept"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match="cannot be written"):
        write_files(tmp_path / "file", {"a.yaml": "1"})
