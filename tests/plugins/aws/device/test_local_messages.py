"""Answers on their way to a Lambda function: local messages from one component to another."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from aws_site import Site

pytest.importorskip("awsiot.greengrasscoreipc")

PYTHON = sys.executable
FUNCTION = "edgectl.lambda.count"
RUNTIME = "edgectl.edge-runtime"
TOPIC = "edgectl/lambda/count"
# Stands for the function: the nucleus's Lambda manager listens to the event source in its place.
LISTEN = """
import json, sys, time
from awsiot import greengrasscoreipc
from awsiot.greengrasscoreipc import client, model

class Heard(client.SubscribeToTopicStreamHandler):
    def on_stream_event(self, event):
        print(json.dumps(event.json_message.message), flush=True)
    def on_stream_error(self, error):
        return True
    def on_stream_closed(self):
        pass

link = greengrasscoreipc.connect()
operation = link.new_subscribe_to_topic(Heard())
operation.activate(model.SubscribeToTopicRequest(topic=sys.argv[1])).result(10)
operation.get_response().result(10)
print("listening", flush=True)
time.sleep(600)
"""
TELL = """
import sys, time
from edge_components.contract.pipeline import LambdaSink
from edge_components.pipeline.reports import Reports, Silence
from edge_components.pipeline.sinks.function import FunctionWriter
from edge_components.runtime.metrics import Metrics

metrics = Metrics()
sink = LambdaSink(arn="arn:aws:lambda:us-east-1:123456789012:function:" + sys.argv[1] + ":3")
writer = FunctionWriter(sink, Reports(Silence(), metrics))
for number in range(3):
    writer.write("reading", {"label": "plate", "number": number})
writer.close(10.0)
print("told")
"""


def access(operation: str, *resources: str) -> dict[str, Any]:
    policy = {
        "policyDescription": "local messages",
        "operations": [f"aws.greengrass#{operation}"],
        "resources": list(resources),
    }
    return {"accessControl": {"aws.greengrass.ipc.pubsub": {"edgectl:pubsub:1": policy}}}


def component(site: Site, name: str, step: str, code: str, argument: str, **about: Any) -> None:
    script = f'"{PYTHON}" {{artifacts:path}}/main.py {argument} > $HERE/{name} 2>&1'
    site.component(
        name, "1.0.0", {step: {"Script": script}}, files={"main.py": code.encode()}, **about
    )


def test_a_function_gets_the_answers_of_the_pipeline_in_order(site: Site) -> None:
    heard = access("SubscribeToTopic", TOPIC)
    component(site, FUNCTION, "Run", LISTEN, TOPIC, configuration=heard)
    core = site.device()
    status, details = site.result("core-1", site.deploy("core-1", 1, {FUNCTION: "1.0.0"}))
    assert status == "SUCCEEDED", details
    site.until(lambda: "listening" in core.read(FUNCTION))
    told = access("PublishToTopic", "edgectl/lambda/*")
    component(site, RUNTIME, "Startup", TELL, "count", configuration=told)
    both = {FUNCTION: "1.0.0", RUNTIME: "1.0.0"}
    status, details = site.result("core-1", site.deploy("core-1", 2, both))
    assert status == "SUCCEEDED", (details, core.read(RUNTIME))
    site.until(lambda: core.read(FUNCTION).count("plate") == 3)
    lines = [json.loads(line) for line in core.read(FUNCTION).splitlines()[1:]]
    assert lines == [{"label": "plate", "number": number} for number in range(3)]


def test_a_component_without_the_right_does_not_reach_a_function(site: Site) -> None:
    told = access("PublishToTopic", "edgectl/lambda/other")
    code = TELL.replace("close(10.0)", "close(1.0)") + "print(dict(metrics.pipeline))\n"
    component(site, RUNTIME, "Startup", code, "count", configuration=told)
    core = site.device()
    status, _ = site.result("core-1", site.deploy("core-1", 1, {RUNTIME: "1.0.0"}))
    assert status == "SUCCEEDED", core.read(RUNTIME)
    assert "{'lambda_lost': 3}" in core.read(RUNTIME)
