"""Component versions: made once, never changed, ready a while after.

CreateComponentVersion answers REQUESTED; the artifacts are read and digested then, and the version
becomes DEPLOYABLE or FAILED with an entry in ``errors`` for each artifact that could not be read
(API reference, CloudComponentStatus).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from edgectl_aws_greengrass.emulator.callers import Caller
from edgectl_aws_greengrass.emulator.greengrass import recipes
from edgectl_aws_greengrass.emulator.greengrass.lambdas import lambda_recipe
from edgectl_aws_greengrass.emulator.greengrass.objects import ArtifactError, Objects
from edgectl_aws_greengrass.emulator.greengrass.recipes import Recipe
from edgectl_aws_greengrass.emulator.greengrass.tokens import Tokens
from edgectl_aws_greengrass.emulator.greengrass.versions import parse
from edgectl_aws_greengrass.emulator.policy import allows
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

MAX_ARTIFACT_BYTES = 2 * 1024**3
"""All artifacts of a component version together (AWS General Reference, greengrassv2)."""


@dataclass
class Component:
    """One version of a component.

    Attributes:
        state: REQUESTED, INITIATED, DEPLOYABLE or FAILED.
        errors: Artifact URI → why it cannot be used.
        public: AWS's own: its ARN has no account, and nobody can delete it.
    """

    arn: str
    name: str
    version: str
    recipe: Recipe
    created: datetime
    tags: dict[str, str] = field(default_factory=dict)
    state: str = "REQUESTED"
    errors: dict[str, str] = field(default_factory=dict)
    public: bool = False

    def status(self) -> Params:
        """Return the ``CloudComponentStatus``."""
        found: Params = {"componentState": self.state}
        if self.state == "FAILED":
            found |= {"message": "FAILED: some artifacts cannot be used", "errors": self.errors}
        else:
            found |= {"message": "NONE", "errors": {}}
        return found | {"vendorGuidance": "ACTIVE", "vendorGuidanceMessage": "NONE"}


class Components:
    """The component versions of an account.

    Args:
        arn: Makes ARNs: (service, resource) → ARN.
        objects: The buckets.
        settle_s: How long each of the two steps to DEPLOYABLE takes.
    """

    def __init__(
        self, arn: Callable[[str, str], str], objects: Objects, *, settle_s: float = 0.1
    ) -> None:
        self._arn = arn
        self._objects = objects
        self._settle_s = settle_s
        self._lock = threading.RLock()
        self._known: dict[tuple[str, str], Component] = {}
        self._tokens = Tokens()
        region = arn("", "").split(":")[3]
        for recipe in _PUBLIC:
            self._add_public(recipe, region)

    def _add_public(self, recipe: Recipe, region: str) -> None:
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        arn = f"arn:aws:greengrass:{region}:aws:components:{name}:versions:{version}"
        created = datetime(2024, 1, 1, tzinfo=UTC)
        self._known[name, version] = Component(
            arn, name, version, recipe, created, state="DEPLOYABLE", public=True
        )

    def create(self, params: Params, caller: Caller) -> Params:
        """Answer CreateComponentVersion."""
        sources = [name for name in ("inlineRecipe", "lambdaFunction") if params.get(name)]
        if len(sources) != 1:
            raise ServiceError(
                "ValidationException", "give exactly one of inlineRecipe and lambdaFunction"
            )
        with self._lock:
            earlier = self._tokens.answer(params)
            if earlier is not None:
                return earlier
            recipe = self._recipe(params)
            component = self._new(recipe, params.get("tags") or {})
            answer = {
                "arn": component.arn,
                "componentName": component.name,
                "componentVersion": component.version,
                "creationTimestamp": component.created,
                "status": component.status(),
            }
            self._tokens.keep(params, answer)
        self._later(lambda: self._initiate(component, caller))
        return answer

    def _recipe(self, params: Params) -> Recipe:
        if params.get("inlineRecipe"):
            return recipes.read(params["inlineRecipe"])
        return lambda_recipe(params["lambdaFunction"])

    def _new(self, recipe: Recipe, tags: dict[str, str]) -> Component:
        name, version = recipe["ComponentName"], recipe["ComponentVersion"]
        known = self._known.get((name, version))
        if known is not None and not known.public:
            raise ServiceError(
                "ConflictException",
                f"Component [{name} : {version}] already exists with state: [{known.state}]",
                resourceId=known.arn,
                resourceType="component",
            )
        component = Component(
            arn=self._arn("greengrass", f"components:{name}:versions:{version}"),
            name=name,
            version=version,
            recipe=recipe,
            created=datetime.now(UTC),
            tags=dict(tags),
        )
        self._known[name, version] = component
        return component

    def _later(self, step: Callable[[], None]) -> None:
        timer = threading.Timer(self._settle_s, step)
        timer.daemon = True
        timer.start()

    def _initiate(self, component: Component, caller: Caller) -> None:
        component.state = "INITIATED"
        self._later(lambda: self._finish(component, caller))

    def _finish(self, component: Component, caller: Caller) -> None:
        errors: dict[str, str] = {}
        total = 0
        for artifact in recipes.artifacts(component.recipe):
            uri = artifact["Uri"]
            if not uri.startswith("s3://"):
                continue
            if not allows(caller.policies, "s3:GetObject", f"arn:aws:s3:::{uri[5:]}"):
                errors[uri] = "Specified artifact resource cannot be accessed"
                continue
            try:
                digest, size = self._objects.digest(uri)
            except ArtifactError as error:
                errors[uri] = str(error)
                continue
            total += size
            artifact |= {"Digest": digest, "Algorithm": "SHA-256"}
        if total > MAX_ARTIFACT_BYTES:
            errors["artifacts"] = f"the artifacts have {total} bytes, more than 2 GB"
        component.errors = errors
        component.state = "FAILED" if errors else "DEPLOYABLE"

    def get(self, arn: str) -> Component:
        """Return the version of an ARN.

        Raises:
            ServiceError: ``ResourceNotFoundException``.
        """
        with self._lock:
            found = next((c for c in self._known.values() if c.arn == arn), None)
        if found is None:
            raise missing("component", arn)
        return found

    def versions(self, name: str) -> list[Component]:
        """Return all versions of a component, newest first."""
        with self._lock:
            found = [c for c in self._known.values() if c.name == name]
        return sorted(found, key=lambda c: parse(c.version), reverse=True)

    def all(self, *, public: bool) -> dict[str, list[Component]]:
        """Return name → versions, newest first, of AWS's components or of the account's."""
        with self._lock:
            names = sorted({c.name for c in self._known.values() if c.public == public})
        return {name: [c for c in self.versions(name) if c.public == public] for name in names}

    def delete(self, arn: str) -> None:
        """Answer DeleteComponent; deployments that name the version are not asked."""
        found = self.get(arn)
        if found.public:
            raise ServiceError("AccessDeniedException", f"'{arn}' is a public component")
        if found.state in {"REQUESTED", "INITIATED"}:
            raise ServiceError(
                "ConflictException",
                f"Component [{found.name} : {found.version}] is being created",
                resourceId=arn,
                resourceType="component",
            )
        with self._lock:
            del self._known[found.name, found.version]


def missing(kind: str, name: str) -> ServiceError:
    """Return the service's error for something that does not exist."""
    return ServiceError(
        "ResourceNotFoundException",
        f"The {kind} '{name}' could not be found",
        resourceId=name,
        resourceType=kind,
    )


def _public(name: str, version: str, kind: str) -> Recipe:
    return {
        "RecipeFormatVersion": recipes.FORMAT,
        "ComponentName": name,
        "ComponentVersion": version,
        "ComponentType": f"aws.greengrass.{kind}",
        "ComponentPublisher": "AWS",
        "ComponentConfiguration": {"DefaultConfiguration": {}},
        "ComponentDependencies": {},
        "Manifests": [{"Platform": {"runtime": "*"}, "Lifecycle": {}, "Artifacts": []}],
        "Lifecycle": {},
    }


_PUBLIC = (
    _public("aws.greengrass.Nucleus", "2.12.6", "nucleus"),
    _public("aws.greengrass.Nucleus", "2.14.3", "nucleus"),
    _public("aws.greengrass.NucleusLite", "2.2.0", "nucleus"),
    _public("aws.greengrass.TokenExchangeService", "2.0.3", "generic"),
    _public("aws.greengrass.Cli", "2.14.3", "plugin"),
    _public("aws.greengrass.LambdaLauncher", "2.0.13", "generic"),
    _public("aws.greengrass.LambdaRuntimes", "2.0.8", "generic"),
)
"""The names that recipes and deployments may refer to; what they do is the device's own part."""
