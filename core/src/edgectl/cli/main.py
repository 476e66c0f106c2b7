"""The ``edgectl`` command: finds the sub-command, runs it, turns errors into exit codes.

Only click is imported here. A sub-command's module is imported when it is called or asked for
help, so ``edgectl --help`` costs little more than ``import click``. Installed packages add
commands through the entry-point group ``edgectl.commands``.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any

import click

from edgectl.cli.contributed import contributed_commands, load_command

COMMANDS = {
    "abort": ("edgectl.cli.commands.control:abort", "Stop a rollout where it is."),
    "demo": ("edgectl.cli.commands.demo:demo", "The whole flow on this machine, with no cloud."),
    "deploy": ("edgectl.cli.commands.deploy:deploy", "Roll the package out to targets."),
    "devices": ("edgectl.cli.commands.devices:devices", "Add, list, show and remove devices."),
    "doctor": ("edgectl.cli.commands.doctor:doctor", "Check credentials and prerequisites."),
    "emulate": ("edgectl.cli.commands.emulate:emulate", "Start a provider's emulator."),
    "init": ("edgectl.cli.commands.init:init", "Write a new project."),
    "journal": ("edgectl.cli.commands.journal:journal", "Show or verify the audit journal."),
    "package": ("edgectl.cli.commands.package:package", "Build and sign the package."),
    "pause": ("edgectl.cli.commands.control:pause", "Hold a rollout after what runs now."),
    "plan": ("edgectl.cli.commands.plan:plan", "Show what a deploy would change."),
    "providers": ("edgectl.cli.commands.providers:providers", "List providers and what they do."),
    "register": ("edgectl.cli.commands.register:register", "Check the model and register it."),
    "resume": ("edgectl.cli.commands.control:resume", "Go on with a rollout."),
    "rollback": ("edgectl.cli.commands.rollback:rollback", "Return to an earlier release."),
    "run": ("edgectl.cli.commands.run:run", "From training to a verdict in one go."),
    "schema": ("edgectl.cli.commands.schema:schema", "Print the JSON Schema of edgectl.yaml."),
    "status": ("edgectl.cli.commands.status:status", "Show where each device stands."),
    "telemetry": ("edgectl.cli.commands.telemetry:telemetry", "Show what the devices told."),
    "train": ("edgectl.cli.commands.train:train", "Train the model."),
}

# What the machine refuses, whatever edgectl does: full, read-only, not permitted, in the way.
_REFUSALS = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EEXIST,
        errno.EFBIG,
        errno.EIO,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.EPERM,
        errno.EROFS,
    }
)


_BY_SIGPIPE = 128 + 13  # what a shell makes of it; 0 would hide a verdict that nobody has read


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line help, and imports them on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names, sorted."""
        del ctx
        return sorted({*COMMANDS, *contributed_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        del ctx
        if cmd_name in COMMANDS:
            place = COMMANDS[cmd_name][0]
        else:
            place = contributed_commands().get(cmd_name, "")
        found: click.Command | None = load_command(place) if place else None
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and name the closest one when there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            import difflib  # noqa: PLC0415 - only a mistyped command pays for it

            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if close and "No such command" in exc.message:
                raise click.UsageError(
                    f"No such command '{args[0]}'. Did you mean '{close[0]}'?", ctx
                ) from exc
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; one whose reader has gone (`edgectl … | head`) ends as by SIGPIPE."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            if not _is_unread(sys.stdout.fileno()):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _BY_SIGPIPE

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        del ctx
        rows = [(name, text) for name, (_, text) in COMMANDS.items()]
        rows += [(name, "From an installed package.") for name in contributed_commands()]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "EDGECTL",
        "max_content_width": 100,
    },
)
@click.option(
    "-p",
    "--project",
    "project",
    default=".",
    metavar="PATH",
    show_envvar=True,
    help="Project file, or the folder that holds edgectl.yaml.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "jsonl"]),
    default="text",
    show_envvar=True,
    help="Form of the result on stdout.",
)
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for debugging.")
@click.option("-q", "--quiet", count=True, help="Say less on stderr; twice for errors only.")
@click.version_option(package_name="edgectl", message="edgectl %(version)s")
@click.pass_context
def cli(ctx: click.Context, project: str, output: str, verbose: int, quiet: int) -> None:
    """One model, one digest, every edge.

    Train a model, register and package it, roll it out to fleets of devices at many places, and
    know from the devices themselves whether they now answer with it. Every option can be given
    as an EDGECTL_… environment variable.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    ctx.obj = {
        "project": project,
        "output": output,
        "level": verbose - quiet,
    }


def main() -> None:
    """Run the command line and exit the process."""
    _buffer_stdout()
    sys.exit(run(sys.argv[1:]))


def _is_unread(file: int) -> bool:
    """Whether nobody can read what is written to a pipe."""
    poll = select.poll()
    poll.register(file, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _buffer_stdout() -> None:
    """Have what is printed arrive whole, also where PYTHONUNBUFFERED is set.

    Without a buffer Python drops the rest of a write that a signal cut short (Ctrl-Z and ``fg``
    while a pipe is full), and nobody hears of it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and isinstance(sys.stdout.buffer, io.RawIOBase):
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        buffer = io.BufferedWriter(sys.stdout.detach())
        sys.stdout = io.TextIOWrapper(buffer, encoding, errors, line_buffering=True)


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code (see docs/cli.md)."""
    if rehearsal := os.environ.get("EDGECTL_REHEARSAL"):
        from edgectl.rehearsal.loopback import fence  # noqa: PLC0415 - only a rehearsal pays

        fence(rehearsal)
    try:
        result = cli.main(arguments, prog_name="edgectl", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.exceptions.Exit as exc:
        return int(exc.exit_code)
    except Exception as exc:
        from edgectl.errors import EdgectlError  # noqa: PLC0415 - only a failure pays for it

        known = _refusal(exc) if isinstance(exc, OSError) else exc
        if not isinstance(known, EdgectlError):
            raise
        return _known_error(known)
    return result if isinstance(result, int) else 0


def _refusal(exc: OSError) -> Any:
    """Return the error for what the machine refused; None for anything else."""
    from edgectl.errors import EdgectlError  # noqa: PLC0415 - only a failure pays for it

    if exc.errno not in _REFUSALS:
        return None
    place = f"'{exc.filename}'" if exc.filename is not None else "a file"
    return EdgectlError(
        f"{place} cannot be read or written: {exc.strerror}",
        hint="check the path, the folder's permissions and the free disk space",
    )


def _known_error(exc: Any) -> int:
    from edgectl.cli.output import show_error  # noqa: PLC0415 - only a failure pays for it

    show_error(exc.message, exc.hint, exc.vendor_code)
    return int(exc.exit_code)


if __name__ == "__main__":
    main()
