"""``edge-runtime pipe``: a pipeline between standard input and standard output, without a server.

It takes a release's steps as they are, or a pipeline of its own, and leaves the source and the
sinks out: readings come from standard input, answers go to standard output, what fails is told on
standard error. So a model can be tried in a shell, and work in somebody else's script.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec

from edge_components.contract.device import PipelineSection
from edge_components.contract.errors import ContractError
from edge_components.contract.package import parse_pipeline
from edge_components.contract.pipeline import Pipeline, StdinSource, StdoutSink
from edge_components.pipeline.errors import PipelineError

if TYPE_CHECKING:
    from edge_components.runtime.model import Model

_LOOK_S = 0.01
_SOME_FAILED = 3
_FRAMINGS = ("lines", "frames", "whole")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("--model", type=Path, help="an ONNX file; none for a pipeline with 'remote'")
    add("--name", default="model", help="the model's name in answers (model)")
    add("--version-dir", type=Path, help="a version as the agent lays it out, instead")
    add("--precision", help="the variant of it to load (the profile's best)")
    add("--pipeline", dest="pipeline_file", type=Path, help="the pipeline (JSON); the version's")
    add("--pipeline-config", type=Path, help="the device's word: endpoints, user steps (TOML)")
    add("--framing", choices=_FRAMINGS, default="lines", help="what a reading is (lines)")
    add("--hardware", default="x86-64-cpu", help="hardware profile (x86-64-cpu)")
    add("--state-dir", type=Path, default=Path(), help="where stateful steps remember (.)")


def main(options: argparse.Namespace) -> int:
    """Run until the input ends; return 0, 1 for a known error, 3 where readings failed."""
    # Only this command pays for ONNX Runtime and the steps here.
    from edge_components.pipeline.runner import PipelineRunner  # noqa: PLC0415  # see above
    from edge_components.runtime.metrics import Metrics  # noqa: PLC0415  # see above
    from edge_components.runtime.version import ActivationError  # noqa: PLC0415  # see above

    try:
        device = read_section(options.pipeline_config)
        model, pipeline, package = _load(options)
        metrics = Metrics()
        runner = PipelineRunner(
            _silence(), metrics, state_dir=options.state_dir.absolute(), device=device
        )
        source, sink = StdinSource(framing=options.framing), StdoutSink()
        flow = runner.build(
            model, msgspec.structs.replace(pipeline, source=source, sink=sink), package
        )
    except ActivationError as exc:
        return _fail(f"{exc.reason}: {exc.detail}")
    except (PipelineError, OSError) as exc:
        return _fail(str(exc))
    _until_end(runner, flow)
    return _SOME_FAILED if metrics.failures else 0


def read_pipeline_file(path: Path) -> Pipeline:
    """Read a pipeline as a package has it (``edgectl/pipeline.json``).

    Raises:
        PipelineError: It cannot be read, or is no pipeline.
    """
    try:
        return parse_pipeline(path.read_bytes(), what=f"'{path}'")
    except OSError as exc:
        raise PipelineError(f"'{path}' cannot be read: {exc.strerror}") from exc
    except ContractError as exc:
        raise PipelineError(str(exc)) from exc


def read_section(path: Path | None) -> PipelineSection:
    """Read the device's word on pipelines: the section ``pipeline`` of its file, on its own.

    Raises:
        PipelineError: It cannot be read, or has other keys.
    """
    if path is None:
        return PipelineSection()
    import tomllib  # noqa: PLC0415  # only who has such a file pays for it

    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), PipelineSection)
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise PipelineError(f"'{path}' cannot be read: {reason}") from exc
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise PipelineError(f"'{path}': {exc}") from exc


def _load(options: argparse.Namespace) -> tuple[Model | None, Pipeline, Path]:
    from edge_components.runtime import load, version  # noqa: PLC0415  # ONNX Runtime is heavy

    if options.model is not None and options.version_dir is not None:
        raise PipelineError("--model and --version-dir cannot be used together")
    own = None if options.pipeline_file is None else read_pipeline_file(options.pipeline_file)
    beside = Path() if options.pipeline_file is None else options.pipeline_file.absolute().parent
    profile = version.find_profile(options.hardware)
    if options.version_dir is not None:
        found = version.read_version(options.version_dir)
        variant = version.candidates(found, profile, options.precision)[0]
        model = load.load_variant(found, variant, profile)
        if own is None:
            return model, found.pipeline or Pipeline(), found.package
        return model, own, beside
    if options.model is not None:
        return load.load_file(options.model, options.name, profile), own or Pipeline(), beside
    if own is None:
        raise PipelineError("give a model, a version or a pipeline that asks a remote one")
    return None, own, beside


def _until_end(runner: Any, flow: Any) -> None:
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        del number, frame
        stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    (_, writer), *_ = flow.writers
    runner.use(flow)
    while not (stopped or runner.ended or writer.gone):
        time.sleep(_LOOK_S)
    runner.stop()


def _silence() -> Any:
    from edge_components.pipeline.reports import Silence  # noqa: PLC0415  # it brings numpy

    return Silence()


def _fail(message: str) -> int:
    sys.stderr.write(f"edge-runtime: {message}\n")
    return 1
