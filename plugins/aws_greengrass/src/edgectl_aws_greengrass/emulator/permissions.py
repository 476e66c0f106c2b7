"""Which IAM actions an operation needs, and on which resources.

From the service authorization reference (actions, resource types, dependent actions). Where an
operation's resource is not in the table, any resource of a statement matches: too kind, and said
so in the documentation, but its action has to be allowed still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.wire import Params


class Need(Record, frozen=True, kw_only=True):
    """An action that has to be allowed; ``resource`` None when it is not known which."""

    action: str
    resource: str | None = None
    context: tuple[tuple[str, str], ...] = ()


Resource = Callable[[Params, str, str], str | None]
Further = Callable[[Params, str, str], Iterable[Need]]


def needs(
    service: str, operation: str, params: Params, *, region: str, account: str
) -> Iterable[Need]:
    """Return what a caller must be allowed to do."""
    if service == "s3":
        return _s3_needs(operation, params)
    prefix = _PREFIXES.get(service, service)
    pick = _RESOURCES.get((service, operation)) or _RESOURCES.get((service, "*"))
    resource = pick(params, region, account) if pick is not None else None
    first = Need(
        action=f"{prefix}:{_ACTIONS.get((service, operation), operation)}", resource=resource
    )
    further = _DEPENDENT.get((service, operation))
    return (first, *(further(params, region, account) if further else ()))


_PREFIXES: Mapping[str, str] = {
    "greengrassv2": "greengrass",
    "iot-data": "iot",
    "iot-jobs-data": "iot",
}

_ACTIONS: Mapping[tuple[str, str], str] = {("lambda", "Invoke"): "InvokeFunction"}

_S3_ACTIONS: Mapping[str, str] = {
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteObjects": "DeleteObject",
    "GetObjectAttributes": "GetObject",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "UploadPart": "PutObject",
}


def _s3_needs(operation: str, params: Params) -> Iterable[Need]:
    action = _S3_ACTIONS.get(operation, operation)
    bucket, key = params["Bucket"], params["Key"]
    arn = f"arn:aws:s3:::{bucket}" if bucket else "*"
    if key:
        arn = f"{arn}/{key}"
    context = (("s3:prefix", params.get("Prefix", "")),)
    return (Need(action=f"s3:{action}", resource=arn, context=context),)


def _greengrass(kind: str, member: str) -> Resource:
    def arn(params: Params, region: str, account: str) -> str | None:
        return f"arn:aws:greengrass:{region}:{account}:{kind}:{params.get(member)}"

    return arn


def _iot(kind: str, member: str) -> Resource:
    def arn(params: Params, region: str, account: str) -> str | None:
        value = params.get(member)
        return f"arn:aws:iot:{region}:{account}:{kind}/{value}" if value else None

    return arn


def _member(name: str) -> Resource:
    return lambda params, region, account: params.get(name)


def _sagemaker(kind: str, member: str) -> Resource:
    def arn(params: Params, region: str, account: str) -> str | None:
        value = str(params.get(member, ""))
        if value.startswith("arn:"):
            return value
        return f"arn:aws:sagemaker:{region}:{account}:{kind}/{value}"

    return arn


def _logs(params: Params, region: str, account: str) -> str | None:
    group = params.get("logGroupName")
    return f"arn:aws:logs:{region}:{account}:log-group:{group}" if group else None


def _role(params: Params, region: str, account: str) -> str | None:
    name = params.get("RoleName")
    return f"arn:aws:iam::{account}:role/{name}" if name else None


_GROUP = _iot("thinggroup", "thingGroupName")
_THING = _iot("thing", "thingName")
_JOB = _iot("job", "jobId")

_RESOURCES: Mapping[tuple[str, str], Resource] = {
    ("greengrassv2", "CancelDeployment"): _greengrass("deployments", "deploymentId"),
    ("greengrassv2", "CreateDeployment"): _member("targetArn"),
    ("greengrassv2", "DeleteComponent"): _member("arn"),
    ("greengrassv2", "DeleteCoreDevice"): _greengrass("coreDevices", "coreDeviceThingName"),
    ("greengrassv2", "DeleteDeployment"): _greengrass("deployments", "deploymentId"),
    ("greengrassv2", "DescribeComponent"): _member("arn"),
    ("greengrassv2", "GetComponent"): _member("arn"),
    ("greengrassv2", "GetCoreDevice"): _greengrass("coreDevices", "coreDeviceThingName"),
    ("greengrassv2", "GetDeployment"): _greengrass("deployments", "deploymentId"),
    ("greengrassv2", "ListComponentVersions"): _member("arn"),
    ("greengrassv2", "ListEffectiveDeployments"): _greengrass("coreDevices", "coreDeviceThingName"),
    ("greengrassv2", "ListInstalledComponents"): _greengrass("coreDevices", "coreDeviceThingName"),
    ("greengrassv2", "ListTagsForResource"): _member("resourceArn"),
    ("greengrassv2", "TagResource"): _member("resourceArn"),
    ("greengrassv2", "UntagResource"): _member("resourceArn"),
    ("iot", "AddThingToThingGroup"): _GROUP,
    ("iot", "CancelJob"): _JOB,
    ("iot", "CreateJob"): _JOB,
    ("iot", "CreatePolicy"): _iot("policy", "policyName"),
    ("iot", "CreateRoleAlias"): _iot("rolealias", "roleAlias"),
    ("iot", "CreateThing"): _THING,
    ("iot", "CreateThingGroup"): _GROUP,
    ("iot", "CreateTopicRule"): _iot("rule", "ruleName"),
    ("iot", "DeleteJob"): _JOB,
    ("iot", "DeletePolicy"): _iot("policy", "policyName"),
    ("iot", "DeleteThing"): _THING,
    ("iot", "DeleteThingGroup"): _GROUP,
    ("iot", "DescribeJob"): _JOB,
    ("iot", "DescribeJobExecution"): _JOB,
    ("iot", "DescribeRoleAlias"): _iot("rolealias", "roleAlias"),
    ("iot", "DescribeThing"): _THING,
    ("iot", "DescribeThingGroup"): _GROUP,
    ("iot", "GetPolicy"): _iot("policy", "policyName"),
    ("iot", "GetTopicRule"): _iot("rule", "ruleName"),
    ("iot", "ListJobExecutionsForJob"): _JOB,
    ("iot", "ListJobExecutionsForThing"): _THING,
    ("iot", "ListThingGroupsForThing"): _THING,
    ("iot", "ListThingsInThingGroup"): _GROUP,
    ("iot", "RemoveThingFromThingGroup"): _GROUP,
    ("iot", "ReplaceTopicRule"): _iot("rule", "ruleName"),
    ("iot", "SearchIndex"): _iot("index", "indexName"),
    ("iot", "UpdateThing"): _THING,
    ("iot-data", "DeleteThingShadow"): _THING,
    ("iot-data", "GetThingShadow"): _THING,
    ("iot-data", "UpdateThingShadow"): _THING,
    ("sagemaker", "CreateModelPackageGroup"): _sagemaker(
        "model-package-group", "ModelPackageGroupName"
    ),
    ("sagemaker", "CreateTrainingJob"): _sagemaker("training-job", "TrainingJobName"),
    ("sagemaker", "DescribeModelPackage"): _sagemaker("model-package", "ModelPackageName"),
    ("sagemaker", "DescribeModelPackageGroup"): _sagemaker(
        "model-package-group", "ModelPackageGroupName"
    ),
    ("sagemaker", "DescribeTrainingJob"): _sagemaker("training-job", "TrainingJobName"),
    ("sagemaker", "StopTrainingJob"): _sagemaker("training-job", "TrainingJobName"),
    ("sagemaker", "UpdateModelPackage"): _sagemaker("model-package", "ModelPackageArn"),
    ("logs", "*"): _logs,
    ("iam", "CreateRole"): _role,
    ("iam", "DeleteRole"): _role,
    ("iam", "GetRole"): _role,
    ("iam", "PassRole"): _role,
    ("iam", "PutRolePolicy"): _role,
    ("iot-data", "Publish"): _iot("topic", "topic"),
}


def _tag_needs(service: str) -> Further:
    """Return that tagging at creation needs TagResource as well."""

    def further(params: Params, region: str, account: str) -> Iterable[Need]:
        del region, account
        return (Need(action=f"{service}:TagResource"),) if params.get("tags") else ()

    return further


def _both(*parts: Further) -> Further:
    def further(params: Params, region: str, account: str) -> Iterable[Need]:
        return tuple(need for part in parts for need in part(params, region, account))

    return further


def _thing_too(action: str) -> Further:
    """Return that a change of membership needs the thing as well as the group."""

    def further(params: Params, region: str, account: str) -> Iterable[Need]:
        return (Need(action=f"iot:{action}", resource=_THING(params, region, account)),)

    return further


def _deployment_needs(params: Params, region: str, account: str) -> Iterable[Need]:
    """Return what CreateDeployment does in the caller's name (its dependent actions)."""
    target = str(params.get("targetArn", ""))
    if ":thinggroup/" in target:
        job = f"arn:aws:iot:{region}:{account}:job/*"
        return (
            Need(action="iot:DescribeThingGroup", resource=target),
            Need(action="iot:CreateJob", resource=target),
            Need(action="iot:DescribeJob", resource=job),
            Need(action="iot:CancelJob", resource=job),
        )
    return (
        Need(action="iot:DescribeThing", resource=target),
        Need(action="iot:GetThingShadow", resource=target),
        Need(action="iot:UpdateThingShadow", resource=target),
    )


def _cancel_needs(params: Params, region: str, account: str) -> Iterable[Need]:
    del params
    job = f"arn:aws:iot:{region}:{account}:job/*"
    return (Need(action="iot:CancelJob", resource=job),)


def _pass_role(member: str) -> Further:
    def further(params: Params, region: str, account: str) -> Iterable[Need]:
        del region, account
        return (Need(action="iam:PassRole", resource=params.get(member)),)

    return further


def _rule_needs(params: Params, region: str, account: str) -> Iterable[Need]:
    del region, account
    actions = (params.get("topicRulePayload") or {}).get("actions", [])
    roles = {part["roleArn"] for action in actions for part in action.values() if "roleArn" in part}
    return tuple(Need(action="iam:PassRole", resource=role) for role in sorted(roles))


_DEPENDENT: Mapping[tuple[str, str], Further] = {
    ("greengrassv2", "CancelDeployment"): _cancel_needs,
    ("greengrassv2", "CreateComponentVersion"): _tag_needs("greengrass"),
    ("greengrassv2", "CreateDeployment"): _both(_deployment_needs, _tag_needs("greengrass")),
    ("iot", "AddThingToThingGroup"): _thing_too("AddThingToThingGroup"),
    ("iot", "CreateJob"): _tag_needs("iot"),
    ("iot", "CreateThingGroup"): _tag_needs("iot"),
    ("iot", "RemoveThingFromThingGroup"): _thing_too("RemoveThingFromThingGroup"),
    ("iot", "CreateRoleAlias"): _pass_role("roleArn"),
    ("iot", "CreateTopicRule"): _rule_needs,
    ("iot", "ReplaceTopicRule"): _rule_needs,
    ("sagemaker", "CreateTrainingJob"): _pass_role("RoleArn"),
}
