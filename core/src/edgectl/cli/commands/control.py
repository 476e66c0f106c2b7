"""``edgectl pause``, ``resume`` and ``abort``: from any machine that reaches the provider."""

from __future__ import annotations

import time

import click
import msgspec

from edgectl.cli.app import App, changes, command, poll_option, take_over_option, target_options
from edgectl.cli.commands.deploy import Wishes, drive, show_results
from edgectl.cli.commands.plan import show_plan
from edgectl.cli.output import Row
from edgectl.codec import plain
from edgectl.errors import PlanError
from edgectl.records import Target
from edgectl.requests import WithdrawRequest
from edgectl.session import Session
from edgectl.workflow.dry import note_rollout
from edgectl.workflow.results import TargetResult, exit_code
from edgectl.workflow.resume import resume_plan
from edgectl.workflow.shared import Control, Phase, Shared


@click.command()
@target_options
@command
@changes
def pause(app: App, targets: tuple[str, ...], providers: tuple[str, ...]) -> None:
    """Hold a rollout: devices that have the release finish it, no other gets it."""
    session = app.session()

    def hold(target: Target) -> tuple[Row, str]:
        control = _set(session, target, "pause")
        text = f"{target.name}: release {control.release} is paused"
        return {"target": target.name, **plain(control)}, text

    app.out.each(hold(target) for target in app.choose(session, targets, providers))


@click.command()
@target_options
@command
@changes
def abort(app: App, targets: tuple[str, ...], providers: tuple[str, ...]) -> None:
    """Stop a rollout where it is; devices that have not begun do not get the release."""
    session = app.session()
    app.out.each(_abort(session, target) for target in app.choose(session, targets, providers))


def _abort(session: Session, target: Target) -> tuple[Row, str]:
    control = _set(session, target, "abort")
    taken_back: tuple[str, ...] = ()
    opened = session.provider(target.provider)
    if opened.supports("withdraw"):
        taken_back = opened.withdraw(
            WithdrawRequest(
                target=target, application=session.project.spec.name, release=control.release
            )
        ).devices
    shared = _shared(session, target)
    if not shared.driver():
        # Nobody is there to see it through; the next deploy begins anew.
        shared.set_control(
            lambda present: msgspec.structs.replace(present or control, phase="done", why="aborted")
        )
    text = (
        f"{target.name}: release {control.release} is aborted, "
        f"taken back from {len(taken_back)} devices"
    )
    return {"target": target.name, "withdrawn": taken_back, **plain(control)}, text


@click.command()
@target_options
@click.option(
    "--approve", is_flag=True, help="Let a rollout go on that waits for approval after a wave."
)
@take_over_option
@poll_option
@command
@changes
def resume(
    app: App,
    *,
    targets: tuple[str, ...],
    providers: tuple[str, ...],
    approve: bool,
    take_over: bool,
    poll: float,
) -> None:
    """Go on with a rollout that was paused, waits, or whose driver was killed, and wait.

    Where the driver that was paused is still there, it goes on and has the verdict.
    """
    session = app.session()
    results = []
    for target in app.choose(session, targets, providers):
        control = _set(session, target, "run", approve=approve)
        plan, package = resume_plan(session, target, control)
        other = "" if take_over else _shared(session, target).driver(surely=True)
        if other:
            results.append(
                TargetResult(
                    target=target.name,
                    provider=target.provider,
                    release=control.release,
                    package=package.digest,
                    driven_by=other,
                )
            )
            continue
        if app.dry is not None:
            show_plan(app.out, plan)
            note_rollout(session, app.dry, plan, package, app.out.note)
            continue
        results += drive(app, session, plan, package, Wishes(poll=poll, take_over=take_over))
    show_results(app, results)
    click.get_current_context().exit(exit_code(results))


def _set(session: Session, target: Target, phase: Phase, *, approve: bool = False) -> Control:
    shared = _shared(session, target)

    def change(present: Control | None) -> Control:
        if (
            present is None
            or present.phase == "done"
            or (present.phase == "abort" and phase != "abort")
        ):
            raise PlanError(
                f"no rollout is under way on target '{target.name}'",
                hint="`edgectl deploy` begins one",
            )
        if present.phase == "rollback":
            if phase == "run":
                return present
            raise PlanError(f"target '{target.name}' is being rolled back; that is not stopped")
        if approve and present.waits <= present.approved:
            raise PlanError(f"the rollout on target '{target.name}' waits for no approval")
        return msgspec.structs.replace(
            present,
            phase=phase,
            started_at=time.time() if phase == "run" else present.started_at,
            approved=present.waits if approve else present.approved,
        )

    control = shared.set_control(change)
    facts: dict[str, str | int] = {"target": target.name, "release": control.release}
    session.record(target.provider, phase, "ok", facts)
    if approve:
        session.record(target.provider, "approve", "ok", {**facts, "wave": control.approved})
    return control


def _shared(session: Session, target: Target) -> Shared:
    provider, application = session.provider(target.provider), session.project.spec.name
    return Shared(provider, target, application, memory=session.lease_dir)
