"""Which channels go through an autoencoder together, where images have more than it takes.

torch is not imported here, so that estimates of time and memory can ask, too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from napari_phenldiff.images.naming import count


@dataclass(frozen=True, slots=True)
class ChannelGroups:
    """Channels in groups that an autoencoder takes one at a time.

    An autoencoder of Stable Diffusion mixes the three channels that it takes. So reference channels
    have groups of their own: their latents can then be given while others are noised.

    Attributes
    ----------
    members : tuple of tuple of int
        Places in the image of the channels of each group; groups of reference channels come last.
    """

    members: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, channels: int, references: Collection[int], most: int) -> ChannelGroups:
        """Put channels into as few groups as there can be, of nearly equal sizes.

        Parameters
        ----------
        channels : int
            Channels of an image.
        references : collection of int
            Places of the reference channels.
        most : int
            Channels that the autoencoder takes.
        """
        kept = [k for k in range(channels) if k in references]
        others = [k for k in range(channels) if k not in references]
        return cls((*_parts(others, most), *_parts(kept, most)))

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.members)

    def in_words(self, names: Sequence[str]) -> str:
        """Say for the user which channels go through the network together."""
        each = (", ".join(names[k] for k in group) for group in self.members)
        return (
            f"The base model takes fewer channels at once: {count(len(names), 'channel')} go "
            f"through it in {count(len(self), 'group')}, each of which sees the others: "
            f"{'; '.join(each)}"
        )


def _parts(places: Sequence[int], most: int) -> list[tuple[int, ...]]:
    number = -(-len(places) // most)
    ends = [len(places) * k // number for k in range(number + 1)] if number else [0]
    return [tuple(places[a:b]) for a, b in pairwise(ends)]
