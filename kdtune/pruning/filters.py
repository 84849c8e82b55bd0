"""Which filters of a network may be removed, and their removal through the dependency graph."""

from collections.abc import Sequence

import torch_pruning as tp
from torch import Tensor, nn

from kdtune.pruning.pruner import Detail


def prunable_convs(model: nn.Module, example: Tensor) -> dict[str, nn.Conv2d]:
    """The convs whose filters may go, by path, in the order of the network.

    Blocks that declare ``prunable`` decide. Where no block does, a conv is prunable if dropping its
    filters narrows only what reads them: convs, after batch norms and depthwise convs. That leaves
    out residual streams, gates, grouped convs, and whatever feeds a linear layer or the output.

    Raises:
        ValueError: If there are none.
    """
    blocks = [(p, m) for p, m in model.named_modules() if hasattr(m, "prunable")]
    if blocks:
        paths = [f"{path}.{leaf}".lstrip(".") for path, block in blocks for leaf in block.prunable]
        convs = {path: conv_at(model, path) for path in paths}
    else:
        convs = _free_convs(model, example)
    if not convs:
        raise ValueError(
            "structured pruning needs convs whose filters can go without narrowing a residual "
            f"stream, '{type(model).__name__}' has none; use prune method 'magnitude'"
        )
    return convs


def remove_filters(model: nn.Module, detail: Detail, example: Tensor) -> None:
    """Remove the output channels listed per conv path, and all that depends on them, in place.

    Raises:
        ValueError: If a path is no conv of the model, or its channels do not exist or are all gone.
    """
    graph = dependency_graph(model, example)
    for path, removed in detail.items():
        conv = conv_at(model, path)
        if not set(removed) < set(range(conv.out_channels)):
            raise ValueError(
                f"the removed channels of '{path}' must be some of 0 to {conv.out_channels - 1}, "
                f"got {list(removed)}; was the model built with the same name and unpruned?"
            )
        group = graph.get_pruning_group(conv, tp.prune_conv_out_channels, list(removed))
        group.prune(record_history=False)


def conv_at(model: nn.Module, path: str) -> nn.Conv2d:
    """The conv at a path.

    Raises:
        ValueError: If there is none.
    """
    try:
        module = model.get_submodule(path)
    except AttributeError:
        module = None
    if not isinstance(module, nn.Conv2d):
        raise ValueError(f"'{path}' must be a Conv2d of the model, got {type(module).__name__}")
    return module


def dependency_graph(model: nn.Module, example: Tensor) -> tp.DependencyGraph:
    """Torch-Pruning's graph of which channels go together.

    Raises:
        ValueError: If the library cannot follow the network's channels (shufflenet_v2, for one).
    """
    graph = tp.DependencyGraph()
    try:
        return graph.build_dependency(model, example_inputs=example, verbose=False)
    except Exception as error:
        raise ValueError(
            f"structured pruning needs a network that Torch-Pruning can trace, got "
            f"'{type(model).__name__}' ({type(error).__name__}: {error}); "
            "use prune method 'magnitude'"
        ) from error


def _free_convs(model: nn.Module, example: Tensor) -> dict[str, nn.Conv2d]:
    graph = dependency_graph(model, example)
    free = {}
    for path, conv in model.named_modules():
        if not isinstance(conv, nn.Conv2d) or conv.groups > 1 or conv not in graph.module2node:
            continue
        channels: Sequence[int] = range(conv.out_channels)
        group = graph.get_pruning_group(conv, tp.prune_conv_out_channels, list(channels))
        reached = [dep for dep, _ in group if dep.target.module is not conv]
        if all(_only_follows(dep, graph) for dep in reached):
            free[path] = conv
    return free


def _only_follows(dep: tp.dependency.Dependency, graph: tp.DependencyGraph) -> bool:
    """Whether the layer that ``dep`` reaches loses inputs only, not a width that others share."""
    kind, module = dep.target.type, dep.target.module
    if isinstance(module, nn.Conv2d):
        depthwise = module.groups == module.in_channels == module.out_channels > 1
        plain = module.groups == 1 and not graph.is_out_channel_pruning_fn(dep.handler)
        return depthwise or plain
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return True
    inner = (tp.ops.OPTYPE.ELEMENTWISE, tp.ops.OPTYPE.CONCAT, tp.ops.OPTYPE.RESHAPE)
    return kind in inner
