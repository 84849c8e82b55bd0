"""Replayable views: the batch that (stream seed, epoch, step) names is the same everywhere."""

from kdtune.views import policies  # noqa: F401  (fills the registry)
from kdtune.views.derangement import draw_derangement
from kdtune.views.operations import NAMES as OPERATION_NAMES
from kdtune.views.operations import operate
from kdtune.views.policies.cutmix import cutmix, cutmix_box
from kdtune.views.policies.cutout import square_mask
from kdtune.views.policies.mixup import mixup
from kdtune.views.policies.standard import crop_and_flip, horizontal_flip, random_crop
from kdtune.views.policy import AUGMENTS, Augment, Mixing, RawBatch
from kdtune.views.stream import ViewStream, plain_batches

__all__ = [
    "AUGMENTS",
    "OPERATION_NAMES",
    "Augment",
    "Mixing",
    "RawBatch",
    "ViewStream",
    "crop_and_flip",
    "cutmix",
    "cutmix_box",
    "draw_derangement",
    "horizontal_flip",
    "mixup",
    "operate",
    "plain_batches",
    "random_crop",
    "square_mask",
]
