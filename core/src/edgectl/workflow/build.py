"""From the project file to a signed package: train, register, package.

Each step leaves one record below ``.edgectl/build``, and the next one needs only that.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from edgectl.codec import decode_json, encode_json
from edgectl.errors import ProjectError
from edgectl.records import Approval, ModelVersion, Package, Record, TrainedModel
from edgectl.requests import RegisterRequest, TrainRequest
from edgectl.session import Session, require

if TYPE_CHECKING:
    from edgectl.model.prepare import PrepareSpec

T = TypeVar("T")
TRAINED = "trained.json"
PREPARED = "prepared.json"
PACKAGED = "package.json"


class Prepared(Record, frozen=True, kw_only=True):
    """What ``register`` leaves: the version, its files by package path, and the evaluation.

    Attributes:
        registry: The provider at which the version is registered.
    """

    version: ModelVersion
    files: dict[str, Path]
    golden: Path | None = None
    evaluation: dict[str, Any] = {}
    registry: str = ""


def train(session: Session, provider: str | None = None) -> TrainedModel:
    """Run the project's training on a provider, or take the model as it is without ``train:``.

    Raises:
        TrainError: Training failed.
    """
    project = session.project
    spec = project.spec.train
    # A failed training may have written half of its outputs: nothing may be registered from them.
    (session.build_dir / TRAINED).unlink(missing_ok=True)
    if spec is None:
        model = project.file("model.path", project.spec.model.path)
        require(model, what=f"model '{project.spec.model.path}'", command="init")
        trained = TrainedModel(model=model)
    else:
        outputs = spec.outputs
        request = TrainRequest(
            name=project.spec.name,
            version=project.spec.version,
            project_dir=project.dir,
            command=spec.command,
            inputs={k: project.file(f"train.inputs.{k}", v) for k, v in spec.inputs.items()},
            model=project.file("train.outputs.model", outputs.model),
            metrics=(
                project.file("train.outputs.metrics", outputs.metrics)
                if outputs.metrics is not None
                else None
            ),
        )
        trained = session.provider(session.build_provider(provider)).train(request)
    _save(session.build_dir / TRAINED, trained)
    return trained


def register(session: Session, provider: str | None = None) -> ModelVersion:
    """Check the model, make its variants, and record the version.

    Raises:
        GateError: A gate was missed; nothing is registered.
        ModelError: The model or its golden set is unusable.
        ConflictError: The version is registered with another model.
    """
    from edgectl.model.prepare import prepare_version  # noqa: PLC0415 - onnx is heavy

    spec = _prepare_spec(session)
    with _work_dir(session.build_dir) as work:
        prepared = prepare_version(spec, work, session.progress)
        registry = session.build_provider(provider)
        initial: Approval = "pending"
        if session.project.spec.model.approval == "automatic":
            initial = "approved"
        version = session.provider(registry).register(
            RegisterRequest(version=prepared.version, files=prepared.files, initial=initial)
        )
        _save(
            session.build_dir / PREPARED,
            Prepared(
                version=version,
                files=prepared.files,
                golden=prepared.golden,
                evaluation=prepared.evaluation,
                registry=registry,
            ),
        )
    return version


def _prepare_spec(session: Session) -> PrepareSpec:
    from edgectl.model.prepare import PrepareSpec, VariantSpec  # noqa: PLC0415 - onnx is heavy

    project, model = session.project, session.project.spec.model

    def file(key: str, written: str | None) -> Path | None:
        return None if written is None else project.file(f"model.{key}", written)

    trained = _load(session.build_dir / TRAINED, TrainedModel)
    path = project.file("model.path", model.path)
    require(path, what=f"model '{model.path}'", command="train")
    return PrepareSpec(
        name=project.spec.name,
        version=project.spec.version,
        model=path,
        golden=file("golden", model.golden),
        evaluation=file("evaluation", model.evaluation),
        gates=model.gates,
        variants=tuple(
            VariantSpec(
                precision=variant.precision,
                calibration=file(f"variants[{index}].calibration", variant.calibration),
                max_accuracy_drop=variant.max_accuracy_drop,
                kind=variant.quantization,
            )
            for index, variant in enumerate(model.variants)
        ),
        trained=trained,
    )


@contextlib.contextmanager
def _work_dir(build_dir: Path) -> Iterator[Path]:
    """Give a new folder for a version's files; the folder before goes when all went well.

    So a model that is refused leaves the version that was registered before it whole.
    """
    build_dir.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="model-", dir=build_dir))
    try:
        yield work
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    for other in build_dir.glob("model*"):
        if other != work:
            shutil.rmtree(other, ignore_errors=True)


def approve(session: Session, approval: Approval, provider: str | None = None) -> ModelVersion:
    """Set the approval of the version that was registered last.

    Raises:
        ProjectError: Nothing is registered yet.
    """
    prepared = _prepared(session)
    registry = provider or prepared.registry or session.build_provider(None)
    version = session.provider(registry).register(
        RegisterRequest(version=prepared.version, files=prepared.files, approval=approval)
    )
    prepared = msgspec.structs.replace(prepared, version=version, registry=registry)
    _save(session.build_dir / PREPARED, prepared)
    return version


def registry_of(session: Session) -> str:
    """Return the provider at which the project's models are registered."""
    if (session.build_dir / PREPARED).exists() and (known := _prepared(session).registry):
        return known
    return session.build_provider(None)


def package(session: Session) -> Package:
    """Build and sign the package of the registered version.

    Raises:
        ProjectError: Nothing is registered yet, or not the project's present version.
        ConflictError: This version was packaged before with other content.
    """
    from edgectl.package.build import PackageContent, build_package  # noqa: PLC0415 - cryptography is heavy
    from edgectl.package.sign import sign_package  # noqa: PLC0415 - cryptography is heavy

    prepared = _prepared(session)
    version = prepared.version
    if version.version != session.project.spec.version:
        raise ProjectError(
            f"version {version.version} was registered last, "
            f"{session.project.path.name} says {session.project.spec.version}",
            hint="run `edgectl train` and `edgectl register` for the new version",
        )
    content = PackageContent(
        application=version.name,
        version=version.version,
        # Approval changes after the fact, and where a model lay on one machine is not the
        # package's business: neither may move the digest.
        model=msgspec.structs.replace(
            version,
            approval="pending",
            stage="",
            trained=version.trained
            and msgspec.structs.replace(version.trained, model=Path("model.onnx"), job=""),
        ),
        files=prepared.files,
        golden=prepared.golden,
        pipeline=session.project.pipeline,
        assets=session.project.assets,
        evaluation=prepared.evaluation,
    )
    layout = session.layout
    if session.dry is not None:
        layout = session.dry.scratch / "store"
        session.dry.note("write", session.layout, facts={"version": version.version})
    built = build_package(content, layout)
    key = session.key()
    sign_package(layout, built.digest, key)
    built = msgspec.structs.replace(built, signed_by=key.hint)
    _save(session.build_dir / PACKAGED, built)
    return built


def last_package(session: Session) -> Package:
    """Return the package that was built last.

    Raises:
        ProjectError: There is none yet, or it is not of the project's present version.
    """
    built = _load(require(session.build_dir / PACKAGED, what="package", command="package"), Package)
    if built.version != session.project.spec.version:
        raise ProjectError(
            f"the last package is version {built.version}, "
            f"{session.project.path.name} says {session.project.spec.version}",
            hint="run `edgectl register` and `edgectl package` for the new version",
        )
    return msgspec.structs.replace(built, layout=session.layout)


def _prepared(session: Session) -> Prepared:
    path = require(session.build_dir / PREPARED, what="registered version", command="register")
    return _load(path, Prepared)


def _save(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(encode_json(value))
    part.replace(path)


def _load(path: Path, type_: type[T]) -> T:
    require(path, what="trained model" if path.name == TRAINED else path.stem, command="train")
    try:
        return decode_json(path.read_bytes(), type_)
    except msgspec.DecodeError as exc:
        raise ProjectError(
            f"'{path.name}' below .edgectl/build is damaged: {exc}",
            hint="run the step that writes it again",
        ) from exc
