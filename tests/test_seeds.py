import subprocess
import sys

import torch

from kdtune.seeds import derive, generator, global_stream


def test_streams_of_other_names_or_seeds_are_others() -> None:
    seeds = {derive(s, *n) for s in range(20) for n in [(), ("a",), ("b",), ("a", 1), ("a", 2)]}
    assert len(seeds) == 100


def test_a_stream_is_the_same_in_another_process() -> None:
    code = "from kdtune.seeds import derive; print(derive(3, 'views', 7))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(told.stdout) == derive(3, "views", 7)


def test_a_generator_starts_at_the_start() -> None:
    first, second = (torch.rand(3, generator=generator(1, "x")) for _ in range(2))
    assert torch.equal(first, second)


def test_the_global_stream_is_put_back() -> None:
    before = torch.get_rng_state()
    with global_stream(5, "init"):
        one = torch.rand(2)
    with global_stream(5, "init"):
        two = torch.rand(2)
    assert torch.equal(one, two)
    assert torch.equal(before, torch.get_rng_state())
