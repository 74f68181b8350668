from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from napari_phenldiff.evaluation.evidence import Cells, Effect, Evidence
from napari_phenldiff.evaluation.verdict import judge
from napari_phenldiff.measurement.statistics.compare import compare
from napari_phenldiff.measurement.statistics.recovery import recovery

GOOD = Effect(2.0, 1.8, 2.2, 1e-6, 1e-8, 12, 12)
NOTHING = Effect(0.0, -0.1, 0.1, 0.8, 1e-4, 12, 12)
EVIDENCE = Evidence(
    real=GOOD,
    translated=GOOD,
    recovery=(1.0, 0.8, 1.2),
    null=NOTHING,
    nuclei_kept=0.95,
    correlation_kept=0.9,
    own_source=1.0,
    copies=0.0,
)
OPPOSITE = Effect(-2.0, -2.2, -1.8, 1e-6, 1e-8, 12, 12)


def outcome(verdict, rule):
    (finding,) = (finding for finding in verdict.findings if finding.rule == rule)
    return finding.outcome


def test_all_rules_for_it():
    verdict = judge(EVIDENCE)
    assert verdict.answer == "supported"
    assert "1.00 of the real effect" in verdict.reason
    assert {f.outcome for f in verdict.findings} == {"for", "not tried"}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        # painted where real images do not differ
        ({"real": NOTHING, "recovery": (math.nan,) * 3}, "Whether the real images differ"),
        (
            {"translated": OPPOSITE, "recovery": (-1.0, -1.2, -0.8)},
            "Whether the translation changes it",
        ),
        ({"recovery": (0.1, 0.05, 0.2)}, "How much of the real effect it shows"),
        ({"recovery": (4.0, 3.0, 5.0)}, "How much of the real effect it shows"),
        ({"null": GOOD}, "Images translated to their own condition"),
        ({"shuffled": (NOTHING, GOOD)}, "A run on shuffled conditions"),
        ({"half_split": (OPPOSITE,)}, "A run on two halves of one condition"),
        ({"nuclei_kept": 0.2}, "What should not change"),
        ({"correlation_kept": 0.2}, "What should not change"),
        ({"own_source": 0.5}, "Whose cells they show"),
        ({"copies": 0.5}, "Copies of training images"),
    ],
)
def test_each_rule_can_speak_against_it(change, rule):
    verdict = judge(replace(EVIDENCE, **change))
    assert verdict.answer == "not supported"
    assert outcome(verdict, rule) == "against"
    assert verdict.reason


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"real": replace(NOTHING, low=-3, high=3)}, "Whether the real images differ"),
        ({"translated": NOTHING}, "Whether the translation changes it"),
        ({"recovery": (1.0, 0.1, 1.9)}, "How much of the real effect it shows"),
        ({"recovery": (math.nan,) * 3}, "How much of the real effect it shows"),
        ({"null": None}, "Images translated to their own condition"),
        (
            {"null": replace(NOTHING, low=-1, high=1)},
            "Images translated to their own condition",
        ),
        ({"shuffled": (replace(NOTHING, high=1.5),)}, "A run on shuffled conditions"),
        ({"nuclei_kept": math.nan}, "What should not change"),
        ({"own_source": None}, "Whose cells they show"),
        ({"trained_on": 3}, "Images that the run was trained on"),
    ],
)
def test_what_is_not_known_is_not_claimed(change, rule):
    verdict = judge(replace(EVIDENCE, **change))
    assert verdict.answer == "cannot tell"
    assert outcome(verdict, rule) == "open"


def test_what_is_so_by_construction_is_no_evidence():
    cells = Cells("DNA", 70, 70, 70, 0.0, NOTHING, 1.0)
    given = replace(EVIDENCE, nuclei_kept=None, correlation_kept=None, cells=cells, given=("DNA",))
    verdict = judge(given)
    assert verdict.answer == "supported"
    for rule in ("What should not change", "Cells lost or invented"):
        assert outcome(verdict, rule) == "by construction"
        (text,) = (f.text for f in verdict.findings if f.rule == rule)
        assert "DNA is a reference channel" in text
    # Another channel that should stay is judged, and cells in another channel are counted.
    other = replace(given, correlation_kept=0.2, cells=replace(cells, channel="nuclei"))
    assert outcome(judge(other), "What should not change") == "against"
    assert outcome(judge(other), "Cells lost or invented") == "for"


def test_a_significant_test_alone_is_not_enough():
    # an interval that holds 0 beside a small p: the two do not agree
    assert judge(replace(EVIDENCE, real=replace(GOOD, low=-0.1))).answer == "cannot tell"
    assert judge(replace(EVIDENCE, real=replace(GOOD, p_value=0.2))).answer == "cannot tell"


def test_too_few_images_neither_show_nor_refute():
    few = replace(GOOD, least_p_value=0.1, n_before=3, n_after=3)
    for change in ({"real": few}, {"translated": few}, {"real": few, "copies": 1.0}):
        verdict = judge(replace(EVIDENCE, **change))
        assert verdict.answer == "cannot tell"
        assert "too few" in verdict.reason
    nothing = Effect(*(math.nan,) * 5, 0, 0)
    assert judge(Evidence(nothing, nothing, (math.nan,) * 3)).answer == "cannot tell"


def experiment(rng, n, *, real=0.0, shown=0.0, wobble=0.3, null=0.05):
    """Numbers of one experiment: images vary by 1, translation adds `shown` to each image."""
    source, target = rng.normal(0, 1, n), rng.normal(real, 1, n)
    reconstructed = source + rng.normal(0, null, n)
    translated = reconstructed + shown + rng.normal(0, wobble, n)
    own = source + rng.normal(0, null, n)
    found = recovery(source, target, translated, reconstructed=reconstructed)

    def effect(a, b, paired):
        return Effect.from_comparison(compare(a, b, paired=paired, n_resamples=1))

    return Evidence(
        real=effect(source, target, False),
        translated=effect(reconstructed, translated, True),
        recovery=(found.value, found.low, found.high),
        null=effect(source, own, True),
        own_source=1.0,
    )


def claims(count, seed=0, **how):
    rng = np.random.default_rng(seed)
    said = [judge(experiment(rng, **how)).answer for _ in range(count)]
    return said.count("supported") / count, said


@pytest.mark.parametrize("n", [6, 12, 24])
@pytest.mark.parametrize(
    "how",
    [
        {"real": 0.0, "shown": 0.0},  # neither differs
        {"real": 0.0, "shown": 1.0},  # painted where nothing is
        {"real": 2.0, "shown": 0.0},  # the translation does nothing
        {"real": 2.0, "shown": -2.0},  # or the opposite
    ],
)
def test_false_claims_are_rare(how, n):
    rate, _ = claims(100, n=n, **how)
    assert rate <= 0.05


def test_true_effects_are_mostly_found():
    rate, _ = claims(60, n=12, real=3.0, shown=2.7)
    assert rate > 0.9


def test_what_is_painted_is_refuted_given_enough_images():
    _, said = claims(60, n=40, real=0.0, shown=2.0)
    assert said.count("not supported") > 50


def at_random(rng):
    """Evidence of any kind, whether it goes together or not."""

    def effect():
        if rng.random() < 0.1:
            return Effect(1.0, math.nan, math.nan, math.nan, math.nan, 1, 1, no_p_value="One well.")
        middle, half = rng.normal(0, 2), rng.uniform(0, 2)
        p = float(10 ** rng.uniform(-8, 0))
        low, high = middle - half, middle + half
        test = ("Mann-Whitney U", "Holm over 3 measurements")
        return Effect(middle, low, high, p, float(rng.choice([1e-6, 0.2])), 12, 12, *test)

    def perhaps(value):
        return None if rng.random() < 0.2 else math.nan if rng.random() < 0.1 else value

    value, half = rng.uniform(-0.5, 3), rng.uniform(0, 1)
    recovery = (math.nan,) * 3 if rng.random() < 0.2 else (value, value - half, value + half)
    return Evidence(
        real=effect(),
        translated=effect(),
        recovery=recovery,
        null=effect() if rng.random() < 0.9 else None,
        shuffled=tuple(effect() for _ in range(rng.integers(3))),
        half_split=tuple(effect() for _ in range(rng.integers(3))),
        nuclei_kept=perhaps(rng.random()),
        correlation_kept=perhaps(rng.random()),
        own_source=perhaps(rng.random()),
        copies=perhaps(rng.random() * 0.3),
        trained_on=int(rng.choice([0, 3])),
    )


# What a sentence may not say beside an outcome.
FORBIDDEN = {
    "for": ("not shown", "too few", "outside of", "not defined", "not sure", "invented", "Only"),
    "against": ("which may be all", "is kept", "at most", "not shown to change", "none of these"),
    "open": ("which may be all", "within 0.25 to 2, ", "invented", "is kept"),
    "not tried": ("for it", "against"),
}


@pytest.mark.parametrize("seed", range(400))
def test_sentences_do_not_contradict_outcomes_nor_each_other(seed):
    evidence = at_random(np.random.default_rng(seed))
    verdict = judge(evidence)
    found = {finding.rule: finding for finding in verdict.findings}
    assert len(found) == len(verdict.findings)
    for finding in verdict.findings:
        assert "nan" not in finding.text
        # A rule's name is a question or a subject, right with every answer.
        assert not re.search(
            r"\b(as large as|shows? (it|nothing)|does not|are the same)\b", finding.rule
        )
        for words in FORBIDDEN[finding.outcome]:
            assert words not in finding.text, finding
    differ, part = (
        found["Whether the real images differ"],
        found["How much of the real effect it shows"],
    )
    changed = found["Whether the translation changes it"]
    if differ.outcome != "for":
        # No part of what is not there.
        assert part.outcome == "open"
        assert "of the real effect (" not in part.text
    if changed.outcome == "open":
        assert part.outcome != "for"
    if part.outcome == "for":
        _, low, high = evidence.recovery
        assert ("less than all of it" in part.text) == (high < 1)
        assert ("more than there is" in part.text) == (low > 1)
    outcomes = {finding.outcome for finding in verdict.findings}
    if verdict.answer == "supported":
        assert outcomes <= {"for", "not tried"}
    # One p-value for one comparison, with its test.
    for effect in (evidence.real, evidence.translated):
        said = {
            p
            for finding in verdict.findings
            for p in re.findall(
                re.escape(f"{effect.shift:+.3g} (") + r"[^()]*\), p = ([^,]+), ", finding.text
            )
        }
        assert len(said) <= 1


def test_a_part_of_the_effect_is_not_called_all_of_it():
    verdict = judge(replace(EVIDENCE, recovery=(0.58, 0.45, 0.7)))
    (said,) = (f for f in verdict.findings if f.rule == "How much of the real effect it shows")
    assert said.outcome == "for"
    assert said.text == (
        "It shows 0.58 of the real effect (0.45 to 0.70): less than all of it, but within 0.25 to "
        "2."
    )


def test_one_well_cannot_tell():
    one = Effect(2.0, math.nan, math.nan, math.nan, math.nan, 1, 8, no_p_value="All of one well.")
    verdict = judge(replace(EVIDENCE, real=one))
    assert verdict.answer == "cannot tell"
    assert verdict.reason == "All of one well."


CELLS = Cells("DNA", 100, 98, 97, -0.17, replace(NOTHING, low=-1, high=1), 1.0)
FEWER = Effect(-5.0, -6.0, -4.0, 1e-6, 1e-8, 12, 12)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (CELLS, "for"),
        # half of the cells vanish, and real images have as many: half a cell an image fewer at most
        (replace(CELLS, n_after=50, n_same=50, per_image=-4.0), "against"),
        # as many as there were, and others
        (replace(CELLS, n_after=100, n_same=50, per_image=0.0), "against"),
        (replace(CELLS, n_after=150, n_same=100, per_image=4.0), "against"),
        # their loss is what separates the conditions
        (
            Cells("DNA", 100, 40, 38, -5.0, FEWER, 0.35),
            "for",
        ),
        # more are lost than twice as many as really are
        (Cells("DNA", 100, 30, 30, -8.0, replace(FEWER, shift=-1, low=-1.5), 0.75), "against"),
        # cells are invented where real ones are lost
        (Cells("DNA", 100, 150, 100, 4.0, FEWER, 0.35), "against"),
        # too few real images to tell
        (Cells("DNA", 100, 60, 60, -3.0, replace(NOTHING, low=-4, high=2), 0.7), "open"),
        (replace(CELLS, n_before=0, n_after=0, n_same=0), "not tried"),
        (None, "not tried"),
    ],
)
def test_cells_stay_unless_their_loss_is_the_phenotype(cells, expected):
    verdict = judge(replace(EVIDENCE, cells=cells))
    assert outcome(verdict, "Cells lost or invented") == expected
    answers = {"against": "not supported", "open": "cannot tell"}
    assert verdict.answer == answers.get(expected, "supported")
