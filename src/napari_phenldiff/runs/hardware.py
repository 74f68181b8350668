"""Device and speed of a machine, as passed between processes with and without torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class Hardware:
    """Device, precision and speed of a machine.

    Attributes
    ----------
    device : str
        Torch device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    name : str
        The device in words: ``"CPU, 8 cores"``, ``"NVIDIA RTX 4090"``.
    reason : str
        Why this device was chosen, and what to do to use a faster one; empty if there is nothing
        to say.
    precision : str
        Precision of the network's passes: ``"float32"`` or ``"bfloat16"``.
    torch : str
        Version of PyTorch.
    memory, free : int
        Total and free memory of the device, in bytes.
    seconds : float
        Time of a fixed piece of work, see `napari_phenldiff.diffusion.hardware`; 0 if it was not
        measured.
    """

    device: str
    name: str
    reason: str = ""
    precision: str = "float32"
    torch: str = ""
    memory: int = 0
    free: int = 0
    seconds: float = 0.0

    @property
    def words(self) -> str:
        """Name and reason in one line."""
        return f"{self.name}: {self.reason}" if self.reason else self.name

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Hardware:
        """Read the result of `to_json`, of this version or a newer one.

        Raises
        ------
        ValueError
            If the text is anything else.
        """
        values = json.loads(text)
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{key: value for key, value in values.items() if key in known})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a description of hardware: {text!r}") from error
