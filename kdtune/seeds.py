"""Named random streams: every draw is a pure function of a seed and the names of its purpose.

Nothing depends on how many numbers were drawn before, so a restored trial, a reused actor and a
fresh process draw the same bits, and no generator state has to be saved.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream ``names`` of ``seed``; the same in every process."""
    digest = hashlib.blake2b(repr((int(seed), *names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator at the start of the stream ``names`` of ``seed``."""
    return torch.Generator().manual_seed(derive(seed, *names))


@contextmanager
def global_stream(seed: int, *names: str | int) -> Iterator[None]:
    """Run a block with torch's global generators on a named stream, then put them back.

    For code that cannot be handed a generator: weight initialisation of library models, dropout.
    """
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count() if cuda else 0)
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive(seed, *names))
        yield
