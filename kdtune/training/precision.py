"""Forward passes in bfloat16; losses, weights and the optimiser stay in float32."""

from contextlib import AbstractContextManager

import torch

from kdtune.config import ConfigError
from kdtune.config.sections import Precision
from kdtune.contracts import Outputs

__all__ = ["Precision", "check_precision", "in_float32", "in_precision"]


def in_precision(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Inside, networks run in that precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def in_float32(outputs: Outputs) -> Outputs:
    """What the losses are computed from."""
    return Outputs(
        logits=outputs.logits.float(),
        taps={name: tap.float() for name, tap in outputs.taps.items()},
        members=tuple(member.float() for member in outputs.members),
    )


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse a precision that the device does not compute in.

    Emulated, it is ten times slower than float32 (a ResNet-20 on an AVX2 machine).

    Raises:
        ConfigError: With the reason.
    """
    if precision == "bf16" and not computes_bf16(device):
        raise ConfigError(
            f"train.precision is 'bf16', which this {device.type.upper()} does not compute by "
            "itself (a CPU needs AVX512-BF16 or AMX, a GPU compute capability 8.0); use fp32"
        )


def computes_bf16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 numbers itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
