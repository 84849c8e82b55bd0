"""Datasets in memory: named sources, decoded once per node, split by class and seed."""

from kdtune.data.corruption import imbalanced_counts, imbalanced_subset, noisy_labels
from kdtune.data.dataset import Dataset, ImageSplit, merge_train_val
from kdtune.data.errors import DataError
from kdtune.data.load import absolute_name, describe, download, forget_loaded, load_dataset
from kdtune.data.source import SOURCES, DatasetInfo

__all__ = [
    "SOURCES",
    "DataError",
    "Dataset",
    "DatasetInfo",
    "ImageSplit",
    "absolute_name",
    "describe",
    "download",
    "forget_loaded",
    "imbalanced_counts",
    "imbalanced_subset",
    "load_dataset",
    "merge_train_val",
    "noisy_labels",
]
