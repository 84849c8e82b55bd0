"""Handwritten digits that ship inside scikit-learn: real data without a download."""

from importlib.metadata import version

import numpy as np
import torch

from kdtune.data.source import SOURCES, DatasetInfo, Decoded, Pictures, Plan, Request, Source
from kdtune.data.splits import stratified_pick

TEST_SHARE = 0.2
TOP_PIXEL = 16
"""The brightest value in scikit-learn's arrays."""


def digits(request: Request) -> Plan:
    """1,797 images of 1x8x8; the test share is fixed and no seed of the user's moves it."""
    return Plan(
        identity=("digits", version("scikit-learn")),
        decode=_decode,
        val_fraction=0.25,
        flip=False,
    )


def _decode() -> Decoded:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / TOP_PIXEL)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    total = int(len(labels) * TEST_SHARE + 0.5)
    test, train = stratified_pick(torch.from_numpy(labels), total, 0, "digits test")
    return Decoded(
        train=Pictures(images=images[train.numpy()], labels=labels[train.numpy()]),
        test=Pictures(images=images[test.numpy()], labels=labels[test.numpy()]),
        class_names=tuple(str(name) for name in bunch.target_names),
    )


SOURCES.register("digits")(
    Source(
        info=DatasetInfo(
            name="digits",
            summary="scikit-learn's handwritten digits, 1,797 images, split 60/20/20",
            classes=10,
            shape="1x8x8",
            needs="nothing, it is embedded",
        ),
        location="none",
        plan=digits,
    )
)
