"""The rules that ask whether translated images are taken for the target, by structure and by eye.

A measurement that is as large as it should be says nothing of the rest of the picture. These rules
can take a claim away and never make one: where nothing tells the real conditions apart, they are
not tried. ``docs/notes/structure.md`` says what they are made of.
"""

from __future__ import annotations

import math

from napari_phenldiff.evaluation.classifier import Rate
from napari_phenldiff.evaluation.evidence import Evidence, Finding, Outcome, Rules
from napari_phenldiff.evaluation.structure import Between, StructureMeasure


def has_structure_of_target(e: Evidence, rules: Rules) -> Finding:
    """Ask each measure of structure that tells the real conditions apart."""
    rule = "Structure of the target"
    if not e.structure:
        return Finding(rule, "not tried", "Structure was not measured.")
    heard = [one for one in e.structure if structure_outcome(one, rules) != "not tried"]
    if not heard:
        return Finding(
            rule,
            "not tried",
            "No measure of structure in a channel that may change tells the real conditions apart "
            "well enough to have a say.",
        )
    texts = {
        "against": "Brightness aside, translated images do not have the target's structure: ",
        "open": "Brightness aside, it is not sure that translated images have the target's "
        "structure: ",
        "for": "Brightness aside, translated images have the target's structure: ",
    }
    for outcome in ("against", "open", "for"):
        those = [one for one in heard if structure_outcome(one, rules) == outcome]
        if those:
            said = "; ".join(_lies(one, rules) for one in those)
            scale = "0 is the real source, 1 the real target"
            return Finding(rule, outcome, f"{texts[outcome]}{said} ({scale}).")
    raise AssertionError("a measure that is heard says something")


def has_say(one: StructureMeasure, rules: Rules) -> bool:
    """Whether a measure tells the real conditions apart, in a channel that may change."""
    return not one.kept and one.p_value < rules.alpha and one.least_separation > rules.apart


def structure_outcome(one: StructureMeasure, rules: Rules) -> Outcome:
    """Say what one measure says; *not tried* if it has no say.

    For it: on the target's side of midway, with as much of an interval as recovery must have.
    Against it: all of the interval on the source's side, or as far beyond the target. A measure
    that tells the real conditions apart may always speak against a translation. One that is not
    sure holds it up only where it tells them apart clearly: else it would never be sure.
    """
    if not has_say(one, rules):
        return "not tried"
    where = one.translated
    if math.isnan(where.low) or math.isnan(where.high):
        return "open"
    if where.high < rules.midway or where.low > rules.most_recovery:
        return "against"
    if one.reconstructed.low > rules.midway:
        # the model draws it whatever the condition
        return "against"
    sure = rules.least_recovery < where.low and where.high < rules.most_recovery
    if where.value > rules.midway and sure:
        return "for"
    return "open" if one.least_separation > rules.clearly_apart else "not tried"


def taken_for_target(e: Evidence, rules: Rules) -> Finding:
    """Ask the classifier, if it tells the real conditions apart."""
    rule = "What a classifier takes them for"
    if e.classifier is None:
        return Finding(rule, "not tried", "No classifier could be asked.")
    # images and wells count, not the tiles that they are cut into
    rates = e.classifier.by_group or e.classifier
    real, translated, reconstructed = rates.real, rates.translated, rates.reconstructed
    if not real.low > rules.apart:
        return Finding(
            rule,
            "not tried",
            f"A classifier does not tell the real conditions apart well enough ({_rate(real)} "
            "right) to have a say.",
        )
    said = f"{_rate(translated)} of the translated images are taken for the target"
    if translated.high < rules.midway:
        return Finding(rule, "against", f"Only {said}.")
    if reconstructed.low > rules.midway:
        return Finding(
            rule,
            "against",
            f"{said}, but so are {_rate(reconstructed)} of the reconstructed ones, which show the "
            "source.",
        )
    if translated.value > rules.midway and translated.low > rules.least_recovery:
        return Finding(rule, "for", f"{said}.")
    if real.low > rules.clearly_apart:
        return Finding(rule, "open", f"{said}, which may be few.")
    return Finding(
        rule,
        "not tried",
        f"{said}, which may be few; but the classifier does not tell the real conditions apart "
        f"so well ({_rate(real)} right) that this would count.",
    )


def _lies(one: StructureMeasure, rules: Rules) -> str:
    text = f"{one.measure} of {one.channel} at {_between(one.translated)}"
    if one.reconstructed.low > rules.midway:
        text += f", and at {_between(one.reconstructed)} if merely reconstructed"
    return text


def _between(where: Between) -> str:
    if math.isnan(where.value):
        return "an unknown place"
    return f"{where.value:.2f} ({where.low:.2f} to {where.high:.2f})"


def _rate(rate: Rate) -> str:
    return f"{rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%})"
