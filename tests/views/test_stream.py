"""The stream: same name, same batch."""

import hashlib
import json
import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from made_up import make_dataset

from kdtune.contracts import Batch
from kdtune.data import Dataset
from kdtune.views import AUGMENTS, ViewStream, plain_batches


def digest(batch: Batch) -> str:
    """A hash of every bit of a batch, its mixed batch included."""
    total = hashlib.sha256()
    tensors = (batch.index, batch.images, batch.labels, batch.partner_labels, batch.lam)
    for tensor in tensors:
        total.update(b"none" if tensor is None else tensor.numpy().tobytes())
    if batch.mixed is not None:
        total.update(digest(batch.mixed).encode())
    return total.hexdigest()


def make_stream(dataset: Dataset, name: str, **options: Any) -> ViewStream:
    """The stream of a policy with its defaults; a mixing one keeps the plain views too."""
    policy = AUGMENTS.get(name)()
    defaults = {"batch_size": 8, "seed": 0, "plain_too": policy.mixes}
    return ViewStream(dataset, policy=policy, **{**defaults, **options})


def digests(names: list[str], places: list[tuple[int, int]]) -> dict[str, str]:
    """The hash of each named batch of the made-up dataset, computed in the order given."""
    found = {}
    for name in names:
        stream = make_stream(make_dataset(), name, seed=7)
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
    streams = [make_stream(dataset, augment, seed=seed) for seed in (0, 1)]
    found = {digest(stream.batch(*place)) for stream in streams for place in PLACES}
    assert len(found) == 2 * len(PLACES)


@pytest.mark.parametrize("augment", AUGMENTS.names())
def test_a_batch_leaves_the_global_generator_alone(augment: str, dataset: Dataset) -> None:
    before = torch.random.get_rng_state()
    make_stream(dataset, augment).batch(0, 0)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(8, [8, 8, 7]), (11, [11, 11]), (22, [22]), (23, [23]), (100, [23])],
)
def test_a_lone_last_image_is_dropped(batch_size: int, sizes: list[int], dataset: Dataset) -> None:
    stream = make_stream(dataset, "none", batch_size=batch_size)
    batches = list(stream.epoch(0))
    assert [len(batch.labels) for batch in batches] == sizes
    assert stream.steps_per_epoch == len(sizes)
    assert len(torch.cat([batch.index for batch in batches]).unique()) == sum(sizes)


def test_without_augmentation_only_the_order_changes(dataset: Dataset) -> None:
    stream = make_stream(dataset, "none", batch_size=23)
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
        list(make_stream(dataset, augment).epoch(0))
    assert torch.equal(dataset.train.images, before)


def test_a_wrong_argument_is_named(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="batch_size must be >= 2 for training, got 1"):
        make_stream(dataset, "none", batch_size=1)
    words = (
        r"plain_too needs a policy that mixes images \(cutmix, cutmix_pick, mixup\), got Standard"
    )
    with pytest.raises(ValueError, match=words):
        make_stream(dataset, "standard", plain_too=True)


def test_a_batch_that_does_not_exist_is_refused(dataset: Dataset) -> None:
    stream = make_stream(dataset, "none")
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
        make_stream(dataset, augment, device=device, plain_too=False).batch(1, 2)
        for device in ("cpu", "cuda")
    )
    assert theirs.images.is_cuda
    assert torch.equal(ours.images, theirs.images.cpu())
    assert torch.equal(ours.labels, theirs.labels.cpu())


def test_the_identity_of_a_stream_is_that_of_its_images() -> None:
    dataset = make_dataset()
    turned = replace(dataset.train, index=dataset.train.index.flip(0))
    own = make_stream(dataset, "mixup").identity
    assert own == make_stream(dataset, "mixup").identity
    others = [
        make_stream(dataset, "cutmix"),
        make_stream(dataset, "mixup", plain_too=False),
        make_stream(dataset, "mixup", seed=1),
        make_stream(dataset, "mixup", batch_size=7),
        make_stream(replace(dataset, mean=(0.1,) * dataset.channels), "mixup"),
        make_stream(replace(dataset, train=turned), "mixup"),
    ]
    found = [json.dumps(stream.identity) for stream in others]
    assert len({json.dumps(own), *found}) == 7


def test_views_of_another_version_are_another_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    before = make_stream(make_dataset(), "standard").identity
    policy = AUGMENTS.get("standard")
    views = policy.views
    monkeypatch.setattr(policy, "views", lambda self, raw, draws: views(self, raw, draws) + 1e-6)
    after = make_stream(make_dataset(), "standard").identity
    assert before.pop("first") != after.pop("first")
    assert before == after
