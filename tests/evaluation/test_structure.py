"""Structure as evidence: where what was made lies between the real conditions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.appearance import Appearance
from napari_phenldiff.evaluation.classifier import Classified, GroupRates, Rate
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.document import write_document
from napari_phenldiff.evaluation.evaluate import Model, evaluate
from napari_phenldiff.evaluation.evidence import Effect, Evidence, Rules
from napari_phenldiff.evaluation.schema import read_metrics
from napari_phenldiff.evaluation.structure import (
    GROUPS,
    MEASURES,
    Between,
    StructureMeasure,
    measure_structure,
)
from napari_phenldiff.evaluation.verdict import has_say, judge, structure_outcome, taken_for_target
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.profiles import find_profile
from napari_phenldiff.runs.config import TranslationConfig

N = 12
STRUCTURE, CLASSIFIER = "Structure of the target", "What a classifier takes them for"
ORDER = ("not supported", "cannot tell", "supported")


def fibres(seed: int, *, severed: bool = False, side: int = 96) -> Image:
    """Draw bright lines of all directions; severed, half of the light is in beads."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    plane = np.zeros((side, side))
    for _ in range(int(rng.integers(10, 15))):
        angle, place = rng.uniform(0, np.pi), rng.uniform(-side / 2, side / 2)
        away = x * np.cos(angle) + y * np.sin(angle) - place
        plane = np.maximum(plane, np.exp(-(away**2) / 4.5))
    if severed:
        keep = ndi.gaussian_filter((rng.random(plane.shape) < 0.02).astype(float), 1.5)
        plane = plane * keep * 12
    plane = 20 + 150 * plane + rng.normal(0, 2, plane.shape)
    still = 20 + 100 * ndi.gaussian_filter(rng.random((side, side)), 5)
    data = np.stack([plane, still]).astype(np.float32)
    return Image(data, ("neurites", "still"), None, f"field {seed:03d}")


def dimmed(image: Image, gain: float) -> Image:
    data = image.data.copy()
    data[0] = 20 + gain * (data[0] - 20)
    return replace(image, data=data)


@pytest.fixture(scope="module")
def source():
    return [fibres(seed) for seed in range(2 * N)]


@pytest.fixture(scope="module")
def target():
    return [fibres(seed, severed=True) for seed in range(100, 100 + 2 * N)]


@pytest.fixture(scope="module")
def other_target():
    return [fibres(seed, severed=True) for seed in range(200, 200 + N)]


def measured(source, target, translated, **given):
    n = len(translated)
    names = [[image.name for image in images] for images in (source, target)]
    found = measure_structure(
        source, target, given.pop("reconstructed", source[:n]), translated, *names, **given
    )
    return {(one.channel, one.measure): one for one in found}


def test_a_dimmed_copy_lies_at_the_source_and_the_target_at_the_target(
    source, target, other_target
):
    rules = Rules()
    dim = measured(source, target, [dimmed(image, 0.4) for image in source[:N]])
    right = measured(source, target, other_target)
    assert set(dim) == {(channel, m) for channel in ("neurites", "still") for m in MEASURES}
    for measure_ in MEASURES:
        one = dim["neurites", measure_]
        assert has_say(one, rules), one
        assert one.translated.value == pytest.approx(0, abs=1e-3)
        assert structure_outcome(one, rules) == "against"
        assert structure_outcome(right["neurites", measure_], rules) == "for"
        assert right["neurites", measure_].translated.value == pytest.approx(1, abs=0.3)
        # where the conditions do not differ, nothing is said of any picture
        for found in (dim, right):
            assert structure_outcome(found["still", measure_], rules) == "not tried"


def test_a_spectrum_is_judged_by_those_of_other_images():
    # five parts of a spectrum find a difference between any two sets, in these sets themselves
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        images = [Image(rng.normal(size=(1, 32, 32)), ("noise",), None, f"{i}") for i in range(16)]
        one = measured(images[:8], images[8:], images[:8])["noise", "granularity"]
        found.append(one.auc)
        assert not has_say(one, Rules())
    assert np.mean(found) < 0.6


def test_what_shares_a_well_counts_once(source, target, other_target):
    wells = [f"well {i % 4}" for i in range(2 * N)]
    found = measure_structure(
        source, target, source[:N], other_target, wells, [f"other {well}" for well in wells]
    )
    one = found[0]
    assert [len(one.values[group]) for group in GROUPS] == [4, 4, 4, 4]
    with pytest.raises(InputError, match="two wells"):
        measure_structure(source, target, source[:N], other_target, ["a"] * 2 * N, wells)


def test_a_channel_that_should_stay_has_no_say(source, target):
    found = measured(source, target, source[:N], kept=("neurites",))
    one = found["neurites", "coherence"]
    assert has_say(replace(one, kept=False), Rules())
    assert structure_outcome(one, Rules()) == "not tried"


def test_empty_planes_are_left_out(source, target, other_target):
    black = replace(other_target[0], data=np.zeros_like(other_target[0].data))
    found = measured(source, target, [black, *other_target[1:]])["neurites", "coherence"]
    assert np.isnan(found.values["translated"][0])
    assert structure_outcome(found, Rules()) == "for"
    nothing = measured(source, target, [black] * N)["neurites", "coherence"]
    assert structure_outcome(nothing, Rules()) == "open"


# ---- the rules ---------------------------------------------------------------------------------

GOOD = Effect(2.0, 1.8, 2.2, 1e-6, 1e-8, 12, 12)
NOTHING = Effect(0.0, -0.1, 0.1, 0.8, 1e-4, 12, 12)
EVIDENCE = Evidence(
    real=GOOD, translated=GOOD, recovery=(1.0, 0.8, 1.2), null=NOTHING, own_source=1.0
)
MEASURE = StructureMeasure(
    "marker",
    "coherence",
    False,
    dict.fromkeys(GROUPS, (0.5,)),
    auc=0.05,
    auc_low=0.0,
    auc_high=0.1,
    p_value=1e-6,
    translated=Between(1.0, 0.8, 1.2),
    reconstructed=Between(0.0, -0.1, 0.1),
)


def rate(value: float, low: float, high: float) -> Rate:
    return Rate(value, low, high, 24)


CLASSIFIED = Classified(rate(0.9, 0.8, 0.95), rate(0.9, 0.8, 0.95), rate(0.1, 0.05, 0.2), 24)
WEAK = {"auc": 0.2, "auc_low": 0.05, "auc_high": 0.3, "p_value": 0.03}
NONE = {"auc": 0.3, "auc_low": 0.2, "auc_high": 0.4, "p_value": 0.03}


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "for"),
        ({"translated": Between(0.1, 0.0, 0.2)}, "against"),
        ({"translated": Between(-1.0, -1.2, -0.8)}, "against"),
        ({"translated": Between(3.0, 2.2, 3.8)}, "against"),
        ({"translated": Between(0.45, 0.3, 0.6)}, "open"),
        ({"translated": Between(0.8, 0.1, 1.5)}, "open"),
        ({"translated": Between(1.5, 0.8, 2.3)}, "open"),
        ({"translated": Between()}, "open"),
        # drawn whatever the condition
        ({"reconstructed": Between(0.9, 0.7, 1.1)}, "against"),
        # it tells the real ones apart, but not so well that it could be sure
        ({**WEAK}, "for"),
        ({**WEAK, "translated": Between(0.8, -0.1, 1.9)}, "not tried"),
        ({**WEAK, "translated": Between(0.1, 0.0, 0.2)}, "against"),
        ({**NONE, "translated": Between(0.1, 0.0, 0.2)}, "not tried"),
        ({"p_value": 0.06, "translated": Between(0.1, 0.0, 0.2)}, "not tried"),
        ({"p_value": float("nan")}, "not tried"),
        # other spectra say that it is the other way round: chance
        ({"spectrum": {"source": (1.0,)}, "translated": Between(0.1, 0.0, 0.2)}, "not tried"),
        ({"kept": True, "translated": Between(0.1, 0.0, 0.2)}, "not tried"),
    ],
)
def test_what_one_measure_says(change, outcome):
    one = replace(MEASURE, **change)
    assert structure_outcome(one, Rules()) == outcome
    verdict = judge(replace(EVIDENCE, structure=(MEASURE, one)))
    said = {f.rule: f for f in verdict.findings}[STRUCTURE]
    expected = {"against": "not supported", "open": "cannot tell"}.get(outcome, "supported")
    assert verdict.answer == expected
    assert said.outcome == {"not tried": "for"}.get(outcome, outcome)
    if outcome == "against":
        assert "coherence of marker" in verdict.reason


def test_the_verdict_says_which_is_not():
    bad = replace(MEASURE, measure="spot energy", translated=Between(0.09, 0.02, 0.15))
    verdict = judge(replace(EVIDENCE, structure=(MEASURE, bad)))
    assert verdict.reason == (
        "Brightness aside, translated images do not have the target's structure: spot energy of "
        "marker at 0.09 (0.02 to 0.15) (0 is the real source, 1 the real target)."
    )


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "for"),
        ({"translated": rate(0.2, 0.1, 0.4)}, "against"),
        ({"translated": rate(0.4, 0.2, 0.6)}, "open"),
        ({"translated": rate(0.6, 0.2, 0.9)}, "open"),
        ({"reconstructed": rate(0.8, 0.6, 0.9)}, "against"),
        ({"real": rate(0.65, 0.55, 0.75), "translated": rate(0.2, 0.1, 0.4)}, "not tried"),
        ({"real": rate(0.75, 0.67, 0.83), "translated": rate(0.4, 0.2, 0.6)}, "not tried"),
        ({"real": rate(0.75, 0.67, 0.83), "translated": rate(0.2, 0.1, 0.4)}, "against"),
    ],
)
def test_what_a_classifier_says(change, outcome):
    asked = replace(EVIDENCE, classifier=replace(CLASSIFIED, **change))
    assert taken_for_target(asked, Rules()).outcome == outcome
    expected = {"against": "not supported", "open": "cannot tell"}.get(outcome, "supported")
    assert judge(asked).answer == expected


def test_images_and_wells_count_not_their_tiles():
    few = GroupRates(CLASSIFIED.real, rate(0.2, 0.1, 0.4), CLASSIFIED.reconstructed)
    asked = replace(EVIDENCE, classifier=replace(CLASSIFIED, by_group=few))
    said = taken_for_target(asked, Rules())
    assert said.outcome == "against"
    assert "20% (10% to 40%, over 24 images or wells)" in said.text
    by_wells = replace(CLASSIFIED, by_group=few, counted="wells")
    said = taken_for_target(replace(EVIDENCE, classifier=by_wells), Rules())
    assert "over 24 wells)" in said.text


def test_these_rules_take_claims_away_and_never_make_one():
    rng = np.random.default_rng(0)
    changed = set()

    def some(*choices):
        return choices[rng.integers(len(choices))]

    def between() -> Between:
        return Between(*(rng.normal(0.6, 0.8) + np.array([0.0, -0.4, 0.4]) * rng.random()))

    def part() -> Rate:
        low, value, high = np.sort(rng.random(3))
        return rate(value, low, high)

    for _ in range(1500):
        evidence = replace(
            EVIDENCE,
            real=some(GOOD, GOOD, GOOD, NOTHING, replace(GOOD, least_p_value=0.1)),
            translated=some(GOOD, GOOD, GOOD, NOTHING),
            null=some(NOTHING, NOTHING, NOTHING, GOOD, None),
            own_source=some(1.0, 1.0, 0.5, None),
        )
        looked = replace(
            evidence,
            structure=tuple(
                replace(
                    MEASURE,
                    **some({}, WEAK, NONE),
                    translated=between(),
                    reconstructed=between(),
                )
                for _ in range(rng.integers(4))
            ),
            classifier=some(None, Classified(part(), part(), part(), 24)),
        )
        before, after = judge(evidence).answer, judge(looked).answer
        assert ORDER.index(after) <= ORDER.index(before)
        changed.add((before, after))
    assert ("supported", "not supported") in changed
    assert ("supported", "cannot tell") in changed
    assert ("supported", "supported") in changed


# ---- whole evaluations -------------------------------------------------------------------------


@dataclass
class Made:
    translated: Image
    reconstructed: Image


class Translator:
    """Gives what stands in for the translation of each source image, by its name."""

    def __init__(self, made):
        self.made = made

    def translate(self, images, config):
        for image in images:
            own = config.source == config.target
            yield Made(image if own else self.made[image.name], image)


def judged(
    source, target, made, *, channel=0, n=N, profile="area", keep=(), settings=None, wells="image"
):
    """Evaluate what stands in for translated images; return all metrics and the page's input."""
    data = Experiment.from_images({"source": source, "target": target})
    chosen = find_profile(profile).settings_type(
        **({"channel": channel} if settings is None else settings)
    )
    return evaluate(
        Model(
            Translator({s.name: m for s, m in zip(source, made, strict=True)}),
            IntensityScaling.fit(data.images),
            reference_channels=keep,
        ),
        data,
        TranslationConfig(source="source", target="target"),
        # some of these sets are of one or two fields, which is another rule's business
        EvaluationConfig(images=n, cycle=False, latent_images=0, wells=wells),
        profile,
        chosen,
    )


def outcomes(found):
    return {f.rule: f.outcome for f in found.metrics.verdict.findings}


@pytest.fixture
def without_networks(monkeypatch):
    monkeypatch.setattr(
        "napari_phenldiff.evaluation.evaluate.compare_appearance",
        lambda *a: Appearance([], None, None),
    )


@pytest.fixture
def other_cells(monkeypatch):
    """Real target images in the place of translated ones are other cells: that is not asked."""
    monkeypatch.setattr("napari_phenldiff.evaluation.identity.own_source", lambda *a: 1.0)
    monkeypatch.setattr("napari_phenldiff.evaluation.identity.count_cells", lambda *a: None)


def as_much_area(source, target, channel=0):
    """Dim or brighten each source image until it has the area of a target image."""
    settings = find_profile("area").settings_type(channel=channel)
    found = measure("area", {"source": source, "target": target}, settings)
    (threshold,) = found.thresholds.values()
    wanted = found.values("target")
    made = []
    for number, image in enumerate(source):
        plane = image.data[channel].astype(float)
        dark = np.quantile(plane, 0.05)
        limit = np.quantile(plane, 1 - wanted[number % wanted.size])
        data = image.data.astype(np.float32)
        data[channel] = dark + (plane - dark) * (threshold - dark) / (limit - dark)
        made.append(replace(image, data=data))
    return made


def test_a_right_number_over_a_wrong_picture(
    source, target, other_target, without_networks, other_cells, tmp_path
):
    found = judged(source, target, as_much_area(source, target))
    m = found.metrics
    assert m.verdict.answer == "not supported"
    # all else speaks for it
    rest = {f.outcome for f in m.verdict.findings if f.rule != STRUCTURE}
    assert rest == {"for", "not tried"}, m.verdict
    assert "coherence of neurites" in m.verdict.reason
    assert m.structure.layout["neurites"].median == pytest.approx(1)

    page = write_document(tmp_path / "report.html", found).read_text(encoding="utf-8")
    assert "Structure, brightness aside" in page
    assert "Layout" in page
    m.write(tmp_path / "metrics.json")
    again = read_metrics(tmp_path / "metrics.json")
    assert again.structure.measures[0] == m.structure.measures[0]

    made = [other_target[i % N] for i in range(2 * N)]
    right = judged(source, target, made)
    assert right.metrics.verdict.answer == "supported", right.metrics.verdict
    assert outcomes(right)[STRUCTURE] == "for"


def load(shared_data, folder, source, target, side=128):
    real = Experiment.from_folder(shared_data / folder, conditions=(source, target))
    groups = []
    for seed, condition in enumerate(real.conditions):
        order = np.random.default_rng(seed).permutation(len(condition.images))
        images = [condition.images[i] for i in order]
        groups.append([replace(i, data=i.data[:, :side, :side]) for i in images])
    return groups


@pytest.mark.parametrize(
    ("folder", "ends", "channel"),
    [
        ("neurite_axotomy", ("uncut", "cut"), 0),
        ("autophagosomes", ("treatment_B", "treatment_A"), 1),
        ("autophagosomes", ("treatment_A", "treatment_B"), 1),
    ],
)
def test_real_images_that_are_merely_dimmed(
    shared_data, folder, ends, channel, without_networks, other_cells
):
    source, target = load(shared_data, folder, *ends)
    half = len(target) // 2
    made = as_much_area(source, target[:half], channel)
    keep = source[0].channel_names[:channel]
    found = judged(source, target[half:], made, channel=channel, n=24, keep=keep)
    assert found.metrics.recovery.low > 0.25  # the number is right
    assert found.metrics.verdict.answer == "not supported"
    assert outcomes(found)[STRUCTURE] == "against"

    made = [target[i % half] for i in range(len(source))]
    found = judged(source, target[half:], made, channel=channel, n=24)
    assert found.metrics.verdict.answer == "supported", found.metrics.verdict


def test_real_images_that_did_translocate(shared_data, other_cells):
    source, target = load(shared_data, "bbbc013_translocation", "untreated", "treated")
    half = len(target) // 2
    made = [target[i % half] for i in range(len(source))]
    how = {"profile": "translocation", "settings": {}, "n": 12}
    found = judged(source, target[half:], made, **how)
    assert found.metrics.verdict.answer == "supported", found.metrics.verdict
    assert outcomes(found)[STRUCTURE] == outcomes(found)[CLASSIFIER] == "for"
    assert found.metrics.classifier.by_group.translated.n == 12


def test_real_images_that_did_not_translocate(shared_data, without_networks):
    source, target = load(shared_data, "bbbc013_translocation", "untreated", "treated")
    keep = source[0].channel_names[:1]
    found = judged(source, target, source, profile="translocation", settings={}, n=12, keep=keep)
    assert found.metrics.verdict.answer == "not supported"
    assert outcomes(found)[STRUCTURE] == "against"
    assert "of DNA" not in found.metrics.verdict.reason
