"""Train a baseline in a run folder, with the same events and guarantees as a fine-tuning."""

from __future__ import annotations

import json
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from napari_phenldiff.baselines.tiles import Tiles
from napari_phenldiff.baselines.translating import TileTranslator
from napari_phenldiff.diffusion.device import choose_device, choose_precision
from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.diffusion.finite import check_weights
from napari_phenldiff.diffusion.hardware import device_name
from napari_phenldiff.diffusion.loop import optimise
from napari_phenldiff.diffusion.monitoring import Example, choose_examples, write_examples
from napari_phenldiff.diffusion.state import pack_state, unpack_state
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.runs.baseline_config import AnyBaselineConfig, CycleGANConfig
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.events import Event, Loading, Noted, Preview, Started, Warned
from napari_phenldiff.runs.folder import Run

_STATE = "state.safetensors"
_WEIGHTS, _SETTINGS = "weights.safetensors", "adapter.json"


class BaselineTraining(ABC):
    """Networks, averages and optimisers of a baseline in training.

    Parameters
    ----------
    tiles : Tiles
        Training tiles.
    config : AnyBaselineConfig
        Settings.
    device : torch.device
        Device to train on.

    Attributes
    ----------
    trained : list of (MovingAverage, torch.optim.Optimizer)
        All trained weights with their optimisers; set by the subclass.
    """

    trained: list[tuple[MovingAverage, torch.optim.Optimizer]]

    def __init__(self, tiles: Tiles, config: AnyBaselineConfig, device: torch.device) -> None:
        self.tiles, self.config, self.device = tiles, config, device
        self.dtype = choose_precision(config.precision, device)

    @property
    @abstractmethod
    def networks(self) -> Mapping[str, torch.nn.Module]:
        """The networks that translating needs, by name."""

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for average, _ in self.trained for p in average.parameters)

    @abstractmethod
    def step(self, number: int) -> float:
        """Make optimisation step `number` (from 1) and return its loss."""

    @abstractmethod
    def translator(self, run: Run) -> TileTranslator:
        """Return a translator with the current networks."""

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the weights by their averages inside the context."""
        with ExitStack() as stack:
            for average, _ in self.trained:
                stack.enter_context(average.applied())
            yield

    def extra_state(self) -> dict[str, torch.Tensor]:
        """Return tensors that a checkpoint needs besides weights and moments."""
        return {}

    def load_extra_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the result of `extra_state`."""
        if state:
            raise KeyError(f"unknown state: {', '.join(state)}")

    def save(self, run: Run, number: int) -> str:
        """Write checkpoint and adapter; returns the adapter's path within the run."""
        state = {f"memory.{key}": value for key, value in self.extra_state().items()}
        for k, (average, optimizer) in enumerate(self.trained):
            packed = pack_state(average, optimizer)
            state |= {f"{k}.{key}": value for key, value in packed.items()}
        run.save_checkpoint(number, {_STATE: save(state)})
        weights: dict[str, torch.Tensor] = {}
        with self.averaged():
            for name, network in self.networks.items():
                for key, value in network.state_dict().items():
                    weights[f"{name}.{key}"] = value.detach().cpu().contiguous().clone()
        settings: dict[str, Any] = {
            "method": self.config.method,
            "tile": self.tiles.side,
            "step": number,
            "parameters": self.parameters,
            "reference_channels": [],
        }
        text = json.dumps(settings, indent=1) + "\n"
        adapter = run.save_adapter({_WEIGHTS: save(weights), _SETTINGS: text.encode()})
        return adapter.relative_to(run.path).as_posix()

    def restore(self, run: Run) -> int:
        """Load the newest checkpoint; returns its step, or 0 if there is none."""
        newest = run.latest_checkpoint()
        if newest is None:
            return 0
        done, folder = newest
        try:
            state = load_file(str(folder / _STATE))
            for k, (average, optimizer) in enumerate(self.trained):
                unpack_state(_part(state, f"{k}."), average, optimizer, done)
            self.load_extra_state(_part(state, "memory."))
        except Exception as error:
            raise InputError(
                f"The checkpoint {folder} cannot be read ({type(error).__name__}); delete that "
                "folder to go on from the one before."
            ) from error
        return done


def load_weights(run: Run, networks: Mapping[str, torch.nn.Module]) -> int:
    """Load a run's result into networks; returns the side of its tiles in pixels.

    Raises
    ------
    InputError
        If there is no result, or it is damaged.
    """
    if not run.has_adapter:
        raise InputError(f"The run {run.path} has no adapter yet; train it first.")
    folder = run.adapter_path
    try:
        side = int(json.loads((folder / _SETTINGS).read_text("utf-8"))["tile"])
        weights = load_file(str(folder / _WEIGHTS))
        for name, network in networks.items():
            network.load_state_dict(_part(weights, f"{name}."))
    except Exception as error:
        raise InputError(
            f"The adapter {folder} cannot be read ({type(error).__name__}); train again."
        ) from error
    check_weights(weights, f"The adapter {folder}", "train again")
    return side


def train_baseline(
    experiment: Experiment,
    config: AnyBaselineConfig,
    run: Run,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    validation: Experiment | None = None,
) -> Iterator[Event]:
    """Train a baseline; parameters, events and errors are those of `finetune`.

    The images in `validation` are not trained on either, and are only used for previews.
    """
    since = time.monotonic()
    device = choose_device(config.device)
    yield Loading("Cutting the images")
    tiles = Tiles(experiment, config.conditions, run.scaling, config.seed, run.path)
    training = _training_of(tiles, config, device)
    precision = str(training.dtype).removeprefix("torch.")
    yield Started(device=device_name(device), host=socket.gethostname(), precision=precision)
    for warning in tiles.warnings:
        yield Warned(warning)
    yield Noted(f"{config.method}, preset {config.preset}: {training.parameters:,} weights learn")
    examples: list[Example] = []
    if config.preview_every:
        examples = choose_examples(validation or experiment, config, run.scaling, tiles.side)
    yield from optimise(
        training,
        training.trained,
        run,
        config,
        done=training.restore(run) if resume else 0,
        since=since,
        should_stop=should_stop,
        on_steps_chosen=partial(setattr, training, "config"),
        reset=lambda: training.load_extra_state({}),
        preview=lambda step: _previews(training, examples, run, step),
    )


def _previews(
    training: BaselineTraining, examples: Sequence[Example], run: Run, step: int
) -> Iterator[Preview]:
    target = run.conditions[1]
    with training.averaged():
        translator = training.translator(run)

        def translate(tile: np.ndarray, source: str) -> np.ndarray:
            config = TranslationConfig(source=source, target=target, **translator.quick)
            return translator.translate_tiles(tile[None], translator.settings(config)).translated[0]

        yield from write_examples(translate, examples, run, step)


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _training_of(tiles: Tiles, config: AnyBaselineConfig, device: torch.device) -> BaselineTraining:
    # the modules of the methods import this one
    if isinstance(config, CycleGANConfig):
        from napari_phenldiff.baselines.cyclegan import CycleGANTraining

        return CycleGANTraining(tiles, config, device)
    from napari_phenldiff.baselines.phendiff import PhenDiffTraining

    return PhenDiffTraining(tiles, config, device)
