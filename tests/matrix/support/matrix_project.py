"""The project of the matrix: one tiny model, and one target on each of the four providers."""

from __future__ import annotations

from typing import NamedTuple

APPLICATION = "tiny"
# The emulated hub is bought with units enough for a rollout that is looked at five times a second.
PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "{version}"
train:
  command: [python, train.py]
  outputs: {{model: out/model.onnx}}
model: {{path: out/model.onnx}}
device: {{soak: 0.2s}}
targets:
  lab: {{provider: selfhosted, selector: {{tags: {{site: tiny}}}}}}
  lots: {{provider: aws, selector: {{thing_group: tiny-fleet}}}}
  roads: {{provider: azure, selector: {{tags: {{site: tiny}}}}}}
  shops: {{provider: gke, selector: {{nodes: {{site: tiny}}}}}}
rollout: {{waves: [100%], soak: 0s, unreachable_grace: 60s, failure_threshold: {{percent: 0}}}}
providers:
  selfhosted:
    url: ${{EDGECTL_HUB_URL:-http://127.0.0.1:8280}}
    username: admin
    password_file: ${{EDGECTL_HUB_PASSWORD_FILE:-none}}
  aws:
    region: us-east-1
    bucket: tiny-models
    role: arn:aws:iam::123456789012:role/edgectl-training
    telemetry_role: arn:aws:iam::123456789012:role/edgectl-telemetry
  azure:
    subscription_id: ${{AZURE_SUBSCRIPTION_ID:-none}}
    resource_group: edgectl
    iot_hub: edgectl-hub
    workspace: edgectl-ml
    registry: ${{EDGECTL_AZURE_REGISTRY:-none}}
    units: 20
  gke:
    registry: ${{GKE_REGISTRY:-none}}
    kubeconfig: ${{GKE_KUBECONFIG:-none}}
"""


class Place(NamedTuple):
    """A target of the project: its device and its provider."""

    target: str
    provider: str
    device: str


PLACES = (
    Place("lab", "selfhosted", "lab-1"),
    Place("lots", "aws", "lots-1"),
    Place("roads", "azure", "roads-1"),
    Place("shops", "gke", "cluster-1/shops-1"),
)
