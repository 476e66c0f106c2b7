"""Operations of the ``iot`` API that moto does not do as the service does.

Certificates come from the emulator's CA, so that a TLS handshake with them works; endpoints are
the emulator's; listings come in pages; SearchIndex needs an index; dynamic groups follow a query.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from moto.core.exceptions import JsonRESTError
from moto.core.exceptions import ServiceException as MotoError

from edgectl.emulation import Authority
from edgectl_aws_greengrass.emulator.callers import Caller
from edgectl_aws_greengrass.emulator.front import Handler
from edgectl_aws_greengrass.emulator.iot.registry import Registry
from edgectl_aws_greengrass.emulator.paging import page
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

INVALID = "InvalidRequestException"
MAX_GROUPS = 10
MAX_POLICY = 2048
MAX_ATTRIBUTES = 3
"""Of a thing without a type (AWS IoT quotas)."""
MAX_TYPED_ATTRIBUTES = 50


class RegistryApi:
    """The operations.

    Args:
        registry: Things and groups.
        authority: Signs certificates.
        endpoints: ``endpointType`` → address, filled in when the listeners are up.
        changed: Told when a group's members may have changed.
    """

    def __init__(
        self,
        registry: Registry,
        authority: Authority,
        endpoints: Mapping[str, str],
        changed: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._authority = authority
        self._endpoints = endpoints
        self._changed = changed

    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        """Return the operations."""
        table: dict[str, Callable[[Params], Params]] = {
            "CreateCertificateFromCsr": self._create_from_csr,
            "CreateDynamicThingGroup": self._create_dynamic,
            "CreateKeysAndCertificate": self._create_keys,
            "CreateThingGroup": self._create_group,
            "DeleteDynamicThingGroup": self._delete_dynamic,
            "DescribeEndpoint": self._endpoint,
            "ListThingGroupsForThing": self._groups_of,
            "ListThingsInThingGroup": self._things_in,
            "SearchIndex": self._search,
        }
        return {("iot", name): _without_caller(function) for name, function in table.items()}

    def checks(self) -> Mapping[tuple[str, str], Handler]:
        """Return what is looked at before moto does an operation."""
        table: dict[str, Callable[[Params], Params]] = {
            "AddThingToThingGroup": self._check_membership,
            "CreatePolicy": self._check_policy,
            "CreatePolicyVersion": self._check_policy,
            "CreateThing": self._check_attributes,
            "UpdateThing": self._check_attributes,
        }
        return {("iot", name): _without_caller(function) for name, function in table.items()}

    def _check_membership(self, params: Params) -> Params:
        """A thing is in at most ten groups, and in one of a hierarchy (AWS IoT quotas)."""
        name = params.get("thingGroupName") or str(params.get("thingGroupArn")).rpartition("/")[2]
        thing = params.get("thingName") or str(params.get("thingArn")).rpartition("/")[2]
        mine = [group for group, _ in self._registry.direct_groups(thing) if group != name]
        if len(mine) >= MAX_GROUPS:
            raise ServiceError(INVALID, f"Thing {thing} is in {MAX_GROUPS} thing groups already")
        line = set(self._registry.line_of(name))
        for group in mine:
            if group in line or name in self._registry.line_of(group):
                raise ServiceError(
                    INVALID, f"Thing {thing} is in group {group} of the same hierarchy already"
                )
        return {}

    def _check_policy(self, params: Params) -> Params:
        """A policy is JSON of at most 2,048 characters, white space not counted (quotas)."""
        text = params["policyDocument"]
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise ServiceError("MalformedPolicyException", f"not JSON: {error}") from error
        if not isinstance(document, dict) or "Statement" not in document:
            raise ServiceError("MalformedPolicyException", "the policy has no statement")
        if document.get("Version") != "2012-10-17":
            raise ServiceError("MalformedPolicyException", "the policy's version is not 2012-10-17")
        size = len("".join(text.split()))
        if size > MAX_POLICY:
            raise ServiceError(
                "MalformedPolicyException", f"the policy has {size} characters, {MAX_POLICY} may be"
            )
        return {}

    def _check_attributes(self, params: Params) -> Params:
        given = (params.get("attributePayload") or {}).get("attributes") or {}
        known = self._registry.backend.things.get(self._registry.thing_arn(params["thingName"]))
        merge = (params.get("attributePayload") or {}).get("merge")
        kept = dict(known.attributes) if known is not None and merge else {}
        has_type = params.get("thingTypeName") or (known is not None and known.thing_type)
        limit = MAX_TYPED_ATTRIBUTES if has_type else MAX_ATTRIBUTES
        total = [name for name, value in (kept | given).items() if value]
        if len(total) > limit:
            raise ServiceError(
                INVALID, f"{len(total)} attributes are given, {limit} are allowed for this thing"
            )
        return {}

    def _create_group(self, params: Params) -> Params:
        """Make a group; the same again is no error, moto calls it one."""
        # moto lists those without a parent, which is None there, whatever it says of the type.
        parent = cast("str", params.get("parentGroupName"))
        if parent and not self._registry.group_exists(self._registry.group_arn(parent)):
            raise ServiceError("ResourceNotFoundException", f"no thing group '{parent}'")
        try:
            name, arn, group_id = self._registry.backend.create_thing_group(
                params["thingGroupName"], parent, params.get("thingGroupProperties") or {}
            )
        except (MotoError, JsonRESTError) as error:
            raise ServiceError("ResourceAlreadyExistsException", str(error)) from error
        return {"thingGroupName": name, "thingGroupArn": arn, "thingGroupId": group_id}

    def _create_keys(self, params: Params) -> Params:
        certificate, public, private = self._authority.new_device()
        answer = self._register(certificate, active=bool(params.get("setAsActive")))
        return answer | {"keyPair": {"PublicKey": public, "PrivateKey": private}}

    def _create_from_csr(self, params: Params) -> Params:
        try:
            certificate = self._authority.sign_request(params["certificateSigningRequest"])
        except ValueError as error:
            raise ServiceError(INVALID, str(error)) from error
        return self._register(certificate, active=bool(params.get("setAsActive")))

    def _register(self, pem: str, *, active: bool) -> Params:
        made = self._registry.backend.register_certificate(
            pem, ca_certificate_pem=None, set_as_active=active, status="INACTIVE"
        )
        return {
            "certificateArn": made.arn,
            "certificateId": made.certificate_id,
            "certificatePem": pem,
        }

    def _endpoint(self, params: Params) -> Params:
        kind = params.get("endpointType") or "iot:Data"
        address = self._endpoints.get(kind)
        if address is None:
            raise ServiceError(INVALID, f"the endpoint type '{kind}' is not there")
        return {"endpointAddress": address}

    def _things_in(self, params: Params) -> Params:
        arn = self._registry.group_arn(params["thingGroupName"])
        if not self._registry.group_exists(arn):
            raise ServiceError(
                "ResourceNotFoundException",
                f"No things found in thing group {params['thingGroupName']}",
            )
        found = self._registry.things_of(arn, recursive=bool(params.get("recursive")))
        listed, more = page(found, params, largest=250, default=25, error=INVALID)
        return {"things": listed, **more}

    def _groups_of(self, params: Params) -> Params:
        thing = params["thingName"]
        if not self._registry.exists(thing):
            raise ServiceError("ResourceNotFoundException", f"Thing {thing} cannot be found.")
        found = self._registry.direct_groups(thing)
        listed, more = page(found, params, largest=250, default=25, error=INVALID)
        entries = [{"groupName": name, "groupArn": arn} for name, arn in listed]
        return {"thingGroups": entries, **more}

    def _search(self, params: Params) -> Params:
        index = params.get("indexName") or "AWS_Things"
        if index != "AWS_Things":
            raise ServiceError("NotImplemented", f"the emulator has no index '{index}'", 501)
        self._need_index()
        found = self._registry.search(_translated(params["queryString"]))
        listed, more = page(found, params, largest=500, default=100, error=INVALID)
        return {"things": [self._document(thing) for thing in listed], **more}

    def _need_index(self) -> None:
        if self._registry.index_mode() == "OFF":
            raise ServiceError(
                "IndexNotReadyException", "the thing index is off: UpdateIndexingConfiguration"
            )

    def _document(self, thing: Any) -> Params:
        connected, since = self._registry.connectivity(thing.thing_name)
        groups = [name for name, _ in self._registry.direct_groups(thing.thing_name)]
        found: Params = {
            "thingName": thing.thing_name,
            "thingId": thing.thing_id,
            "thingGroupNames": groups,
            "attributes": dict(thing.attributes),
        }
        if thing.thing_type:
            found["thingTypeName"] = thing.thing_type.thing_type_name
        if since:
            found["connectivity"] = {"connected": connected, "timestamp": since * 1000}
        return found

    def _create_dynamic(self, params: Params) -> Params:
        self._need_index()
        query = _translated(params["queryString"])
        self._registry.search(query)
        try:
            name, arn, group_id = self._registry.backend.create_thing_group(
                params["thingGroupName"],
                cast("str", None),
                params.get("thingGroupProperties") or {},
            )
        except (MotoError, JsonRESTError) as error:
            raise ServiceError("ResourceAlreadyExistsException", str(error)) from error
        self._registry.follow(arn, query)
        self._changed()
        return {
            "thingGroupName": name,
            "thingGroupArn": arn,
            "thingGroupId": group_id,
            "indexName": "AWS_Things",
            "queryString": params["queryString"],
            "queryVersion": "2017-09-30",
        }

    def _delete_dynamic(self, params: Params) -> Params:
        self._registry.backend.delete_thing_group(params["thingGroupName"])
        self._registry.follow(self._registry.group_arn(params["thingGroupName"]), None)
        self._changed()
        return {}


def _translated(query: str) -> str:
    """Check that a query is of the kind that moto understands.

    Raises:
        ServiceError: ``InvalidQueryException``: it asks for shadows, numbers or ranges.
    """
    for word in ("shadow.", "connectivity.", ">", "<", "[", "device_defender"):
        if word in query:
            raise ServiceError("InvalidQueryException", f"the emulator cannot search by '{word}'")
    return query


def _without_caller(function: Callable[[Params], Params]) -> Handler:
    def handler(params: Params, caller: Caller) -> Params:
        del caller
        return function(params)

    return handler
