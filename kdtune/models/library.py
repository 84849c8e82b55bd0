"""The bridge to the classification models of torchvision, without pretrained weights.

torchvision takes seconds to import (its operators pull in torch's compiler), so it is imported
where a name needs it: a worker that trains networks of the zoo never does.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from kdtune.models.family import Builder
from kdtune.models.tap import PRE, Tap, declare_taps
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
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            # Else it writes over what the classifier reads, and so over the pooled tap.
            module.inplace = False
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
    """Stem, blocks and maps of the families below; of the others what reads and feeds the end.

    The four blocks of ``mobilenet_v2``, the EfficientNets and the ConvNeXts are the last maps at a
    4th, 8th, 16th and 32nd of the image's side, as those of the residual networks are. Only where
    the activation is a ReLU are there ``_pre`` taps. The maps of other networks are called signed
    unless known not to be.
    """
    from torchvision import models as library

    if isinstance(model, library.ResNet):
        return _residual_taps(model)
    if isinstance(model, library.MobileNetV2):
        return _mobile_taps(model)
    if isinstance(model, library.EfficientNet):
        return _efficient_taps(model)
    if isinstance(model, library.ConvNeXt):
        return _convnext_taps(model)
    return _end_taps(model)


def _residual_taps(model: nn.Module) -> dict[str, Tap]:
    points = {"stem": Tap(path="maxpool")}
    for number in range(1, 5):
        last, block = list(model.get_submodule(f"layer{number}").named_children())[-1]
        path = f"layer{number}.{last}"
        norm = f"{path}.bn3" if hasattr(block, "bn3") else f"{path}.bn2"
        points[f"block{number}{PRE}"] = Tap(
            path=f"{path}.relu", side="input", activation="pre", signed=True, norm=norm
        )
        points[f"block{number}"] = Tap(path=f"layer{number}")
    points["last_map"] = Tap(path="avgpool", side="input")
    return points | {"pooled": Tap(path="fc", side="input")}


def _mobile_taps(model: nn.Module) -> dict[str, Tap]:
    """Linear bottlenecks end in a batch norm, so a block is its own map before the ReLU."""
    features = model.get_submodule("features")
    *_, head = (path for path, _ in features.named_children())
    points = {"stem": Tap(path="features.0")}
    for number, path in enumerate(_last_of_each_side(features, with_head=True), start=1):
        *_, (norm, _) = features.get_submodule(path).named_modules(prefix=f"features.{path}")
        linear = Tap(path=f"features.{path}", activation="pre", signed=True, norm=norm)
        points[f"block{number}"] = replace(linear, norm=None)
        points[f"block{number}{PRE}"] = linear
    points["last_map"] = Tap(path=f"features.{head}")
    return points | {"pooled": Tap(path="classifier", side="input")}


def _efficient_taps(model: nn.Module) -> dict[str, Tap]:
    """Blocks end in a batch norm; SiLU, after the stem and the head, can be negative."""
    features = model.get_submodule("features")
    points = {"stem": Tap(path="features.0", signed=True)}
    for number, path in enumerate(_last_of_each_side(features, with_head=True), start=1):
        points[f"block{number}"] = Tap(path=f"features.{path}", activation="pre", signed=True)
    points["last_map"] = Tap(path="avgpool", side="input", signed=True)
    return points | {"pooled": Tap(path="classifier", side="input", signed=True)}


def _convnext_taps(model: nn.Module) -> dict[str, Tap]:
    """Residual sums without activation; ``pooled`` is what the layer norm after pooling yields."""
    features = model.get_submodule("features")
    points = {"stem": Tap(path="features.0", activation="pre", signed=True)}
    for number, path in enumerate(_last_of_each_side(features, with_head=False), start=1):
        points[f"block{number}"] = Tap(path=f"features.{path}", activation="pre", signed=True)
    points["last_map"] = Tap(path="avgpool", side="input", activation="pre", signed=True)
    return points | {"pooled": Tap(path="classifier.2", side="input", signed=True)}


def _last_of_each_side(features: nn.Module, *, with_head: bool) -> list[str]:
    """The children that end the four smallest resolutions; the head is not one of them."""
    children = list(features.named_children())
    halves = [
        any(max(m.stride) > 1 for m in child.modules() if isinstance(m, nn.Conv2d))
        for _, child in children
    ]
    last = len(children) - 2 if with_head else len(children) - 1
    ends = [i for i in range(last + 1) if i == last or halves[i + 1]]
    return [children[i][0] for i in ends[-4:]]


def _end_taps(model: nn.Module) -> dict[str, Tap]:
    """What a global pooling module reads and what the last linear layer reads, where they exist."""
    points = {}
    pooling = getattr(model, "avgpool", None)
    if isinstance(pooling, nn.AdaptiveAvgPool2d) and pooling.output_size in (1, (1, 1)):
        points["last_map"] = Tap(path="avgpool", side="input", signed=True)
    linears = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if linears:
        points["pooled"] = Tap(path=linears[-1], side="input", signed=True)
    return points
