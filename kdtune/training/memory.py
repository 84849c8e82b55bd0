"""What a trial does when memory runs out: the error, and the way to need less."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kdtune.config import ConfigError, TrialConfig, parse
from kdtune.contracts import FlatConfig, Scalar
from kdtune.training.device import give_freed_memory_back

ALLOCATORS = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""Who says in a plain ``RuntimeError`` that it found no memory."""

PARTS = 4
"""Into so many a batch is cut: there is one retry, and halves are often not enough for it."""

GIB = 1 << 30

IN_PARTS = ("train.micro_batch", "train.micro_batch_from")
"""The keys that say how a batch is cut."""


class MemoryShortage(RuntimeError):
    """Memory ran out; the message names what needed it, what there is, and the remedies."""


@contextmanager
def memory_explained(config: TrialConfig, device: torch.device, epoch: int) -> Iterator[None]:
    """Inside, an error about memory becomes a :class:`MemoryShortage`.

    Args:
        config: What is being trained.
        device: Where.
        epoch: From 0, of the whole trial.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_about_memory(error):
            raise
        train = config.train
        raise MemoryShortage(
            f"out of memory in epoch {epoch} of {config.role} '{config.student}' with "
            f"train.batch_size={train.batch_size} and train.micro_batch="
            f"{train.micro_batch or 'the whole batch'} on {_described(device)}; "
            f"{_remedies(config)}run fewer trials at once on a device, or take a smaller network "
            f"({error})"
        ) from error


def in_parts(config: TrialConfig, epoch: int) -> dict[str, Scalar]:
    """The keys by which a trial goes on from ``epoch`` with less memory; none if nothing can.

    The batch stays the same, and so does what is minimised, but batch norm sees its parts. A
    network that goes into a store is never changed so: its key would no longer say how it came to
    be.
    """
    train = config.train
    size = max(2, train.batch_size // PARTS)
    if config.role == "teacher" or train.micro_batch is not None or size >= train.batch_size:
        return {}
    if not config.objective.traits.sample_mean:
        return {}
    return {"train.micro_batch": size, "train.micro_batch_from": epoch}


def continued(config: TrialConfig, saved: FlatConfig, epochs: int) -> TrialConfig:
    """The configuration of a trial that did so many epochs under ``saved``, and now goes on.

    Only the two keys may differ that say how batches are cut: from a later epoch on in ``config``,
    where memory ran out after the state was saved, or in ``saved``, where it did so before.

    Raises:
        ConfigError: If others differ: the state is of another trial.
    """
    own, other = config.flat(), dict(saved)
    if IN_PARTS[0] not in other and epochs <= (config.train.micro_batch_from or 0):
        other |= {key: own[key] for key in IN_PARTS if key in own}
    elif IN_PARTS[0] not in own:
        own |= {key: other[key] for key in IN_PARTS if key in other}
    differ = [key for key in {**own, **other} if own.get(key) != other.get(key)]
    if differ:
        raise ConfigError(f"the checkpoint is of another trial: {', '.join(differ)} differ")
    return parse(own)


def free_memory() -> None:
    """Give the device's memory back that nothing refers to any more.

    Without this, what a finished trial needed stays with its process, and trials that share the
    device do not get it.
    """
    gc.collect()
    give_freed_memory_back()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _is_about_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(name in str(error) for name in ALLOCATORS)


def _described(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        return f"{device} ({name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free)"
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{device} ({total / GIB:.1f} GiB in all)"


def _remedies(config: TrialConfig) -> str:
    """What to set; empty, or ending in a separator."""
    if config.role == "teacher":
        return "lower teacher.batch_size (in a sequence train.batch_size), "
    smaller = max(2, (config.train.micro_batch or config.train.batch_size) // PARTS)
    if not config.objective.traits.sample_mean:
        return "lower train.batch_size, "
    return f"set train.micro_batch={smaller}, lower train.batch_size, "
