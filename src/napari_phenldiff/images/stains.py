"""What a channel shows, told by its name: nuclei, Golgi, microtubules and the like.

Every room that asks what a channel is asks here, so that a stain that one of them knows is known
to all. Stains that are missing are taught: with :func:`teach`, or in a file that is read once, see
:func:`stains_file`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import composed, quoted

Structure = Literal[
    "nuclei",
    "golgi",
    "neurites",
    "microtubules",
    "actin",
    "mitochondria",
    "er",
    "rna",
    "membrane",
    "lysosomes",
    "transmitted light",
]
"""What stains and labels show."""

STRUCTURES: tuple[Structure, ...] = get_args(Structure)

# Words of their own are between signs that are neither letters nor digits; the others may be a part
# of a word. Dyes, labelled proteins, antibodies, and the channels of Cell Painting.
_KNOWN: dict[Structure, str] = {
    "nuclei": r"""
        \bdna\b | \bdapi | hoechst | \bdraq | \bnuclei\b | \bnucleus\b | \bnuclear\b
        (?![\W_]*(?:protein|marker|factor|receptor|export|pore|envelope|membrane|lamina)) | \bh2[ab]
        | \bhistones? | \bchromatin | \bsytox | \bto-?pro\b | \bto-?pro- | propidium
        | \bnucblue | \bnucspot | \b(?:7-?)aad\b | \bsir-?dna | \bspy\d{3}-?dna | \borigdna\b
        | \bvybrant | \bnls\b
    """,
    "golgi": r"""
        golgi | \bgm-?130 | giantin | golgin | \btgn-?(?:38|46)? | \bgalt | mannosidase | \bgrasp
        | \bcog\d
    """,
    "neurites": r"""
        \bmap-?2(?!\d) | \btu[jb]-?1 | \btuj | neuro | neurit | \baxon | dendrit | synapsin
        | \bpsd-?95
        | (?:beta|β|ß|b|class)[\W_]*(?:3|iii)[\W_]*tubulin
        | tubulin[\W_]*(?:beta|β)?[\W_]*(?:3|iii)\b
        | \btau\b | \bsmi-?3\d\d?
    """,
    "microtubules": r"\w*tubulin | microtubul | \btub[ab] | \beb[13]\b | \bsir-?tub",
    "actin": r"\bf-?actin | \bactin | phalloidin | lifeact | \bagp\b | \bsir-?act | \butrophin",
    "mitochondria": r"\bmito | mitotracker | \btom-?\d\d | \bcox-?iv | \btmrm",
    "er": r"\ber\b | concanavalin | \bcon-?a\b | calnexin | calreticulin | \bpdi\b | \bsec61",
    "rna": r"\brna\b | \bsyto | nucleoli | nucleolus | fibrillarin",
    "membrane": r"\bwga\b | membrane | cell[\W_]*mask | \bcadherin | \be-?cad",
    "lysosomes": r"\blyso | \blamp-?\d | \blc3 | autophag | p62 | endosom",
    "transmitted light": r"bright[\W_]*field | \bbf\b | \bphase | \bdic\b | transmi",
}
# Of the words of a name, in compounds as _ and digits leave them: a border is where a letter or a
# digit has none beside it.
_BORDERS = ((r"\b", r"(?:(?<![^\W_])(?=[^\W_])|(?<=[^\W_])(?![^\W_]))"),)

_taught: dict[Structure, list[str]] = {}


def stains_file() -> Path:
    """Return where stains of one's own are kept: JSON, from a structure to a list of words.

    For example ``{"nuclei": ["MyDye"], "golgi": ["B4GALT1-RFP"]}``. The file need not exist.
    """
    from platformdirs import user_config_path

    return user_config_path("napari-phenldiff") / "stains.json"


def teach(structure: Structure, *words: str) -> None:
    """Tell what else names a structure, for this process.

    Parameters
    ----------
    structure : str
        One of `STRUCTURES`.
    *words : str
        Parts of names of channels, whatever their case; they come before all that is known.

    Raises
    ------
    InputError
        If there is no such structure, or a word is empty.
    """
    if structure not in STRUCTURES:
        raise InputError(
            f'There is no structure "{structure}" that a stain can show: choose one of '
            f"{quoted(STRUCTURES)}."
        )
    if not all(word.strip() for word in words):
        raise InputError(f"A word for {structure} is empty: give a part of the channel's name.")
    _taught.setdefault(structure, []).extend(composed(word).casefold().strip() for word in words)
    structures_in.cache_clear()


@cache
def structures_in(name: str) -> tuple[Structure, ...]:
    """Tell what a channel shows, by its name.

    Parameters
    ----------
    name : str
        Of the channel, such as ``"Hoechst 33342"`` or ``"GM130-Alexa488"``.

    Returns
    -------
    tuple of str
        All structures that are named; empty if none is known.
    """
    text = composed(name)
    loose = text.casefold()
    taught = {**_from_file()}
    for structure, words in _taught.items():
        taught[structure] = (*taught.get(structure, ()), *words)
    own = [s for s in STRUCTURES if any(word in loose for word in taught.get(s, ()))]
    known = [s for s in STRUCTURES if s not in own and _patterns()[s].search(text)]
    # What somebody has taught is what the channel shows, whatever else its name may sound like.
    return tuple(own or known)


def shows(name: str, structure: Structure) -> bool:
    """Tell whether a channel is named like what shows a structure."""
    return structure in structures_in(name)


def is_nuclear(name: str) -> bool:
    """Tell whether a channel is named like what stains nuclei."""
    return shows(name, "nuclei")


def nuclei_channel(channel_names: Iterable[str]) -> str | None:
    """Guess the channel that shows nuclei from its name; None if none is named like it."""
    return next((name for name in channel_names if is_nuclear(name)), None)


def channels_showing(names: Iterable[str], *structures: Structure) -> list[str]:
    """Return those of some channels that show one of these structures."""
    return [name for name in names if any(shows(name, structure) for structure in structures)]


@cache
def _patterns() -> dict[Structure, re.Pattern[str]]:
    found: dict[Structure, re.Pattern[str]] = {}
    for structure, text in _KNOWN.items():
        for sign, border in _BORDERS:
            text = text.replace(sign, border)
        found[structure] = re.compile(text, re.I | re.X)
    return found


@cache
def _from_file() -> dict[Structure, tuple[str, ...]]:
    path = stains_file()
    try:
        contents = json.loads(path.read_text(encoding="utf-8-sig"))
        return {
            structure: tuple(composed(str(word)).casefold() for word in contents[structure] if word)
            for structure in STRUCTURES
            if structure in contents
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read as a list of stains ({error}): write it as JSON, such as "
            '{"nuclei": ["MyDye"]}, or remove it.'
        ) from error


WORDS_IN_FILE_NAMES = (
    r"dapi|hoechst(?:[ _-]?33342)?|draq5|dna|nuclei|nucleus|e?gfp|yfp|cfp|rfp|m?cherry|dsred"
    r"|td-?tomato|cy[2357]|fitc|tritc|texas[ _]?red|txred|alexa[ _]?(?:fluor[ _]?)?\d{3}|af\d{3}"
    r"|a(?:405|488|546|555|568|594|633|647)|f?-?actin|tubulin|phalloidin|mito(?:tracker)?|er|rna"
    r"|agp|golgi|gm130|wga|map2|tuj1|bf|bright[ _]?field|phase|dic|blue|green|red|far[ _-]?red"
    r"|orange|nir"
)
"""What a part of a file's name is called where a file holds one channel (a regular expression)."""
