"""Features of images, for the distances between sets of them.

They come from EfficientNet-Lite0 (see `efficientnet`), since it can be had as an ordinary package,
without a download at run time, without torchvision, and without unpickling anything. Distances
over them are not FID or KID as others report them, which need Inception-v3, and are never called
so: every result carries the name of its features.

Each channel is shown to the network by itself, as grey, in the intensities of the experiment (never
stretched per image, so that a dim image stays dim) and in its own pixels (never resized). An image
is described by the features of its channels side by side. This works for any number of channels,
and no channel depends on which colour it would have been given. What it cannot see is where two
channels lie relative to each other within an image: `measurement` is there for that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_phenldiff.evaluation.efficientnet import EfficientNetLite0

NAME = "EfficientNet-Lite0, channels as grey"


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of a set of images.

    Attributes
    ----------
    values : numpy.ndarray
        ``(N, C, D)`` float32: per image and channel.
    name : str
        Of what made them; two sets can be compared if it is the same.
    """

    values: np.ndarray
    name: str

    def __len__(self) -> int:
        return len(self.values)

    @property
    def composite(self) -> np.ndarray:
        """The channels of an image side by side, ``(N, C * D)`` float64."""
        return self.values.reshape(len(self.values), -1).astype(np.float64)

    def channel(self, index: int) -> Features:
        """Features of one channel alone."""
        values = self.values[:, index : index + 1]
        if index < 0 or not values.shape[1]:
            raise IndexError(f"channel {index} of {self.values.shape[1]}")
        return replace(self, values=values, name=f"{self.name}, channel {index}")


def extract_features(images: np.ndarray, *, batch_size: int = 32, device: str = "auto") -> Features:
    """Describe images by features of a network that was trained on ImageNet.

    Parameters
    ----------
    images : numpy.ndarray
        ``(N, C, Y, X)`` in [-1, 1], as the model sees them: scaled per experiment.
    batch_size : int
        Channels that go through the network at once.
    device : str
        ``"auto"`` or a torch device.

    Returns
    -------
    Features
        ``(N, C, 1280)``, averages over the image of the network's last feature maps.

    Raises
    ------
    InputError
        If the extra ``metrics`` is not installed.
    ValueError
        If the images have another shape or range.
    """
    if images.ndim != 4:
        raise ValueError(f"images of shape {images.shape}, not (N, C, Y, X)")
    # also refuses NaN; the margin is for rounding
    if images.size and not (images.min() >= -1.001 and images.max() <= 1.001):
        raise ValueError("images must be scaled to [-1, 1]")

    import torch

    from napari_phenldiff.diffusion.device import choose_device
    from napari_phenldiff.evaluation.efficientnet import FEATURES

    chosen = choose_device(device)
    network = _network(str(chosen))
    planes = images.reshape(-1, 1, *images.shape[2:])
    values = np.empty((len(planes), FEATURES), np.float32)
    with torch.no_grad():
        for start in range(0, len(planes), batch_size):
            grey = np.ascontiguousarray(planes[start : start + batch_size], np.float32)
            pictures = torch.from_numpy(grey).to(chosen).expand(-1, 3, -1, -1)
            values[start : start + len(grey)] = network.features(pictures).cpu().numpy()
    return Features(values.reshape(*images.shape[:2], FEATURES), NAME)


@lru_cache(maxsize=1)
def _network(device: str) -> EfficientNetLite0:
    from napari_phenldiff.evaluation.efficientnet import EfficientNetLite0

    return EfficientNetLite0.load(device)
