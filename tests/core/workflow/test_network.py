"""Targets whose network has limits: their releases, their plans, and who can keep to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_components.contract.release import parse_release, parse_release_envelope
from edgectl.errors import LimitError, PlanError
from edgectl.project.load import load_project
from edgectl.records import Package, ReleaseRecord
from edgectl.requests import HistoryRequest, ObserveRequest
from edgectl.rollout.verdict import Outcome
from edgectl.session import Session
from edgectl.workflow.deploy import Deployer
from edgectl.workflow.numbers import Numbered, known_numbers, number_releases
from edgectl.workflow.plan import Plan
from edgectl.workflow.planner import make_plan
from edgectl.workflow.results import TargetResult
from edgectl.workflow.resume import rollback_plan

PROJECT = """\
apiVersion: edgectl/v1
name: plates
version: "1"
model: {path: model.onnx}
targets:
  lab: {provider: memory, selector: {ids: [LAB]}}
  lots: {provider: memory, selector: {ids: [LOTS]}, network: NETWORK}
providers:
  memory: {devices: 4, MEMORY}
"""
CAPPED = "{bandwidth: 2MB/s}"
NIGHTLY = '{bandwidth: 16Mbit/s, download_window: {from: "22:00", to: "05:00", days: [mon, fri]}}'


class Site:
    """A project with two targets; its packages are known by their digests only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "model.onnx").touch()
        self.write()
        self.session().key()

    def write(
        self,
        network: str = CAPPED,
        lab: str = "device-0001, device-0002",
        lots: str = "device-0003, device-0004",
        memory: str = "",
    ) -> None:
        text = PROJECT.replace("NETWORK", network).replace("LAB", lab).replace("LOTS", lots)
        (self.folder / "edgectl.yaml").write_text(text.replace("MEMORY", memory))

    def session(self) -> Session:
        return Session(load_project(self.folder), lambda _line: None)

    def package(self, letter: str) -> Package:
        return Package(
            application="plates",
            version=letter,
            layout=self.folder / "store",
            digest=f"sha256:{letter * 64}",
            size_bytes=1,
        )

    def plan(self, letter: str, *names: str, session: Session | None = None) -> Plan:
        session = session or self.session()
        return make_plan(session, self.package(letter), session.project.targets(names))

    def deploy(self, letter: str, *names: str) -> dict[str, TargetResult]:
        session = self.session()
        plan = self.plan(letter, *names, session=session)
        deployer = Deployer(session, lambda _line: None, poll_s=0.01)
        return {one.target: one for one in deployer.run(plan, self.package(letter))}

    def history(self) -> list[int]:
        provider, target = self.session().provider("memory"), self.session().project.target("lab")
        request = HistoryRequest(target=target, application="plates")
        return [record.number for record in provider.history(request)]

    def active(self) -> dict[str, int | None]:
        session = self.session()
        return {
            status.device: status.active_release
            for name in ("lab", "lots")
            for status in session.provider("memory").observe(
                ObserveRequest(target=session.project.target(name), application="plates")
            )
        }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_targets_with_the_same_limits_share_a_release(site: Site) -> None:
    site.write(network="{}")
    assert {one.release for one in site.deploy("a").values()} == {1}


def test_a_target_with_limits_of_its_own_has_a_release_of_its_own(site: Site) -> None:
    found = site.deploy("a")
    assert {name: one.release for name, one in found.items()} == {"lab": 1, "lots": 2}
    assert all(one.verdict and one.verdict.outcome is Outcome.HEALTHY for one in found.values())
    assert site.active() == {
        "device-0001": 1,
        "device-0002": 1,
        "device-0003": 2,
        "device-0004": 2,
    }


def test_only_the_release_of_the_target_has_the_limits_in_what_is_signed(site: Site) -> None:
    deployer = Deployer(site.session(), lambda _line: None)
    signed = {
        name: parse_release(
            parse_release_envelope(
                deployer.make_release(7, site.package("a").digest, "a", name).envelope
            ).payload_bytes()
        )
        for name in ("lab", "lots")
    }
    assert signed["lab"].settings.network is None
    assert signed["lots"].settings.network is not None
    assert signed["lots"].settings.network.bandwidth == 2_000_000


def test_deploying_again_changes_nothing(site: Site) -> None:
    site.deploy("a")
    plan = site.plan("a")
    assert (plan.changes, plan.is_new) == (0, False)
    assert [one.release for one in plan.targets] == [1, 2]
    site.deploy("a")
    assert site.history() == [2, 1]


def test_one_target_at_a_time_comes_to_the_same_releases(site: Site) -> None:
    assert site.deploy("a", "lots")["lots"].release == 1
    assert site.deploy("a", "lab")["lab"].release == 2
    assert site.plan("a").changes == 0


def test_other_limits_are_another_release_for_their_target_alone(site: Site) -> None:
    site.deploy("a")
    site.write(network=NIGHTLY)
    plan = site.plan("a")
    assert {one.target: one.changes for one in plan.targets} == {"lab": 0, "lots": 2}
    site.deploy("a")
    assert site.plan("a").changes == 0
    site.write()  # back to what it was: devices would refuse the number that they had
    plan = site.plan("a")
    assert [(one.release, one.changes) for one in plan.targets] == [(1, 0), (4, 2)]


def test_the_plan_names_limits_and_the_target_s_own_release(site: Site) -> None:
    site.write(network=NIGHTLY)
    lab, lots = site.plan("a").targets
    assert lab.notes == ()
    assert lots.notes == (
        "each device fetches at most 2MB/s",
        (
            "devices fetch files from 22:00 to 05:00 on mon, fri only, by their own clocks; "
            "`rollout.timeout` runs on while they wait"
        ),
    )


def test_a_device_that_moved_to_a_target_with_a_lower_number_gets_a_new_release(
    site: Site,
) -> None:
    site.deploy("a")
    site.write(lab="device-0001, device-0002, device-0003", lots="device-0004")
    plan = site.plan("a")
    assert {one.target: one.release for one in plan.targets} == {"lab": 3, "lots": 2}
    found = site.deploy("a")
    assert found["lab"].verdict is not None
    assert found["lab"].verdict.outcome is Outcome.HEALTHY
    assert site.active()["device-0003"] == 3


def test_a_device_in_two_targets_with_other_limits_is_refused(site: Site) -> None:
    site.write(lots="device-0002, device-0003")
    plan = site.plan("a")
    assert [one.target for one in plan.targets] == ["lab"]
    assert [one.error for one in plan.refused] == [
        "device 'device-0002' is in target 'lab' too, whose network has other limits"
    ]


def test_a_failed_target_goes_back_by_a_release_with_its_own_limits(site: Site) -> None:
    site.deploy("a")
    site.write(memory="behaviours: {device-0003: {end: failed, versions: [b]}}")
    found = site.deploy("b")
    assert {name: one.exit_code for name, one in found.items()} == {"lab": 0, "lots": 6}
    active = site.active()
    assert active["device-0001"] == 3
    assert active["device-0004"] == 5
    assert site.history() == [5, 4, 3, 2, 1]


def test_going_back_by_hand_takes_the_target_s_limits_along(site: Site) -> None:
    site.deploy("a")
    site.deploy("b")
    session = site.session()
    plan, package = rollback_plan(session, session.project.target("lots"), None)
    assert (plan.release, plan.package, plan.is_new) == (5, site.package("a").digest, True)
    Deployer(session, lambda _line: None, poll_s=0.01).run(plan, package)
    again, _ = rollback_plan(site.session(), session.project.target("lots"), 1)
    assert (again.release, again.is_new, again.changes) == (5, False, 0)


def test_a_target_waits_for_one_before_it_whose_release_is_another(site: Site) -> None:
    file = site.folder / "edgectl.yaml"
    file.write_text(file.read_text().replace("network:", "after: [lab], network:"))
    site.deploy("a", "lab")
    assert site.deploy("a", "lots")["lots"].error == ""
    assert "not healthy" in site.deploy("b", "lots")["lots"].error


def test_a_provider_that_cannot_keep_to_limits_is_refused_at_plan_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = site.session()
    provider = session.provider("memory")
    able = provider.capabilities()
    unable = type(able)(network=False, limits=able.limits)
    monkeypatch.setattr(provider, "capabilities", lambda: unable)
    plan = make_plan(session, site.package("a"), session.project.targets())
    assert [one.target for one in plan.targets] == ["lab"]
    assert "devices of target 'lots' cannot keep to `network`" in plan.refused[0].error
    with pytest.raises(LimitError, match="which knows neither a rate nor hours"):
        make_plan(session, site.package("a"), session.project.targets(("lots",)))


# -- numbers


def record(number: int, content: str, package: str = "p") -> ReleaseRecord:
    return ReleaseRecord(number=number, package=package, version="1", content=content)


def test_a_number_is_not_taken_again_after_a_release_of_another_package() -> None:
    history = [record(4, "A"), record(3, "other", "q"), record(2, "B"), record(1, "A")]
    assert known_numbers([history], {"A", "B"}, "p") == {"A": 4}


def test_where_all_have_the_same_settings_others_end_the_use_of_a_number() -> None:
    history = [record(3, "A"), record(2, "other settings"), record(1, "A")]
    assert known_numbers([history], {"A"}, "p") == {"A": 3}
    assert known_numbers([history[1:]], {"A"}, "p") == {}
    assert known_numbers([history[1:]], {"A", "B"}, "p")["A"] == 1


def test_a_number_that_means_two_things_ends_what_is_known() -> None:
    histories = [[record(2, "A")], [record(2, "B"), record(1, "A")]]
    assert known_numbers(histories, {"A", "B"}, "p") == {}


def test_a_provider_that_lacks_the_last_release_is_brought_it() -> None:
    histories = {"x": [record(2, "A")], "y": [record(1, "old")]}
    found = number_releases({"x": "A", "y": "A"}, histories, {"A"}, package="p")
    assert found == {"x": Numbered(2, is_new=False), "y": Numbered(2, is_new=True)}


def test_a_rollback_that_was_cut_off_goes_on_with_its_number() -> None:
    histories = {"x": [record(5, "B"), record(4, "A"), record(3, "B")]}
    found = number_releases({"x": "A"}, histories, {"A"}, package="p", unfinished=[4])
    assert found == {"x": Numbered(4, is_new=False, goes_on=True)}


def test_a_new_release_takes_no_number_again() -> None:
    histories: dict[str, Any] = {"x": [record(5, "A")], "y": [record(5, "A")]}
    wanted = {"x": "A", "y": "B"}
    found = number_releases(wanted, histories, {"A", "B"}, package="p", new_release=True)
    assert [found["x"].number, found["y"].number] == [6, 7]


def test_no_target_at_all_is_an_error(site: Site) -> None:
    site.write(lab="device-9999", lots="device-9998")
    with pytest.raises(PlanError, match="no device matches"):
        site.plan("a")
