"""One training in several processes, each with a GPU: what they have to say to one another.

Processes are started by `accelerate launch` (or anything else that sets ``RANK`` and
``WORLD_SIZE``). A training in one process touches none of this. torch is imported when it is
needed, so that the command line can ask early who it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from napari_phenldiff.errors import InputError

if TYPE_CHECKING:
    import torch

# Others wait while the first one reads images, or writes a checkpoint to a slow disk. Whoever
# started the processes ends them all when one dies, so that nobody waits for the dead.
_PATIENCE = timedelta(hours=24)


def is_main_process() -> bool:
    """Whether this process is the one that reads images, writes files and tells what happens."""
    return int(os.environ.get("RANK", "0")) == 0


def check_batch_size(batch_size: int) -> None:
    """See that the processes that were started can share batches.

    Raises
    ------
    InputError
        If they cannot take equally many images.
    """
    processes = _count()
    if batch_size % processes:
        raise InputError(
            f"A batch of {batch_size} cannot be shared by {processes} processes; give a "
            f"--batch-size that is a multiple of {processes}."
        )


def _count() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of one training, seen from one of them.

    Attributes
    ----------
    device : torch.device
        Where this one works.
    rank, count : int
        Number of this one from 0, and how many there are.
    """

    device: torch.device
    rank: int = 0
    count: int = 1
    _accelerator: Any = None

    @classmethod
    def start(cls, device: str = "auto") -> Processes:
        """Meet the others, if there are any; waits for all of them.

        Parameters
        ----------
        device : str
            ``"auto"`` or a torch device. Of several processes each gets a device of that kind.

        Raises
        ------
        InputError
            If the processes were started for something else than sharing batches.
        """
        from napari_phenldiff.diffusion.device import choose_device

        if _count() == 1:
            return cls(choose_device(device))
        from accelerate import Accelerator, DistributedType
        from accelerate.utils import InitProcessGroupKwargs

        on_cpu = choose_device(device).type == "cpu"
        accelerator = Accelerator(
            cpu=on_cpu,
            mixed_precision="no",  # the loop does that itself, in one process and in several
            kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
        )
        sharded = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
        if accelerator.distributed_type in sharded:
            raise InputError(
                "Pre-training shares batches between processes and keeps the weights whole; start "
                "it with `accelerate launch --multi_gpu`."
            )
        return cls(
            accelerator.device, accelerator.process_index, accelerator.num_processes, accelerator
        )

    def share(self, batch_size: int) -> range:
        """Numbers of those samples of a batch that this process takes; see `check_batch_size`."""
        check_batch_size(batch_size)
        size = batch_size // self.count
        return range(self.rank * size, (self.rank + 1) * size)

    def prepare(self, network: torch.nn.Module) -> torch.nn.Module:
        """Have the gradients of `network` averaged over all processes."""
        if self._accelerator is None:
            return network
        prepared: torch.nn.Module = self._accelerator.prepare_model(network)
        return prepared

    def mean(self, values: Sequence[float]) -> list[float]:
        """Averages of numbers over all processes, the same in each of them."""
        if self._accelerator is None:
            return list(values)
        import torch

        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        averages: list[float] = self._accelerator.reduce(tensor, "mean").tolist()
        return averages

    def weight(self, count: int) -> float:
        """How much this process's mean counts, if it is over `count` of what all have together."""
        if self._accelerator is None:
            return 1.0
        return count / max(self.mean([count])[0], 1.0)

    def any(self, flag: bool) -> bool:
        """Whether any of the processes said yes."""
        return self.mean([float(flag)])[0] > 0
