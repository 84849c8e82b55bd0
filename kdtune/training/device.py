"""Where a trial computes, and how it gives the same bits every time."""

import ctypes
import sys
from collections.abc import Callable

import torch

from kdtune.config import ConfigError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of ``mallopt`` in glibc's <malloc.h>."""


def resolve_device(name: str) -> torch.device:
    """The device that ``train.device`` means here.

    Raises:
        ConfigError: If CUDA is asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if name == "cuda" and not cuda:
        raise ConfigError("train.device is 'cuda', but torch sees no CUDA device; use 'auto'")
    return torch.device("cuda" if cuda and name != "cpu" else "cpu")


def prepare(device: torch.device, threads: int) -> None:
    """Set this process up to train: the same bits in every run, and memory that is used again.

    Sums depend on the number of threads, cuDNN's on its choices.
    """
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    else:
        keep_freed_memory()


def circumstances(device: torch.device) -> dict[str, str | int]:
    """What the bits of a forward pass depend on besides the network and its input."""
    cpu = torch.backends.cpu.get_cpu_capability()
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {cpu}",
        "threads": torch.get_num_threads(),
    }


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, where it can be told to (glibc).

    Every step frees and takes the same tensors of many megabytes. glibc gives such blocks back to
    the system at once, which then fills each page with zeros when it is touched again: up to a
    third of a step.
    """
    if sys.platform == "linux" and (tell := _of_libc("mallopt")):
        tell(M_MMAP_MAX, 0)
        tell(M_TRIM_THRESHOLD, 2**31 - 1)


def give_freed_memory_back() -> None:
    """Hand the system what :func:`keep_freed_memory` kept."""
    if sys.platform == "linux" and (trim := _of_libc("malloc_trim")):
        trim(0)


def _of_libc(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None)
