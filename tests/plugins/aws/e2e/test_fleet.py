"""Ten core devices: from training to answers in one command, full disks, and a bad model."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CAMERA = (
    b'{"RecipeFormatVersion":"2020-01-25","ComponentName":"com.example.camera",'
    b'"ComponentVersion":"2.1.0","ComponentConfiguration":{"DefaultConfiguration":{"fps":"30"}},'
    b'"Manifests":[{"Platform":{"os":"linux","runtime":"*"},"Lifecycle":{"Run":"sleep 100000"}}]}'
)


def put_camera(site: Any) -> str:
    """Deploy what another team has to the fleet, and return its group's ARN."""
    client = site.client("greengrassv2")
    made = client.create_component_version(inlineRecipe=CAMERA)
    while client.describe_component(arn=made["arn"])["status"]["componentState"] != "DEPLOYABLE":
        pass
    group = site.client("iot").describe_thing_group(thingGroupName="tiny-fleet")
    arn: str = group["thingGroupArn"]
    client.create_deployment(
        targetArn=arn,
        deploymentName="camera",
        components={"com.example.camera": {"componentVersion": "2.1.0"}},
    )
    return arn


def test_one_command_goes_from_training_to_ten_devices_that_answer(site: Any) -> None:
    site.waves, site.trainer = "[1, 50%, 100%]", "aws"
    site.write()
    with site.account(10):
        arn = put_camera(site)
        assert "stays as it is: com.example.camera 2.1.0" not in site.run("providers")
        said = site.run("run", "--provider", "aws", "--poll", "0.5")
        assert "all: healthy - 10 of 10 devices are healthy" in said
        rows = site.rows()
        assert len(rows) == 10
        assert {(r["state"], r["active"]) for r in rows.values()} == {("healthy", 1)}
        digests = {r["digest"] for r in rows.values()}
        assert site.answers() == {(1, 1, 1, 1)}

        plan = json.loads(site.run("-o", "json", "plan"))
        assert "stays as it is: com.example.camera 2.1.0" in plan["targets"][0]["notes"]
        client = site.client("greengrassv2")
        latest = client.list_deployments(targetArn=arn, historyFilter="LATEST_ONLY")["deployments"]
        components = client.get_deployment(deploymentId=latest[0]["deploymentId"])["components"]
        assert components["com.example.camera"]["componentVersion"] == "2.1.0"

        site.write("2", 2.0)
        site.run("train", "--provider", "aws")
        site.run("register", "--provider", "selfhosted")
        site.spoil_golden()
        site.run("package")
        assert "golden-failed" in site.run("deploy", "--poll", "0.5", code=6)
        assert {r["digest"] for r in site.rows().values()} == digests
        assert site.answers() == {(1, 1, 1, 1)}
        site.run("journal", "verify")

    # The same project trained on this machine and packaged for the team's own machines.
    site.trainer = "selfhosted"
    (site.folder / ".edgectl" / "store").rename(site.folder / "store-of-aws")
    assert {site.build("1", 1.0)} == digests


def test_two_of_ten_with_a_full_disk_are_told_as_such_though_the_cloud_says_active(
    site: Any,
) -> None:
    site.threshold, site.waves = "{percent: 30, min_devices: 10}", "[100%]"
    site.write()
    disks = ("--disk", "all-3=40000", "--disk", "all-7=40000")
    with site.account(10, *disks):
        site.build("1", 1.0)
        said = site.run("deploy", "--poll", "0.5", code=3)
        assert "8 of 10 devices are healthy" in said
        rows = site.rows()
        bad = {
            name: (r["state"], r["reason"]) for name, r in rows.items() if r["state"] != "healthy"
        }
        assert bad == {"all-3": ("failed", "disk-full"), "all-7": ("failed", "disk-full")}
        listed = site.client("greengrassv2").list_deployments()["deployments"]
        assert {d["deploymentStatus"] for d in listed if d["isLatestForTarget"]} == {"ACTIVE"}
