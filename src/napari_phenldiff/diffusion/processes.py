"""Communication between the processes of one training, each with its own GPU.

Processes are started by `launch`, `accelerate launch`, or anything else that sets ``RANK`` and
``WORLD_SIZE``. A training in one process uses none of this. torch is imported late, so that the
command line can check early whether it runs in the main process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from napari_phenldiff.errors import InputError, LostProcess

if TYPE_CHECKING:
    import torch

# Other processes wait while the main one reads images or writes a checkpoint to a slow disk. The
# timeout can be long, because the launcher ends all processes when one dies.
_PATIENCE = timedelta(hours=24)
_BUNDLE = 2**24
"""Numbers that are sent at once."""


def is_main_process() -> bool:
    """Whether this is the process that reads images, writes files and prints progress."""
    return int(os.environ.get("RANK", "0")) == 0


def are_several() -> bool:
    """Whether this is one of several processes of a training."""
    return _count() > 1


def check_batch_size(batch_size: int) -> None:
    """Check that a batch can be divided evenly among the processes.

    Raises
    ------
    InputError
        If it cannot.
    """
    processes = _count()
    if batch_size % processes:
        raise InputError(
            f"A batch of {batch_size} cannot be shared by {processes} processes; give a "
            f"batch size that is a multiple of {processes} (--batch-size)."
        )


def _count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True, slots=True)
class Processes:
    """The group of processes of one training, as seen by one of them.

    Attributes
    ----------
    device : torch.device
        Device of this process.
    rank, count : int
        Number of this process, from 0, and number of processes.
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    _accelerator: Any = None

    @classmethod
    def start(cls, device: str = "auto") -> Processes:
        """Join the group of processes; waits until all of them have started.

        Parameters
        ----------
        device : str
            ``"auto"`` or a torch device. With several processes, each gets a device of that type.

        Raises
        ------
        InputError
            If the processes were launched for sharded weights.
        """
        from napari_phenldiff.diffusion.device import choose_device

        if _count() == 1:
            return cls(choose_device(device))
        from accelerate import Accelerator, DistributedType
        from accelerate.utils import InitProcessGroupKwargs

        on_cpu = choose_device(device).type == "cpu"
        accelerator = Accelerator(
            cpu=on_cpu,
            mixed_precision="no",  # the training loop does that itself
            kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
        )
        sharded = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
        if accelerator.distributed_type in sharded:
            raise InputError(
                "A training divides batches among processes and does not shard the weights; "
                "start it with `accelerate launch --multi_gpu`."
            )
        return cls(
            accelerator.device, accelerator.process_index, accelerator.num_processes, accelerator
        )

    def share(self, batch_size: int) -> range:
        """Return the indices of this process's samples of a batch; see `check_batch_size`."""
        check_batch_size(batch_size)
        size = batch_size // self.count
        return range(self.rank * size, (self.rank + 1) * size)

    def prepare(self, network: torch.nn.Module) -> torch.nn.Module:
        """Wrap `network` so that its gradients are averaged over all processes."""
        if self._accelerator is None:
            return network
        prepared: torch.nn.Module = self._accelerator.prepare_model(network)
        return prepared

    def mean(self, values: Sequence[float]) -> list[float]:
        """Return the averages of numbers over all processes."""
        if self._accelerator is None:
            return list(values)
        import torch

        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        averages: list[float] = self._together(tensor, "mean").tolist()
        return averages

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors by their averages over all processes, in place; any shapes and dtypes.

        Many small tensors are sent as few large ones.
        """
        if self._accelerator is None:
            return
        import torch

        for some in _in_bundles(tensors):
            flat = torch.cat([tensor.detach().float().flatten() for tensor in some])
            parts = self._together(flat, "mean").split([tensor.numel() for tensor in some])
            with torch.no_grad():
                for tensor, part in zip(some, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))

    def take_from_first(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors by those of the first process, in place."""
        if self._accelerator is None:
            return
        from accelerate.utils import broadcast

        for tensor in tensors:
            with _told_if_lost():
                tensor.data.copy_(broadcast(tensor.data.clone()))

    def _together(self, tensor: torch.Tensor, how: str) -> torch.Tensor:
        with _told_if_lost():
            reduced: torch.Tensor = self._accelerator.reduce(tensor, how)
        return reduced

    def in_words(self, batch_size: int) -> str:
        """Say how many they are, and what each of them does."""
        each = len(self.share(batch_size))
        return f"{self.count} processes share each batch of {batch_size}, {each} tiles each"

    def weight(self, count: int) -> float:
        """Return the weight of this process's mean if it is taken over `count` values."""
        if self._accelerator is None:
            return 1.0
        return count / max(self.mean([count])[0], 1.0)

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is True in any of the processes."""
        return self.mean([float(flag)])[0] > 0


def _in_bundles(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield tensors in bundles of at most `_BUNDLE` numbers, or of one tensor."""
    some: list[torch.Tensor] = []
    for tensor in tensors:
        if some and sum(one.numel() for one in some) + tensor.numel() > _BUNDLE:
            yield some
            some = []
        some.append(tensor)
    if some:
        yield some


@contextmanager
def _told_if_lost() -> Iterator[None]:
    """Tell in a sentence that the connection to another process is lost."""
    try:
        yield
    except RuntimeError as error:  # those of all backends are
        raise LostProcess(
            "Another process of this training was ended, so that this one cannot go on: what was "
            "saved before is kept; resume it."
        ) from error
