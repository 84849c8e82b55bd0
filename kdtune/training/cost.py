"""What a student costs to keep and to run."""

from torch import nn

from kdtune.pruning import latency, pruned_cost


def student_cost(student: nn.Module, *, channels: int, size: int) -> dict[str, float]:
    """Flat metrics of a network, pruned or not; its mode and buffers stay as they are.

    Returns:
        ``student/params``, ``student/params_nonzero``, ``student/macs`` (multiply-adds of one
        image), ``student/conv_density`` (share of conv weights that are not 0) and
        ``student/latency_ms`` (measured here and now, one image at a time).
    """
    counted = pruned_cost(student, channels=channels, size=size)
    kept = ("params", "params_nonzero", "macs", "conv_density")
    return {
        **{f"student/{name}": counted[name] for name in kept},
        "student/latency_ms": latency(student, channels=channels, size=size),
    }
