"""The centre lines of long thin structures: their length, branch points and ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_phenldiff.measurement.segmentation.segment import components

# Vossepoel and Smeulders (Computer Graphics and Image Processing 20, 1982): steps along rows and
# columns, diagonal steps, and corners between the two. Steps of 1 and sqrt(2) make lines of most
# directions too long, by up to 8 %; with these lengths no straight line is off by more than 2.5 %.
_STRAIGHT, _DIAGONAL, _CORNER = 0.980, 1.406, -0.091


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is measured of centre lines.

    Parameters
    ----------
    length_px : float
        Total length in pixels.
    n_branch_points : int
        Places where three or more lines meet; adjacent pixels of that kind are one place.
    n_end_points : int
        Pixels where a line ends.
    n_segments : int
        Lines between two such places.
    """

    length_px: float
    n_branch_points: int
    n_end_points: int
    n_segments: int


def centre_lines(mask: np.ndarray, min_branch: float = 0.0) -> np.ndarray:
    """Thin a mask to lines of one pixel, without the short spurs of its ragged outline.

    Parameters
    ----------
    mask : numpy.ndarray of shape (Y, X), bool
    min_branch : float
        Side branches that end freely and are shorter, in pixels, are taken away, the
        shortest of a branch point first.

    Returns
    -------
    numpy.ndarray of shape (Y, X), bool
        scikit-image's ``skeletonize``, pruned; every connected piece keeps a line or a pixel.
    """
    from skimage.morphology import skeletonize

    lines = _thinned(mask)
    # Spurs may branch; each round removes at least one pixel, so this ends.
    while min_branch > 0:
        spurs = _Graph(lines).spurs(min_branch)
        if not spurs.any():
            break
        lines = skeletonize(lines & ~spurs)
    return lines


def _thinned(mask: np.ndarray) -> np.ndarray:
    """Thin a mask by Zhang and Suen's rules, by Guo and Hall's where those lose a part.

    The first are thirty times as fast, but eat up diagonal lines of two pixels.
    """
    from scipy import ndimage as ndi
    from skimage.morphology import skeletonize, thin

    lines: np.ndarray = skeletonize(mask)
    if not mask.any() or mask.all():
        return lines
    depth = ndi.distance_transform_edt(mask)
    away, nearest = ndi.distance_transform_edt(~lines, return_indices=True)
    # Every part lies as near to a line as the structure is wide there.
    lost = mask & (away > 1.5 * depth[tuple(nearest)] + 2)
    pieces = components(mask)
    incomplete = np.bincount(pieces[lost], minlength=int(pieces.max()) + 1) > 0
    incomplete |= np.bincount(pieces[lines], minlength=incomplete.size) == 0
    incomplete[0] = False
    again = incomplete[pieces]
    return np.where(again, thin(again), lines) if again.any() else lines


def measure_lines(lines: np.ndarray) -> Skeleton:
    """Measure centre lines.

    Parameters
    ----------
    lines : numpy.ndarray of shape (Y, X), bool
        Lines of one pixel, as `centre_lines` gives them.

    Returns
    -------
    Skeleton
        All zero where there are no lines.
    """
    graph = _Graph(lines)
    return Skeleton(
        length_px=float(graph.length_between(np.ones(graph.n_pixels, bool))),
        n_branch_points=graph.n_branch_points(),
        n_end_points=int(np.count_nonzero(graph.degree == 1)),
        n_segments=int(np.unique(graph.segments()[~graph.branching]).size),
    )


LINE, BRANCH_POINT, END_POINT = 1, 2, 3
"""Numbers in what `line_marks` gives."""


def line_marks(lines: np.ndarray) -> np.ndarray:
    """Mark line pixels, branch points and ends, to show what was counted.

    Parameters
    ----------
    lines : numpy.ndarray of shape (Y, X), bool
        As `centre_lines` gives them.

    Returns
    -------
    numpy.ndarray of shape (Y, X), uint8
        0 off the lines, `LINE` on them, `BRANCH_POINT` where three or more steps meet (adjacent
        pixels are counted as one branch point) and `END_POINT` where a line ends.
    """
    graph = _Graph(lines)
    marks = lines.astype(np.uint8) * LINE
    marks.ravel()[graph.pixels[graph.branching]] = BRANCH_POINT
    marks.ravel()[graph.pixels[graph.degree == 1]] = END_POINT
    return marks


class _Graph:
    """The pixels of lines and the steps between neighbours.

    Two diagonal neighbours are not linked where a third pixel links them already: around a corner
    there is one way, not two.
    """

    def __init__(self, lines: np.ndarray) -> None:
        self.shape = lines.shape
        self.pixels = np.flatnonzero(lines)
        self.n_pixels = self.pixels.size
        numbers = np.full((lines.shape[0] + 1, lines.shape[1] + 2), -1)
        numbers[:-1, 1:-1][lines] = np.arange(self.n_pixels)
        here, right, left = numbers[:-1, 1:-1], numbers[:-1, 2:], numbers[:-1, :-2]
        below = numbers[1:, 1:-1]
        steps = [
            (right, np.zeros_like(lines)),
            (below, np.zeros_like(lines)),
            (numbers[1:, 2:], (right >= 0) | (below >= 0)),
            (numbers[1:, :-2], (left >= 0) | (below >= 0)),
        ]
        found = [(lines & (there >= 0) & ~detour, there) for there, detour in steps]
        self.starts = np.concatenate([here[linked] for linked, _ in found])
        self.ends = np.concatenate([there[linked] for linked, there in found])
        counts = [np.count_nonzero(linked) for linked, _ in found]
        self.is_diagonal = np.repeat([False, False, True, True], counts)
        self.degree = self._degrees(np.ones(self.starts.size, bool))
        self.branching = self.degree >= 3

    def _degrees(self, chosen: np.ndarray) -> np.ndarray:
        both = np.concatenate([self.starts[chosen], self.ends[chosen]])
        return np.bincount(both, minlength=self.n_pixels)

    def _joined(self, chosen: np.ndarray) -> np.ndarray:
        """Give each pixel the number of the group that chosen steps join it to."""
        from scipy import sparse

        steps = (np.ones(np.count_nonzero(chosen)), (self.starts[chosen], self.ends[chosen]))
        matrix = sparse.coo_array(steps, shape=(self.n_pixels, self.n_pixels))
        return np.asarray(sparse.csgraph.connected_components(matrix, directed=False)[1])

    def _is_corner(self) -> np.ndarray:
        diagonal = self._degrees(self.is_diagonal)
        return (self.degree == 2) & (diagonal == 1)

    def length_between(self, group: np.ndarray, n_groups: int = 0) -> np.ndarray:
        """Length of the steps whose ends are in one group (True, or its number; -1 is none)."""
        within = (group[self.starts] == group[self.ends]) & (group[self.starts] >= 0)
        step = np.where(self.is_diagonal, _DIAGONAL, _STRAIGHT)
        corner = self._is_corner() & (group >= 0)
        if not n_groups:
            return np.asarray(step[within].sum() + _CORNER * np.count_nonzero(corner))
        length = np.bincount(group[self.starts][within], step[within], n_groups)
        return length + _CORNER * np.bincount(group[corner], minlength=n_groups)

    def n_branch_points(self) -> int:
        """Count the groups of adjacent branching pixels."""
        together = self._joined(self.branching[self.starts] & self.branching[self.ends])
        return int(np.unique(together[self.branching]).size)

    def segments(self) -> np.ndarray:
        """Give each pixel the number of its line between branch points."""
        return self._joined(~(self.branching[self.starts] | self.branching[self.ends]))

    def spurs(self, shortest: float) -> np.ndarray:
        """Mask (Y, X) of side branches with a free end that are too short.

        Of several at one branch point only the shortest: the others may go on beyond it.
        """
        spurs = np.zeros(self.shape, bool)
        if not self.branching.any() or self.branching.all():
            return spurs
        segments = np.where(self.branching, -1, self.segments())
        n_groups = int(segments.max()) + 1
        ends = np.bincount(segments[self.degree == 1], minlength=n_groups)
        length = self.length_between(segments, n_groups)
        points = self._joined(self.branching[self.starts] & self.branching[self.ends])
        point = np.full(n_groups, -1)
        for one, other in ((self.starts, self.ends), (self.ends, self.starts)):
            touching = self.branching[other] & ~self.branching[one]
            point[segments[one[touching]]] = points[other[touching]]
        # The step to the branch point belongs to the branch.
        short = np.flatnonzero((ends > 0) & (point >= 0) & (length + 1 < shortest))
        short = short[np.lexsort((length[short], point[short]))]
        short = short[np.unique(point[short], return_index=True)[1]]
        spurs.ravel()[self.pixels[np.isin(segments, short)]] = True
        return spurs
