"""What a deploy that changes nothing costs beside a boto3 script that makes the same calls.

An emulated account with pretended core devices gets a release; then `edgectl deploy` and a script
written by hand run in turns against it. The script makes the calls that edgectl was counted to
make, one after the other, and prints the same sentence. Limit: 1.15 times its wall time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

RUNS = 9
LIMIT = 1.15
DEVICES = 20
EDGECTL = [sys.executable, "-m", "edgectl.cli.main"]
TRAIN = """\
import os, pathlib
import numpy as np
from onnx import TensorProto, helper, numpy_helper
weights = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4])
node = helper.make_node("MatMul", ["x", "w"], ["y"])
graph = helper.make_graph([node], "tiny", [value("x")], [value("y")], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(model.SerializeToString())
"""
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
        folder = Path(name)
        (folder / "train.py").write_text(TRAIN)
        (folder / "edgectl.yaml").write_text(PROJECT)
        foreign = ("EDGECTL_", "AWS_", "PYTHONDONTWRITEBYTECODE")
        env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        info = folder / "info.json"
        command = [*EDGECTL, "emulate", "aws", "--info", str(info), "--stop-on-eof"]
        command += ["--devices", "0", "--crowd", str(DEVICES), "all"]
        emulator = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while not info.exists():
                time.sleep(0.1)
            found = json.loads(info.read_text())
            measure(folder, env | found["env"], found["control"])
        finally:
            emulator.terminate()
            emulator.wait()


def measure(folder: Path, env: dict[str, str], control: str) -> None:
    """Deploy once, then run both in turns."""
    run(folder, env, *EDGECTL, "train", "--provider", "selfhosted")
    run(folder, env, *EDGECTL, "register")
    run(folder, env, *EDGECTL, "package")
    while run(folder, env, *EDGECTL, "devices", "list").count("\n") < DEVICES:
        time.sleep(1)
    run(folder, env, *EDGECTL, "deploy")
    called = count(control, lambda: run(folder, env, *EDGECTL, "deploy"))
    script = folder / "script.py"
    script.write_text(write_script(called))
    made = count(control, lambda: run(folder, env, sys.executable, str(script)))
    print(f"edgectl makes {sum(called.values())} calls, the script {sum(made.values())}")
    for name in sorted({*called, *made}):
        if called.get(name) != made.get(name):
            print(f"  {name}: {called.get(name, 0)} and {made.get(name, 0)}")
    commands = {
        "edgectl deploy": [*EDGECTL, "deploy"],
        "boto3 script": [sys.executable, str(script)],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(RUNS + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            run(folder, env, *command)
            if turn:
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:16} {seconds * 1000:8.1f} ms (median of {RUNS})")
    ratio = medians["edgectl deploy"] / medians["boto3 script"]
    print(f"ratio            {ratio:8.2f}, limit {LIMIT}")


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


def count(control: str, work: Callable[[], object]) -> dict[str, int]:
    """Return how often each operation was called meanwhile, without those of devices."""
    request = urllib.request.Request(f"{control}/calls", method="DELETE")
    urllib.request.urlopen(request).close()
    work()
    with urllib.request.urlopen(f"{control}/calls") as answer:
        found: dict[str, int] = json.load(answer)["total"]
    return found


def run(folder: Path, env: dict[str, str], *command: str) -> str:
    """Run a command; end with its words if it fails."""
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
