"""A crash, a hang or a babbling child becomes an error with the model's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl.errors import ModelError
from edgectl.model.guard import run_guarded


def inject(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every Python child run ``code`` when it starts."""
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
def test_a_child_that_dies_by_a_signal_is_an_error_that_names_it(
    name: str, classifier_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import os, signal\nos.kill(os.getpid(), signal.{name})\n"
    inject(code, tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=rf"'m\.onnx' crashed 'check' \({name}\)") as caught:
        run_guarded("check", {"model": str(classifier_file)}, what="'m.onnx'")
    assert "defect of onnxruntime" in caught.value.hint


def test_a_child_that_never_ends_is_killed_and_reported(
    classifier_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject("import signal\nsignal.pause()\n", tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=r"was not done with 'check' after 0\.3 s"):
        run_guarded("check", {"model": str(classifier_file)}, what="it", timeout_s=0.3)


def test_a_child_that_ends_without_an_answer_is_an_error(
    classifier_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject("import os\nos._exit(0)\n", tmp_path, monkeypatch)
    with pytest.raises(ModelError, match="ended 'check' without an answer"):
        run_guarded("check", {"model": str(classifier_file)}, what="it")


def test_a_defect_in_the_worker_shows_its_last_line(classifier_file: Path) -> None:
    with pytest.raises(ModelError, match=r"exit code 1.*no-such-verb"):
        run_guarded("no-such-verb", {"model": str(classifier_file)}, what="it")


def test_what_a_library_prints_does_not_spoil_the_answer(
    classifier_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject("import atexit\natexit.register(print, 'noise')\n", tmp_path, monkeypatch)
    assert run_guarded("check", {"model": str(classifier_file)}, what="it") == {}
