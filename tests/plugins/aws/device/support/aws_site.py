"""An account with broker, data plane and a bucket, and core devices as processes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from aws_cloud import ACCOUNT, REGION, FakeCloud
from aws_pki import Authority
from werkzeug.wrappers import Request, Response

from edgectl.emulation import WebServer
from edgectl_aws_greengrass.emulator.broker.server import Broker, BrokerSettings
from edgectl_aws_greengrass.emulator.dataplane.app import DataPlane, serves

Until = Callable[[Callable[[], Any]], Any]
NAMESPACE = "aws-gg-deployment"


class Bucket:
    """Objects by path, and the status to answer instead."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refusals: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        self.gate: Callable[[str], None] = lambda _path: None

    def answer(self, request: Request) -> Response:
        self.asked.append((request.method, request.path))
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
            return Response(status=403)
        if request.path in self.refusals:
            return Response(status=self.refusals[request.path])
        if request.path not in self.objects:
            return Response(status=404)
        if request.method == "GET":
            self.gate(request.path)
        return Response(self.objects[request.path], mimetype="application/octet-stream")


class Site:
    """Everything a core device talks to."""

    def __init__(self, authority: Authority, folder: Path, until: Until) -> None:
        self.cloud = FakeCloud()
        self.bucket = Bucket()
        self.folder = folder
        self.until = until
        self.authority = authority
        context = authority.server_context()
        self.broker = Broker(self.cloud, context, settings=BrokerSettings(min_keep_alive_s=1.0))
        self.broker.start()
        plane = DataPlane(self.cloud)

        def application(environ: Any, start_response: Any) -> Any:
            request = Request(environ)
            answer = plane.answer if serves(request.path) else self.bucket.answer
            return answer(request)(environ, start_response)

        context = authority.server_context()
        context.verify_mode = ssl.CERT_OPTIONAL  # S3 is asked without a certificate
        self.server = WebServer(application, tls=context)
        self.server.start()
        self.devices: list[CoreDevice] = []

    def component(
        self,
        name: str,
        version: str,
        lifecycle: dict[str, Any],
        *,
        files: dict[str, bytes] | None = None,
        needs: dict[str, str] | None = None,
        configuration: dict[str, Any] | None = None,
    ) -> None:
        """Make a component version with artifacts, as CreateComponentVersion leaves it."""
        artifacts = []
        for file, content in (files or {}).items():
            key = f"{name}/{version}/{file}"
            self.bucket.objects[f"/artifacts/{key}"] = content
            artifacts.append(
                {
                    "Uri": f"s3://artifacts/{key}",
                    "Unarchive": "NONE",
                    "Permission": {"Read": "OWNER", "Execute": "NONE"},
                    "Digest": base64.b64encode(hashlib.sha256(content).digest()).decode(),
                    "Algorithm": "SHA-256",
                }
            )
        recipe = {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": name,
            "ComponentVersion": version,
            "ComponentType": "aws.greengrass.generic",
            "ComponentConfiguration": {"DefaultConfiguration": configuration or {}},
            "ComponentDependencies": {
                other: {"VersionRequirement": requirement, "DependencyType": "HARD"}
                for other, requirement in (needs or {}).items()
            },
            "Manifests": [
                {
                    "Platform": {"os": "linux", "runtime": "*"},
                    "Lifecycle": lifecycle,
                    "Artifacts": artifacts,
                }
            ],
            "Lifecycle": {},
        }
        self.cloud.greengrass.recipes[name, version] = json.dumps(recipe).encode()

    def document(
        self, number: int, components: dict[str, Any], *, group: str = "parking", **more: Any
    ) -> dict[str, Any]:
        """Return a deployment document of a group; components as name: version or a map."""
        return {
            "deploymentId": f"deployment-{group}-{number}",
            "configurationArn": (
                f"arn:aws:greengrass:{REGION}:{ACCOUNT}:configuration:thinggroup/{group}:{number}"
            ),
            "creationTimestamp": number,
            "requiredCapabilities": [],
            "failureHandlingPolicy": "ROLLBACK",
            "componentUpdatePolicy": {"timeout": 60, "action": "SKIP_NOTIFY_COMPONENTS"},
            "configurationValidationPolicy": {"timeout": 60},
            "components": {
                name: {"version": each} if isinstance(each, str) else each
                for name, each in components.items()
            },
            **more,
        }

    def deploy(self, thing: str, number: int, components: dict[str, Any], **more: Any) -> str:
        """Queue a group's deployment for a thing and return the job's id."""
        document = self.document(number, components, **more)
        job_id = f"job-{document['deploymentId']}"
        self.cloud.jobs.add(thing, job_id, document)
        return job_id

    def result(self, thing: str, job_id: str) -> tuple[str, dict[str, str]]:
        """Wait for a job's end and return its status and details."""
        ended = {"SUCCEEDED", "FAILED", "CANCELED"}
        self.until(lambda: self.cloud.jobs.get(thing, job_id).status in ended)
        found = self.cloud.jobs.get(thing, job_id)
        return found.status, found.details

    def device(self, thing: str = "core-1", **more: Any) -> CoreDevice:
        """Enroll a thing and start its nucleus."""
        found = CoreDevice(self, thing, **more)
        self.devices.append(found)
        found.start()
        return found

    def close(self) -> None:
        for device in self.devices:
            device.stop()
        self.server.stop()
        self.broker.stop()


class CoreDevice:
    """A nucleus process."""

    def __init__(self, site: Site, thing: str, *options: str, **nucleus: Any) -> None:
        self.site = site
        self.thing = thing
        self.root = site.folder / thing
        self.process: subprocess.Popen[bytes] | None = None
        self.options = list(nucleus.pop("options", ()))
        certificate, key = site.authority.issue(thing)
        site.cloud.things.add(certificate.read_bytes(), thing)
        site.cloud.things.memberships[thing] = ["parking"]
        self.config = site.folder / f"{thing}.yaml"
        self.config.write_text(
            yaml.safe_dump(
                {
                    "system": {
                        "certificateFilePath": str(certificate),
                        "privateKeyPath": str(key),
                        "rootCaPath": str(site.authority.ca),
                        "rootpath": str(self.root),
                        "thingName": thing,
                    },
                    "services": {
                        "aws.greengrass.Nucleus": {
                            "componentType": "NUCLEUS",
                            "configuration": {
                                "awsRegion": REGION,
                                "iotRoleAlias": "TokenExchange",
                                "iotDataEndpoint": "localhost",
                                "iotCredEndpoint": f"localhost:{site.server.port}",
                                "greengrassDataPlanePort": str(site.server.port),
                                "mqtt": {"port": site.broker.port},
                                **nucleus,
                            },
                        }
                    },
                }
            )
        )

    def start(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "console.log").open("ab") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "edgectl_aws_greengrass.emulator.nucleus",
                    "--init-config",
                    str(self.config),
                    "--s3-endpoint",
                    f"https://localhost:{self.site.server.port}",
                    *self.options,
                ],
                stdout=output,
                stderr=output,
                env={**os.environ, "HERE": str(self.root)},
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def read(self, path: str) -> str:
        """Return a file's text below the root folder, "" when it is not there."""
        found = self.root / path
        return found.read_text() if found.exists() else ""

    def health(self) -> list[dict[str, Any]]:
        """Return the fleet status messages of this thing."""
        return [each for each in self.site.cloud.greengrass.health if each["thing"] == self.thing]

    def states(self) -> dict[str, str]:
        """Return the components' states by the last message."""
        messages = self.health()
        return {
            each["componentName"]: each["status"]
            for each in (messages[-1]["components"] if messages else [])
        }
