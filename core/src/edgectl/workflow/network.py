"""What a plan says of the limits of a target's network, and who can keep to them."""

from __future__ import annotations

from edge_components.contract.release import NetworkSettings
from edge_components.contract.window import DAYS, Hours
from edgectl.errors import LimitError
from edgectl.rates import format_rate
from edgectl.records import Capabilities, Target


def check_network(
    target: Target, network: NetworkSettings | None, capabilities: Capabilities
) -> None:
    """Check that the provider's devices can keep to the limits.

    Raises:
        LimitError: They cannot.
    """
    if network is not None and not capabilities.network:
        raise LimitError(
            f"devices of target '{target.name}' cannot keep to `network`: software of provider "
            f"'{target.provider}', which knows neither a rate nor hours, fetches their files",
            hint=f"leave `targets.{target.name}.network` out, and give its devices the release "
            f"at the right time with `targets.{target.name}.window`",
        )


def network_notes(network: NetworkSettings | None) -> tuple[str, ...]:
    """Return what an operator should know of the limits."""
    if network is None:
        return ()
    notes = []
    if network.bandwidth:
        notes.append(f"each device fetches at most {format_rate(network.bandwidth)}")
    if network.hours is not None:
        notes.append(
            f"devices fetch files {_hours(network.hours)} only, by "
            f"{network.zone or 'their own clocks'}; `rollout.timeout` runs on while they wait"
        )
    return tuple(notes)


def _hours(hours: Hours) -> str:
    begin, end = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (hours.begin, hours.end))
    days = "" if len(hours.days) == 7 else " on " + ", ".join(DAYS[day] for day in hours.days)
    return f"from {begin} to {end}{days}"
