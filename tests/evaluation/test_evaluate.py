"""The whole evaluation, on simulated cells and translators that are honest or are not."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation import evaluate as module
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.document import write_document
from napari_phenldiff.evaluation.evaluate import Model, evaluate
from napari_phenldiff.evaluation.evidence import Rules
from napari_phenldiff.evaluation.schema import read_metrics
from napari_phenldiff.evaluation.wording import cautions
from napari_phenldiff.images.brightness import with_common_brightness
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import sha256_of_array
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.runs.config import TranslationConfig

N = 12
TRANSLATION = TranslationConfig(source="control", target="scattered")
CONFIG = EvaluationConfig(images=N, cycle=False)


@dataclass
class Made:
    translated: object
    reconstructed: object
    residual: float = 0.0


class Translator:
    """Gives what a function makes of an image; the reconstruction is the image."""

    def __init__(self, make):
        self.make = make

    def translate(self, images, config):
        for number, image in enumerate(images):
            yield Made(self.make(image, config, number), image)


@pytest.fixture(scope="module")
def pairs():
    """Cells with their counterparts: to translate, to compare with, and to train on."""
    made = list(simulate_pairs("golgi", 6 * N, seed=3, size=96))
    return made[: 2 * N], made[2 * N : 4 * N], made[4 * N :]


@pytest.fixture(scope="module")
def counterparts(pairs):
    return {
        sha256_of_array(one.data): other
        for group in pairs
        for pair in group
        for one, other in ((pair.source, pair.target), (pair.target, pair.source))
    }


@pytest.fixture(scope="module")
def data(pairs):
    return Experiment.from_images(
        {
            "control": [pair.source for pair in pairs[0]],
            "scattered": [pair.target for pair in pairs[1]],
        }
    )


@pytest.fixture(scope="module")
def training(pairs):
    return Experiment.from_images(
        {
            "control": [pair.source for pair in pairs[2]],
            "scattered": [pair.target for pair in pairs[2]],
        }
    )


@pytest.fixture
def model(data, training):
    def make(translator, reference_channels=("DNA",)):
        return Model(
            Translator(translator),
            IntensityScaling.fit([*data.images, *training.images]),
            frozenset(sha256_of_array(image.data) for image in training.images),
            reference_channels,
            lambda: training,
        )

    return make


@pytest.fixture
def honest(counterparts):
    """Gives the true counterpart, and the image itself for its own condition."""

    def make(image, config, number):
        if config.source == config.target:
            return image
        return counterparts[sha256_of_array(image.data)]

    return make


@pytest.fixture
def fast(monkeypatch):
    """Without networks: what they say decides nothing."""
    from napari_phenldiff.evaluation.appearance import Appearance

    nothing = Appearance([], None, None)
    monkeypatch.setattr(
        "napari_phenldiff.evaluation.evaluate.compare_appearance", lambda *args: nothing
    )


def against(evaluation):
    return {f.rule for f in evaluation.metrics.verdict.findings if f.outcome == "against"}


def test_the_truth_is_supported(model, honest, data, tmp_path):
    steps = []
    config = CONFIG.model_copy(update={"cycle": True})
    found = evaluate(
        model(honest),
        data,
        TRANSLATION,
        config,
        "golgi",
        on_step=lambda *step: steps.append(step),
    )
    m = found.metrics
    assert m.verdict.answer == "supported", m.verdict
    assert m.measurement == "half_area_fraction"
    assert (m.n_translated, m.counted) == (N, "images")
    total = steps[-1][2]
    assert (f"translating, image {N} of {N}", N, total) in steps
    assert (f"translating back, image {N} of {N}", 3 * N, total) in steps
    done = [step[1] for step in steps]
    assert done == sorted(done)
    assert done[-1] == total
    assert {step[2] for step in steps} == {total}
    # the counterpart of the counterpart is the image
    assert [c.what for c in m.cycle] == ["there and back", "reconstructed"]
    assert m.cycle[0].norm.median == 0
    assert m.identity.own_source == 1
    assert m.identity.nuclei_channel == m.identity.kept_channel == "DNA"
    assert m.identity.nuclei_kept.median > 0.9
    assert m.memorisation.n_training == 2 * N
    assert m.memorisation.copies == 0
    rows = {(row.images, row.channel): row for row in m.distances}
    assert {row.n for row in m.distances} == {N}
    assert len(rows) == 4 * 4
    copy, made = (rows[name, "Golgi"].kernel for name in ("copy of the source", "translated"))
    assert made < copy
    assert m.classifier.translated.value > m.classifier.reconstructed.value

    m.write(tmp_path / "metrics.json")
    again = read_metrics(tmp_path / "metrics.json")
    assert again.model_dump_json() == m.model_dump_json()

    path = write_document(tmp_path / "report.html", found)
    text = path.read_text(encoding="utf-8")
    assert '<p class="verdict good">Supported</p>' in text
    assert text.count("<figure>") == 6
    for words in ("Null translation", "real vs real", "Memorisation", "There and back"):
        assert words in text


def test_the_same_images_give_the_same_numbers(model, honest, data, fast):
    metrics = [
        evaluate(model(honest), data, TRANSLATION, CONFIG, "golgi").metrics for _ in range(2)
    ]
    dumps = [m.model_dump(mode="json") for m in metrics]
    for dump in dumps:
        del dump["provenance"]["seconds"]
    assert dumps[0] == dumps[1]


def test_painting_where_real_images_do_not_differ_is_caught(model, honest, pairs, fast):
    same = Experiment.from_images(
        {
            "control": [pair.source for pair in pairs[0]],
            "scattered": [pair.source for pair in pairs[1]],
        }
    )

    found = evaluate(model(honest), same, TRANSLATION, CONFIG, "golgi")
    assert found.metrics.verdict.answer == "not supported"
    assert "invented" in found.metrics.verdict.reason
    honestly = evaluate(model(lambda image, *_: image), same, TRANSLATION, CONFIG, "golgi")
    assert honestly.metrics.verdict.answer == "cannot tell"


def test_painting_whatever_is_asked_is_caught(model, counterparts, data, fast):
    found = evaluate(
        model(lambda image, *_: counterparts[sha256_of_array(image.data)]),
        data,
        TRANSLATION,
        CONFIG,
        "golgi",
    )
    assert "Images translated to their own condition" in against(found)
    assert found.metrics.verdict.answer == "not supported"


def test_copies_of_training_images_are_caught(model, data, training, fast):
    def remembered(image, config, number):
        images = training[config.target].images
        return image if config.source == config.target else images[number % len(images)]

    # without a channel that is known to stay, too
    found = evaluate(model(remembered, ()), data, TRANSLATION, CONFIG, "golgi")
    assert found.metrics.memorisation.copies == 1
    assert against(found) >= {
        "Copies of training images",
        "Whose cells they show",
    }
    named = evaluate(model(remembered), data, TRANSLATION, CONFIG, "golgi")
    assert "What should not change" in against(named)


def test_copies_beside_a_reference_of_the_source_are_caught(model, data, training, fast):
    k = data.channel_names.index("DNA")

    def remembered(image, config, number):
        if config.source == config.target:
            return image
        images = training[config.target].images
        copied = images[number % len(images)].data.copy()
        copied[k] = image.data[k]
        return replace(image, data=copied)

    found = evaluate(model(remembered), data, TRANSLATION, CONFIG, "golgi")
    assert found.metrics.identity.given == ("DNA",)
    assert found.metrics.memorisation.copies == 1
    assert "Copies of training images" in against(found)


def test_labels_that_leak_into_a_shuffled_run_are_caught(model, honest, data, fast):
    leaking = (Translator(honest), TRANSLATION)
    quiet = (Translator(lambda image, *_: image), TRANSLATION)
    found = evaluate(model(honest), data, TRANSLATION, CONFIG, "golgi", shuffled=[quiet, leaking])
    assert against(found) == {"A run on shuffled conditions"}
    halves = TranslationConfig(source="control_a", target="control_b")
    found = evaluate(
        model(honest),
        data,
        TRANSLATION,
        CONFIG,
        "golgi",
        half_split=[(Translator(honest), halves)],
    )
    assert against(found) == {"A run on two halves of one condition"}
    found = evaluate(model(honest), data, TRANSLATION, CONFIG, "golgi", shuffled=[quiet])
    assert found.metrics.verdict.answer == "supported"


def test_the_own_condition_is_not_translated_to_where_that_is_the_reconstruction(
    model, honest, data, fast
):
    made = model(honest)
    asked = []

    def make(image, config, number):
        asked.append(config.target)
        return honest(image, config, number)

    made.translator.make = make
    found = evaluate(made, data, TRANSLATION, CONFIG, "golgi")
    assert asked == ["scattered"] * N + ["control"] * N
    made.translator.only_reconstructs = lambda config: config.source == config.target
    asked.clear()
    again = evaluate(made, data, TRANSLATION, CONFIG, "golgi")
    assert asked == ["scattered"] * N
    assert again.metrics.controls.null == found.metrics.controls.null


def test_the_truth_is_compared_with_where_it_is_known(model, honest, pairs, fast, tmp_path):
    known = Experiment.from_images(
        {
            "control": [pair.source for group in pairs[:2] for pair in group],
            "scattered": [pair.target for group in pairs[:2] for pair in group],
        }
    )
    config = CONFIG.model_copy(update={"paired": True})
    found = evaluate(model(honest), known, TRANSLATION, config, "golgi")
    truth = found.metrics.controls.truth
    assert truth.n == N
    assert truth.rmse == truth.effect_error == 0
    assert truth.correlation == pytest.approx(1)
    assert truth.rmse_copy > 0
    page = write_document(tmp_path / "report.html", found).read_text(encoding="utf-8")
    assert "Against the truth" in page
    assert "Golgi 1.00; tubulin has no change; DNA has no change" in page
    # the cells that are compared with are others
    shown = {image.name for image in found.chosen.sources}
    assert not shown & {image.name for image in found.chosen.real_target}

    # the right change on average, but that of another image
    wrong = [pair.target.data[0].astype(float) - pair.source.data[0] for pair in pairs[2]]

    def average(image, config, number):
        data = image.data.copy()
        data[0] = np.clip(image.data[0] + wrong[number], 0, 255)
        return image if config.source == config.target else replace(image, data=data)

    found = evaluate(model(average), known, TRANSLATION, config, "golgi")
    assert found.metrics.controls.truth.rmse > truth.rmse_copy
    assert abs(found.metrics.controls.truth.pixel_correlation[0]) < 0.3


def test_few_images_tell_nothing(model, honest, data, fast):
    config = CONFIG.model_copy(update={"images": 3})
    found = evaluate(model(honest), data, TRANSLATION, config, "golgi")
    assert found.metrics.verdict.answer == "cannot tell"
    assert "too few" in found.metrics.verdict.reason


def test_images_that_were_trained_on_are_left_out_or_told(model, honest, data, fast):
    trained = frozenset(sha256_of_array(image.data) for image in data.images)
    overfit = replace(model(honest), trained=trained)
    with pytest.raises(InputError, match="--trained-too"):
        evaluate(overfit, data, TRANSLATION, CONFIG, "golgi")
    config = CONFIG.model_copy(update={"trained_too": True})
    found = evaluate(overfit, data, TRANSLATION, config, "golgi")
    assert found.metrics.verdict.answer == "cannot tell"
    assert "was trained on 48 of the images" in found.metrics.verdict.reason


def test_what_cannot_be_had_is_told(model, honest, data, monkeypatch):
    def refuse(*args):
        raise InputError("not here.")

    monkeypatch.setattr("napari_phenldiff.evaluation.appearance.extract_features", refuse)
    judged = replace(model(honest), training=refuse)
    found = evaluate(judged, data, TRANSLATION, CONFIG, "golgi")
    assert found.metrics.distances == ()
    assert found.metrics.memorisation is None
    assert sum("not here." in note for note in found.metrics.notes) == 2


def test_no_recovery_is_told_of_what_real_images_do_not_show(model, honest, data, fast, tmp_path):
    """In the table as in the verdict, though the interval of one of many may leave out 0."""
    found = evaluate(model(honest), data, TRANSLATION, CONFIG, "golgi")
    real = found.table[found.table["effect"] == "real"].copy()
    made = found.table[found.table["effect"] == "translated"].copy()
    assert made["recovery"].notna().any()
    names = list(made[made["recovery"].notna()]["measurement"])
    shy = names[-1]
    real.loc[real["measurement"] == shy, "p_value"] = 0.08
    table = module._as_the_verdict(pd.concat([real, made]), Rules())
    rows = {r["measurement"]: r for r in table[table["effect"] == "translated"].to_dict("records")}
    assert math.isnan(rows[shy]["recovery"])
    assert math.isnan(rows[shy]["recovery_low"])
    assert rows[shy]["note"] == "real images are not shown to differ"
    for name in names[:-1]:
        assert not math.isnan(rows[name]["recovery"])
    # and so in what `evaluate` gives
    effects = {row["measurement"]: row for row in found.metrics.effects if row["effect"] == "real"}
    for row in found.metrics.effects:
        if row["effect"] == "translated" and not math.isnan(row["recovery"]):
            assert effects[row["measurement"]]["p_value"] < 0.05


def test_groups_are_called_apart_from_conditions():
    names = module._group_names(TranslationConfig(source="translated", target="reconstructed"))
    assert len(set(names.values())) == 5


def renamed(data, wells_of, seed=0):
    """Call images after wells, so many of each condition."""
    groups = {}
    for letter, condition in zip("BE", data.conditions, strict=True):
        wells = wells_of[condition.name]
        groups[condition.name] = [
            replace(image, name=f"{letter}{2 + i % wells:02d}_y{i:03d}_x{64 * seed:03d}")
            for i, image in enumerate(condition.images)
        ]
    return Experiment.from_images(groups)


@pytest.mark.parametrize("lonely", ["control", "scattered"])
def test_images_of_one_well_cannot_tell(model, honest, data, fast, tmp_path, lonely):
    wells = {"control": 8, "scattered": 8} | {lonely: 1}
    found = evaluate(model(honest), renamed(data, wells), TRANSLATION, CONFIG, "golgi")
    m = found.metrics
    assert m.verdict.answer == "cannot tell"
    assert f"images of {lonely} come from one well" in m.verdict.reason
    assert m.counted == "wells"
    assert not any(np.isfinite(row["p_value"]) for row in m.effects if row["effect"] == "real")
    # What no test speaks of is not told as a number anywhere.
    assert np.isnan(m.recovery.value)
    (rule,) = (f for f in m.verdict.findings if f.rule == "How much of the real effect it shows")
    assert rule.text.endswith(f"is not defined: {m.recovery.reason}.")
    assert m.recovery.reason == "there is no test of the real images"
    m.write(tmp_path / "metrics.json")
    assert read_metrics(tmp_path / "metrics.json").verdict == m.verdict
    text = write_document(tmp_path / "report.html", found).read_text(encoding="utf-8")
    assert "come from one well" in text
    words = re.sub(r"base64,[\w+/=]+", "", text.partition("Settings and provenance")[0])
    assert not re.search(r"\bnan\b", words)


@pytest.mark.parametrize("seed", range(2))
def test_the_wells_that_names_tell_are_counted(model, honest, data, fast, seed):
    rng = np.random.default_rng(seed)
    wells = {name: int(rng.integers(6, 12)) for name in data.names}
    found = evaluate(model(honest), renamed(data, wells, seed), TRANSLATION, CONFIG, "golgi")
    m = found.metrics
    assert m.counted == "wells"
    rows = {row["effect"]: row for row in m.effects if row["measurement"] == m.measurement}
    assert (rows["real"]["n_before"], rows["real"]["n_after"]) == tuple(wells.values())
    assert rows["translated"]["n_before"] == wells["control"]
    assert m.controls.null.n_before == wells["control"]
    # One of each well comes before a second of any.
    translated = m.provenance["translated_images"][: wells["control"]]
    assert len({name.partition("_")[0] for name in translated}) == min(N, wells["control"])
    each = CONFIG.model_copy(update={"wells": "image"})
    alone = evaluate(model(honest), renamed(data, wells, seed), TRANSLATION, each, "golgi").metrics
    assert alone.counted == "images"
    assert {row["n_before"] for row in alone.effects if row["effect"] == "translated"} == {N}


def test_images_of_one_name_are_of_the_wells_of_their_conditions(model, honest, data, fast):
    wells = {"control": 3, "scattered": 8}
    groups = {}
    for letter, condition in zip("BE", data.conditions, strict=True):
        groups[condition.name] = [
            replace(
                image, name=f"img{i}", part_of=f"well {letter}{2 + i % wells[condition.name]:02d}"
            )
            for i, image in enumerate(condition.images)
        ]
    m = evaluate(
        model(honest), Experiment.from_images(groups), TRANSLATION, CONFIG, "golgi"
    ).metrics
    rows = {row["effect"]: row for row in m.effects if row["measurement"] == m.measurement}
    assert (rows["real"]["n_before"], rows["real"]["n_after"]) == (3, 8)
    assert rows["translated"]["n_before"] == m.controls.null.n_before == 3
    values = m.structure.measures[0].values
    assert (len(values["source"]), len(values["target"])) == (3, 8)


def test_images_of_several_days_are_told_beside_the_verdict(model, honest, data, fast):
    days = Experiment.from_images(
        {
            condition.name: [
                replace(image, site=Site(plate=f"day {i % 3}"))
                for i, image in enumerate(condition.images)
            ]
            for condition in data.conditions
        }
    )
    m = evaluate(model(honest), days, TRANSLATION, CONFIG, "golgi").metrics
    assert m.counted == "images"
    (told,) = cautions(m)
    assert 'they are of 3 plates or days ("day ' in told


def test_what_is_not_sure_of_wells_is_told_beside_the_verdict(model, honest, data, fast):
    """What `measure` says of the same images: names that tell no well, and too few wells."""
    named = renamed(data, {"control": 4, "scattered": 4})
    loose = named["control"].images[0]
    groups = {
        condition.name: [
            replace(image, name="overview") if image is loose else image
            for image in condition.images
        ]
        for condition in named.conditions
    }
    m = evaluate(
        model(honest), Experiment.from_images(groups), TRANSLATION, CONFIG, "golgi"
    ).metrics
    assert m.counted == "wells"
    told = cautions(m)
    assert any('The names of "overview" tell no well' in text for text in told)
    assert set(m.cautions) <= set(told) <= set(m.notes)
    few = renamed(data, {"control": 3, "scattered": 3})
    m = evaluate(model(honest), few, TRANSLATION, CONFIG, "golgi").metrics
    rows = {row["effect"]: row for row in m.effects if row["measurement"] == m.measurement}
    assert rows["real"]["shift_low"] > 0 or rows["real"]["shift_high"] < 0
    assert rows["real"]["p_value"] > 0.05
    told = cautions(m)
    assert any(text.startswith("Real effect: the interval of the shift leaves") for text in told)


def test_conditions_that_share_no_plate_are_told_beside_the_verdict(model, honest, data, fast):
    told = "No plate has images of both control and scattered (control: 1; scattered: 2): what"
    m = evaluate(model(honest), data, TRANSLATION, CONFIG, "golgi", warnings=[told]).metrics
    assert told in cautions(m)


def test_conditions_whose_names_tell_other_plates_are_told(model, honest, data, fast):
    plates = Experiment.from_images(
        {
            condition.name: [
                replace(image, name=f"plate{k}_B{1 + i % 6:02d}_f{i}")
                for i, image in enumerate(condition.images)
            ]
            for k, condition in enumerate(data.conditions)
        }
    )
    m = evaluate(model(honest), plates, TRANSLATION, CONFIG, "golgi").metrics
    assert m.counted == "wells"
    (told,) = [text for text in cautions(m) if "plate" in text]
    assert told.startswith(
        'No plate or day has images of both control and scattered ("plate0"; "plate1")'
    )
    assert told in m.notes


def test_four_wells_of_eight_that_were_not_trained_on_are_enough(model, honest, data, fast):
    named = renamed(data, {"control": 8, "scattered": 8})
    trained = [image for image in named.images if int(image.name[1:3]) < 6]
    judged = replace(model(honest), trained=frozenset(image.sha256 for image in trained))
    found = evaluate(judged, named, TRANSLATION, CONFIG, "golgi")
    m = found.metrics
    rows = {row["effect"]: row for row in m.effects if row["measurement"] == m.measurement}
    # All wells tell how far the conditions differ, and new ones what a translation does.
    assert (rows["real"]["n_before"], rows["real"]["n_after"]) == (8, 8)
    assert rows["translated"]["n_before"] == 4
    assert not {image.name for image in found.chosen.sources} & {image.name for image in trained}
    assert max(rows[effect]["p_value"] for effect in ("real", "translated")) < 0.05
    assert {f.rule: f.outcome for f in m.verdict.findings}["Number of images"] == "for"
    assert any("12 and 12 were measured all the same" in note for note in m.notes)


def test_cells_that_vanish_are_counted(model, counterparts, data, fast):
    def emptied(image, config, number):
        if config.source == config.target:
            return image
        target = counterparts[sha256_of_array(image.data)]
        dark = target.data.copy()
        # half of the field, with the cells in it
        dark[:, :48] = np.quantile(dark, 0.02, axis=(1, 2), keepdims=True).astype(dark.dtype)
        return replace(target, data=dark)

    m = evaluate(model(emptied, ()), data, TRANSLATION, CONFIG, "golgi").metrics
    cells = m.identity.cells
    assert cells.channel == "DNA"
    assert 0.3 < cells.lost < 0.7
    assert cells.invented < 0.1
    assert cells.real_ratio == pytest.approx(1, abs=0.3)
    (finding,) = [f for f in m.verdict.findings if f.rule == "Cells lost or invented"]
    assert finding.outcome == "against"
    assert m.verdict.answer == "not supported"


def test_what_is_found_in_a_reference_that_is_copied_is_no_evidence(model, honest, data, fast):
    k = data.channel_names.index("DNA")

    def copying(image, config, number):
        made = honest(image, config, number).data.copy()
        made[k] = image.data[k]
        return replace(image, data=made)

    m = evaluate(model(copying), data, TRANSLATION, CONFIG, "golgi").metrics
    assert m.identity.given == ("DNA",)
    outcomes = {f.rule: f.outcome for f in m.verdict.findings}
    assert outcomes["What should not change"] == "by construction"
    assert outcomes["Cells lost or invented"] == "by construction"
    assert m.verdict.answer == "supported"
    # of it nothing can be said against the translation either, whichever channels should stay
    (other,) = [name for name in data.channel_names if name not in ("DNA", "Golgi")][:1]
    config = CONFIG.model_copy(update={"keep": (other,)})
    named = evaluate(model(copying), data, TRANSLATION, config, "golgi").metrics
    assert {one.channel for one in named.structure.measures if one.kept} == {"DNA", other}
    not_named = evaluate(model(copying, ()), data, TRANSLATION, CONFIG, "golgi").metrics
    assert not_named.identity.given == ()


def test_a_stain_of_another_day_is_no_difference(model, honest, data, fast):
    """Real target images are shown in the brightness that translated ones have."""
    k = data.channel_names.index("DNA")
    dim = []
    for image in data["scattered"].images:
        planes = image.data.astype(float)
        planes[k] *= 0.4
        dim.append(replace(image, data=np.rint(planes).astype(image.data.dtype)))
    other = Experiment.from_images({"control": data["control"].images, "scattered": dim})
    images = {c.name: c.images for c in other.conditions}
    judged = model(honest)
    scaling = with_common_brightness(judged.scaling, images, ("DNA",))
    found = evaluate(replace(judged, scaling=scaling), other, TRANSLATION, CONFIG, "golgi")
    assert found.metrics.verdict.answer == "supported"
    assert any("DNA of real scattered images" in note for note in found.metrics.notes)
    shown = [np.quantile(x.data[k], 0.98) for x in found.chosen.real_target]
    kept = [np.quantile(x.data[k], 0.98) for x in found.chosen.real_source]
    assert np.median(shown) == pytest.approx(np.median(kept), rel=0.2)
    before = [np.quantile(x.data[k], 0.98) for x in dim]
    assert np.median(before) < 0.6 * np.median(kept)
