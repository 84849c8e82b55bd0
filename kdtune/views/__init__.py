"""Replayable views: the batch that (stream seed, epoch, step) names is the same everywhere."""

from kdtune.views import policies  # noqa: F401  (fills the registry)
from kdtune.views.derangement import draw_derangement
from kdtune.views.policies.cutmix import cutmix, cutmix_box
from kdtune.views.policies.mixup import mixup
from kdtune.views.policies.standard import crop_and_flip, horizontal_flip, random_crop
from kdtune.views.policy import AUGMENTS, Augment, RawBatch, Views
from kdtune.views.stream import ViewStream, plain_batches

__all__ = [
    "AUGMENTS",
    "Augment",
    "RawBatch",
    "ViewStream",
    "Views",
    "crop_and_flip",
    "cutmix",
    "cutmix_box",
    "draw_derangement",
    "horizontal_flip",
    "mixup",
    "plain_batches",
    "random_crop",
]
