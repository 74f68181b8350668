from __future__ import annotations

import numpy as np
import pytest

from napari_phenldiff.baselines.copying import CopyTranslator
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.config import TranslationConfig


def test_a_copy_is_the_image(experiment, make_run):
    translator = CopyTranslator.from_run(make_run("run", "cyclegan", experiment))
    images = experiment["untreated"].images
    config = TranslationConfig(source="untreated", target="treated")
    for image, result in zip(images, translator.translate(images, config), strict=True):
        assert np.array_equal(result.translated.data, image.data)
        assert np.array_equal(result.reconstructed.data, image.data)
        assert result.name == image.name
    with pytest.raises(InputError, match="no strength"):
        list(translator.translate(images, config.model_copy(update={"strength": 2.0})))
    with pytest.raises(InputError, match="no condition"):
        list(translator.translate(images, config.model_copy(update={"target": "x"})))
