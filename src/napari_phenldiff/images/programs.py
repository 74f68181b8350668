"""Channel names and pixel sizes as microscopes' own programs write them into TIFFs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tifffile

from napari_phenldiff.images.naming import default_channel_names

_METRES = 1e6
_MICRO_MANAGER = 51123


@dataclass(frozen=True, slots=True)
class Told:
    """What a program says.

    Attributes
    ----------
    channel_names : tuple of str or None
        One per channel.
    pixel_size : tuple of float or None
        Micrometres per pixel along y and x.
    """

    channel_names: tuple[str, ...] | None = None
    pixel_size: tuple[float, float] | None = None


def told_by_program(
    tif: tifffile.TiffFile, micrometres: Callable[[str], float | None]
) -> Told | None:
    """Read what the program that wrote a file says in a way of its own.

    MetaMorph and MetaXpress (also stacks, STK), Zeiss LSM, Olympus SIS and FluoView, and
    Micro-Manager.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open file.
    micrometres : callable
        From a unit of length to micrometres.

    Returns
    -------
    Told or None
        None where it is written by none of these, or what it says cannot be read.
    """
    for is_one, read in (
        (tif.is_metaseries, _metaseries),
        (tif.is_stk, _stk),
        (tif.is_lsm, _lsm),
        (tif.is_sis, _sis),
        (tif.is_fluoview, _fluoview),
        (_MICRO_MANAGER in tif.pages.first.tags, _micro_manager),
    ):
        if not is_one:
            continue
        try:
            return read(tif, micrometres)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError):
            return None  # whatever it is, it is not what this program writes
    return None


def _metaseries(tif: tifffile.TiffFile, micrometres: Callable[[str], float | None]) -> Told:
    plane: Mapping[str, Any] = (tif.metaseries_metadata or {})["PlaneInfo"]
    unit = micrometres(str(plane.get("spatial-calibration-units", "")))
    # Without a calibration the state is off, and the steps are those of the pixels.
    on = bool(plane.get("spatial-calibration-state", True))
    size = _both(plane.get("spatial-calibration-y"), plane.get("spatial-calibration-x"), unit)
    name = str(plane.get("_IllumSetting_") or plane.get("image-name") or "").strip()
    return Told((name,) if name else None, size if on else None)


def _stk(tif: tifffile.TiffFile, micrometres: Callable[[str], float | None]) -> Told:
    stack: Mapping[str, Any] = tif.stk_metadata or {}
    unit = micrometres(str(stack.get("CalibrationUnits", "")))
    on = bool(stack.get("SpatialCalibration", True))
    size = _both(stack.get("YCalibration"), stack.get("XCalibration"), unit)
    return Told(None, size if on else None)


def _lsm(tif: tifffile.TiffFile, micrometres: Callable[[str], float | None]) -> Told:
    scan: Mapping[str, Any] = tif.lsm_metadata or {}
    names = (scan.get("ChannelColors") or {}).get("ColorNames") or ()
    size = _both(scan.get("VoxelSizeY"), scan.get("VoxelSizeX"), _METRES)
    return Told(tuple(str(name).strip() for name in names) or None, size)


def _sis(tif: tifffile.TiffFile, micrometres: Callable[[str], float | None]) -> Told:
    image: Mapping[str, Any] = tif.sis_metadata or {}
    name = str(image.get("channelname") or "").strip()
    size = _both(image.get("pixelsizey"), image.get("pixelsizex"), _METRES)
    return Told((name,) if name else None, size)


def _fluoview(tif: tifffile.TiffFile, micrometres: Callable[[str], float | None]) -> Told:
    steps = {}
    for name, _, _, step, unit, *_ in (tif.fluoview_metadata or {})["Dimensions"]:
        steps[str(name).strip().lower()] = float(step) * (micrometres(str(unit)) or 0)
    return Told(None, _both(steps.get("y"), steps.get("x"), 1.0))


def _micro_manager(tif: tifffile.TiffFile, micrometres: Callable[[str], float | None]) -> Told:
    tag = tif.pages.first.tags[_MICRO_MANAGER].value
    plane: Mapping[str, Any] = json.loads(tag) if isinstance(tag, str) else tag
    size = plane.get("PixelSizeUm") or plane.get("PixelSize_um")
    name = str(plane.get("Channel") or "").strip()
    known = (name,) if name and name != default_channel_names(1)[0] else None
    return Told(known, _both(size, size, 1.0))


def _both(y: object, x: object, unit: float | None) -> tuple[float, float] | None:
    if unit is None or y is None or x is None:
        return None
    sizes = float(str(y)) * unit, float(str(x)) * unit
    return sizes if min(sizes) > 0 and max(sizes) < float("inf") else None
