"""Train and load runs of any method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import TYPE_CHECKING, Protocol

from napari_phenldiff.runs.baseline_config import BaselineConfig, CycleGANConfig, PhenDiffConfig
from napari_phenldiff.runs.folder import Run

if TYPE_CHECKING:
    from napari_phenldiff.diffusion.dial import Dial
    from napari_phenldiff.diffusion.fields import Batch, OnPart, Translation
    from napari_phenldiff.diffusion.processes import Processes
    from napari_phenldiff.images.experiment import Experiment
    from napari_phenldiff.images.image import Image
    from napari_phenldiff.runs.config import TranslationConfig
    from napari_phenldiff.runs.events import Event


class ImageTranslator(Protocol):
    """Interface of the translators of all methods; see `Translator`."""

    should_stop: Callable[[], bool]
    on_part: OnPart

    def translate(
        self, images: Iterable[Image], config: TranslationConfig, *, keep: bool = False
    ) -> Iterator[Translation]:
        """Translate images in batches."""

    def batches(self, images: Iterable[Image], config: TranslationConfig) -> Iterator[Batch]:
        """Yield the images that are translated together."""

    def dial(self, image: Image, config: TranslationConfig) -> Dial:
        """Invert an image, to render it at any strength afterwards."""


def load_translator(
    run: Run | str | PathLike[str],
    *,
    device: str = "auto",
    precision: str = "auto",
    worker: int | None = None,
) -> ImageTranslator:
    """Load the result of a run of any method.

    Parameters
    ----------
    run : Run or path-like
        The run, or its folder.
    device : str
        ``"auto"`` or a torch device.
    precision : {"auto", "float32", "bfloat16"}
        Precision of the network's passes.
    worker : int, optional
        Number of this process among those that share the GPUs of a machine.

    Raises
    ------
    InputError
        If the folder is not a run, has no adapter yet, or its base model is missing.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    if worker is not None:
        from napari_phenldiff.diffusion.gpus import device_of_worker

        device = device_of_worker(device, worker)
    if isinstance(opened.config, CycleGANConfig):
        from napari_phenldiff.baselines.cyclegan import CycleGANTranslator

        return CycleGANTranslator.from_run(opened, device=device, precision=precision)
    if isinstance(opened.config, PhenDiffConfig):
        from napari_phenldiff.baselines.phendiff import PhenDiffTranslator

        return PhenDiffTranslator.from_run(opened, device=device, precision=precision)
    from napari_phenldiff.diffusion.translate import Translator

    return Translator.from_run(opened, device=device, precision=precision)


def train(
    experiment: Experiment,
    run: Run,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    validation: Experiment | None = None,
    processes: Processes | None = None,
) -> Iterator[Event]:
    """Train a run with the method of its configuration; yields the events of `finetune`.

    Parameters
    ----------
    experiment : Experiment
        Training images; it must have the conditions of the run, and all their images are used.
    run : Run
        Run folder for everything except the events, which the caller writes.
    should_stop : callable
        Called after every step; the training ends when it returns True.
    resume : bool
        Continue from the newest checkpoint, if there is one.
    validation : Experiment, optional
        Validation images. Baselines only use them for previews.
    processes : Processes, optional
        The processes that share each batch, if this one has joined them already.
    """
    config = run.config
    if isinstance(config, BaselineConfig):
        from napari_phenldiff.baselines.training import train_baseline

        return train_baseline(
            experiment, config, run, should_stop=should_stop, resume=resume, validation=validation
        )
    from napari_phenldiff.diffusion.finetune import finetune

    return finetune(
        experiment,
        config,
        run,
        should_stop=should_stop,
        resume=resume,
        validation=validation,
        **({} if processes is None else {"processes": processes}),
    )


def preset_for(device: str) -> str:
    """Return the preset for a device: "cpu" for a CPU, otherwise "paper".

    Raises
    ------
    InputError
        If the device is unknown or absent.
    """
    from napari_phenldiff.diffusion.device import choose_device

    return "cpu" if choose_device(device).type == "cpu" else "paper"
