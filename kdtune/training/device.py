"""Where a trial computes, and how it gives the same bits every time."""

import torch

from kdtune.config import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device that ``train.device`` means here.

    Raises:
        ConfigError: If CUDA is asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if name == "cuda" and not cuda:
        raise ConfigError("train.device is 'cuda', but torch sees no CUDA device; use 'auto'")
    return torch.device("cuda" if cuda and name != "cpu" else "cpu")


def make_repeatable(device: torch.device, threads: int) -> None:
    """The same bits in every run: sums depend on the number of threads, cuDNN's on its choices."""
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
