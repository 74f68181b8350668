"""Make a package of a run as bioimage.io has them, for programs that run networks of others."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import in_order
from napari_phenldiff.images.destinations import check_output_file
from napari_phenldiff.images.files import scratch_folder, write_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count
from napari_phenldiff.jobs.telling import OnEvent, ignore
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Loading, Noted
from napari_phenldiff.runs.folder import Run

_NETWORK = "napari_phenldiff.diffusion.packaged"
_FORMAT = "0.5.12"
_DESCRIPTION = "rdf.yaml"
_MOST_OF_NAME = 64
_MOST_OF_TEXT = 128
_MOST_CHANNELS_SHOWN = 3
_RELATIVE, _ABSOLUTE = 1e-2, 5e-3
"""How far the output may be from the test output on another machine; the second times the largest
value of the test output."""


def export(
    run: Run | str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: TranslationConfig | None = None,
    *,
    image: Image | None = None,
    authors: Sequence[str] = (),
    licence: str | None = None,
    on_event: OnEvent = ignore,
) -> Path:
    """Write a package of a run as bioimage.io has them.

    It holds the whole translation: a model description, weights (with the base model and the
    adapter merged), the test image with what is made of it, a cover and a page. The network is the
    class `TranslationNetwork` of this package, which must be installed where the package is used.

    Parameters
    ----------
    run : Run or path-like
        A fine-tuning that has a result.
    out : path-like
        New file, ``.zip``.
    config : TranslationConfig, optional
        Source, target and settings; by default those of the run.
    image : Image, optional
        An image of the source condition, of which a part becomes the test image; by default one
        that the run was not trained on, or else one that it was.
    authors : sequence of str
        Names, for the description.
    licence : str, optional
        SPDX identifier of the licence of the package, such as ``CC-BY-4.0``.
    on_event : callable
        Told what happens: see :mod:`napari_phenldiff.runs.events`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If the run has no result or is one of a baseline, the file exists, or there is no image.

    Examples
    --------
    >>> from napari_phenldiff import export
    >>> export("run", "package.zip", authors=["A. Author"])  # doctest: +SKIP
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    out = Path(os.path.realpath(out))
    _check(opened, out)
    source, target = opened.conditions[:2]
    config = config or TranslationConfig(source=source, target=target)
    on_event(Loading(f"Packaging {opened.path}"))
    from napari_phenldiff.diffusion.packaged import (
        packaged,
        save_weights,
        torch_version,
        translate_arrays,
    )

    network, arguments = packaged(opened, config)
    side = int(arguments["unet"]["sample_size"]) * int(arguments["factor"])
    test = _test_image(opened, config.source, image, side)
    on_event(Loading("Translating the test image"))
    given = np.ascontiguousarray(test.data[None], dtype=np.float32)
    translated, reconstructed = translate_arrays(network, given)
    with scratch_folder(out.parent, out.name) as folder:
        save_weights(network, folder / "weights.pt")
        arrays = {"image": given, "translated": translated, "reconstructed": reconstructed}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        _write_cover(folder / "cover.png", test, translated[0])
        texts = {"README.md": _page(opened, config, test), "environment.yaml": _environment()}
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        description = _description(
            folder, opened, config, arguments, test, authors, licence, torch_version()
        )
        _write_package(folder, description, out)
    size = out.stat().st_size
    text = f"The package holds a part of the image {test.name}; it has {size / 1e6:.1f} MB"
    on_event(Noted(text))
    return out


def _check(run: Run, out: Path) -> None:
    if not isinstance(run.config, TrainingConfig):
        raise InputError(
            f"{run.path} was trained with {run.config.method}; only runs of the method phenldiff "
            "can be packaged."
        )
    if not run.has_adapter:
        raise InputError(f"The run {run.path} has no adapter yet; train it first.")
    if out.suffix != ".zip":
        raise InputError(f"A package is a file that ends with .zip, and {out.name} does not.")
    check_output_file(out)
    if os.path.lexists(out):
        raise InputError(f"{out} exists; name a new file for the package.")
    if not out.parent.is_dir():
        raise InputError(f"There is no folder {out.parent} for the package; make it first.")


def _test_image(run: Run, source: str, image: Image | None, side: int) -> Image:
    """Return the middle of an image of the source, with the run's channels."""
    if image is None:
        try:
            found = run.load_validation() or run.load_experiment()
        except InputError as error:
            raise InputError(
                f"The images of {run.path} cannot be read, and a package needs one as its test "
                f"image: give one with --image. ({error})"
            ) from error
        image = found[source].images[0]
    image = in_order(image, run.channel_names)
    middle = tuple(
        slice((size - min(side, size)) // 2, (size + min(side, size)) // 2) for size in image.shape
    )
    part = image.data[:, *middle]
    return replace(image, data=np.ascontiguousarray(part), path=None)


def _description(
    folder: Path,
    run: Run,
    config: TranslationConfig,
    arguments: Mapping[str, Any],
    test: Image,
    authors: Sequence[str],
    licence: str | None,
    torch_version: str,
) -> dict[str, Any]:
    """Return the description of the model, as format 0.5 of bioimage.io wants it."""
    multiple = int(arguments["factor"]) * 2 ** (len(arguments["unet"]["block_out_channels"]) - 1)
    outputs = {
        "translated": f"The same cells as if they were {config.target}",
        "reconstructed": f"The same through the model as {config.source}, to compare with",
    }

    def file(name: str) -> dict[str, str]:
        with (folder / name).open("rb") as opened:
            return {"source": name, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}

    def tensor(name: str, text: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
        scales = (1.0, 1.0) if test.pixel_size is None else test.pixel_size
        unit = {} if test.pixel_size is None else {"unit": "micrometer"}
        space = [
            {"type": "space", "id": axis, "size": sizes[axis], "scale": float(scale), **unit}
            for axis, scale in zip("yx", scales, strict=True)
        ]
        channels = {"type": "channel", "id": "channel", "channel_names": list(run.channel_names)}
        return {
            "id": name,
            "description": text[:_MOST_OF_TEXT],
            "axes": [{"type": "batch"}, channels, *space],
            "test_tensor": file(f"{name}.npy"),
            "data": {"type": "float32"},
        }

    smallest = dict(zip("yx", test.shape, strict=True))
    weights = {
        **file("weights.pt"),
        "pytorch_version": torch_version,
        "architecture": {
            "import_from": _NETWORK,
            "callable": "TranslationNetwork",
            "kwargs": dict(arguments),
        },
        "dependencies": file("environment.yaml"),
        "comment": "Base model with the adapter merged, autoencoder, condition tokens and schedule",
    }
    tolerances = [
        {
            "relative_tolerance": _RELATIVE,
            "absolute_tolerance": _ABSOLUTE * max(float(np.load(folder / f"{name}.npy").max()), 0),
            "output_ids": [name],
        }
        for name in outputs
    ]
    return {
        "type": "model",
        "format_version": _FORMAT,
        "name": _name(run, config),
        "description": (
            f"Shows cells of {config.source} as they would look as {config.target}: a latent "
            "diffusion model, fine-tuned with napari-phenldiff. What it shows is generated."
        ),
        "authors": [{"name": name} for name in authors],
        **({} if licence is None else {"license": licence}),
        "documentation": file("README.md"),
        "covers": [file("cover.png")],
        "tags": ["fluorescence-light-microscopy", "image-to-image", "2d", "diffusion", "pytorch"],
        "inputs": [
            tensor(
                "image",
                f"Fluorescence image of {config.source}, in raw grey values",
                {axis: {"min": smallest[axis], "step": multiple} for axis in "yx"},
            )
        ],
        "outputs": [
            tensor(name, text, {axis: {"tensor_id": "image", "axis_id": axis} for axis in "yx"})
            for name, text in outputs.items()
        ],
        "weights": {"pytorch_state_dict": weights},
        "config": {
            "bioimageio": {"reproducibility_tolerance": tolerances},
            "phenldiff": _provenance(run, arguments),
        },
    }


def _write_package(folder: Path, description: Mapping[str, Any], out: Path) -> None:
    import yaml

    text = yaml.safe_dump(dict(description), sort_keys=False, allow_unicode=True)
    (folder / _DESCRIPTION).write_text(text, encoding="utf-8")
    with write_atomic(out) as aside, ZipFile(aside, "w", ZIP_DEFLATED) as package:
        for path in sorted(folder.iterdir()):
            package.write(path, path.name)


def _provenance(run: Run, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what says how the run was made, without names of files."""
    weights = run.base_weights
    return {
        "conditions": list(run.conditions),
        "translation": dict(arguments["translation"]),
        "base_sha256": None if weights is None else weights.sha256,
        "training_images_sha256": run.digest,
        "training_images": len(run.trained_images),
        "versions": run.versions,
    }


def _name(run: Run, config: TranslationConfig) -> str:
    text = f"PhenLDiff {config.source} to {config.target} ({run.path.name})"
    return re.sub(r"[^A-Za-z0-9_+\- ()]", "-", text)[:_MOST_OF_NAME]


def _write_cover(path: Path, test: Image, translated: np.ndarray) -> None:
    """Write the real and the translated image side by side, twice as wide as high."""
    from matplotlib.image import imsave

    from napari_phenldiff.measurement.figures.style import composite, shown_range

    low, high = shown_range([test], min(len(test.channel_names), _MOST_CHANNELS_SHOWN))
    both = [composite(one, low, high) for one in (test, replace(test, data=translated))]
    imsave(path, (np.concatenate(both, 1) * 255).astype(np.uint8))


def _environment() -> str:
    from napari_phenldiff import __version__

    return (
        "channels:\n  - conda-forge\ndependencies:\n  - python>=3.11\n  - pytorch\n  - pip\n"
        f"  - pip:\n      - napari-phenldiff>={__version__.partition('.dev')[0]}\n"
    )


def _page(run: Run, config: TranslationConfig, test: Image) -> str:
    version = run.versions.get("napari-phenldiff", "unknown version")
    return f"""\
# {config.source} to {config.target}

A latent diffusion model that shows fluorescence images of cells in the condition
*{config.source}* as the same cells would look as *{config.target}*. It was fine-tuned with
napari-phenldiff ({version}) on {count(len(run.trained_images), "image")}.

## Input and output

- `image`: channels {", ".join(run.channel_names)}, in this order, in the raw grey values of the
  images that were trained on. Do not normalise it: the ranges of the training are in the model.
- `translated`: the image as *{config.target}*, in the same grey values.
- `reconstructed`: the image through the same network as *{config.source}*. Both have gone through
  the autoencoder and the inversion and differ by the condition alone, so compare `translated` with
  this one, and not with `image`.

## What the package holds

The weights are those of the whole translation: the base model with the adapter merged, the
autoencoder, the condition tokens and the noise schedule. The network is the class
`{_NETWORK}.TranslationNetwork`; napari-phenldiff has to be installed. The test image is a part of
{test.name}.

## Validation

What the model shows is generated, and a model finds a difference between any two sets of images.
Whether it is the phenotype is judged on images that were not trained on, against controls:
`phenldiff evaluate` does that for the run that this package was made of. On new data, translate
images of *{config.source}*, measure them, and compare with real images of *{config.target}*.
"""
