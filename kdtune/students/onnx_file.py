"""Students as ONNX files, for runtimes without torch."""

import importlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from kdtune.replacing import replace_file
from kdtune.students.program import trace

NEEDED = ("onnx", "onnxscript")
"""What torch's exporter imports; the extra ``onnx`` of kdtune installs them."""


def export_onnx(
    model: nn.Module,
    file: Path,
    *,
    channels: int,
    size: int,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a network as one ONNX file, in the operator set that torch prefers.

    Its input ``images`` takes normalised float32 images ``(B, channels, size, size)`` for any
    ``B``, its output ``logits`` is ``(B, classes)``.

    Args:
        model: On the CPU, without masks; its modes and buffers stay as they are.
        file: To write, replaced if it exists.
        channels: Channels of the images.
        size: Side of the square images in pixels.
        metadata: Kept in the file's custom metadata.

    Returns:
        ``file``.

    Raises:
        ValueError: If a package is missing, the model has masks or is elsewhere, or torch cannot
            trace it.
    """
    _require_packages()
    program = torch.onnx.export(
        trace(model, channels=channels, size=size),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch"},),
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(metadata or {})
    replace_file(file, program.model_proto.SerializeToString())
    return file


def _require_packages() -> None:
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(
                f"ONNX export needs the package '{name}', which cannot be imported; "
                "install kdtune with its extra 'onnx': uv pip install -e '.[onnx]'"
            ) from error
