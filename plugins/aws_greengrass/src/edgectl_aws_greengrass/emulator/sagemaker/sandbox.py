"""The folder of one training job: what SageMaker lays out below ``/opt/ml``, and takes from there.

A laptop has no ``/opt/ml`` to give away, so the root lies elsewhere and the path is replaced where
the job's definition has it (entry point, arguments, environment). A program that has the path in
its own text is not helped by that; the ``SM_*`` variables are there for it.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path

from edgectl_aws_greengrass.emulator.wire import Params

BASE = "/opt/ml"
MAX_REASON = 1024


class Sandbox:
    """A job's folders.

    Args:
        root: What ``/opt/ml`` is here.
        request: The input of CreateTrainingJob.
    """

    def __init__(self, root: Path, request: Params) -> None:
        self.root = root
        self._request = request
        self.name = str(request["TrainingJobName"])

    def make(self) -> None:
        """Make the folders and the configuration files."""
        for part in ("code", "model", "output/data", "input/data", "input/config", "checkpoints"):
            (self.root / part).mkdir(parents=True, exist_ok=True)
        config = self.root / "input/config"
        hyperparameters = self._request.get("HyperParameters") or {}
        (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
        (config / "inputdataconfig.json").write_text(json.dumps(self._channel_settings()))
        (config / "resourceconfig.json").write_text(json.dumps(self._resources()))

    def channel(self, name: str) -> Path:
        """Return the folder of an input channel."""
        return self.root / "input/data" / name

    def command(self) -> list[str]:
        """Return what to run: the container's entry point, or the script that the toolkit runs.

        Raises:
            ValueError: There is neither.
        """
        algorithm = self._request["AlgorithmSpecification"]
        given = [
            *(algorithm.get("ContainerEntrypoint") or ()),
            *(algorithm.get("ContainerArguments") or ()),
        ]
        if given:
            return [_program(given[0]), *(self._here(part) for part in given[1:])]
        script = self.hyperparameter("sagemaker_program")
        if not script:
            raise ValueError(
                "the emulator cannot run an image's own program: give ContainerEntrypoint or the "
                "hyperparameter sagemaker_program"
            )
        program = self.root / "code" / script
        return [sys.executable, str(program), *self._script_arguments()]

    def hyperparameter(self, name: str) -> str:
        """Return a hyperparameter as text; script mode writes them as JSON."""
        value = (self._request.get("HyperParameters") or {}).get(name)
        if value is None:
            return ""
        try:
            return str(json.loads(value))
        except json.JSONDecodeError:
            return str(value)

    def _script_arguments(self) -> list[str]:
        found: list[str] = []
        for name in sorted(self._request.get("HyperParameters") or {}):
            if not name.startswith("sagemaker_"):
                found += [f"--{name}", self.hyperparameter(name)]
        return found

    def environment(self) -> dict[str, str]:
        """Return the container's environment, without credentials."""
        given = self._request.get("Environment") or {}
        arn = f"training-job/{self.name}"
        return {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "TRAINING_JOB_NAME": self.name,
            "TRAINING_JOB_ARN": arn,
            **self._script_variables(),
            **{name: self._here(value) for name, value in given.items()},
        }

    def _script_variables(self) -> dict[str, str]:
        """Return the ``SM_*`` variables that the training toolkit sets in script mode."""
        if self._request["AlgorithmSpecification"].get("ContainerEntrypoint"):
            return {}
        hyperparameters = {
            name: self.hyperparameter(name)
            for name in (self._request.get("HyperParameters") or {})
            if not name.startswith("sagemaker_")
        }
        channels = sorted(self._channel_settings())
        instance = (self._request.get("ResourceConfig") or {}).get("InstanceType", "")
        found = {
            "SM_MODEL_DIR": str(self.root / "model"),
            "SM_INPUT_DIR": str(self.root / "input"),
            "SM_INPUT_CONFIG_DIR": str(self.root / "input/config"),
            "SM_OUTPUT_DIR": str(self.root / "output"),
            "SM_OUTPUT_DATA_DIR": str(self.root / "output/data"),
            "SM_CHANNELS": json.dumps(channels),
            "SM_HPS": json.dumps(hyperparameters),
            "SM_USER_ENTRY_POINT": self.hyperparameter("sagemaker_program"),
            "SM_USER_ARGS": json.dumps(self._script_arguments()),
            "SM_MODULE_DIR": self.hyperparameter("sagemaker_submit_directory"),
            "SM_CURRENT_HOST": "algo-1",
            "SM_HOSTS": '["algo-1"]',
            "SM_CURRENT_INSTANCE_TYPE": instance,
            "SM_NUM_CPUS": str(os.cpu_count() or 1),
            "SM_NUM_GPUS": "0",
            "SM_LOG_LEVEL": "20",
            "SM_RESOURCE_CONFIG": json.dumps(self._resources()),
            "SM_INPUT_DATA_CONFIG": json.dumps(self._channel_settings()),
        }
        found |= {f"SM_CHANNEL_{name.upper()}": str(self.channel(name)) for name in channels}
        found |= {f"SM_HP_{name.upper()}": value for name, value in hyperparameters.items()}
        return found

    def _channel_settings(self) -> dict[str, dict[str, str]]:
        return {
            channel["ChannelName"]: {
                "TrainingInputMode": channel.get("InputMode") or "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": channel.get("RecordWrapperType") or "None",
            }
            for channel in self._request.get("InputDataConfig") or ()
        }

    def _resources(self) -> dict[str, object]:
        return {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}

    def _here(self, text: str) -> str:
        return text.replace(BASE, str(self.root))

    def failure(self) -> str:
        """Return what the program wrote to ``output/failure``."""
        file = self.root / "output/failure"
        return file.read_text(errors="replace")[:MAX_REASON] if file.is_file() else ""

    def archive(self, part: str) -> bytes | None:
        """Return a gzipped tar of what lies in ``model`` or ``output/data``; None when empty."""
        folder = self.root / part
        members = sorted(folder.iterdir())
        if not members:
            return None
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            for member in members:
                archive.add(member, arcname=member.name)
        return data.getvalue()

    def unpack_code(self, archive: bytes) -> None:
        """Unpack a ``sourcedir.tar.gz`` for script mode."""
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as opened:
            opened.extractall(self.root / "code", filter="data")


def _program(name: str) -> str:
    return sys.executable if name in {"python", "python3"} else name
