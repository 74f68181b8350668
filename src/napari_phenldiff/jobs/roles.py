"""Which group of images is the source, which the target, and which a model has made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import composed, quoted
from napari_phenldiff.images.survey import MADE
from napari_phenldiff.jobs.inputs import ImageFiles

ROLES = ("source", "target", *MADE)
"""What a group of images can be in a comparison."""


@dataclass(frozen=True, slots=True)
class _Record:
    """What is known of a translation: from where, to where, of which files, and who says so."""

    source: str
    target: str
    files: frozenset[Path]
    said_by: str


def find_roles(
    asked: Mapping[str, str | None], groups: Mapping[str, ImageFiles], real: tuple[str, ...]
) -> dict[str, str]:
    """Say which group is what; those that a model makes may be missing.

    Source and target are those that the user names. What nobody names is taken from the account of
    the translation, ``translation.json`` beside the translated images or what these carry
    themselves. Nothing is guessed: neither order nor names tell what cells were treated with.

    Parameters
    ----------
    asked : mapping of str to str or None
        By role (``source``, ``target``, ``reconstructed``, ``translated``) the name that the user
        gives, if any.
    groups : mapping of str to ImageFiles
        What is measured.
    real : tuple of str
        Names of the groups that no model has made.

    Returns
    -------
    dict of str to str
        The names of the groups by their role.

    Raises
    ------
    InputError
        If there are no two conditions to compare, nothing says which is the source, what the user
        says contradicts the account of the translation, or a group is unknown.
    """
    given = {role: composed(name) for role in ROLES if (name := asked.get(role)) is not None}
    for name in given.values():
        if name not in groups:
            raise InputError(f'There is no condition "{name}": choose one of {", ".join(groups)}.')
    found = {role: name for role in MADE if (name := _made(role, given, groups)) is not None}
    if "translated" not in found:
        found.pop("reconstructed", None)
    rest = [name for name in real if name not in found.values()]
    if len(rest) < 2 and not {"source", "target"} <= given.keys():
        raise InputError(
            "A comparison needs two conditions of real images: name them with --source and "
            "--target."
        )
    known = _of_record(found, groups, rest)
    for role, other in (("source", "target"), ("target", "source")):
        if role in given and given[role] == known.get(other):
            raise InputError(
                f"{known['said_by']} says that {known['source_said']} was translated to "
                f'{known["target_said"]}: "{given[role]}" can\'t be the {role}. Leave out --{role}.'
            )
    pair = {
        role: name
        for role in ("source", "target")
        if (name := given.get(role, known.get(role))) is not None
    }
    if not known and len(pair) == 1 and len(rest) == 2 and set(pair.values()) < set(rest):
        # Of two conditions, naming one names both.
        other = "target" if "source" in pair else "source"
        pair[other] = next(name for name in rest if name not in pair.values())
    missing = [role for role in ("source", "target") if role not in pair]
    if missing:
        flags = " and ".join(f"--{role}" for role in missing)
        raise InputError(
            f"Nothing says which condition is the {' and which the '.join(missing)}: name "
            f"{'it' if len(missing) == 1 else 'them'} with {flags}, of {quoted(rest)}."
        )
    if pair["source"] == pair["target"]:
        raise InputError(
            f'"{pair["source"]}" is both source and target: name two conditions with --source and '
            "--target."
        )
    return {**pair, **found}


def _made(role: str, given: Mapping[str, str], groups: Mapping[str, ImageFiles]) -> str | None:
    """Return the group that a model has made, by what its files say, else by its name."""
    if role in given:
        return given[role]
    named = [name for name, files in groups.items() if _provenance(files).get("kind") == role]
    named = named or [name for name in groups if name.rsplit("/")[-1] == role]
    named = [name for name in named if name not in given.values()]
    if len(named) > 1:
        raise InputError(
            f"Several groups are {role} images, {quoted(named)}: name one of them with --{role}."
        )
    return named[0] if named else None


def _of_record(
    found: Mapping[str, str], groups: Mapping[str, ImageFiles], real: list[str]
) -> dict[str, str]:
    """Return source and target among the real groups, as the translation tells, where it does.

    With ``said_by``, ``source_said`` and ``target_said``, for messages; empty if nothing tells.
    """
    records = [record for name in found.values() if (record := _record(groups[name])) is not None]
    if not records:
        return {}
    first, *others = records
    for other in others:
        if (other.source, other.target) != (first.source, first.target):
            raise InputError(
                f"{first.said_by} tells of {first.source} → {first.target}, {other.said_by} of "
                f"{other.source} → {other.target}: give images of one translation."
            )
    said = {
        "said_by": first.said_by,
        "source_said": first.source,
        "target_said": first.target,
    }
    holders = [
        name for name in real if first.files & {path.resolve() for path in groups[name].paths}
    ]
    roles = {"source": first.source, "target": first.target}
    for role, condition in roles.items():
        called = holders if role == "source" and holders else []
        called = called or [name for name in real if condition in _names(name, groups[name])]
        if len(called) == 1:
            said[role] = called[0]
    return said


def _names(name: str, files: ImageFiles) -> set[str]:
    """Return what a group may be known as: by its name, or by that of its folder."""
    folders = {path.resolve().parent.name for path in files.paths}
    return {name, name.rsplit("/")[-1], *(composed(folder) for folder in folders)}


def _record(files: ImageFiles) -> _Record | None:
    """Return what says from where to where the images of a group were translated."""
    path = files.paths[0].resolve()
    # What was translated into a plate lies deeper: the plate lies where TIFFs would.
    path = next((folder for folder in path.parents if folder.suffix == ".zarr"), path)
    account = path.parent.parent / "translation.json"
    contents: Any = None
    if account.is_file():
        try:
            contents = json.loads(account.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{account} can't be read ({error}): translate again.") from error
    said_by = str(account)
    if not isinstance(contents, Mapping) or not isinstance(contents.get("settings"), Mapping):
        contents, said_by = _provenance(files), str(files.paths[0])
    settings = contents.get("settings")
    if not isinstance(settings, Mapping) or not {"source", "target"} <= settings.keys():
        return None
    images = contents.get("images", [contents])
    sources = {
        Path(str(image["source_file"])).resolve()
        for image in images
        if isinstance(image, Mapping) and image.get("source_file")
    }
    return _Record(
        composed(str(settings["source"])),
        composed(str(settings["target"])),
        frozenset(sources),
        said_by,
    )


def _provenance(files: ImageFiles) -> Mapping[str, Any]:
    from napari_phenldiff.images.tiff import read_provenance

    return read_provenance(files.paths[0]) or {}
