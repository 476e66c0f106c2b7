"""Hardware profiles as data, and whether a package fits one.

A profile says what a kind of device has and what runs well on it. The planner refuses a package
that cannot fit, with the numbers in the message; the device takes its execution providers and
its preferred precision from the same table.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Arch = Literal["x86_64", "aarch64", "armv7l"]
MIB = 1 << 20


class HardwareProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of device.

    Attributes:
        memory_bytes: All memory of the board.
        model_memory_bytes: What of it a model may use, beside system, runtime and activations.
        execution_providers: ONNX Runtime's names, best first; the last one is always the CPU.
        provider_options: ONNX Runtime's options by execution provider, beside those that name a
            folder of this machine.
        precisions: Preferred first.
        threads: That one run of a model uses on the CPU; 0 for all cores for a large model, and one
            for a small one.
        max_batch: How many requests that wait may run together; 1 for none.
        notes: What an operator should know, for example that an accelerator is not used.
    """

    name: str
    title: str
    arch: Arch
    memory_bytes: int
    model_memory_bytes: int
    accelerator: str = "none"
    execution_providers: tuple[str, ...] = ("CPUExecutionProvider",)
    provider_options: dict[str, dict[str, str]] = {}
    precisions: tuple[str, ...] = ("int8", "fp32")
    threads: int = 0
    max_batch: int = 8
    notes: str = ""


_CUDA = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
_CUDA_PRECISIONS = ("fp16", "int8", "fp32")
_CORAL = (
    "The Edge TPU runs TensorFlow Lite models compiled for it and takes no ONNX: "
    "the model runs on the CPU."
)


def _profile(
    name: str, title: str, arch: Arch, memory_mib: int, **other: object
) -> HardwareProfile:
    return msgspec.convert(
        {
            "name": name,
            "title": title,
            "arch": arch,
            "memory_bytes": memory_mib * MIB,
            "model_memory_bytes": memory_mib * MIB // 3,
            **other,
        },
        HardwareProfile,
    )


def _cuda_options(memory_mib: int) -> dict[str, dict[str, str]]:
    """Return what keeps TensorRT and CUDA within a board that shares memory with the system.

    Sources: ONNX Runtime's pages on the TensorRT and the CUDA execution provider.
    """
    return {
        "TensorrtExecutionProvider": {
            "trt_max_workspace_size": str(memory_mib * MIB // 8),
            "trt_builder_optimization_level": "3",
        },
        "CUDAExecutionProvider": {
            "gpu_mem_limit": str(memory_mib * MIB // 3),
            "arena_extend_strategy": "kSameAsRequested",
            # EXHAUSTIVE tries every algorithm at the first run of each shape, for minutes.
            "cudnn_conv_algo_search": "HEURISTIC",
        },
    }


def _jetson(name: str, title: str, memory_mib: int) -> HardwareProfile:
    return _profile(
        name,
        title,
        "aarch64",
        memory_mib,
        accelerator="nvidia-gpu",
        execution_providers=_CUDA,
        provider_options=_cuda_options(memory_mib),
        precisions=_CUDA_PRECISIONS,
    )


PROFILES: dict[str, HardwareProfile] = {
    profile.name: profile
    for profile in (
        _jetson("jetson-nano", "NVIDIA Jetson Nano", 4096),
        _jetson("jetson-xavier-nx", "NVIDIA Jetson Xavier NX", 8192),
        _jetson("jetson-agx-xavier", "NVIDIA Jetson AGX Xavier", 32768),
        _jetson("jetson-orin", "NVIDIA Jetson Orin", 16384),
        _profile(
            "coral-dev-board",
            "Google Coral Dev Board",
            "aarch64",
            1024,
            accelerator="edge-tpu",
            notes=_CORAL,
        ),
        _profile(
            "coral-usb",
            "Coral USB Accelerator on a Raspberry Pi 4",
            "aarch64",
            2048,
            accelerator="edge-tpu",
            notes=_CORAL,
        ),
        _profile("raspberry-pi-4", "Raspberry Pi 4", "aarch64", 2048),
        _profile("raspberry-pi-5", "Raspberry Pi 5", "aarch64", 4096),
        _profile("arm64-cpu", "64-bit Arm CPU", "aarch64", 2048),
        _profile("x86-64-cpu", "x86-64 CPU", "x86_64", 4096),
        _profile(
            "nvidia-gpu",
            "x86-64 with an NVIDIA GPU",
            "x86_64",
            16384,
            accelerator="nvidia-gpu",
            execution_providers=_CUDA,
            provider_options=_cuda_options(16384),
            precisions=_CUDA_PRECISIONS,
        ),
        _profile(
            "intel-openvino",
            "Intel CPU or GPU with OpenVINO",
            "x86_64",
            8192,
            accelerator="intel",
            precisions=("int8", "fp16", "fp32"),
            execution_providers=("OpenVINOExecutionProvider", "CPUExecutionProvider"),
        ),
    )
}


def choose_precision(
    profile: HardwareProfile, available: tuple[str, ...], wanted: str | None = None
) -> str | None:
    """Return the precision that a device of this profile would use, or None if there is none.

    Args:
        profile: The device's hardware.
        available: Precisions in the package.
        wanted: A precision that the release asks for; then no other will do.
    """
    if wanted is not None:
        return wanted if wanted in available else None
    return next((p for p in profile.precisions if p in available), None)


def unfit_reason(
    profile: HardwareProfile, sizes: dict[str, int], wanted: str | None = None
) -> str | None:
    """Say why a package cannot run on a device of this profile; None if it can.

    Args:
        profile: The device's hardware.
        sizes: Bytes of weights per precision in the package.
        wanted: A precision that the release asks for.
    """
    precision = choose_precision(profile, tuple(sizes), wanted)
    if precision is None:
        offered = ", ".join(sorted(sizes)) or "none"
        asked = wanted or " or ".join(profile.precisions)
        return f"{profile.name} needs {asked}, the package has {offered}"
    if sizes[precision] > profile.model_memory_bytes:
        return (
            f"{profile.name} leaves {profile.model_memory_bytes // MIB} MiB of its "
            f"{profile.memory_bytes // MIB} MiB to a model, the {precision} variant has "
            f"{sizes[precision] / MIB:.1f} MiB"
        )
    return None
