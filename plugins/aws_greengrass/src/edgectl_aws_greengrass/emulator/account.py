"""An emulated account with its doors open: HTTP for the API, TLS and MQTT for devices.

boto3 talks to the plain listener (AWS_ENDPOINT_URL). Devices find data plane, credentials and S3
on the TLS listener and MQTT on its own, all with one CA.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from edgectl.api import Record
from edgectl.emulation import WebServer
from edgectl_aws_greengrass.emulator.broker.server import Broker
from edgectl_aws_greengrass.emulator.cloud import EmulatedCloud
from edgectl_aws_greengrass.emulator.dataplane.app import DataPlane
from edgectl_aws_greengrass.emulator.throttle import Throttle
from edgectl_aws_greengrass.emulator.uploads import keep_metadata_names


class Ports(Record, frozen=True, kw_only=True):
    """Where to listen; 0 takes a free port.

    Attributes:
        api: HTTP, for boto3.
        data: TLS, for devices: data plane, credentials and S3.
        more_data: The same on further ports: AWS has the data plane on 8443, the others on 443,
            and AWS's own device software may insist.
        mqtt: MQTT over TLS. AWS has 8883.
    """

    api: int = 0
    data: int = 0
    more_data: tuple[int, ...] = ()
    mqtt: int = 0


class RunningAccount:
    """Starts and stops the listeners of an account; a context manager.

    Args:
        folder: Takes keys and certificates.
        names: Further names that devices call this machine by.
        host: Address to bind for devices; the API is on loopback always.
    """

    def __init__(
        self,
        folder: Path,
        *,
        region: str = "us-east-1",
        names: tuple[str, ...] = (),
        host: str = "127.0.0.1",
        ports: Ports | None = None,
        throttle: Throttle | None = None,
        minute_s: float = 60.0,
    ) -> None:
        wanted = ports or Ports()
        self.cloud = EmulatedCloud(folder, region=region, throttle=throttle, minute_s=minute_s)
        authority = self.cloud.authority
        buckets = (f"s3.{region}.amazonaws.com", f"*.s3.{region}.amazonaws.com")
        everywhere = ("localhost", "127.0.0.1", *buckets, *names)
        self.api = WebServer(
            self.cloud.front, port=wanted.api, extend=keep_metadata_names
        )  # it steers, so only from here
        tls = authority.server_context(everywhere, demand=False)
        self.data, *self._more = (
            WebServer(self.cloud.front, host=host, port=port, tls=tls, extend=keep_metadata_names)
            for port in (wanted.data, *wanted.more_data)
        )
        mutual = authority.server_context(everywhere, demand=True)
        self.broker = Broker(self.cloud, mutual, host=host, port=wanted.mqtt)
        self.cloud.front.devices = DataPlane(self.cloud)
        self.host_name = names[0] if names else "localhost"

    @property
    def url(self) -> str:
        """What AWS_ENDPOINT_URL is to be."""
        return self.api.url

    @property
    def data_url(self) -> str:
        """Where devices find data plane, credentials and S3."""
        return f"https://{self.host_name}:{self.data.port}"

    @property
    def ca_file(self) -> Path:
        """The CA's certificate."""
        return self.cloud.authority.ca_file

    def settings(self) -> dict[str, str]:
        """Return the variables that point ``edgectl`` and boto3 here."""
        return {
            **self.cloud.settings(self.url),
            "AWS_CA_BUNDLE": str(self.ca_file),
            "EDGECTL_AWS_DEVICE_CA": str(self.ca_file),
        }

    def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: A port cannot be had.
        """
        self.api.start()
        for listener in (self.data, *self._more):
            listener.start()
        self.broker.start()
        self.cloud.url = self.url
        data, name = f"{self.host_name}:{self.data.port}", self.host_name
        self.cloud.endpoints.update(
            {
                "iot:Data": name,
                "iot:Data-ATS": name,
                "iot:Jobs": name,
                "iot:CredentialProvider": data,
            }
        )

    def stop(self) -> None:
        """Close every connection and end."""
        self.broker.stop()
        for listener in (self.data, *self._more):
            listener.stop()
        self.api.stop()
        self.cloud.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
