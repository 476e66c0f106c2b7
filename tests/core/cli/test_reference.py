"""The command-line reference is the commands' own text."""

from __future__ import annotations

from pathlib import Path

from edgectl.cli.main import COMMANDS, cli
from edgectl.cli.reference import cli_reference

REFERENCE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_reference_in_the_docs_is_up_to_date() -> None:
    assert REFERENCE.read_text() == cli_reference(), (
        "run: python -m edgectl.cli.reference > docs/cli.md"
    )


def test_every_command_is_in_the_reference() -> None:
    text = cli_reference()
    missing = [name for name in COMMANDS if f"`edgectl {name}`" not in text]
    assert missing == []


def test_the_one_line_help_of_each_command_begins_its_long_help() -> None:
    """The list in ``--help`` is written by hand so that it needs no import; it may not drift."""
    for name in COMMANDS:
        command = cli.get_command(None, name)  # type: ignore[arg-type] - the context is not used
        assert command is not None
        assert command.help, name
