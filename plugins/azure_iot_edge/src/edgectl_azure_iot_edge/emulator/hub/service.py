"""What each operation of the service API answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from werkzeug.wrappers import Request, Response

from edgectl_azure_iot_edge.emulator.hub import configurations as deployments
from edgectl_azure_iot_edge.emulator.hub.access import Caller
from edgectl_azure_iot_edge.emulator.hub.bulk import update_registry
from edgectl_azure_iot_edge.emulator.hub.documents import twin_document
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.hub import Hub
from edgectl_azure_iot_edge.emulator.hub.identity import device_document, module_document
from edgectl_azure_iot_edge.emulator.hub.manual import apply_content
from edgectl_azure_iot_edge.emulator.hub.operations import Operation
from edgectl_azure_iot_edge.emulator.hub.pages import answer_query
from edgectl_azure_iot_edge.emulator.hub.rates import METER_BYTES, METHOD

Json = dict[str, Any]
Names = Mapping[str, str]
Handler = Callable[[Names, Request, Caller], Response]
MAX_LISTED = 1_000


class Service:
    """The handlers.

    Args:
        hub: Whose.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._handlers: Mapping[str, Handler] = {
            "QueryTwins": lambda _, request, __: answer_query(hub, request),
            "ListDevices": self._list_devices,
            "BulkUpdate": self._bulk,
            "GetDevice": self._get_device,
            "PutDevice": self._put_device,
            "DeleteDevice": self._delete_device,
            "ListModules": self._list_modules,
            "GetModule": self._get_module,
            "PutModule": self._put_module,
            "DeleteModule": self._delete_module,
            "PurgeCommands": self._purge,
            "ApplyConfigurationContent": self._apply,
            "GetTwin": self._get_twin,
            "UpdateTwin": self._update_twin,
            "ReplaceTwin": self._replace_twin,
            "GetModuleTwin": self._get_twin,
            "UpdateModuleTwin": self._update_twin,
            "ReplaceModuleTwin": self._replace_twin,
            "InvokeMethod": self._invoke,
            "InvokeModuleMethod": self._invoke,
            "ListConfigurations": self._list_configurations,
            "TestQueries": self._test_queries,
            "GetConfiguration": self._get_configuration,
            "PutConfiguration": self._put_configuration,
            "DeleteConfiguration": self._delete_configuration,
            "ListJobs": self._list_jobs,
            "GetJob": lambda names, _, __: _json(hub.jobs.get(names["id"])),
            "CreateJob": self._create_job,
            "CancelJob": lambda names, _, __: _json(hub.jobs.cancel(names["id"])),
            "GetDeviceStatistics": self._device_statistics,
            "GetServiceStatistics": self._service_statistics,
        }

    def answer(
        self, operation: Operation, names: Names, request: Request, caller: Caller
    ) -> Response:
        """Do an operation.

        Raises:
            HubError: It is refused.
        """
        return self._handlers[operation.name](names, request, caller)

    # --- registry

    def _list_devices(self, names: Names, request: Request, caller: Caller) -> Response:
        del names, caller
        top = request.args.get("top", str(MAX_LISTED))
        if not top.isdigit() or not 0 < int(top) <= MAX_LISTED:
            raise HubError("ArgumentInvalid", f"'top' is '{top}', 1 to {MAX_LISTED} may be")
        with self._hub.registry.lock:
            found = [device_document(d.identity) for d in self._hub.registry.devices.values()]
        return _json(found[: int(top)])

    def _bulk(self, names: Names, request: Request, caller: Caller) -> Response:
        del names, caller
        result = update_registry(self._hub.registry, _list(request))
        return _json(result, status=200 if result["isSuccessful"] else 400)

    def _get_device(self, names: Names, request: Request, caller: Caller) -> Response:
        del request, caller
        with self._hub.registry.lock:
            identity = self._hub.registry.device(names["id"]).identity
            return _json(device_document(identity), etag=identity.etag, quotes=False)

    def _put_device(self, names: Names, request: Request, caller: Caller) -> Response:
        del caller
        with self._hub.registry.lock:
            identity = self._hub.registry.put_device(names["id"], _body(request), _match(request))
            return _json(device_document(identity), etag=identity.etag, quotes=False)

    def _delete_device(self, names: Names, request: Request, caller: Caller) -> Response:
        del caller
        self._hub.registry.delete_device(names["id"], _match(request))
        return Response(status=204)

    def _list_modules(self, names: Names, request: Request, caller: Caller) -> Response:
        del request, caller
        with self._hub.registry.lock:
            modules = self._hub.registry.device(names["id"]).modules.values()
            return _json([module_document(m.identity) for m in modules])

    def _get_module(self, names: Names, request: Request, caller: Caller) -> Response:
        del request, caller
        with self._hub.registry.lock:
            identity = self._hub.registry.entry(names["id"], names["mid"]).identity
            return _json(module_document(identity), etag=identity.etag, quotes=False)

    def _put_module(self, names: Names, request: Request, caller: Caller) -> Response:
        with self._hub.registry.lock:
            identity = self._hub.registry.put_module(
                names["id"],
                names["mid"],
                _body(request),
                _match(request),
                own=bool(caller.device_id),
            )
            return _json(module_document(identity), etag=identity.etag, quotes=False)

    def _delete_module(self, names: Names, request: Request, caller: Caller) -> Response:
        del caller
        self._hub.registry.delete_module(names["id"], names["mid"], _match(request))
        return Response(status=204)

    def _purge(self, names: Names, request: Request, caller: Caller) -> Response:
        del request, caller
        with self._hub.registry.lock:
            self._hub.registry.device(names["id"])
        return _json({"deviceId": names["id"], "moduleId": None, "totalMessagesPurged": 0})

    def _device_statistics(self, names: Names, request: Request, caller: Caller) -> Response:
        del names, request, caller
        with self._hub.registry.lock:
            statuses = [d.identity.status for d in self._hub.registry.devices.values()]
        return _json(
            {
                "totalDeviceCount": len(statuses),
                "enabledDeviceCount": statuses.count("enabled"),
                "disabledDeviceCount": statuses.count("disabled"),
            }
        )

    def _service_statistics(self, names: Names, request: Request, caller: Caller) -> Response:
        del names, request, caller
        with self._hub.registry.lock:
            devices = self._hub.registry.devices.values()
            return _json({"connectedDeviceCount": sum(d.identity.connected for d in devices)})

    # --- twins and methods

    def _get_twin(self, names: Names, request: Request, caller: Caller) -> Response:
        del request, caller
        with self._hub.registry.lock:
            entry = self._hub.registry.twin_entry(names["id"], names.get("mid"))
            return _json(twin_document(entry.identity, entry.twin), etag=entry.twin.etag)

    def _update_twin(self, names: Names, request: Request, caller: Caller) -> Response:
        del caller
        with self._hub.registry.lock:
            entry = self._hub.registry.patch_twin(
                names["id"], names.get("mid"), _body(request), _match(request)
            )
            return _json(twin_document(entry.identity, entry.twin), etag=entry.twin.etag)

    def _replace_twin(self, names: Names, request: Request, caller: Caller) -> Response:
        del caller
        with self._hub.registry.lock:
            entry = self._hub.registry.replace_twin(
                names["id"], names.get("mid"), _body(request), _match(request)
            )
            return _json(twin_document(entry.identity, entry.twin), etag=entry.twin.etag)

    def _invoke(self, names: Names, request: Request, caller: Caller) -> Response:
        del caller
        size = len(request.get_data(cache=True))
        if meters := size // METER_BYTES:  # the first was taken with the call
            self._hub.rates.take(METHOD, "DirectMethod", cost=float(meters))
        with self._hub.registry.lock:
            self._hub.registry.twin_entry(names["id"], names.get("mid"))
        return _json(self._hub.methods.invoke(names["id"], names.get("mid"), _body(request)))

    # --- configurations and jobs

    def _apply(self, names: Names, request: Request, caller: Caller) -> Response:
        del caller
        apply_content(self._hub.registry, names["id"], _body(request))
        return Response(status=204)

    def _list_configurations(self, names: Names, request: Request, caller: Caller) -> Response:
        del names, request, caller
        with self._hub.registry.lock:
            found = self._hub.configurations.all.values()
            return _json([deployments.document(c) for c in found])

    def _test_queries(self, names: Names, request: Request, caller: Caller) -> Response:
        del names, caller
        body = _body(request)
        condition = body.get("targetCondition") or ""
        of_modules = "devices.modules" in str(condition).lower()
        problem = deployments.condition_problem(condition, of_modules=of_modules)
        problems = deployments.metric_problems(body.get("customMetricQueries") or {})
        return _json({"targetConditionError": problem or None, "customMetricQueryErrors": problems})

    def _get_configuration(self, names: Names, request: Request, caller: Caller) -> Response:
        del request, caller
        with self._hub.registry.lock:
            found = self._hub.configurations.get(names["id"])
            return _json(deployments.document(found), etag=found.etag)

    def _put_configuration(self, names: Names, request: Request, caller: Caller) -> Response:
        del caller
        with self._hub.registry.lock:
            found = self._hub.configurations.put(names["id"], _body(request), _match(request))
            self._hub.registry.revision += 1
            answer = _json(deployments.document(found), etag=found.etag)
        self._hub.background.wake()
        return answer

    def _delete_configuration(self, names: Names, request: Request, caller: Caller) -> Response:
        del caller
        with self._hub.registry.lock:
            self._hub.configurations.delete(names["id"], _match(request))
            self._hub.registry.revision += 1
        self._hub.background.wake()
        return Response(status=204)

    def _list_jobs(self, names: Names, request: Request, caller: Caller) -> Response:
        del names, caller
        found = self._hub.jobs.listed(request.args.get("jobType"), request.args.get("jobStatus"))
        answer = _json(found)
        answer.headers["x-ms-item-type"] = "JobResponse"
        return answer

    def _create_job(self, names: Names, request: Request, caller: Caller) -> Response:
        del caller
        return _json(self._hub.jobs.create(names["id"], _body(request)))


def _json(
    document: object, *, status: int = 200, etag: str | None = None, quotes: bool = True
) -> Response:
    answer = Response(
        msgspec.json.encode(document),
        status=status,
        content_type="application/json; charset=utf-8",
    )
    if etag is not None:
        answer.headers["ETag"] = f'"{etag}"' if quotes else etag
    return answer


def _match(request: Request) -> str | None:
    return request.headers.get("If-Match")


def _decoded(request: Request) -> Any:
    try:
        return msgspec.json.decode(request.get_data(cache=True))
    except msgspec.DecodeError as exc:
        raise HubError("IotHubFormatError", f"The body is no JSON: {exc}") from exc


def _body(request: Request) -> Json:
    found = _decoded(request)
    if not isinstance(found, dict):
        raise HubError("IotHubFormatError", "The body has to be an object")
    return found


def _list(request: Request) -> list[Json]:
    found = _decoded(request)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise HubError("IotHubFormatError", "The body has to be a list of objects")
    return found
