"""The bridge to the classification models of torchvision, without pretrained weights.

torchvision takes seconds to import (its operators pull in torch's compiler), so it is imported
where a name needs it: a worker that trains networks of the zoo never does.
"""

from functools import partial
from typing import Any

from torch import nn

from kdtune.models.family import Builder
from kdtune.models.tap import Tap, declare_taps
from kdtune.registry import nearest

PREFIX = "torchvision:"


def library_names() -> list[str]:
    """The classification models of the installed torchvision, sorted."""
    from torchvision import models as library

    return sorted(library.list_models(module=library))


def library_builder(name: str) -> Builder:
    """The builder of torchvision's ``name`` (without prefix).

    Raises:
        ValueError: If torchvision has no such classification model.
    """
    known = library_names()
    if name not in known:
        raise ValueError(f"unknown torchvision model '{name}'{nearest(name, known)}")
    return partial(_build, name=name)


def _build(*, name: str, classes: int, channels: int, size: int) -> nn.Module:
    from torchvision import models as library

    options = _options(name, size)
    model: nn.Module = library.get_model(name, weights=None, num_classes=classes, **options)
    if channels != 3:
        _read_channels(model, channels)
    _declare_prunable(model)
    return declare_taps(model, _tap_points(model))


def _options(name: str, size: int) -> dict[str, Any]:
    """What some constructors must know: the image side, or to leave auxiliary classifiers out.

    googlenet and inception_v3 would return tuples in train mode with their auxiliary outputs.
    """
    if name.startswith("vit_"):
        return {"image_size": size}
    if name.startswith("maxvit"):
        return {"input_size": (size, size)}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    return {}


def _read_channels(model: nn.Module, channels: int) -> None:
    """Replace the conv that reads the image by one for ``channels`` channels."""
    path, old = next((p, m) for p, m in model.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        kernel_size=(old.kernel_size[0], old.kernel_size[1]),
        stride=(old.stride[0], old.stride[1]),
        padding=old.padding if isinstance(old.padding, str) else (old.padding[0], old.padding[1]),
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    parent, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(parent), leaf, new)


def _declare_prunable(model: nn.Module) -> None:
    """Residual blocks offer the filters inside them; grouped convs (resnext) offer none."""
    from torchvision.models.resnet import BasicBlock, Bottleneck

    for module in model.modules():
        if isinstance(module, BasicBlock):
            vars(module)["prunable"] = ("conv1",)
        elif isinstance(module, Bottleneck):
            grouped = module.conv2.groups > 1
            vars(module)["prunable"] = () if grouped else ("conv1", "conv2")


def _tap_points(model: nn.Module) -> dict[str, Tap]:
    """Stem, blocks and pooled for the residual networks; pooled where a linear layer ends the net.

    Where the classifier has hidden layers (alexnet, vgg, mobilenet_v3), ``pooled`` is what its last
    layer reads. It is called signed unless known not to be.
    """
    from torchvision.models.resnet import ResNet

    if isinstance(model, ResNet):
        points = {"stem": Tap(path="maxpool")}
        points |= {f"block{n}": Tap(path=f"layer{n}") for n in range(1, 5)}
        return points | {"pooled": Tap(path="fc", side="input")}
    linears = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    return {"pooled": Tap(path=linears[-1], side="input", signed=True)} if linears else {}
