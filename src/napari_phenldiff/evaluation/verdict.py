"""Whether translated images may be believed: supported, not supported, or cannot tell.

The rules are written down, with what they cannot see, in ``docs/notes/verdict.md``. They are
functions of numbers alone: what was measured is `Evidence`, where the limits are is `Rules`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from napari_phenldiff.evaluation.classifier import Rate
from napari_phenldiff.evaluation.evidence import Effect, Evidence, Finding, Outcome, Rules, Verdict
from napari_phenldiff.evaluation.structure import Between, StructureMeasure
from napari_phenldiff.measurement.statistics.compare import p_words, signed_text
from napari_phenldiff.measurement.statistics.two_groups import named_test


def judge(evidence: Evidence, rules: Rules | None = None) -> Verdict:
    """Say whether the translation's phenotype is supported.

    *Not supported* if a rule speaks against it, *cannot tell* if there are too few images or a rule
    is open, and *supported* only if all rules that could be tried speak for it.

    Parameters
    ----------
    evidence : Evidence
    rules : Rules, optional

    Returns
    -------
    Verdict
    """
    rules = rules or Rules()
    findings = tuple(rule(evidence, rules) for rule in _RULES)
    enough = findings[0]
    against = [f for f in findings if f.outcome == "against"]
    unsettled = [f for f in findings if f.outcome == "open"]
    if enough.outcome != "for":
        # so few images can neither show nor refute anything
        return Verdict("cannot tell", enough.text, findings)
    if against:
        return Verdict("not supported", " ".join(f.text for f in against), findings)
    if unsettled:
        return Verdict("cannot tell", " ".join(f.text for f in unsettled), findings)
    tried = [f.text for f in findings[1:] if f.outcome == "for"][:3]
    return Verdict("supported", " ".join(tried), findings)


def _enough(e: Evidence, rules: Rules) -> Finding:
    rule = "Number of images"
    for name, effect in (("real", e.real), ("translated", e.translated)):
        if effect.no_p_value:
            return Finding(rule, "open", effect.no_p_value)
        # a NaN is refused as well
        if not effect.least_p_value < rules.alpha:
            return Finding(
                rule,
                "open",
                f"There are too few {name} images or wells ({effect.n_before} and "
                f"{effect.n_after}): no test of so few ({_test(effect)}) can give p below "
                f"{rules.alpha:g}.",
            )
    return Finding(
        rule,
        "for",
        f"{e.real.n_before} and {e.real.n_after} real, {e.translated.n_after} translated images or "
        "wells can show an effect.",
    )


def _not_trained_on(e: Evidence, rules: Rules) -> Finding:
    rule = "Images that the run was trained on"
    if e.trained_on:
        text = f"The run was trained on {e.trained_on} of the images that it is judged by."
        return Finding(rule, "open", text)
    return Finding(rule, "for", "The run was trained on none of these images.")


def _real_effect(e: Evidence, rules: Rules) -> Finding:
    rule = "Whether the real images differ"
    if e.real.shown(rules.alpha):
        return Finding(rule, "for", f"Real images differ by {_words(e.real)}.")
    if e.translated.shown(rules.alpha) and _beyond(e.translated, e.real):
        return Finding(
            rule,
            "against",
            f"The translation shows a change of {_words(e.translated)} that real images do not "
            f"show ({_words(e.real)}): it is invented.",
        )
    return Finding(
        rule,
        "open",
        f"Real images are not shown to differ ({_words(e.real)}), so there is nothing that a "
        "translation could be held against.",
    )


def _translated_effect(e: Evidence, rules: Rules) -> Finding:
    rule = "Whether the translation changes it"
    if not e.translated.shown(rules.alpha):
        return Finding(
            rule, "open", f"The translation is not shown to change it ({_words(e.translated)})."
        )
    if e.real.shown(rules.alpha) and e.translated.shift * e.real.shift < 0:
        return Finding(
            rule,
            "against",
            f"The translation changes it by {_words(e.translated)}, the other way than real images "
            f"({_words(e.real)}).",
        )
    return Finding(rule, "for", f"The translation changes it by {_words(e.translated)}.")


def _recovery(e: Evidence, rules: Rules) -> Finding:
    rule = "How much of the real effect it shows"
    value, low, high = e.recovery
    limits = f"{rules.least_recovery:g} to {rules.most_recovery:g}"
    why = why_no_recovery(e.real, e.recovery, rules)
    if why:
        return Finding(rule, "open", f"How much of the real effect it shows is not defined: {why}.")
    shown = f"It shows {value:.2f} of the real effect ({low:.2f} to {high:.2f})"
    if high < rules.least_recovery or low > rules.most_recovery:
        return Finding(rule, "against", f"{shown}, which is outside of {limits}.")
    if low < rules.least_recovery or high > rules.most_recovery:
        return Finding(rule, "open", f"{shown}, which is not sure to be within {limits}.")
    if not e.translated.shown(rules.alpha):
        # The interval of a ratio is not that of the test.
        return Finding(rule, "open", f"{shown}, but is not shown to change anything.")
    if high < 1:
        return Finding(rule, "for", f"{shown}: less than all of it, but within {limits}.")
    if low > 1:
        return Finding(rule, "for", f"{shown}: more than there is, but within {limits}.")
    return Finding(rule, "for", f"{shown}, which may be all of it.")


def why_no_recovery(
    real: Effect, recovery: tuple[float, float, float], rules: Rules | None = None
) -> str:
    """Say why the recovered part of the real effect is not defined; empty if it is.

    Parameters
    ----------
    real : Effect
    recovery : tuple of float
        With its interval.
    rules : Rules, optional
    """
    if real.no_p_value:
        return "there is no test of the real images"
    # A part of what is not shown to be there would contradict that it is not.
    if not real.shown((rules or Rules()).alpha):
        return "real images are not shown to differ"
    if any(map(math.isnan, recovery)):
        return "there is no test of the translated images"
    return ""


def _null(e: Evidence, rules: Rules) -> Finding:
    rule = "Images translated to their own condition"
    if e.null is None:
        return Finding(rule, "open", "No image was translated to its own condition.")
    return _control(rule, "Translating to the own condition", e.null, e, rules)


def _runs(
    name: str, said: str, chosen: Callable[[Evidence], tuple[Effect, ...]]
) -> Callable[[Evidence, Rules], Finding]:
    def rule(e: Evidence, rules: Rules) -> Finding:
        found = [_control(name, said, effect, e, rules) for effect in chosen(e)]
        if not found:
            return Finding(name, "not tried", "No such run was given.")
        worst = {"against": 0, "open": 1, "for": 2}
        return min(found, key=lambda finding: worst[finding.outcome])

    return rule


def _control(rule: str, said: str, control: Effect, e: Evidence, rules: Rules) -> Finding:
    """Hold what should show nothing against what the translation shows."""
    least, most = control.share_of(e.translated)
    if math.isnan(most):
        if not math.isfinite(control.shift):
            return Finding(rule, "open", f"{said} could not be measured.")
        return Finding(
            rule,
            "open",
            f"{said} changes it by {control.shift:+.3g}; how sure that is, is not known.",
        )
    text = f"{said} changes it by {_words(control)}"
    # the share of an effect that is not there says nothing
    if not e.translated.shown(rules.alpha):
        return Finding(rule, "open" if control.shown(rules.alpha) else "for", f"{text}.")
    if least > rules.control_share and control.shown(rules.alpha):
        return Finding(
            rule, "against", f"{text}, at least {least:.0%} of what the translation shows."
        )
    if most > rules.control_share:
        return Finding(
            rule, "open", f"{text}: up to {most:.0%} of what the translation shows may be that."
        )
    return Finding(rule, "for", f"{text}, at most {most:.0%} of what the translation shows.")


def _identity(e: Evidence, rules: Rules) -> Finding:
    rule = "What should not change"
    kept = [
        ("nuclei are kept one to one", e.nuclei_kept, rules.nuclei_kept),
        ("is the correlation before and after", e.correlation_kept, rules.correlation_kept),
    ]
    known = [(name, value, limit) for name, value, limit in kept if value is not None]
    if not known and e.given:
        return Finding(rule, "by construction", f"{_given(e.given)}.")
    if not known:
        return Finding(rule, "not tried", "No channel is known that should stay as it is.")
    measured = [(name, value) for name, value, _ in known if not math.isnan(value)]
    text = "; ".join(f"{value:.2f} {name}" for name, value in measured)
    if any(value < limit for _, value, limit in known):
        return Finding(rule, "against", f"What should not change does: {text}.")
    if not measured:
        return Finding(rule, "open", "What should not change could not be measured.")
    if len(measured) < len(known):
        return Finding(rule, "open", f"Of what should not change, one could be measured: {text}.")
    return Finding(rule, "for", f"What should not change is kept: {text}.")


def _cells(e: Evidence, rules: Rules) -> Finding:
    rule = "Cells lost or invented"
    c = e.cells
    if c is None or not c.n_before:
        return Finding(rule, "not tried", "No cells were counted.")
    text = (
        f"Of {c.n_before} cells {c.lost:.0%} are lost in the translation, and {c.invented:.0%} as "
        "many invented"
    )
    if c.channel in e.given:
        return Finding(rule, "by construction", f"{text}: {_given([c.channel])}.")
    fewer, more = sorted((c.lost, c.invented))
    if more <= rules.cells_changed:
        return Finding(rule, "for", f"{text}.")
    real = f"real images differ by {_words(c.real)} cells each"
    # Cells that are lost at one place and invented at another are other cells.
    if fewer <= rules.cells_changed:
        expected, shown = c.real_ratio - 1, c.n_after / c.n_before - 1
        as_real = expected * shown > 0 and abs(shown) <= rules.most_recovery * abs(expected)
        if c.real.shown(rules.alpha) and as_real:
            return Finding(rule, "for", f"{text}, as is the phenotype: {real}.")
        if c.real.low <= c.per_image <= c.real.high:
            return Finding(rule, "open", f"{text}, which may be the phenotype: {real}.")
    return Finding(rule, "against", f"{text}, and that is not the phenotype: {real}.")


def _given(channels: Sequence[str]) -> str:
    """Say why nothing in these channels is evidence."""
    named = " and ".join(channels)
    if len(channels) == 1:
        return f"{named} is a reference channel, given to the model and left as it is"
    return f"{named} are reference channels, given to the model and left as they are"


def _own_source(e: Evidence, rules: Rules) -> Finding:
    rule = "Whose cells they show"
    if e.own_source is None or math.isnan(e.own_source):
        return Finding(rule, "open", "Whether the cells are the same is not known.")
    text = (
        f"{e.own_source:.0%} of other source images are less like a translated image than its own "
        "in what the model has drawn"
    )
    if e.own_source < rules.own_source:
        return Finding(rule, "against", f"Only {text}: it may show any cells.")
    return Finding(rule, "for", f"{text}.")


def _copies(e: Evidence, rules: Rules) -> Finding:
    rule = "Copies of training images"
    if e.copies is None or math.isnan(e.copies):
        return Finding(rule, "not tried", "There were no training images to compare with.")
    text = (
        f"{e.copies:.0%} of the tiles of translated images are as good as copies of training images"
        f"{', in what the model has drawn' if e.given else ''}."
    )
    return Finding(rule, "against" if e.copies > rules.copies else "for", text)


# The next two rules ask whether translated images are taken for the target, by structure and by
# eye: a measurement that is as large as it should be says nothing of the rest of the picture. They
# can take a claim away and never make one, since they are not tried where nothing tells the real
# conditions apart. ``docs/notes/structure.md`` says what they are made of.


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
    rates, over = e.classifier.judged, e.classifier.over
    real, translated, reconstructed = rates.real, rates.translated, rates.reconstructed
    if not real.low > rules.apart:
        return Finding(
            rule,
            "not tried",
            f"A classifier does not tell the real conditions apart well enough "
            f"({_rate(real, over)} right) to have a say.",
        )
    said = f"{_rate(translated, over)} of what was translated is taken for the target"
    if translated.high < rules.midway:
        return Finding(rule, "against", f"Only {said}.")
    if reconstructed.low > rules.midway:
        return Finding(
            rule,
            "against",
            f"{said}, but so is {_rate(reconstructed, over)} of what was reconstructed, which "
            "shows the source.",
        )
    if translated.value > rules.midway and translated.low > rules.least_recovery:
        return Finding(rule, "for", f"{said}.")
    if real.low > rules.clearly_apart:
        return Finding(rule, "open", f"{said}, which may be few.")
    return Finding(
        rule,
        "not tried",
        f"{said}, which may be few; but the classifier does not tell the real conditions apart "
        f"so well ({_rate(real, over)} right) that this would count.",
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


def _rate(rate: Rate, over: str) -> str:
    return f"{rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%}, over {rate.n} {over})"


_RULES: tuple[Callable[[Evidence, Rules], Finding], ...] = (
    _enough,
    _real_effect,
    _translated_effect,
    _recovery,
    _null,
    _runs(
        "A run on shuffled conditions",
        "A run trained on shuffled conditions",
        lambda e: e.shuffled,
    ),
    _runs(
        "A run on two halves of one condition",
        "A run trained on two halves of one condition",
        lambda e: e.half_split,
    ),
    _identity,
    _cells,
    _own_source,
    has_structure_of_target,
    taken_for_target,
    _copies,
    _not_trained_on,
)


def _beyond(one: Effect, other: Effect) -> bool:
    """Whether the interval of one effect lies outside of another's."""
    return one.low > other.high or one.high < other.low


def _words(effect: Effect) -> str:
    shift, low, high = (signed_text(x, 3) for x in (effect.shift, effect.low, effect.high))
    if math.isnan(effect.p_value):
        return f"{shift}, no p-value"
    return f"{shift} ({low} to {high}), {p_words(effect.p_value)}, {_test(effect)}"


def _test(effect: Effect) -> str:
    return named_test(effect.test, effect.correction) or "rank test"
