"""Restore the fine texture that the autoencoder cannot represent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Lower limit of the brightness that is divided by, as a fraction of the range from black to white.
_FAINT = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """The finest texture of a field, mostly camera noise, which its latents do not represent.

    A generated field lacks this texture and looks smoother than any micrograph. It is added to the
    field again: all of it where the field is as bright as before or brighter, and less where it is
    dimmer, in proportion to the square root of the brightness, like shot noise. It is never
    amplified.

    Parameters
    ----------
    lost : numpy.ndarray of shape (C, Y, X), float32
        The field minus its reconstruction by the autoencoder; fields are in [-1, 1].
    seen : numpy.ndarray of shape (C, Y, X), float32
        The reconstruction by the autoencoder.
    part : float
        Fraction of the detail that is added, in [0, 1].

    Notes
    -----
    The bundled autoencoder is an orthogonal projection, and the detail is orthogonal to everything
    that it can represent: a field has the same latents with and without its detail. So the detail
    also survives a translation to the target and back. ``docs/notes/detail.md`` has the figures.
    """

    lost: np.ndarray
    seen: np.ndarray
    part: float = 1.0

    def put_back(self, field: np.ndarray) -> np.ndarray:
        """Add the detail to a field.

        Parameters
        ----------
        field : numpy.ndarray of shape (C, Y, X), float32
            Output of the model, in [-1, 1].

        Returns
        -------
        numpy.ndarray of shape (C, Y, X), float32
        """
        restored = np.empty(field.shape, np.float32)
        # Channel by channel, since a large field takes much memory.
        for k, channel in enumerate(field):
            light, before = (np.maximum(x + 1, 0) / 2 + _FAINT for x in (channel, self.seen[k]))
            part = self.part * np.sqrt(np.minimum(light / before, 1))
            restored[k] = channel + part * self.lost[k]
        return restored
