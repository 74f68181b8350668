"""A fine-tuning whose batches are shared by several processes."""

from __future__ import annotations

import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.batches import Batch
from napari_phenldiff.diffusion.noising import number_asked
from napari_phenldiff.diffusion.processes import Processes
from napari_phenldiff.diffusion.training import Training
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run


class SharedTraining(Training):
    """One process's part of a training.

    Every process draws the whole batch of a step, which costs little, and takes its share of it:
    so several processes train on the samples that one would train on. Gradients are averaged, and
    so every process makes the same step.

    Parameters
    ----------
    base, config
        As for `Training`.
    processes : Processes
        Of which the first one writes.
    """

    def __init__(self, base: BaseModel, config: TrainingConfig, processes: Processes) -> None:
        super().__init__(base, config)
        self._processes = processes

    def begin(self) -> None:
        """Take the weights of the first process: other hardware rounds differently."""
        self._processes.take_from_first([*self.average.parameters, *self.average.averages])

    def _backward(self, batch: Batch) -> torch.Tensor:
        """Add the gradients of the whole batch, of which this process does its share."""
        processes = self._processes
        own = batch.parts(len(processes.share(self.config.batch_size)))[processes.rank]
        loss = super()._backward(own)
        # The loss is a mean over all latents of the batch that are not given, and a share may have
        # more of these than another.
        asked = number_asked(batch.target, batch.given)
        weight = processes.count * number_asked(own.target, own.given) / asked
        loss = loss * weight
        gradients = [one.grad for one in self.average.parameters if one.grad is not None]
        for gradient in gradients:
            gradient.mul_(weight)
        processes.average([*gradients, loss])
        return loss

    def save(self, run: Run, number: int) -> str:
        """Write checkpoint and adapter, if this is the first process."""
        return super().save(run, number) if self._processes.rank == 0 else ""
