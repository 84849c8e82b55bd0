"""What the papers call a network, and what it is called here."""

from collections.abc import Mapping

SMALL_IMAGES = ("cifar10", "cifar100", "tiny_imagenet")
LARGE_IMAGES = ("imagenet", "cub200", "places365")

_ZOO: Mapping[str, str] = {
    **{f"ResNet-{depth}": f"resnet{depth}" for depth in (8, 14, 20, 26, 50, 56, 110)},
    **{f"ResNet-{shape}": f"resnet{shape}" for shape in ("8x4", "32x4")},
    **{
        f"WRN-{depth}-{width}": f"wrn_{depth}_{width}"
        for depth, widths in {
            10: (2,),
            16: (1, 2, 3, 4, 6, 8),
            28: (1, 2, 3, 4, 6, 8),
            40: (2,),
        }.items()
        for width in widths
    },
    **{f"VGG-{depth}": f"vgg{depth}" for depth in (8, 13, 19)},
    **{
        f"PyramidNet-{shape}": f"pyramidnet_{shape.replace('-', '_')}"
        for shape in ("110-64", "200-240", "200-300")
    },
    # Growth 12, as that of the pruning code that the paper compares with.
    "DenseNet-40": "densenet_40_12",
    "MobileNetV2": "mobilenetv2",
    "ShuffleNetV2": "shufflenetv2",
}
_TORCHVISION: Mapping[str, str] = {
    **{f"ResNet-{depth}": f"torchvision:resnet{depth}" for depth in (18, 34, 50, 152)},
    "MobileNetV2": "torchvision:mobilenet_v2",
    "EfficientNet-B0": "torchvision:efficientnet_b0",
    "ConvNeXt-T": "torchvision:convnext_tiny",
}


def network_name(printed: str, dataset: str) -> str | None:
    """The name under which kdtune builds a network of the papers; None if it does not.

    Args:
        printed: As the papers write it, such as ``WRN-40-2``.
        dataset: Decides between the zoo, for small images, and torchvision.
    """
    if dataset in SMALL_IMAGES:
        return _ZOO.get(printed)
    if dataset in LARGE_IMAGES:
        return _TORCHVISION.get(printed)
    return None
