"""What is worth a warning about images of several conditions, whatever is done with them.

Training, translating, measuring and judging all look at their images through a `Survey`, so that
all tell the same in the same words. It holds next to nothing of an image, so that images may come
one at a time, or from other processes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from napari_phenldiff.images.checks import warning_about_number
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count, quoted

_FULL_SCALES = frozenset(
    (2**bits - 1) << shift for bits in range(8, 17) for shift in (0, 16 - bits)
)
"""Highest value of a camera of so many bits, also where it is shifted up to fill 16."""

_MUCH_CLIPPED = 0.003
"""Fraction of the pixels of a channel; "enhance contrast" in ImageJ clips 0.0035."""

_MOST_LACKING = 3
"""Files whose missing parts are told one by one."""

_MUCH_LARGER = 1.1
"""Times as many pixels."""

_LEAST_BITS = 6
"""Bits that differ between the values of an image, or fewer values may be multiples by chance."""

_LOOKED_AT, _LEAST_VALUES = 2**16, 32
"""Pixels that are looked at for different values, and how many of these there must be."""

_FAR_COARSER = 4
"""Times as large a step between values, which is no chance in an image of many values."""

MADE = ("reconstructed", "translated")
"""The groups of images that a model makes: the names of their folders, and of their layers."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a survey takes note of in one image.

    Attributes
    ----------
    pixel_size, dtype : str
        In words.
    digest : bytes
        Of the pixels.
    highest : mapping of str to (float, int)
        By channel, the highest value and how many pixels have it.
    n_pixels : int
        Pixels of a channel.
    plate : str or None
        The plate that it is of, where a folder or a table tells.
    name : str
        Of the image.
    shape : tuple of int
        ``(y, x)`` in pixels; (0, 0) if it is not known.
    blank : bool
        Whether each channel has one value everywhere.
    square : bool
        Whether pixels are as high as they are wide, as far as it is known.
    lacking : str or None
        What of its pixels is not in its file, in a sentence.
    projection : str
        How z planes were made one, see `Image.projection`; empty if they were not.
    n_planes : int
        How many these were; 1 without a projection, 0 if it is not known.
    step : int
        The power of two of which all values are multiples; 0 if they are no whole numbers, or too
        few to tell.
    """

    pixel_size: str
    dtype: str
    digest: bytes
    highest: Mapping[str, tuple[float, int]]
    n_pixels: int
    plate: str | None = None
    name: str = ""
    shape: tuple[int, int] = (0, 0)
    blank: bool = False
    square: bool = True
    lacking: str | None = None
    projection: str = ""
    n_planes: int = 1
    step: int = 0

    @classmethod
    def of(cls, image: Image) -> ImageFacts:
        """Look at an image."""
        highest = {}
        size = image.pixel_size
        projection, n_planes = image.projection or ("", 1)
        for name, plane in zip(image.channel_names, image.data, strict=True):
            top = plane.max()
            highest[name] = (float(top), int((plane == top).sum()) if top in _FULL_SCALES else 0)
        return cls(
            pixel_size_in_words(image),
            str(image.dtype),
            bytes.fromhex(image.sha256)[:16],
            highest,
            image.shape[0] * image.shape[1],
            None if image.site is None else image.site.plate,
            image.name,
            image.shape,
            all(plane.min() == plane.max() for plane in image.data),
            size is None or math.isclose(*size, rel_tol=0.01),
            image.lacking,
            projection,
            n_planes,
            _step_of(image.data),
        )


def _step_of(data: np.ndarray) -> int:
    """Return the highest power of two of which all whole numbers are multiples; 0 if unknown."""
    if data.dtype.kind not in "ui":
        return 0
    bits = int(np.bitwise_or.reduce(data, axis=None)) & (2 ** (8 * data.dtype.itemsize) - 1)
    step = bits & -bits
    if bits.bit_count() < _LEAST_BITS:
        return 0
    # Of a mask of two values, or a plane of few, it says nothing.
    some = data.ravel()[:: 1 + data.size // _LOOKED_AT]
    return step if step == 1 or np.unique(some).size >= _LEAST_VALUES else 0


def facts_of(image: Image) -> ImageFacts:
    """Look at an image, see `Image.told`."""
    return ImageFacts.of(image)


def lacking_in_words(told: Iterable[str | None]) -> list[str]:
    """Tell what is not in the files of images, by what each `Image.lacking` says."""
    found = list(dict.fromkeys(text for text in told if text is not None))
    if len(found) <= _MOST_LACKING:
        return found
    others = count(len(found) - _MOST_LACKING, "other place")
    return [*found[:_MOST_LACKING], f"The same is so in {others}."]


def pixel_size_in_words(image: Image) -> str:
    """Tell width and height of the pixels, equal where programs only round differently."""
    size = image.pixel_size
    return "unknown" if size is None else f"{size[1]:.3g} × {size[0]:.3g} µm"


def _range(numbers: Iterable[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{least}" if least == most else f"{least} to {most}"


@dataclass(slots=True)
class _Clipping:
    """Pixels of one channel, and those at its highest value so far."""

    highest: float = -np.inf
    at_highest: int = 0
    n_pixels: int = 0

    def add(self, top: float, number: int, n_pixels: int) -> None:
        self.n_pixels += n_pixels
        if top > self.highest:
            self.highest, self.at_highest = top, number
        elif top == self.highest:
            self.at_highest += number


@dataclass(slots=True)
class Survey:
    """The images of several conditions, seen one by one."""

    _numbers: dict[str, int] = field(default_factory=dict)
    _sizes: set[str] = field(default_factory=set)
    _stretched: set[str] = field(default_factory=set)
    _dtypes: set[str] = field(default_factory=set)
    _homes: dict[bytes, dict[str, list[str]]] = field(default_factory=dict)
    _shapes: dict[str, Counter[tuple[int, int]]] = field(default_factory=dict)
    _clipping: dict[str, _Clipping] = field(default_factory=dict)
    _plates: dict[str, set[str | None]] = field(default_factory=dict)
    _lacking: dict[str, None] = field(default_factory=dict)
    _projections: set[str] = field(default_factory=set)
    _planes: dict[str, Counter[int]] = field(default_factory=dict)
    _steps: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, condition: str, image: Image | ImageFacts) -> None:
        """Take note of an image of a condition, or of the facts about one."""
        facts = image if isinstance(image, ImageFacts) else image.told(facts_of)
        self._numbers[condition] = self._numbers.get(condition, 0) + 1
        self._sizes.add(facts.pixel_size)
        self._dtypes.add(facts.dtype)
        if not facts.square:
            self._stretched.add(facts.pixel_size)
        if not facts.blank:
            homes = self._homes.setdefault(facts.digest, {})
            homes.setdefault(condition, []).append(facts.name)
        self._shapes.setdefault(condition, Counter())[facts.shape] += 1
        self._plates.setdefault(condition, set()).add(facts.plate)
        if facts.lacking is not None:
            self._lacking[facts.lacking] = None
        if facts.projection:
            self._projections.add(facts.projection)
        if condition not in MADE:
            if facts.n_planes:
                self._planes.setdefault(condition, Counter())[facts.n_planes] += 1
            if facts.step:
                self._steps.setdefault(condition, Counter())[facts.step] += 1
        for name, (top, number) in facts.highest.items():
            self._clipping.setdefault(name, _Clipping()).add(top, number, facts.n_pixels)

    def warnings(self, *, to_learn: bool = False) -> tuple[str, ...]:
        """Say what may be wrong with the images.

        Parameters
        ----------
        to_learn : bool
            Whether they are to be trained on, which takes more of them than anything else.

        Returns
        -------
        tuple of str
            Sentences for the user: pixels that are not in a file, different pixel sizes or data
            types, other numbers of z planes in a projection, values on another scale, few images
            to learn from, clipped intensities, an image that is there twice, conditions of other
            sizes or on plates of their own. Empty if all is well.
        """
        few = (warning_about_number(*item) for item in self._numbers.items() if to_learn)
        return (
            *lacking_in_words(self._lacking),
            *self._about_kinds(),
            *self._about_planes(),
            *self._about_scales(),
            *(() if to_learn else self._about_shapes()),
            *(text for text in few if text is not None),
            *self._about_clipping(),
            *self._about_copies(),
            *self._about_plates(),
        )

    def _about_kinds(self) -> list[str]:
        found = []
        if len(self._sizes) > 1:
            found.append(
                f"The pixel sizes differ between images ({', '.join(sorted(self._sizes))}): "
                "make sure that cells have the same size in all of them."
            )
        if self._stretched:
            found.append(
                f"Pixels are not square ({', '.join(sorted(self._stretched))}): areas in µm² are "
                "right if these sizes are, but shapes and distances are those of stretched cells; "
                "correct the sizes, or scale the images so that pixels are square."
            )
        if len(self._dtypes) > 1:
            found.append(
                f"The data types differ between images ({', '.join(sorted(self._dtypes))}): "
                "make sure that their intensities can be compared."
            )
        return found

    def _about_planes(self) -> list[str]:
        """Tell if other numbers of z planes were projected."""
        if not self._projections or len(set().union(*self._planes.values())) < 2:
            return []
        means = [
            sum(n * times for n, times in numbers.items()) / numbers.total()
            for numbers in self._planes.values()
        ]
        listed = "; ".join(f"{name}: {_range(numbers)}" for name, numbers in self._planes.items())
        told = f"The numbers of z planes that were projected differ between images ({listed}): "
        if "sum" in self._projections:
            why = (
                "a sum of more planes is brighter by their number alone, so neither intensities "
                "nor what a threshold finds can be compared. Take stacks of one depth, or the mean."
            )
            return [told + why]
        if min(means) * _MUCH_LARGER >= max(means):
            return []
        why = (
            "more planes show more of the cells in a maximum, and dim them in a mean, so "
            "conditions may differ by that alone. Take stacks of one depth."
        )
        return [told + why]

    def _about_scales(self) -> list[str]:
        """Tell if the values of some images are those of others, shifted up."""
        steps = [step for numbers in self._steps.values() for step in numbers]
        if not steps or max(steps) < _FAR_COARSER * min(steps):
            return []
        coarse = max(steps)
        listed = " and ".join(
            f"{numbers[coarse]} of {count(self._numbers[name], 'image')} of {name}"
            for name, numbers in self._steps.items()
            if numbers[coarse]
        )
        told = (
            f"In {listed} all values are multiples of {coarse}, in others they are not: these may "
            "be values of the same camera that were shifted up, so that neither intensities nor "
            "what a threshold finds can be compared. Bring all images to one scale."
        )
        return [told]

    def _about_clipping(self) -> list[str]:
        found = []
        for name, clipping in self._clipping.items():
            part = clipping.at_highest / clipping.n_pixels
            if clipping.highest in _FULL_SCALES and part > _MUCH_CLIPPED:
                found.append(
                    f"{part:.1%} of the pixels of channel {name} are clipped: they have the "
                    f"highest value there is, {clipping.highest:.0f}, so differences among the "
                    "brightest are lost."
                )
        return found

    def _about_shapes(self) -> list[str]:
        """Tell if images of one condition are larger than those of another.

        Not where nearly each has a size of its own: they were cut by hand, around what they show.
        """
        usual = {}
        for name, shapes in self._shapes.items():
            ((shape, number),) = shapes.most_common(1)
            if name not in MADE and all(shape) and 2 * number > self._numbers[name]:
                usual[name] = shape
        pixels = {name: height * width for name, (height, width) in usual.items()}
        if len(pixels) < 2:
            return self._about_mixed_shapes()
        if min(pixels.values()) * _MUCH_LARGER >= max(pixels.values()):
            return []
        largest, smallest = max(pixels, key=pixels.__getitem__), min(pixels, key=pixels.__getitem__)
        (height, width), (low, narrow) = usual[largest], usual[smallest]
        told = (
            f"Images of {largest} have {width} × {height} px, those of {smallest} "
            f"{narrow} × {low}: numbers and areas per image cannot be compared"
        )
        if "unknown" in self._sizes and height % low == width % narrow == 0:
            return [f"{told}, and if they were binned, nothing in pixels can be."]
        return [f"{told}."]

    def _about_mixed_shapes(self) -> list[str]:
        """Tell if images of a few sizes are larger on average in one condition."""
        shapes = {
            name: found
            for name, found in self._shapes.items()
            if name not in MADE and (0, 0) not in found
        }
        n_images = sum(found.total() for found in shapes.values())
        every = set().union(*shapes.values())
        if len(shapes) < 2 or 2 * len(every) > n_images:
            return []
        means = {
            name: sum(y * x * times for (y, x), times in found.items()) / found.total()
            for name, found in shapes.items()
        }
        largest, smallest = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
        if means[smallest] * _MUCH_LARGER >= means[largest]:
            return []
        told = (
            f"Images have {len(every)} sizes, and those of {largest} have "
            f"{means[largest] / means[smallest]:.2g} times as many pixels as those of {smallest}, "
            "on average: numbers and areas per image cannot be compared."
        )
        return [told]

    def _about_copies(self) -> list[str]:
        found = []
        # What a model leaves as it was, an empty tile for one, is a copy with good reason.
        shared = sum(len(homes.keys() - set(MADE)) > 1 for homes in self._homes.values())
        if shared:
            verb = "is" if shared == 1 else "are"
            found.append(
                f"{count(shared, 'image').capitalize()} {verb} in more than one condition."
            )
        for condition in [name for name in self._numbers if name not in MADE]:
            same = [homes[condition] for homes in self._homes.values() if condition in homes]
            copies = sum(len(names) - 1 for names in same)
            if copies:
                example = next(names for names in same if len(names) > 1)
                found.append(
                    f"{count(copies, 'image').capitalize()} of {condition} "
                    f"{'is a copy' if copies == 1 else 'are copies'} of another one ("
                    f"{quoted(example[:2])}): there are fewer images than are counted, so take "
                    "copies out."
                )
        return found

    def _about_plates(self) -> list[str]:
        """Tell if plates and conditions are confounded, where all plates are known."""
        plates = {name: found for name, found in self._plates.items() if name not in MADE}
        if any(None in found for found in plates.values()):
            return []
        for first, second in combinations(plates, 2):
            if plates[first].isdisjoint(plates[second]):
                listed = "; ".join(
                    f"{name}: {quoted(sorted(map(str, plates[name])), limit=3)}"
                    for name in (first, second)
                )
                told = (
                    f"No plate has images of both {first} and {second} ({listed}): what differs "
                    "between plates cannot be told from what differs between the conditions."
                )
                return [told]
        return []
