"""Execution providers: with which options they are asked, and what ONNX Runtime really used.

ONNX Runtime gives a node that a provider cannot run to the next one, at the end to the CPU, and
says so only if it is asked to record it (since 1.24). A provider's first place in a session's list
tells nothing: every node may still run on the CPU. What a provider compiles for this machine is
kept in a folder for each model, so that a Jetson does not build for minutes at every start.

Sources: ONNX Runtime's pages on the TensorRT, CUDA and OpenVINO execution providers, and
``onnxruntime_session_options_config_keys.h``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge_components.contract.hardware import HardwareProfile

CPU = "CPUExecutionProvider"
RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"
Options = dict[str, dict[str, str]]


class Shortfall(NamedTuple):
    """That a model runs elsewhere than the profile wants it to.

    Attributes:
        is_serious: Whether a provider is not used at all, rather than for some nodes only.
    """

    text: str
    is_serious: bool


def options_for(profile: HardwareProfile, *, precision: str = "", cache: Path | None) -> Options:
    """Return the options of each provider of a profile.

    Args:
        profile: The device's hardware.
        precision: Of the variant; TensorRT uses half precision only if it is told to.
        cache: The model's folder for what is compiled, or None to keep nothing.
    """
    found = {
        name: dict(profile.provider_options.get(name, {})) for name in profile.execution_providers
    }
    if (tensorrt := found.get("TensorrtExecutionProvider")) is not None:
        if precision in {"fp16", "int8"}:
            tensorrt["trt_fp16_enable"] = "1"
        if precision == "int8":
            tensorrt["trt_int8_enable"] = "1"
        if cache is not None:
            tensorrt |= {
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": str(cache),
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": str(cache),
            }
    if (openvino := found.get("OpenVINOExecutionProvider")) is not None and cache is not None:
        openvino["cache_dir"] = str(cache)
    return {name: options for name, options in found.items() if options}


def keeps_engines(providers: Iterable[str]) -> bool:
    """Whether one of these providers compiles what is worth keeping."""
    return not {"TensorrtExecutionProvider", "OpenVINOExecutionProvider"}.isdisjoint(providers)


def for_session(
    providers: Sequence[str], offered: Iterable[str], options: Mapping[str, Mapping[str, str]]
) -> list[str | tuple[str, dict[str, str]]]:
    """Return what a session is made with: those that are offered, best first, with options."""
    there = set(offered)
    names = [name for name in providers if name in there] or [CPU]
    return [(name, dict(options[name])) if options.get(name) else name for name in names]


def placement(session: Any) -> dict[str, int]:
    """Return how many nodes each provider got; nothing where ONNX Runtime does not tell."""
    try:
        subgraphs = session.get_provider_graph_assignment_info()
        found: dict[str, int] = {}
        for subgraph in subgraphs:
            found[subgraph.ep_name] = found.get(subgraph.ep_name, 0) + len(subgraph.get_nodes())
    except Exception:  # noqa: BLE001  # an older ONNX Runtime has no such call, or refuses it
        return {}
    return found


def first_used(asked: Sequence[str], nodes: Mapping[str, int]) -> str:
    """Return the provider that does the work: the best one that has any node."""
    return next((name for name in asked if nodes.get(name)), CPU) if nodes else asked[0]


def shortfall(
    wanted: Sequence[str], asked: Sequence[str], nodes: Mapping[str, int]
) -> Shortfall | None:
    """Say that a model does not run where the profile wants it to; None if it does.

    Args:
        wanted: The profile's providers, best first.
        asked: Those that the session was made with.
        nodes: How many nodes each provider got.
    """
    best, used = wanted[0], first_used(asked, nodes)
    if used != best:
        why = "takes none of its nodes" if best in asked else "is not available"
        return Shortfall(f"the model runs on {used}, {best} {why}", True)
    on_cpu, total = nodes.get(CPU, 0), sum(nodes.values())
    if used != CPU and on_cpu:
        return Shortfall(f"{on_cpu} of {total} nodes of the model run on the CPU", False)
    return None
