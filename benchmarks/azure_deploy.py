"""What a deploy that changes nothing costs beside an azure-core script that makes the same calls.

An emulated hub with pretended edge devices gets a release; then `edgectl deploy` and a script
written by hand run in turns against it. The script makes the calls to hub and registry that edgectl
was counted to make, one after the other, and prints the same sentence. It checks nothing of a
release, has no lease to look at and no project to read, so it is the floor and not a limit.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _cloud import EDGECTL, Cloud, emulated

RUNS = 9
DEVICES = 20
PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "1"
train: {command: [python, train.py], outputs: {model: out/model.onnx}}
model: {path: out/model.onnx}
device: {soak: 0s}
targets:
  all: {provider: azure, hardware: x86-64-cpu, selector: {tags: {site: tiny}}}
rollout: {waves: [100%], soak: 0s}
providers:
  azure:
    subscription_id: none
    resource_group: edgectl
    iot_hub: edgectl-hub
    units: 100
    registry: ${EDGECTL_AZURE_REGISTRY:-none}
"""
SCRIPT = """\
import base64, hashlib, hmac, json, os, time
from urllib.parse import quote_plus

from azure.core import PipelineClient
from azure.core.pipeline.policies import RetryPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
import urllib3

parts = dict(p.split("=", 1) for p in os.environ["IOTHUB_CONNECTION_STRING"].split(";"))
host, expiry = parts["HostName"], int(time.time()) + 3600
key = base64.b64decode(parts["SharedAccessKey"])
signed = hmac.new(key, f"{quote_plus(host)}\\n{expiry}".encode(), hashlib.sha256).digest()
token = (
    f"SharedAccessSignature sr={quote_plus(host)}&sig={quote_plus(base64.b64encode(signed))}"
    f"&se={expiry}&skn={parts['SharedAccessKeyName']}"
)
client = PipelineClient(f"https://{host}", policies=[RetryPolicy()], transport=RequestsTransport())


def call(method, path, body=None):
    headers = {"Authorization": token, "x-ms-max-item-count": "1000"}
    request = HttpRequest(
        method, f"https://{host}{path}", params={"api-version": "2021-04-12"},
        headers=headers, json=body,
    )
    answer = client.send_request(request)
    answer.raise_for_status()
    return answer.json()


registry = urllib3.PoolManager()
base = f"http://{os.environ['EDGECTL_AZURE_REGISTRY']}/v2/edgectl/tiny"
tags = json.loads(registry.request("GET", f"{base}/tags/list").data)["tags"]
newest = max(int(tag[1:]) for tag in tags if tag.startswith("r"))
accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
manifest = json.loads(registry.request("GET", f"{base}/manifests/r{newest}", headers=accept).data)
release = registry.request("GET", f"{base}/blobs/{manifest['layers'][0]['digest']}").data

for _ in range(@TWINS@):
    call("GET", "/twins/edgectl.all.tiny")
devices = call("POST", "/devices/query", {"query": "SELECT deviceId, etag, tags, connectionState, "
    "lastActivityTime FROM devices WHERE capabilities.iotEdge = true AND (tags.site = 'tiny')"})
deployments = call("GET", "/configurations")
call("POST", "/configurations/testQueries", {
    "targetCondition": "tags.edgectl.tiny.release = 1 AND (tags.site = 'tiny')",
    "customMetricQueries": {},
})
ids = ", ".join(f"'{row['deviceId']}'" for row in devices)
for _ in range(@QUERIES@):
    rows = call("POST", "/devices/query", {"query": "SELECT deviceId, moduleId, configurations, "
        "properties.desired.$version AS wanted, properties.reported.lastDesiredVersion AS took, "
        "properties.reported.lastDesiredStatus AS status, properties.reported.modules AS modules, "
        "properties.reported.edgectl AS told FROM devices.modules "
        f"WHERE moduleId IN ['$edgeAgent', 'edgectl-tiny'] AND deviceId IN [{ids}]"})
healthy = [r["deviceId"] for r in rows if (r.get("told") or {}).get("phase") == "healthy"]
assert len(healthy) == len(devices)
print(f"all: healthy - all {len(devices)} devices have release {newest} already")
"""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        crowd = ("--devices", "0", "--crowd", str(DEVICES), "all")
        with emulated("azure", PROJECT, Path(name), *crowd) as cloud:
            measure(cloud)


def measure(cloud: Cloud) -> None:
    """Deploy once, then run both in turns."""
    cloud.build()
    cloud.edgectl("deploy")
    called = cloud.count(lambda: cloud.edgectl("deploy"))
    script = cloud.folder / "script.py"
    script.write_text(write_script(called))
    made = cloud.count(lambda: cloud.run(sys.executable, str(script)))
    hub = sorted(name for name in {*called, *made} if name.startswith("hub."))
    mine, theirs = (sum(one.get(name, 0) for name in hub) for one in (called, made))
    print(f"edgectl makes {mine} calls to the hub, the script {theirs}")
    for name in hub:
        if called.get(name) != made.get(name):
            print(f"  {name}: {called.get(name, 0)} and {made.get(name, 0)}")
    commands = {
        "edgectl deploy": [*EDGECTL, "deploy"],
        "azure-core script": [sys.executable, str(script)],
    }
    medians = cloud.medians(commands, RUNS)
    ratio = medians["edgectl deploy"] / medians["azure-core script"]
    print(f"{'ratio':18} {ratio:8.2f}")


def write_script(called: dict[str, int]) -> str:
    """Return the script; what is repeated is repeated as often as edgectl did."""
    return SCRIPT.replace("@TWINS@", str(called.get("hub.GetTwin", 0))).replace(
        "@QUERIES@", str(max(called.get("hub.QueryTwins", 1) - 1, 1))
    )


if __name__ == "__main__":
    main()
