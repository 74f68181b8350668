"""What this machine computes with, as a value that a process with torch tells one without."""

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
        Why it is this device, and what could be done about it; empty where nothing is to be said.
    precision : str
        ``"float32"`` or ``"bfloat16"``: of the passes.
    torch : str
        Version of PyTorch.
    memory, free : int
        Bytes of the device, and how many of them nobody uses.
    seconds : float
        Time that a fixed piece of work takes, see `napari_phenldiff.diffusion.hardware`; 0 if it
        was not measured.
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
        """Device and reason in one line."""
        return f"{self.name}: {self.reason}" if self.reason else self.name

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Hardware:
        """Read what `to_json` wrote, by this version or a newer one.

        Raises
        ------
        ValueError
            If it is something else.
        """
        values = json.loads(text)
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{key: value for key, value in values.items() if key in known})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"no hardware: {text!r}") from error
