"""Students as programs of ``torch.export``: they run with torch alone."""

import io
from pathlib import Path

import torch
from torch import nn

from kdtune.replacing import replace_file


def export_program(model: nn.Module, file: Path, *, channels: int, size: int) -> Path:
    """Write the network's forward pass in evaluation mode, for any batch size.

    ``torch.export.load(file).module()`` takes normalised images ``(B, channels, size, size)`` and
    gives logits, in a process that has torch and nothing of kdtune. Loading is not safe for files
    of strangers: what torch cannot read as plain tensors it unpickles without restriction, and a
    pickle may run any code. The safetensors of a student have no such weakness.

    Args:
        model: On the CPU, without masks; its modes and buffers stay as they are.
        file: To write, usually with the suffix ``.pt2``; replaced if it exists.
        channels: Channels of the images.
        size: Side of the square images in pixels.

    Returns:
        ``file``.

    Raises:
        ValueError: If the model has masks or is elsewhere, or torch cannot trace it.
    """
    program = trace(model, channels=channels, size=size)
    content = io.BytesIO()
    torch.export.save(program, content)
    replace_file(file, content.getvalue())
    return file


def trace(model: nn.Module, *, channels: int, size: int) -> torch.export.ExportedProgram:
    """The traced forward pass, without what it knows of the files that define the network.

    Raises:
        ValueError: As :func:`export_program`.
    """
    if any(hasattr(module, "weight_mask") for module in model.modules()):
        raise ValueError("the model to export must have no masks; finalize it first")
    device = next(model.parameters()).device
    if device.type != "cpu":
        raise ValueError(f"the model to export must be on the CPU, got {device}; move a copy there")
    # Two images: torch takes a batch of one for a size that never changes.
    images = torch.zeros(2, channels, size, size)
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        program = torch.export.export(
            model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
    except Exception as error:  # torch raises whatever its tracer or the network's code raise
        reason = str(error).strip().splitlines() or [""]
        raise ValueError(
            f"torch cannot export '{type(model).__name__}' for images of "
            f"{channels}x{size}x{size} ({type(error).__name__}: {reason[0]})"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program
