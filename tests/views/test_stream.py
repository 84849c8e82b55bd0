"""The stream: same name, same batch."""

import hashlib
import random
import subprocess
import sys

import pytest
import torch
from made_up import make_dataset

from kdtune.contracts import Batch
from kdtune.data import Dataset
from kdtune.views import AUGMENTS, ViewStream, plain_batches


def digest(batch: Batch) -> str:
    """A hash of every bit of a batch."""
    total = hashlib.sha256(repr(batch.lam).encode())
    for tensor in (batch.index, batch.images, batch.labels, batch.partner_labels):
        if tensor is not None:
            total.update(tensor.numpy().tobytes())
    return total.hexdigest()


def digests(names: list[str], places: list[tuple[int, int]]) -> dict[str, str]:
    """The hash of each named batch of the made-up dataset, computed in the order given."""
    found = {}
    for name in names:
        stream = ViewStream(make_dataset(), augment=name, batch_size=8, seed=7)
        for epoch, step in places:
            found[f"{name} {epoch} {step}"] = digest(stream.batch(epoch, step))
    return found


PLACES = [(epoch, step) for epoch in range(3) for step in range(3)]
IN_A_FRESH_PROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
from test_stream import AUGMENTS, PLACES, digests
import torch
torch.set_num_threads(1)
torch.rand(5)
for name, value in digests(AUGMENTS.names(), PLACES[::-1]).items():
    print(name, value)
"""


@pytest.mark.parametrize("augment", AUGMENTS.names())
def test_the_order_of_calls_changes_no_bit(augment: str) -> None:
    shuffled = random.Random(0).sample(PLACES * 2, k=2 * len(PLACES))
    assert digests([augment], PLACES) == digests([augment], shuffled)


def test_a_fresh_process_makes_the_same_bits(request: pytest.FixtureRequest) -> None:
    folder = str(request.path.parent)
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, folder]
    lines = subprocess.check_output(command, text=True, timeout=120).splitlines()
    assert dict(line.rsplit(" ", 1) for line in lines) == digests(AUGMENTS.names(), PLACES)


@pytest.mark.parametrize("augment", AUGMENTS.names())
def test_batches_differ_in_seed_epoch_and_step(augment: str, dataset: Dataset) -> None:
    streams = [ViewStream(dataset, augment=augment, batch_size=8, seed=seed) for seed in (0, 1)]
    found = {digest(stream.batch(*place)) for stream in streams for place in PLACES}
    assert len(found) == 2 * len(PLACES)


@pytest.mark.parametrize("augment", AUGMENTS.names())
def test_a_batch_keeps_its_contract(augment: str, dataset: Dataset) -> None:
    stream = ViewStream(dataset, augment=augment, batch_size=8, seed=0)
    before = torch.random.get_rng_state()
    batch = stream.batch(0, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert batch.images.shape == (8, 3, 16, 16)
    assert batch.images.dtype == torch.float32
    assert torch.equal(batch.labels, dataset.train.targets[batch.index])
    assert (batch.partner_labels is not None) == stream.mixes
    assert 0 <= batch.lam <= 1
    assert stream.mixes or batch.lam == 1


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(8, [8, 8, 7]), (11, [11, 11]), (22, [22]), (23, [23]), (100, [23])],
)
def test_a_lone_last_image_is_dropped(batch_size: int, sizes: list[int], dataset: Dataset) -> None:
    stream = ViewStream(dataset, augment="none", batch_size=batch_size, seed=0)
    batches = list(stream.epoch(0))
    assert [len(batch.labels) for batch in batches] == sizes
    assert stream.steps_per_epoch == len(sizes)
    assert len(torch.cat([batch.index for batch in batches]).unique()) == sum(sizes)


def test_without_augmentation_only_the_order_changes(dataset: Dataset) -> None:
    stream = ViewStream(dataset, augment="none", batch_size=23, seed=0)
    (plain,) = plain_batches(dataset.train, dataset, batch_size=23, device="cpu")
    for epoch in range(2):
        batch = stream.batch(epoch, 0)
        assert torch.equal(batch.images, plain.images[batch.index])


def test_plain_batches_are_normalised_and_in_order(dataset: Dataset) -> None:
    batches = list(plain_batches(dataset.val, dataset, batch_size=11, device="cpu"))
    assert [len(batch.labels) for batch in batches] == [11, 11, 1]
    assert torch.equal(torch.cat([batch.index for batch in batches]), torch.arange(23))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), dataset.val.targets)
    pixels = dataset.val.images[dataset.val.index].double() / 255
    mean, std = (torch.tensor(v).double().view(3, 1, 1) for v in (dataset.mean, dataset.std))
    images = torch.cat([batch.images for batch in batches]).double()
    torch.testing.assert_close(images, (pixels - mean) / std, atol=1e-6, rtol=0)


def test_views_leave_the_stored_images_alone(dataset: Dataset) -> None:
    before = dataset.train.images.clone()
    for augment in AUGMENTS.names():
        list(ViewStream(dataset, augment=augment, batch_size=8, seed=0).epoch(0))
    assert torch.equal(dataset.train.images, before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"augment": "cutmx"}, "unknown augment 'cutmx'; did you mean 'cutmix'"),
        ({"batch_size": 1}, "batch_size must be >= 2 for training, got 1"),
    ],
)
def test_a_wrong_argument_is_named(
    options: dict[str, object], words: str, dataset: Dataset
) -> None:
    with pytest.raises(ValueError, match=words):
        ViewStream(dataset, **{"augment": "none", "batch_size": 8, "seed": 0, **options})


def test_a_batch_that_does_not_exist_is_refused(dataset: Dataset) -> None:
    stream = ViewStream(dataset, augment="none", batch_size=8, seed=0)
    with pytest.raises(ValueError, match=r"step must be in \[0, 3\), got 3"):
        stream.batch(0, 3)
    with pytest.raises(ValueError, match="epoch must be >= 0, got -1"):
        stream.batch(-1, 0)
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        plain_batches(dataset.val, dataset, batch_size=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("augment", AUGMENTS.names())
def test_a_gpu_makes_the_same_bits(augment: str, dataset: Dataset) -> None:
    ours, theirs = (
        ViewStream(dataset, augment=augment, batch_size=8, seed=0, device=device).batch(1, 2)
        for device in ("cpu", "cuda")
    )
    assert theirs.images.is_cuda
    assert torch.equal(ours.images, theirs.images.cpu())
    assert torch.equal(ours.labels, theirs.labels.cpu())
