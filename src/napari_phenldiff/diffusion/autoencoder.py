"""A fixed linear autoencoder for small bases: a lapped orthogonal transform per channel.

    Each image channel is analysed by itself with overlapping orthonormal basis functions of 16 x 16
pixels at a stride of 8 (Malvar, *Lapped transforms for efficient transform/subband coding*, IEEE
TASSP 1990), of which those of the lowest frequencies are kept. Compared with a learned
convolutional autoencoder:

- encoding a decoded latent returns that latent, so repeated translation loses nothing more;
- overlapping smooth functions leave no block edges;
- channels cannot leak into one another, so a change in one channel comes from the diffusion model
  and is not an artefact of the autoencoder;
- nothing is trained, so it is not tied to particular microscopes.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

_BLOCK = 8
_OVERLAP = _BLOCK // 2


class LappedAutoencoder(ModelMixin, ConfigMixin):
    """Channel-wise lapped orthogonal transform with weighted coefficients.

    Parameters
    ----------
    image_channels : int
        Channels of an image.
    coefficients : int
        Basis functions kept per channel, out of 64.
    scale : sequence of float
        Factor of each coefficient, of length `coefficients`; see `fit_scale`.
    shift : float
        Grey value in [-1, 1] that is mapped to latents of zero.

    Notes
    -----
    Latents are ``(N, image_channels * coefficients, Y / 8, X / 8)``; the coefficients of the first
    image channel come first, ordered by frequency.
    """

    @register_to_config
    def __init__(
        self,
        image_channels: int = 3,
        coefficients: int = 16,
        scale: tuple[float, ...] | list[float] = (1.0,) * 16,
        shift: float = -0.8,
    ) -> None:
        super().__init__()
        if len(scale) != coefficients:
            raise ValueError(f"{len(scale)} scales for {coefficients} coefficients")
        basis, parity = lapped_basis(coefficients)
        self.register_buffer("basis", torch.from_numpy(basis), persistent=False)
        self.register_buffer("parity", torch.from_numpy(parity), persistent=False)
        # a parameter although it is not trained, because diffusers reads a model's dtype from its
        # parameters
        self.weights = torch.nn.Parameter(
            torch.tensor(list(scale), dtype=torch.float32), requires_grad=False
        )

    @property
    def latent_channels(self) -> int:
        """Number of channels of the latents."""
        return int(self.config.image_channels * self.config.coefficients)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode float32 images ``(N, C, Y, X)`` in [-1, 1], with sides divisible by 8."""
        n, channels, height, width = images.shape
        x = images.reshape(n * channels, 1, height, width) - self.config.shift
        x = _mirror(_mirror(x, 2), 3)
        z = torch.nn.functional.conv2d(x, self.basis, stride=_BLOCK)
        z = z * self.weights.view(1, -1, 1, 1)
        return z.reshape(n, -1, height // _BLOCK, width // _BLOCK)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents to images ``(N, C, Y, X)``, which are not clipped."""
        n, _, height, width = latents.shape
        z = latents.reshape(-1, int(self.config.coefficients), height, width)
        z = z / self.weights.view(1, -1, 1, 1)
        # beyond the border the image is mirrored, so its coefficients are the mirrored ones, with
        # the sign of the basis function's symmetry
        for axis in (2, 3):
            sign = self.parity[:, axis - 2].view(1, -1, 1, 1)
            z = torch.cat([z.narrow(axis, 0, 1) * sign, z, z.narrow(axis, -1, 1) * sign], axis)
        x = torch.nn.functional.conv_transpose2d(z, self.basis, stride=_BLOCK)
        cut = _BLOCK + _OVERLAP
        x = x[..., cut : cut + height * _BLOCK, cut : cut + width * _BLOCK]
        return x.reshape(n, -1, height * _BLOCK, width * _BLOCK) + self.config.shift


def _mirror(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Extend by half a block on both sides, repeating the border pixel."""
    start = x.narrow(axis, 0, _OVERLAP).flip(axis)
    end = x.narrow(axis, x.shape[axis] - _OVERLAP, _OVERLAP).flip(axis)
    return torch.cat([start, x, end], axis)


def lapped_basis(coefficients: int, correlation: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Two-dimensional lapped orthogonal basis, lowest frequencies first.

    Parameters
    ----------
    coefficients : int
        Number of functions to return, at most 64.
    correlation : float
        Correlation of neighbouring pixels in the signal that the functions are optimised for.

    Returns
    -------
    basis : numpy.ndarray
        ``(coefficients, 1, 16, 16)`` float32; orthonormal together with its shifts by 8 pixels.
    parity : numpy.ndarray
        ``(coefficients, 2)`` float32: +1 where a function is even along Y, X, -1 where odd.
    """
    one, sign = _lapped_basis_1d(correlation)
    order = _order(coefficients)
    basis = np.stack([np.outer(one[u], one[v]) for u, v in order])[:, None]
    parity = np.array([[sign[u], sign[v]] for u, v in order])
    return basis.astype(np.float32), parity.astype(np.float32)


def frequencies(coefficients: int) -> np.ndarray:
    """Radial frequency of each coefficient, in half periods per 8 pixels, lowest first.

    Returns
    -------
    numpy.ndarray
        ``(coefficients,)`` float64; 0 for the local mean.
    """
    return np.hypot(*np.array(_order(coefficients), float).T)


def _order(coefficients: int) -> list[tuple[int, int]]:
    return sorted(
        ((u, v) for u in range(_BLOCK) for v in range(_BLOCK)),
        key=lambda uv: (uv[0] ** 2 + uv[1] ** 2, uv),
    )[:coefficients]


def _lapped_basis_1d(correlation: float) -> tuple[np.ndarray, np.ndarray]:
    """Malvar's construction (1990, section III): ``(8, 16)`` functions and their parity."""
    m = _BLOCK
    k, n = np.mgrid[:m, :m]
    dct = np.sqrt(2 / m) * np.cos(np.pi * k * (n + 0.5) / m)
    dct[0] /= np.sqrt(2)
    difference = dct[0::2] - dct[1::2]
    mirrored = difference[:, ::-1]
    functions = 0.5 * np.vstack(
        [np.hstack([difference, mirrored]), np.hstack([difference, -mirrored])]
    )
    sign = np.repeat([1.0, -1.0], m // 2)
    covariance = correlation ** np.abs(np.subtract.outer(np.arange(2 * m), np.arange(2 * m)))
    rows = []
    for half in (functions[: m // 2], functions[m // 2 :]):
        # rotations among functions of equal symmetry keep them orthogonal; use the principal axes
        values, axes = np.linalg.eigh(half @ covariance @ half.T)
        rows.append(axes.T[np.argsort(values)[::-1]] @ half)
    functions = np.vstack(rows)
    for row in functions:
        row *= np.sign(row[np.argmax(np.abs(row))])
    crossings = [(np.diff(np.sign(row)) != 0).sum() for row in functions]
    order = np.argsort(crossings, kind="stable")
    return functions[order], sign[order]


def fit_scale(
    latents: torch.Tensor, coefficients: int, whitening: float = 0.5
) -> tuple[float, ...]:
    """Return weights that give unweighted latents unit variance overall.

    Parameters
    ----------
    latents : torch.Tensor
        ``(N, C, Y, X)`` as encoded with all scales 1.
    coefficients : int
        Coefficients per image channel.
    whitening : float
        0 keeps the transform an isometry, 1 gives every coefficient the same variance.

    Returns
    -------
    tuple of float
        One weight per coefficient, shared by the image channels.
    """
    z = latents.unflatten(1, (-1, coefficients))
    spread = z.std(dim=(0, 1, 3, 4))
    weights = spread**-whitening
    total = ((spread * weights) ** 2).mean().sqrt()
    return tuple(float(value) for value in weights / total)
