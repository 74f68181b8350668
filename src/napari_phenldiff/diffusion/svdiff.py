"""SVDiff: train only the singular values of the weights (Han et al. 2023; paper, section 3.2).

Implemented here because peft has no tuner that trains only singular values.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

_MATRICES = (nn.Linear, nn.Conv2d)
_NORMS = (nn.GroupNorm, nn.LayerNorm)


class SingularValueShift(nn.Module):
    """Parametrisation ``W' = W + U diag(ReLU(S + d) - S) V^T`` of a weight ``W = U diag(S) V^T``.

    At ``d = 0`` the weight is unchanged to the bit, because the decomposition only enters through
    the difference. A convolution is decomposed as ``c_out x (c_in * h * w)``, and a vector (the
    weight of a normalisation) as a matrix with one row, whose single singular value is its norm.

    Parameters
    ----------
    weight : torch.Tensor
        ``W``, with one dimension or more. The decomposition is computed in double precision, so
        that devices and libraries agree on it, and stored in single precision. Directions with a
        singular value of zero are left out, since they are arbitrary.

    Attributes
    ----------
    shift : torch.nn.Parameter
        ``d``, float32, one per singular value, the largest first.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        matrix = _as_matrix(weight.detach()).double()
        if matrix.device.type == "mps":  # no double precision on MPS
            matrix = matrix.cpu()
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        zero = max(matrix.shape) * torch.finfo(s.dtype).eps * s[:1]
        kept = int((s > zero).sum())
        self.u: torch.Tensor
        self.s: torch.Tensor
        self.vh: torch.Tensor
        for name, part in (("u", u[:, :kept]), ("s", s[:kept]), ("vh", vh[:kept])):
            self.register_buffer(name, part.float().contiguous().to(weight.device))
        self.shift = nn.Parameter(torch.zeros_like(self.s))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight with its singular values shifted."""
        # the change is small compared with the weight and would be rounded away in bfloat16
        with torch.autocast(weight.device.type, enabled=False):
            change = torch.relu(self.s + self.shift) - self.s
            return weight + ((self.u * change) @ self.vh).view_as(weight)


def add_shifts(network: nn.Module, endings: tuple[str, ...] | None) -> None:
    """Make the singular values of layers trainable, and nothing else.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    endings : tuple of str or None
        Endings of the names of the layers; None takes all linear layers, convolutions and
        normalisations.
    """
    network.requires_grad_(False)
    for name, module in list(network.named_modules()):
        if endings is None:
            wanted = isinstance(module, (*_MATRICES, *_NORMS))
        else:
            wanted = isinstance(module, _MATRICES) and name.endswith(endings)
        if wanted and module.weight is not None:
            shift = SingularValueShift(module.weight)
            parametrize.register_parametrization(module, "weight", shift)


def shifts(network: nn.Module) -> Iterator[tuple[str, SingularValueShift, bool]]:
    """Yield the trained layers: name, parametrisation, and whether it is a normalisation."""
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            (found,) = module.parametrizations.weight
            yield name, found, isinstance(module, _NORMS)


def fold_shifts(network: nn.Module) -> None:
    """Replace the parametrised weights by plain weights with the same values."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def _as_matrix(weight: torch.Tensor) -> torch.Tensor:
    return weight[None] if weight.ndim == 1 else weight.flatten(1)
