"""From which condition of a run to which, where the user names one of them or neither."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import holds_images
from napari_phenldiff.images.naming import composed
from napari_phenldiff.images.spreadsheet import is_table

if TYPE_CHECKING:
    from napari_phenldiff.runs.folder import Run


def direction(run: Run, source: str | None, target: str | None) -> tuple[str, str]:
    """Return source and target of a translation, as the run spells them.

    Parameters
    ----------
    run : Run
        Whose source and target are taken where the user names neither.
    source, target : str or None
        What the user names. Of two conditions, naming one names the other, too.

    Raises
    ------
    InputError
        If the run does not know a condition, or one is named and there are several others.
    """
    named = {"source": source, "target": target}
    found = {role: _known(run, name) for role, name in named.items() if name is not None}
    for role, name, other in (
        ("source", run.conditions[0], "target"),
        ("target", run.conditions[1], "source"),
    ):
        if role in found:
            continue
        if found.get(other) == name:
            # The other way round than the run was trained for.
            rest = [condition for condition in run.conditions if condition != name]
            if len(rest) > 1:
                raise InputError(
                    f"{name} is the {other}: name the {role} with --{role}, of {', '.join(rest)}."
                )
            name = rest[0]
        found[role] = name
    return found["source"], found["target"]


def other_way_round(run: Run, source: str, target: str) -> str | None:
    """Say that a translation goes the other way than the run names its conditions, if it does.

    Whoever names a target that is the run's source may have meant another thing.
    """
    if (source, target) != (run.conditions[1], run.conditions[0]):
        return None
    return f"From {source} to {target}: the other way round than the run was trained for"


def check_folder(run: Run, given: Path, source: str, *, named: bool) -> None:
    """Refuse images of a folder that is called like another condition than the source.

    Parameters
    ----------
    run : Run
    given : pathlib.Path
        What the user gave.
    source : str
        The condition that the images would be taken for.
    named : bool
        Whether the user has named it: then it is not a mistake.
    """
    folder = given.resolve().parent if given.is_file() else given.resolve()
    if is_table(given) or (given.is_dir() and not holds_images(given)):
        return  # the source is chosen by its name
    called = composed(folder.name)
    others = {composed(name) for name in run.conditions} - {composed(source)}
    if not named and called in others:
        raise InputError(
            f"{given} lies in a folder called {called}, a condition of the run, but the images "
            f"would be taken for {source}: say with --source what they are."
        )


def _known(run: Run, name: str) -> str:
    for condition in run.conditions:
        if composed(condition) == composed(name):
            return condition
    raise InputError(
        f"{run.path} was not trained on condition {name}; it knows {', '.join(run.conditions)}."
    )
