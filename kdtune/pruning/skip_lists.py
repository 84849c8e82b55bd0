"""Residual blocks that l1_filter may leave whole, because pruning them costs much accuracy."""

from collections.abc import Collection, Mapping

from torch import nn

from kdtune.registry import nearest

Block = tuple[int, int]
"""Stage and block in it, both from 0."""

SKIP_LISTS: Mapping[str, Mapping[int, tuple[Block, ...]]] = {
    "rethinking": {
        56: ((0, 7), (0, 8), (1, 0), (1, 7), (2, 0), (2, 8)),
        110: ((0, 17), (1, 0), (2, 0)),
    }
}
"""Blocks left whole by name of the list and depth of the CIFAR resnet.

``rethinking`` is configuration B of Eric-mingjie/rethinking-network-pruning; park2020 says that
some layers are left out and names none.
"""


def spared_convs(model: nn.Module, convs: Collection[str], skip: str) -> list[str]:
    """The paths out of ``convs`` that the list ``skip`` leaves whole.

    Raises:
        ValueError: If there is no such list, or none for this network.
    """
    if skip not in SKIP_LISTS:
        raise ValueError(f"unknown list of spared layers '{skip}'{nearest(skip, SKIP_LISTS)}")
    by_depth = SKIP_LISTS[skip]
    depth = _resnet_depth(model, convs)
    if depth not in by_depth:
        known = ", ".join(f"resnet{known}" for known in by_depth)
        found = f"resnet{depth}" if depth else f"a {type(model).__name__} of another kind"
        raise ValueError(f"the list of spared layers '{skip}' is for {known}, got {found}")
    return [f"block{stage + 1}.{block}.conv1" for stage, block in by_depth[depth]]


def _resnet_depth(model: nn.Module, convs: Collection[str]) -> int:
    """``6n + 2`` for three stages of ``n`` post-activation basic blocks, 0 for anything else."""
    per_stage = len(convs) // 3
    stages = [f"block{stage}.{block}" for stage in (1, 2, 3) for block in range(per_stage)]
    if not convs or list(convs) != [f"{block}.conv1" for block in stages]:
        return 0
    # A pre-activation block (wrn) has the same paths, but begins with a batch norm.
    first = (next(iter(model.get_submodule(block).named_children()))[0] for block in stages)
    return 6 * per_stage + 2 if all(name == "conv1" for name in first) else 0
