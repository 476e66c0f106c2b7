"""The operations of Azure Machine Learning that are served."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from edgectl_azure_iot_edge.emulator.blob.room import BlobRoom
from edgectl_azure_iot_edge.emulator.ml import jobs, workspace
from edgectl_azure_iot_edge.emulator.ml.assets import KINDS, Assets, Document
from edgectl_azure_iot_edge.emulator.ml.errors import MlError, not_found
from edgectl_azure_iot_edge.emulator.ml.naming import (
    ARTIFACT_STORE,
    BLOB_STORE,
    PROVIDER,
    Scope,
    artifact_prefix,
    check_name,
    datastore_path,
    output_prefix,
    producer,
)
from edgectl_azure_iot_edge.emulator.ml.routes import Route
from edgectl_azure_iot_edge.emulator.ml.runner import Runner
from edgectl_azure_iot_edge.emulator.ml.storage import Storage, StorageError
from edgectl_azure_iot_edge.emulator.site import Site

PAGE = 50
_LINK_LIFE = timedelta(hours=1)
_MODEL_TYPES = frozenset({"custom_model", "mlflow_model", "triton_model"})


class Call(NamedTuple):
    """A request whose caller was checked."""

    route: Route
    query: dict[str, str]
    body: Document
    by: str


class Reply(NamedTuple):
    """What to answer."""

    status: int
    document: object
    headers: dict[str, str] = {}


class Service:
    """One workspace.

    Args:
        site: The subscription.
        blobs: Its storage account.
    """

    def __init__(self, site: Site, blobs: BlobRoom) -> None:
        self._site = site
        self._blobs = blobs
        self.scope = Scope(
            subscription=site.subscription,
            resource_group=site.resource_group,
            workspace=site.place.workspace,
        )
        self._storage = Storage(blobs)
        folder = site.folder / "ml"
        self._assets = {
            kind: Assets(
                kind,
                folder / f"{kind}.json",
                scope=self.scope,
                now=site.now,
                check=getattr(self, f"_check_{kind}"),
            )
            for kind in KINDS
        }
        self._jobs: dict[str, jobs.Job] = {}
        self._lock = threading.Lock()
        self._runner = Runner(
            folder / "jobs", storage=self._storage, code=self._code_place, now=site.now
        )
        self._handlers: dict[str, Callable[[Call], Reply]] = {
            "GetWorkspace": self._workspace,
            "Discover": lambda _: Reply(200, workspace.discovery(site.url)),
            "ListDatastores": self._datastores,
            "GetDatastore": self._datastore,
            "ListSecrets": self._secrets,
            "GetCompute": self._compute,
            "ListContainers": self._containers,
            "GetContainer": self._container,
            "ListVersions": self._versions,
            "GetVersion": self._version,
            "PutVersion": self._put_version,
            "StartPendingUpload": self._pending_upload,
            "ListJobs": self._list_jobs,
            "GetJob": self._get_job,
            "PutJob": self._put_job,
            "CancelJob": self._cancel,
            "GetOperationResult": self._result,
            "GetRun": self._run,
            "GetRunDetails": self._details,
            "GetRunData": self._run_data,
            "PatchRun": self._patch_run,
            "ResolveUris": self._resolve,
        }

    def close(self) -> None:
        """Kill the jobs that run."""
        self._runner.close()

    def answer(self, call: Call) -> Reply:
        """Answer a call.

        Raises:
            MlError: It is refused.
        """
        return self._handlers[call.route.operation](call)

    def _workspace(self, _call: Call) -> Reply:
        site = self._site
        return Reply(200, workspace.workspace(self.scope, site.url, site.location, site.tenant))

    def _stores(self) -> list[Document]:
        suffix = self._site.url.removeprefix("https://")  # as ARM's metadata has it
        return workspace.datastores(self.scope, self._blobs.account_name, suffix)

    def _datastores(self, call: Call) -> Reply:
        only = call.query.get("isDefault", "").lower() == "true"
        found = [one for one in self._stores() if not only or one["properties"]["isDefault"]]
        return self._page(call, found)

    def _datastore(self, call: Call) -> Reply:
        for one in self._stores():
            if one["name"] == call.route.name:
                return Reply(200, one)
        raise not_found(f"datastore '{call.route.name}'")

    def _secrets(self, call: Call) -> Reply:
        self._datastore(call)
        return Reply(200, {"secretsType": "AccountKey", "key": self._blobs.key})

    def _compute(self, call: Call) -> Reply:
        if call.route.name not in self._site.place.computes:
            raise _no_resource(self.scope, "computes", call.route.name)
        return Reply(200, workspace.compute(self.scope, call.route.name, self._site.location))

    def _containers(self, call: Call) -> Reply:
        return self._page(call, self._assets[call.route.kind].containers())

    def _container(self, call: Call) -> Reply:
        return Reply(200, self._assets[call.route.kind].container(call.route.name))

    def _versions(self, call: Call) -> Reply:
        assets = self._assets[call.route.kind]
        if "hash" in call.query:
            # By content, whatever it is called: the SDK gives code a new name each time.
            wanted = (call.query["hash"], call.query.get("hashVersion", ""))
            found = [one for one in assets.all() if _content_hash(one) == wanted]
        else:
            found = assets.versions(call.route.name)
        view = call.query.get("listViewType", "ActiveOnly")
        if view != "All":
            archived = view == "ArchivedOnly"
            found = [one for one in found if one["properties"]["isArchived"] == archived]
        return self._page(call, found)

    def _version(self, call: Call) -> Reply:
        route = call.route
        return Reply(200, self._assets[route.kind].get(route.name, route.version))

    def _put_version(self, call: Call) -> Reply:
        route = call.route
        document, new = self._assets[route.kind].put(route.name, route.version, call.body, call.by)
        return Reply(201 if new else 200, document)

    def _pending_upload(self, call: Call) -> Reply:
        if call.body.get("pendingUploadType") != "TemporaryBlobReference":
            raise MlError("ValidationError", "pendingUploadType has to be TemporaryBlobReference.")
        container = f"upload-{secrets.token_hex(12)}"
        self._blobs.store.create_container(container)
        sas = self._blobs.sas(
            f"/{container}", permissions="rwl", kind="c", until=self._site.now() + _LINK_LIFE
        )
        address = f"{self._blobs.url}/{container}"
        reference = {
            "blobUri": address,
            "storageAccountArmId": f"{self.scope.id}/storageAccounts/{self._blobs.account_name}",
            "credential": {"credentialType": "SAS", "sasUri": f"{address}?{sas}"},
        }
        return Reply(
            200,
            {
                "pendingUploadId": container,
                "pendingUploadType": "TemporaryBlobReference",
                "blobReferenceForConsumption": reference,
            },
        )

    def _list_jobs(self, call: Call) -> Reply:
        with self._lock:
            found = sorted(self._jobs.values(), key=lambda job: job.created, reverse=True)
        return self._page(call, [self._shown(job) for job in found if not job.archived])

    def _get_job(self, call: Call) -> Reply:
        return Reply(200, self._shown(self._job(call.route.name)))

    def _put_job(self, call: Call) -> Reply:
        name = check_name(call.route.name, "job")
        asked = jobs.parse_job(call.body)
        with self._lock:
            known = self._jobs.get(name)
            if known is not None:
                known.describe(asked)
                return Reply(200, self._shown(known))
            self._check_job(asked)
            job = jobs.Job(name, asked, by=call.by, at=self._site.now())
            self._jobs[name] = job
        self._runner.start(job)
        return Reply(201, self._shown(job))

    def _check_job(self, asked: jobs.CommandJob) -> None:
        if asked.compute_id:
            name = asked.compute_id.rpartition("/")[2]
            if name not in self._site.place.computes:
                raise MlError("UserError", f"Unknown compute target '{name}'.")
        elif asked.resources is None or not asked.resources.instance_type:
            raise MlError("UserError", "Serverless compute needs resources.instanceType.")
        for kind, place in (("environments", asked.environment_id), ("codes", asked.code_id)):
            if place is not None:
                self._assets[kind].get(*_asset_of(place, kind))

    def _cancel(self, call: Call) -> Reply:
        job = self._job(call.route.name)
        if job.status in jobs.TERMINAL:
            said = f"Job '{job.name}' is in the terminal state '{job.status}'."
            raise MlError("UserError", said)
        job.status = "CancelRequested"
        job.cancel.set()
        return self._under_way(call, job)

    def _result(self, call: Call) -> Reply:
        job = self._job(call.route.name.rpartition(":")[2])
        return Reply(200, {}) if job.over.is_set() else self._under_way(call, job)

    def _under_way(self, call: Call, job: jobs.Job) -> Reply:
        """Say where the end of a cancellation is asked for, and when."""
        place = (
            f"{self._site.url}/subscriptions/{self.scope.subscription}/providers/{PROVIDER}"
            f"/locations/{self._site.location}/mfeOperationResults/jc:{self.scope.workspace}:{job.name}"
            f"?api-version={call.query.get('api-version', '')}"
        )
        return Reply(202, None, {"Location": place, "Retry-After": "1"})

    def _run(self, call: Call) -> Reply:
        return Reply(200, jobs.run(self._job(call.route.name)))

    def _details(self, call: Call) -> Reply:
        job = self._job(call.route.name)
        container = self._storage.container(ARTIFACT_STORE)
        prefix = artifact_prefix(job.name)
        logs = {}
        for name in self._storage.names(container, f"{prefix}user_logs/"):
            resource = f"/{container}/{name}"
            sas = self._blobs.sas(
                resource, permissions="r", kind="b", until=self._site.now() + _LINK_LIFE
            )
            logs[name.removeprefix(prefix)] = f"{self._blobs.url}{resource}?{sas}"
        return Reply(200, jobs.details(job, logs))

    def _run_data(self, call: Call) -> Reply:
        job = self._job(str(call.body.get("runId", "")))
        outputs = {
            name: {"assetId": f"azureml://jobs/{job.name}/{name}", "type": "uri_folder"}
            for name in job.asked.outputs or {}
            if job.status == "Completed"
        }
        return Reply(200, {"runMetadata": {**jobs.run(job), "outputs": outputs}})

    def _resolve(self, call: Call) -> Reply:
        values = {}
        for asset in call.body.get("values", []):
            job, _, name = str(asset).removeprefix("azureml://jobs/").partition("/")
            found = self._job(job).asked.outputs or {}
            if name not in found:
                raise not_found(f"data asset '{asset}'")
            path = f"azureml://datastores/{BLOB_STORE}/paths/{output_prefix(job, name)}"
            values[asset] = {"uri": found[name].uri or path, "type": "UriFolder"}
        return Reply(200, {"values": values})

    def _patch_run(self, call: Call) -> Reply:
        job = self._job(call.route.name)
        body = call.body
        job.tags |= body.get("tags") or {}
        job.properties |= body.get("properties") or {}
        job.display_name = body.get("displayName") or job.display_name
        job.description = body.get("description") or job.description
        if body.get("hidden") is not None:
            job.archived = bool(body["hidden"])
        return Reply(200, jobs.run(job))

    def _job(self, name: str) -> jobs.Job:
        with self._lock:
            found = self._jobs.get(name)
        if found is None:
            raise not_found(f"job '{name}'")
        return found

    def _shown(self, job: jobs.Job) -> Document:
        return jobs.document(job, self.scope, self._site.url)

    def _code_place(self, code_id: str) -> tuple[str, str]:
        properties = self._assets["codes"].get(*_asset_of(code_id, "codes"))["properties"]
        return self._storage.locate(properties["codeUri"])

    def _check_codes(self, given: Document) -> None:
        self._check_place(given, "codeUri")

    def _check_data(self, given: Document) -> None:
        if given.get("dataType") not in {"uri_file", "uri_folder", "mltable"}:
            raise MlError("ValidationError", "dataType has to be uri_file, uri_folder or mltable.")
        self._check_place(given, "dataUri")

    def _check_environments(self, given: Document) -> None:
        if not given.get("image") and not given.get("build"):
            raise MlError("ValidationError", "An environment needs an image or a build context.")

    def _check_models(self, given: Document) -> None:
        if given.get("modelType", "custom_model") not in _MODEL_TYPES:
            raise MlError("ValidationError", f"'{given['modelType']}' is not a model type.")
        self._check_place(given, "modelUri")
        found = datastore_path(given["modelUri"])
        if found is not None and (job := producer(found[1])) in self._jobs:
            given["jobName"] = job

    def _check_place(self, given: Document, name: str) -> None:
        try:
            container, path = self._storage.locate(str(given.get(name) or ""))
        except StorageError as exc:
            raise MlError("ValidationError", f"The field '{name}' is invalid: {exc}.") from exc
        if not self._storage.exists(container, path):
            said = f"The request is invalid: no blobs found in storage at asset path: {path}"
            raise MlError("UserError", said)

    def _page(self, call: Call, found: Iterable[Document]) -> Reply:
        listed = list(found)
        begin = int(call.query.get("$skip") or 0)
        size = min(int(call.query.get("$top") or PAGE), PAGE)
        answer: Document = {"value": listed[begin : begin + size]}
        if begin + size < len(listed) and "$top" not in call.query:
            scope, route = self.scope.id, call.route
            parts = [route.kind or _PLURALS[route.operation], route.name]
            parts += ["versions"] if route.operation == "ListVersions" else []
            query = urlencode({**call.query, "$skip": begin + size})
            path = "/".join(part for part in parts if part)
            answer["nextLink"] = f"{self._site.url}{scope}/{path}?{query}"
        return Reply(200, answer)


_PLURALS = {"ListJobs": "jobs", "ListDatastores": "datastores"}


def _content_hash(document: Document) -> tuple[str, str]:
    properties: dict[str, Any] = document["properties"]["properties"]
    return properties.get("hash_sha256", ""), properties.get("hash_version", "")


def _asset_of(place: str, kind: str) -> tuple[str, str]:
    """Return name and version that an ARM id or ``azureml:`` address means.

    Raises:
        MlError: It is of another kind.
    """
    parts = place.removeprefix("azureml:").split("/")
    if len(parts) < 4 or parts[-4].lower() != kind or parts[-2].lower() != "versions":
        raise MlError("ValidationError", f"'{place}' is not the id of a version of {kind}.")
    return parts[-3], parts[-1]


def _no_resource(scope: Scope, kind: str, name: str) -> MlError:
    said = f"The Resource '{PROVIDER}/workspaces/{scope.workspace}/{kind}/{name}' was not found."
    return MlError("ResourceNotFound", said)
