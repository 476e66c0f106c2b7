"""What a deploy that changes nothing costs beside a boto3 script that makes the same calls.

An emulated account with pretended core devices gets a release; then `edgectl deploy` and a script
written by hand run in turns against it. The script makes the calls that edgectl was counted to
make, one after the other, and prints the same sentence. Limit: 1.15 times its wall time.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _cloud import EDGECTL, Cloud, emulated

RUNS = 9
LIMIT = 1.15
DEVICES = 20
PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "1"
train: {command: [python, train.py], outputs: {model: out/model.onnx}}
model: {path: out/model.onnx}
device: {soak: 0s}
targets:
  all: {provider: aws, hardware: x86-64-cpu, selector: {thing_group: tiny-fleet}}
rollout: {waves: [100%], soak: 0s}
providers:
  aws: {region: us-east-1, bucket: tiny-models}
"""
SCRIPT = """\
import json
import boto3

BUCKET, GROUP, APP = "tiny-models", "tiny-fleet", "edgectl.tiny"
session = boto3.Session(region_name="us-east-1")
s3, iot, sts = session.client("s3"), session.client("iot"), session.client("sts")
greengrass = session.client("greengrassv2")
prefix = "edgectl/applications/tiny"

registry = session.client("sagemaker").list_model_packages(
    ModelPackageGroupName="tiny", SortBy="CreationTime", SortOrder="Descending", MaxResults=100
)["ModelPackageSummaryList"]
assert registry[0]["ModelApprovalStatus"] == "Approved"
account = sts.get_caller_identity()["Account"]
arn = f"arn:aws:iot:us-east-1:{account}:thinggroup/{GROUP}"
releases = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/releases/")["Contents"]
newest = 10**16 - 1 - int(releases[0]["Key"].rsplit("/", 1)[-1].split(".")[0])
control = json.load(s3.get_object(Bucket=BUCKET, Key=f"{prefix}/targets/all/control")["Body"])
things = iot.list_things_in_thing_group(thingGroupName=GROUP, maxResults=250)["things"]
@THINGS@
cores = greengrass.list_core_devices(thingGroupArn=arn, maxResults=100)["coreDevices"]
for _ in range(2):
    own = greengrass.list_deployments(targetArn=arn, historyFilter="ALL", maxResults=100)
    greengrass.list_deployments(parentTargetArn=arn, historyFilter="ALL", maxResults=100)
latest = greengrass.get_deployment(deploymentId=own["deployments"][0]["deploymentId"])
assert latest["components"][APP]["componentVersion"] == f"{newest}.0.0"
@MORE@
listed = iot.list_job_executions_for_job(jobId=latest["iotJobId"], maxResults=250)
healthy = [
    item["thingArn"].rsplit("/", 1)[-1]
    for item in listed["executionSummaries"]
    if item["jobExecutionSummary"]["status"] == "SUCCEEDED"
]
assert set(things) <= set(healthy)
print(f"all: healthy - all {len(things)} devices have release {newest} already")
"""
SHADOWS = """\
data = session.client("iot-data")
reports = []
for name in things:
    try:
        answer = data.get_thing_shadow(thingName=name, shadowName="edgectl")
        reports.append(json.load(answer["payload"]))
    except data.exceptions.ResourceNotFoundException:
        pass
"""
DESCRIBE = 'hardware = [iot.describe_thing(thingName=name).get("attributes") for name in things]'


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        crowd = ("--devices", "0", "--crowd", str(DEVICES), "all")
        with emulated("aws", PROJECT, Path(name), *crowd) as cloud:
            measure(cloud)


def measure(cloud: Cloud) -> None:
    """Deploy once, then run both in turns."""
    cloud.build("aws")
    while cloud.edgectl("devices", "list").words.count("\n") < DEVICES:
        time.sleep(1)
    cloud.edgectl("deploy")
    called = cloud.count(lambda: cloud.edgectl("deploy"))
    script = cloud.folder / "script.py"
    script.write_text(write_script(called))
    made = cloud.count(lambda: cloud.run(sys.executable, str(script)))
    print(f"edgectl makes {sum(called.values())} calls, the script {sum(made.values())}")
    for name in sorted({*called, *made}):
        if called.get(name) != made.get(name):
            print(f"  {name}: {called.get(name, 0)} and {made.get(name, 0)}")
    commands = {
        "edgectl deploy": [*EDGECTL, "deploy"],
        "boto3 script": [sys.executable, str(script)],
    }
    medians = cloud.medians(commands, RUNS)
    ratio = medians["edgectl deploy"] / medians["boto3 script"]
    print(f"{'ratio':18} {ratio:8.2f}, limit {LIMIT}")


def write_script(called: dict[str, int]) -> str:
    """Return the script; calls whose number depends on the fleet are made as edgectl made them."""
    things = DESCRIBE if called.get("iot.DescribeThing") else ""
    more = [SHADOWS] if called.get("iot-data.GetThingShadow") else []
    if called.get("iot.ListThings"):
        more.append('iot.list_things(thingTypeName="edgectl-device", maxResults=250)')
    more += ["iot.list_things_in_thing_group(thingGroupName=GROUP, maxResults=250)"] * (
        called.get("iot.ListThingsInThingGroup", 1) - 1
    )
    more += ['s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/releases/", MaxKeys=1)'] * (
        called.get("s3.ListObjectsV2", 1) - 1
    )
    more += ['s3.get_object(Bucket=BUCKET, Key=f"{prefix}/targets/all/control")["Body"].read()'] * (
        called.get("s3.GetObject", 1) - 1
    )
    return SCRIPT.replace("@THINGS@", things).replace("@MORE@", "\n".join(more))


if __name__ == "__main__":
    main()
