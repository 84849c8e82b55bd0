"""The data that a trial's configuration names."""

from kdtune.config import TrialConfig
from kdtune.data import Dataset, load_dataset, merge_train_val


def load_trial_data(config: TrialConfig) -> Dataset:
    """The dataset of a trial, split as its data settings say."""
    data = config.data
    dataset = load_dataset(
        config.dataset,
        root=data.root or None,
        seed=data.seed,
        val_fraction=data.val_fraction,
        train_limit=data.train_limit,
        label_noise=data.label_noise,
        imbalance=data.imbalance,
        flip=data.flip,
        image_column=data.image_column,
        label_column=data.label_column,
    )
    return merge_train_val(dataset) if config.train.on == "train+val" else dataset
