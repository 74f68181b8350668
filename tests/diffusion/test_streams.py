from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch

from napari_phenldiff.diffusion.streams import seeded, stream


def test_a_stream_depends_on_all_of_its_numbers():
    drawn = {
        numbers: torch.rand(1, generator=stream(*numbers)).item()
        for numbers in ((0, 1), (1, 0), (0, 1, 1), (0, 2))
    }
    assert len(set(drawn.values())) == len(drawn)
    assert torch.rand(1, generator=stream(0, 1)).item() == drawn[0, 1]


def test_initial_weights_leave_the_global_generator_as_it_was():
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    with seeded(3):
        first = torch.nn.Linear(8, 8).weight
    assert torch.equal(torch.rand(2), expected)
    with seeded(3):
        assert torch.equal(torch.nn.Linear(8, 8).weight, first)


def test_trainings_that_start_at_once_do_not_take_each_others_numbers():
    barrier = Barrier(2)

    def weights(seed: int) -> list[torch.Tensor]:
        barrier.wait()
        with seeded(seed):
            return [torch.nn.Linear(64, 64).weight.detach() for _ in range(200)]

    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(weights, (1, 2)))
    for seed, drawn in zip((1, 2), both, strict=True):
        with seeded(seed):
            assert all(torch.equal(torch.nn.Linear(64, 64).weight, weight) for weight in drawn)
