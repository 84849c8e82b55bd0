"""Inner products of the samples of a batch, which the relational losses are made of."""

import torch
from torch import Tensor


def gram_matrix(features: Tensor) -> Tensor:
    """``F F^T`` of the flattened features: ``(B, B)`` numbers, however wide the features are.

    In float32 at least, outside autocast: the sum over a map overflows float16.

    Args:
        features: ``(B, ...)``, two-dimensional at least.
    """
    rows = at_least_float32(features.flatten(1))
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ rows.T


def at_least_float32(tensor: Tensor) -> Tensor:
    """``tensor`` itself, or a half-precision one as float32."""
    return tensor.float() if tensor.element_size() < 4 else tensor


def require_one_batch(student: Tensor, teacher: Tensor) -> None:
    """Refuse features whose samples cannot be compared; their widths may differ.

    Raises:
        ValueError: If one has fewer than two dimensions or the batch sizes differ.
    """
    if student.ndim < 2 or teacher.ndim < 2 or len(student) != len(teacher):
        raise ValueError(
            "relational losses need (B, ...) features of one batch, got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
