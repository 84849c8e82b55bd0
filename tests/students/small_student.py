"""A small student with its card."""

import torch
from torch import nn

from kdtune.models import build
from kdtune.pruning import prune
from kdtune.students import StudentCard

NAMES = tuple(f"digit {n}" for n in range(10))


def card(pruned: str | None = None, **changes: object) -> StudentCard:
    values = {
        "model": "resnet8x0.5",
        "classes": 10,
        "class_names": NAMES,
        "channels": 1,
        "size": 8,
        "mean": (0.3,),
        "std": (0.4,),
        "pruned": pruned,
        "method": "kd",
        "metadata": {"val/accuracy": 0.9, "seed": 3},
    }
    return StudentCard(**{**values, **changes})


def student(method: str | None = None) -> tuple[nn.Module, StudentCard]:
    """A network with batch norms as after some training, pruned by ``method``."""
    model = build("resnet8x0.5", classes=10, channels=1, size=8, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.normal_(1, 0.3, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
    if method is None:
        return model.eval(), card()
    record = prune(model, method=method, ratio=0.5, channels=1, size=8)
    return model.eval(), card(record.to_json())


def images(count: int = 5) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(2))
