"""AWS's own device SDK against the broker: its MQTT 5 client and its jobs client."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from aws_cloud import FakeCloud
from aws_pki import Authority

from edgectl_aws_greengrass.emulator.broker.server import Broker

mqtt5 = pytest.importorskip("awscrt.mqtt5")
builder = pytest.importorskip("awsiot.mqtt5_client_builder")

WAIT_S = 20.0


@pytest.fixture
def client(broker: Broker, cloud: FakeCloud, authority: Authority) -> Iterator[tuple[Any, Any]]:
    certificate, key = authority.issue("sdk-1")
    cloud.things.add(certificate.read_bytes(), "sdk-1")
    connected: Future[Any] = Future()
    stopped: Future[Any] = Future()
    messages: Future[Any] = Future()
    found = builder.mtls_from_path(
        endpoint="localhost",
        port=broker.port,
        cert_filepath=str(certificate),
        pri_key_filepath=str(key),
        ca_filepath=str(authority.ca),
        client_id="sdk-1",
        on_lifecycle_connection_success=connected.set_result,
        on_lifecycle_stopped=stopped.set_result,
        on_publish_received=messages.set_result,
    )
    found.start()
    assert connected.result(WAIT_S).connack_packet.reason_code == mqtt5.ConnectReasonCode.SUCCESS
    yield found, messages
    found.stop()
    stopped.result(WAIT_S)


def test_the_sdk_takes_a_job_and_reports_it(client: tuple[Any, Any], cloud: FakeCloud) -> None:
    sdk, messages = client
    cloud.jobs.add("sdk-1", "job-1", {"deploymentId": "d"})
    topic = "$aws/things/sdk-1/jobs/$next/namespace-aws-gg-deployment/get"
    subscribed = sdk.subscribe(
        mqtt5.SubscribePacket(
            subscriptions=[mqtt5.Subscription(f"{topic}/accepted", mqtt5.QoS.AT_LEAST_ONCE)]
        )
    ).result(WAIT_S)
    assert subscribed.reason_codes == [mqtt5.SubackReasonCode.GRANTED_QOS_1]
    sent = sdk.publish(
        mqtt5.PublishPacket(topic=topic, payload=b"{}", qos=mqtt5.QoS.AT_LEAST_ONCE)
    ).result(WAIT_S)
    assert sent.puback.reason_code == mqtt5.PubackReasonCode.SUCCESS
    packet = messages.result(WAIT_S).publish_packet
    assert packet.topic == f"{topic}/accepted"
    assert b'"jobId":"job-1"' in packet.payload


def test_the_sdk_is_told_that_it_may_not_publish(client: tuple[Any, Any], cloud: FakeCloud) -> None:
    cloud.things.denied.append(("iot:Publish", "topic/secret"))
    packet = mqtt5.PublishPacket(topic="secret", payload=b"x", qos=mqtt5.QoS.AT_LEAST_ONCE)
    sent = client[0].publish(packet).result(WAIT_S)
    assert sent.puback.reason_code == mqtt5.PubackReasonCode.NOT_AUTHORIZED
