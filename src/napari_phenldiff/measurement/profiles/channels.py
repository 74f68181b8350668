"""Which channels a profile measures: decided once, by name, for all images of an experiment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import find_channel
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.images.stains import channels_showing
from napari_phenldiff.measurement.profiles.profile import AUTO, Channel, Profile
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.settings import option_of

NO_CHANNEL = "none"
"""In place of a channel: none, unless a channel has that name."""


def channel_fields(settings: Settings | type[Settings]) -> tuple[str, ...]:
    """Return the names of the settings that hold a channel."""
    kind = settings if isinstance(settings, type) else type(settings)
    return tuple(name for name in kind.model_fields if name.endswith("channel"))


def suggested_channel(profile: Profile[Any], field: str, names: Sequence[str]) -> str | None:
    """Guess a channel from the names of all channels; None if the names do not tell.

    Parameters
    ----------
    profile : Profile
    field : str
        Name of the setting.
    names : sequence of str
        Of the channels of an image.
    """
    nuclear = channels_showing(names, "nuclei")
    if field == "nuclei_channel":
        found = nuclear or (list(names) if len(names) == 1 else [])
    elif len(names) == 1 and field == "channel":
        found = list(names)
    else:
        others = [name for name in names if name not in nuclear]
        called = channels_showing(others, *profile.shown) if field == "channel" else []
        # Only beside a nuclear stain is a single other channel sure to be the marker.
        found = called or (others if nuclear else [])
    return found[0] if len(found) == 1 else None


def with_channels(
    profile: Profile[Any], settings: Settings, channel_names: Iterable[Sequence[str]]
) -> Any:
    """Return settings that name their channels.

    Numbers become names, so that the same channel is measured in all images, whatever their order.

    Parameters
    ----------
    profile : Profile
    settings : Settings
        Of the profile.
    channel_names : iterable of sequence of str
        Of the images. The first that have all of the channels decide.

    Returns
    -------
    Settings
        As they are where no image has the channels: measuring tells then what is missing.

    Raises
    ------
    InputError
        If no name tells which channel is meant, or one is named as two.
    """
    error: InputError | None = None
    for names in channel_names:
        try:
            chosen = {
                field: _settled(profile, settings, field, names)
                for field in channel_fields(settings)
            }
        except InputError as raised:
            error = error or raised
            continue
        _check_different(profile, chosen)
        return settings.model_copy(update=chosen)
    if error is not None and _undecided(settings):
        raise error
    return settings


def channels_in_words(settings: Settings) -> str:
    """Return which channels are measured, as ``nuclei DAPI, marker GFP``."""
    told = [
        f"{field.removesuffix('channel').replace('_', ' ')}{channel}"
        for field in channel_fields(settings)
        if (channel := getattr(settings, field)) is not None
    ]
    return ", ".join(told)


def _may_lack(settings: Settings, field: str) -> bool:
    return type(None) in get_args(type(settings).model_fields[field].annotation)


def _undecided(settings: Settings) -> bool:
    return any(getattr(settings, field) == AUTO for field in channel_fields(settings))


def _check_different(profile: Profile[Any], chosen: Mapping[str, Channel | None]) -> None:
    """Refuse nuclei and what is measured in and around them from one channel.

    A ratio of a channel to itself would be a number, too.
    """
    nuclei = chosen.get("nuclei_channel")
    for field, channel in chosen.items():
        if channel is not None and channel == nuclei and field != "nuclei_channel":
            raise InputError(
                f"{channel} is both the nuclei channel and the {field.replace('_', ' ')} of the "
                f"profile {profile.name}: choose another one ({option_of(field)} NAME)."
            )


def _settled(
    profile: Profile[Any], settings: Settings, field: str, names: Sequence[str]
) -> Channel | None:
    """Return the name of a channel, or its number where the name stands for several."""
    channel: Channel | None = getattr(settings, field)
    if channel is None:
        return None
    if channel == NO_CHANNEL and NO_CHANNEL not in names and _may_lack(settings, field):
        return None
    if channel == AUTO and AUTO not in names:
        suggested = suggested_channel(profile, field, names)
        if suggested is None:
            what = field.replace("_", " ")
            if len(names) == 1 and len(channel_fields(settings)) > 1:
                raise InputError(
                    f"The images have one channel, {names[0]}: the profile {profile.name} needs a "
                    f"{what} beside the nuclei. Choose another profile, such as area."
                )
            raise InputError(
                f"The names of the channels, {quoted(names)}, do not tell which one is the {what} "
                f"of the profile {profile.name}: choose it ({option_of(field)} NAME)."
            )
        channel = suggested
    index = find_channel(names, channel)
    try:
        find_channel(names, names[index])
    except InputError:
        # Several have this name; only its number tells this one.
        return index
    return names[index]
