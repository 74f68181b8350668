"""What the autoencoder cannot carry, taken past the model and put back where it belongs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Of the range from black to white: no detail is divided by less light than this.
_FAINT = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """The finest texture of a field, which its latents do not hold, mostly noise of the camera.

    The model never sees it, so a field that has been through the model lacks it and looks
    smoother than any photograph. It is put back: all of it where the field is as bright as it was,
    and less where light is gone, as the noise of light falls with the root of brightness. More
    than there was is never made.

    Parameters
    ----------
    lost : numpy.ndarray of shape (C, Y, X), float32
        The field less its own way through the autoencoder, in [-1, 1] from black to white.
    seen : numpy.ndarray of shape (C, Y, X), float32
        What the autoencoder makes of the field.
    part : float
        How much of it is put back, in [0, 1].

    Notes
    -----
    The bundled autoencoder is an orthogonal projection, and what it loses lies across to all that
    it can carry: with the detail, a field has the same latents as without. So a field that is
    translated and back has not lost it either. ``docs/notes/detail.md`` has the figures.
    """

    lost: np.ndarray
    seen: np.ndarray
    part: float = 1.0

    def put_back(self, field: np.ndarray) -> np.ndarray:
        """Add the detail to a field.

        Parameters
        ----------
        field : numpy.ndarray of shape (C, Y, X), float32
            As it comes from the model, in the same scale.

        Returns
        -------
        numpy.ndarray of shape (C, Y, X), float32
        """
        light, before = (np.maximum(x + 1, 0) / 2 + _FAINT for x in (field, self.seen))
        part = self.part * np.sqrt(np.minimum(light / before, 1))
        restored: np.ndarray = field + part * self.lost
        return restored.astype(np.float32)
