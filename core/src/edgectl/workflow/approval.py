"""Whether a version may go out: what the registry holds of its approval now.

Rolling back does not ask: the way back has to be open, whoever decided what about a version.
"""

from __future__ import annotations

from edgectl.errors import PlanError
from edgectl.records import Package
from edgectl.requests import ApprovalRequest
from edgectl.session import Session
from edgectl.workflow.build import registry_of


def check_approval(session: Session, package: Package, *, force: bool = False) -> None:
    """Refuse a version that is not approved; with ``force`` the journal gets a line instead.

    A registry that keeps no approvals has none to ask for. A version that it does not know was
    registered elsewhere: only a project whose versions need an operator's word minds.

    Raises:
        PlanError: It is pending or rejected.
    """
    name = registry_of(session)
    provider = session.provider(name)
    if not provider.supports("approval"):
        return
    request = ApprovalRequest(name=package.application, version=package.version)
    approval = provider.approval(request).approval
    if approval is None and session.project.spec.model.approval == "automatic":
        return
    if approval == "approved":
        return
    state = approval or "not registered"
    if not force:
        raise PlanError(
            f"{package.application} {package.version} is {state} at provider '{name}': "
            "it may not be deployed",
            hint="`edgectl register --approve` approves it, `edgectl deploy --force-unapproved` "
            "deploys it all the same",
        )
    facts: dict[str, str | int] = {
        "version": package.version,
        "to": package.digest,
        "approval": state,
    }
    session.record(name, "force-unapproved", "ok", facts)
