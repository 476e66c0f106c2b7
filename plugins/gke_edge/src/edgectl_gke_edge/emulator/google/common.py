"""What all of Google's APIs share: long-running operations and locations."""

from __future__ import annotations

from typing import Any

from google.cloud import edgecontainer_v1
from google.cloud.location import locations_pb2
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2

from edgectl_gke_edge.emulator.google.account import Account
from edgectl_gke_edge.emulator.google.errors import not_found
from edgectl_gke_edge.emulator.google.names import other_project, read
from edgectl_gke_edge.emulator.google.operations import to_longrunning
from edgectl_gke_edge.emulator.google.paging import page
from edgectl_gke_edge.emulator.google.rpc import Method

_OPERATIONS = "/google.longrunning.Operations/"
_LOCATIONS = "/google.cloud.location.Locations/"
_OPERATION = "projects/*/locations/*/operations/*"
_PERMISSION = "edgecontainer.operations.get"


class Common:
    """``google.longrunning.Operations`` and ``google.cloud.location.Locations``."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def methods(self) -> list[Method]:
        """List what is served; a caller who has a name may ask, so no permission is needed."""
        o, places = operations_pb2, locations_pb2
        return [
            Method(_OPERATIONS + "GetOperation", o.GetOperationRequest, self._get),
            Method(_OPERATIONS + "ListOperations", o.ListOperationsRequest, self._list),
            Method(_OPERATIONS + "CancelOperation", o.CancelOperationRequest, self._cancel),
            Method(_OPERATIONS + "DeleteOperation", o.DeleteOperationRequest, self._delete),
            Method(_LOCATIONS + "ListLocations", places.ListLocationsRequest, self._locations),
            Method(_LOCATIONS + "GetLocation", places.GetLocationRequest, self._location),
        ]

    def _name(self, request: Any) -> str:
        return self._account.full(request.name, _OPERATION, _PERMISSION)

    def _get(self, request: Any) -> Any:
        return to_longrunning(self._account.operations.get(self._name(request)))

    def _list(self, request: Any) -> Any:
        place, _ = self._account.place(request.name, _PERMISSION, field="name")
        found = [o for o in self._account.operations.below(place) if o.metadata is not None]
        of = [request.name, request.filter]
        items, token = page(found, request.page_size, request.page_token, of=of)
        listed = [to_longrunning(operation) for operation in items]
        return operations_pb2.ListOperationsResponse(operations=listed, next_page_token=token)

    def _cancel(self, request: Any) -> Any:
        self._account.operations.cancel(self._name(request))
        return empty_pb2.Empty()

    def _delete(self, request: Any) -> Any:
        self._account.operations.forget(self._name(request))
        return empty_pb2.Empty()

    def _places(self) -> dict[str, dict[str, int]]:
        """Return each location's edge zones and how many machines each has."""
        found: dict[str, dict[str, int]] = {}
        for name in [*self._account.gke, *self._account.edge, *self._account.machines]:
            found.setdefault(name.split("/")[3], {})
        for name, machine in self._account.machines.items():
            zones = found[name.split("/")[3]]
            zones[machine.zone] = zones.get(machine.zone, 0) + 1
        return found

    def _locations(self, request: Any) -> Any:
        (project,) = read(request.name, "projects/*")
        if not self._account.is_ours(project):
            raise other_project(project, "edgecontainer.locations.list")
        found = [self._shown(place, zones) for place, zones in sorted(self._places().items())]
        of = [request.name, request.filter]
        items, token = page(found, request.page_size, request.page_token, of=of)
        return locations_pb2.ListLocationsResponse(locations=items, next_page_token=token)

    def _location(self, request: Any) -> Any:
        name, place = self._account.place(request.name, "edgecontainer.locations.get", field="name")
        zones = self._places().get(place)
        if zones is None:
            raise not_found(name)
        return self._shown(place, zones)

    def _shown(self, place: str, zones: dict[str, int]) -> Any:
        metadata: Any = edgecontainer_v1.LocationMetadata()
        for zone, machines in zones.items():
            quota = edgecontainer_v1.Quota(metric="machines", limit=machines, usage=machines)
            metadata.available_zones[zone] = edgecontainer_v1.ZoneMetadata(quota=[quota])
        packed = any_pb2.Any()
        packed.Pack(edgecontainer_v1.LocationMetadata.pb(metadata))
        return locations_pb2.Location(
            name=f"projects/{self._account.project}/locations/{place}",
            location_id=place,
            display_name=place,
            metadata=packed,
        )
