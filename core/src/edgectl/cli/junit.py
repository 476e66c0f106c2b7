"""A verdict as JUnit XML: a suite a target, a test case a device, as CI systems show them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from edgectl.errors import ProjectError
from edgectl.workflow.plan import Plan
from edgectl.workflow.results import TargetResult


def write_junit(path: Path, plan: Plan, results: list[TargetResult]) -> None:
    """Write the results of a deploy.

    Raises:
        ProjectError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(junit(plan, results))
    except OSError as exc:
        raise ProjectError(f"'{path}' cannot be written: {exc.strerror}") from exc


def junit(plan: Plan, results: list[TargetResult]) -> bytes:
    """Return the XML.

    A device that failed is a failure; one that never came to an end is skipped, with its state. So
    is a gate that was missed, or that too little was told for. A target that ended with an error,
    or did not begin, has one case that says so.
    """
    devices = {one.target: [device.device for device in one.devices] for one in plan.targets}
    root = ET.Element("testsuites", name=f"edgectl {plan.application} {plan.version}")
    for result in results:
        suite = ET.SubElement(root, "testsuite", name=result.target)
        _properties(suite, result)
        _cases(suite, result, devices.get(result.target, []))
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))
        suite.set("tests", str(len(suite.findall("testcase"))))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _properties(suite: ET.Element, result: TargetResult) -> None:
    held = ET.SubElement(suite, "properties")
    facts = {
        "provider": result.provider,
        "release": str(result.release),
        "package": result.package,
        "outcome": str(result.verdict.outcome) if result.verdict else "",
    }
    for name, value in facts.items():
        ET.SubElement(held, "property", name=name, value=_clean(value))


def _cases(suite: ET.Element, result: TargetResult, devices: list[str]) -> None:
    verdict = result.verdict
    if verdict is None:
        case = _case(suite, result, "rollout")
        if result.error:
            _say(case, "error", result.error, f"{result.hint}\n{result.vendor_code}".strip())
        else:
            _say(case, "skipped", _why_open(result), "")
        return
    failed = {one.device: one for one in verdict.failed}
    for device in devices:
        case = _case(suite, result, device)
        if device in failed:
            found = failed[device]
            _say(case, "failure", f"{found.state}: {found.reason}", found.detail)
        elif device in verdict.others:
            _say(case, "skipped", verdict.others[device], "")
    for gate in verdict.gates:
        case = _case(suite, result, f"gate of wave {gate.wave}: {gate.measure} {gate.limit}")
        if gate.result == "missed":
            _say(case, "failure", gate.why, "\n".join(gate.devices))
        elif gate.result != "met":
            _say(case, "skipped", gate.why, "")


def _why_open(result: TargetResult) -> str:
    if result.waits_for:
        return f"waits for {result.waits_for}"
    return f"{result.driven_by} drives it" if result.driven_by else "begun, not waited for"


def _case(suite: ET.Element, result: TargetResult, name: str) -> ET.Element:
    return ET.SubElement(
        suite, "testcase", classname=f"{result.provider}.{result.target}", name=_clean(name)
    )


def _say(case: ET.Element, tag: str, message: str, text: str) -> None:
    ET.SubElement(case, tag, message=_clean(message)).text = _clean(text) or None


def _clean(text: str) -> str:
    """Return text without characters that XML cannot hold; a device may say anything."""
    other = "\N{REPLACEMENT CHARACTER}"
    return "".join(c if c.isprintable() or c in "\n\t" else other for c in text)
