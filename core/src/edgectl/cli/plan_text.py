"""A plan for people: as text on a terminal, and as Markdown for a pull request."""

from __future__ import annotations

from edgectl.workflow.plan import Plan, TargetPlan

SHOWN = 20


def describe(made: Plan, *, every: bool = False) -> str:
    """Return a plan as text.

    Args:
        made: The plan.
        every: Whether all devices are shown, not only the first ones.
    """
    news = "new" if made.is_new else "present"
    lines = [
        f"{made.application} {made.version}  {made.package}",
        f"release {made.release} ({news}): {made.changes} devices change",
    ]
    for target in made.targets:
        waves = " + ".join(str(size) for size in target.waves)
        other = f", release {target.release}" if target.release not in {0, made.release} else ""
        lines.append(f"{target.target} ({target.provider}): waves of {waves} devices{other}")
        lines += [f"  note: {note}" for note in target.notes]
        lines += [f"  gates while soaking: {', '.join(target.gates)}"] if target.gates else []
        lines += [f"  {transfer.text()}" for transfer in target.transfers]
        shown = target.devices if every else target.devices[:SHOWN]
        for device in shown:
            before = device.from_package[:19] or "nothing"
            lines.append(f"  wave {device.wave}  {device.device}  {device.change}  from {before}")
        if len(shown) < len(target.devices):
            lines.append(f"  and {len(target.devices) - len(shown)} more (-v shows all)")
    for refusal in made.refused:
        lines.append(f"{refusal.target} ({refusal.provider}): refused, {refusal.error}")
        lines += [f"  hint: {refusal.hint}"] if refusal.hint else []
    return "\n".join(lines)


def markdown(made: Plan) -> str:
    """Return a plan as Markdown: one table of targets, and the devices folded away."""
    news = "new" if made.is_new else "present"
    lines = [
        f"### edgectl plan: {made.application} {made.version}",
        "",
        f"Release **{made.release}** ({news}), **{made.changes}** devices change.",
        f"Package `{made.package}`.",
        "",
        "| target | provider | devices | change | waves | goes back to |",
        "|---|---|---:|---:|---|---|",
    ]
    lines += [_row(target) for target in made.targets]
    lines += [
        f"| {_cell(one.target)} | {one.provider} | refused: {_cell(one.error)} | | | |"
        for one in made.refused
    ]
    for target in made.targets:
        lines += ["", f"<details><summary>{target.target}</summary>", ""]
        notes = [*target.notes]
        if target.release not in {0, made.release}:
            notes.insert(0, f"it gets release {target.release}: its network has other limits")
        notes += [f"gates while soaking: {', '.join(target.gates)}"] if target.gates else []
        notes += [transfer.text() for transfer in target.transfers]
        lines += [f"- {_cell(note)}" for note in notes] + ([""] if notes else [])
        lines += ["| wave | device | hardware | change | from |", "|---:|---|---|---|---|"]
        lines += [
            f"| {device.wave} | {_cell(device.device)} | {_cell(device.hardware)} | "
            f"{device.change} | {_from(device.from_package)} |"
            for device in target.devices[: SHOWN * 5]
        ]
        left = len(target.devices) - SHOWN * 5
        lines += ["", f"and {left} more"] if left > 0 else []
        lines += ["", "</details>"]
    return "\n".join(lines)


def _row(target: TargetPlan) -> str:
    waves = " + ".join(str(size) for size in target.waves)
    return (
        f"| {_cell(target.target)} | {target.provider} | {len(target.devices)} | "
        f"{target.changes} | {waves} | {_from(target.baseline)} |"
    )


def _from(digest: str) -> str:
    return f"`{digest[:19]}`" if digest else "nothing"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
