"""The telemetry endpoint, as the official Event Hubs SDK meets it."""

from __future__ import annotations

import gc
import time

import pytest
from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.eventhub.exceptions import EventHubError
from azure_endpoint import NAME, Endpoint, Receiving, until

from edgectl_azure_iot_edge.emulator import sas


def partition_of(endpoint: Endpoint, device: str) -> str:
    return str(endpoint.site.events.partition_of(device))


def here(endpoint: Endpoint, device: str) -> int:
    """Return the sequence number that a device's next event gets."""
    return endpoint.site.events.state(endpoint.site.events.partition_of(device)).next


def test_it_tells_of_its_partitions(endpoint: Endpoint, device: str) -> None:
    event = endpoint.tell(device, b"{}")
    with endpoint.client() as client:
        found = client.get_eventhub_properties()
        assert found["eventhub_name"] == NAME
        assert found["partition_ids"] == ["0", "1", "2", "3"]
        told = client.get_partition_properties(partition_of(endpoint, device))
    assert told["last_enqueued_sequence_number"] == event.sequence_number
    assert told["last_enqueued_offset"] == event.offset
    assert told["is_empty"] is False


def test_events_come_in_order_with_what_the_hub_knows_of_them(
    endpoint: Endpoint, device: str
) -> None:
    start = here(endpoint, device)
    for number in range(20):
        endpoint.site.events.append(
            device,
            f'{{"n": {number}}}'.encode(),
            annotations={"iothub-connection-module-id": "edgectl-plates"},
            properties={"colour": "red"},
            system={"content-type": "application/json", "message-id": f"m{number}"},
        )
    receiving = Receiving(
        endpoint.client(), partition_of(endpoint, device), start, starting_position_inclusive=True
    )
    assert receiving.bodies(20) == [f'{{"n": {n}}}' for n in range(20)]
    first = receiving.events[0]
    assert first.sequence_number == start
    assert first.properties == {b"colour": b"red"}
    assert first.system_properties[b"iothub-connection-device-id"] == device.encode()
    assert first.system_properties[b"iothub-connection-module-id"] == b"edgectl-plates"
    assert first.content_type == "application/json"
    assert first.message_id == "m0"
    assert abs(first.enqueued_time.timestamp() - time.time()) < 60


@pytest.mark.slow
@pytest.mark.parametrize("how", ["offset", "offset-inclusive", "sequence", "time"])
def test_reading_begins_where_it_is_told(endpoint: Endpoint, device: str, how: str) -> None:
    events = []
    for number in range(4):
        events.append(endpoint.tell(device, str(number).encode()))
        # The next one is to have another millisecond, which is how fine positions are.
        spent = int(events[-1].enqueued_at.timestamp() * 1000)
        until(lambda spent=spent: time.time_ns() // 10**6 > spent)
    start = {
        "offset": events[1].offset,
        "offset-inclusive": events[2].offset,
        "sequence": events[1].sequence_number,
        "time": events[1].enqueued_at,
    }[how]
    receiving = Receiving(
        endpoint.client(),
        partition_of(endpoint, device),
        start,
        starting_position_inclusive=how == "offset-inclusive",
    )
    assert receiving.bodies(2)[-2:] == ["2", "3"]


@pytest.mark.slow
def test_whoever_wants_only_the_newest_gets_what_comes_later(
    endpoint: Endpoint, device: str
) -> None:
    endpoint.tell(device, b"before")
    receiving = Receiving(endpoint.client(), partition_of(endpoint, device), "@latest")
    until(lambda: endpoint.room.readers(int(partition_of(endpoint, device))) > 0)
    endpoint.tell(device, b"after")
    assert receiving.bodies(1) == ["after"]


def test_a_message_longer_than_a_frame_comes_whole(endpoint: Endpoint, device: str) -> None:
    start = here(endpoint, device)
    body = bytes(range(256)) * 900
    endpoint.tell(device, body)
    receiving = Receiving(
        endpoint.client(), partition_of(endpoint, device), start, starting_position_inclusive=True
    )
    receiving.until(lambda: len(receiving.events) == 1)
    receiving.close()
    assert b"".join(receiving.events[0].body) == body


@pytest.mark.slow
def test_many_events_come_through_little_credit(endpoint: Endpoint, device: str) -> None:
    start = here(endpoint, device)
    for number in range(500):
        endpoint.tell(device, str(number).encode())
    receiving = Receiving(
        endpoint.client(),
        partition_of(endpoint, device),
        start,
        starting_position_inclusive=True,
        prefetch=7,
    )
    assert receiving.bodies(500) == [str(number) for number in range(500)]


def refused(client: object) -> str:
    with pytest.raises(EventHubError) as caught, client:  # type: ignore[attr-defined]  # a client
        client.get_eventhub_properties()  # type: ignore[attr-defined]  # as above
    return f"{type(caught.value).__name__}: {caught.value}"


def test_a_wrong_key_is_refused(endpoint: Endpoint) -> None:
    wrong = AzureNamedKeyCredential("service", "bm90IHRoZSBrZXk=")
    text = refused(endpoint.client(credential=wrong))
    assert "AuthenticationError" in text
    assert "InvalidSignature" in text


@pytest.mark.slow
def test_a_policy_that_may_not_read_is_refused(endpoint: Endpoint) -> None:
    text = refused(endpoint.client("registryRead"))
    assert "AuthenticationError" in text
    assert "ServiceConnect" in text


def test_a_token_that_is_over_is_refused(endpoint: Endpoint) -> None:
    endpoint.site.ahead_s = 7200.0
    assert "ExpiredToken" in refused(endpoint.client())


@pytest.mark.slow
def test_a_token_that_ends_while_it_is_used_ends_the_link(endpoint: Endpoint, device: str) -> None:
    receiving = Receiving(endpoint.client(), partition_of(endpoint, device), "@latest")
    until(lambda: endpoint.room.readers(int(partition_of(endpoint, device))) > 0)
    endpoint.site.ahead_s = 7200.0
    assert "expired" in receiving.error()


@pytest.mark.slow
def test_a_signature_that_the_user_made_is_taken(endpoint: Endpoint) -> None:
    key = endpoint.hub.hub.policies["service"].primary
    resource = f"sb://localhost/{NAME}"
    raw = sas.quote_plus(resource)
    expiry = str(int(time.time()) + 600)
    signature = sas.quote(sas.sign(key.encode(), raw, expiry), safe="")
    token = f"SharedAccessSignature sr={raw}&sig={signature}&se={expiry}&skn=service"
    with endpoint.client(credential=AzureSasCredential(token)) as client:
        assert client.get_partition_ids() == ["0", "1", "2", "3"]


class Login:
    """A credential of Microsoft Entra ID."""

    def __init__(self, endpoint: Endpoint, roles: tuple[str, ...]) -> None:
        self._directory = endpoint.site.directory
        self._client = self._directory.add(roles)

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        token, life_s = self._directory.log_in(
            self._client.client_id, self._client.secret, scopes[0]
        )
        return AccessToken(token, int(time.time() + life_s))


@pytest.mark.slow
def test_a_login_with_the_role_may_read_and_another_may_not(endpoint: Endpoint) -> None:
    right = Login(endpoint, ("Azure Event Hubs Data Receiver",))
    with endpoint.client(credential=right) as client:
        assert len(client.get_partition_ids()) == 4
    wrong = Login(endpoint, ("Reader",))
    assert "'Listen' claim" in refused(endpoint.client(credential=wrong))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("partition", "group", "start", "word"),
    [
        ("0", "nobody", "-1", "could not be found"),
        ("0", "$Default", "99999999999", "The last offset in the system is"),
        ("0", "$Default", 99_999_999, "The last sequence number in the system is"),
    ],
)
def test_what_is_not_there_is_refused_as_event_hubs_does(
    endpoint: Endpoint, partition: str, group: str, start: object, word: str
) -> None:
    assert word in Receiving(endpoint.client(group=group), partition, start).error()


@pytest.mark.slow
def test_another_event_hub_is_not_found(endpoint: Endpoint) -> None:
    # The SDK for Python does not tell the description of a management answer.
    assert "404" in refused(endpoint.client(name="other"))


@pytest.mark.slow
def test_five_may_read_a_partition_at_once_and_a_sixth_may_not(endpoint: Endpoint) -> None:
    readers = [Receiving(endpoint.client(group="readers"), "3", "@latest") for _ in range(5)]
    try:
        until(lambda: endpoint.room.readers(3) == 5)
        text = Receiving(endpoint.client(group="readers"), "3", "@latest").error()
        assert "which is 5" in text
    finally:
        for reader in readers:
            reader.close()
    until(lambda: endpoint.room.readers(3) == 0)


@pytest.mark.slow
def test_a_reader_with_a_higher_epoch_takes_the_others_place(endpoint: Endpoint) -> None:
    first = Receiving(endpoint.client(), "2", "@latest", owner_level=1)
    until(lambda: endpoint.room.readers(2) == 1)
    second = Receiving(endpoint.client(), "2", "@latest", owner_level=2)
    assert "higher epoch" in first.error()
    assert "higher epoch" in Receiving(endpoint.client(), "2", "@latest", owner_level=1).error()
    second.close()


@pytest.mark.slow
# The SDK leaves the socket of a connection that is cut under it to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_connection_that_is_cut_goes_on_where_it_was(endpoint: Endpoint, device: str) -> None:
    start = here(endpoint, device)
    receiving = Receiving(
        endpoint.client(retry_total=5, retry_backoff_factor=0.05),
        partition_of(endpoint, device),
        start,
        starting_position_inclusive=True,
    )
    for number in range(30):
        endpoint.tell(device, str(number).encode())
        if number == 10:
            receiving.until(lambda: len(receiving.events) > 5)
            endpoint.room.cut()
    receiving.until(lambda: any(event.body_as_str() == "29" for event in receiving.events))
    # The SDK begins again behind the last event that it handed out: at least once, in order.
    found = dict.fromkeys(receiving.bodies(30))
    assert list(found) == [str(number) for number in range(30)]
    gc.collect()
