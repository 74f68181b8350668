from __future__ import annotations

import pytest
import torch

from napari_phenldiff.diffusion.calibration import (
    FREEDOMS,
    GUIDANCES,
    MOST_TRIALS,
    calibrate,
    calibrating,
)
from napari_phenldiff.diffusion.finetune import _told
from napari_phenldiff.diffusion.schedule import Inversion
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.simulate import simulate_images
from napari_phenldiff.jobs.training import resume, train
from napari_phenldiff.runs.calibration import Calibration, Trial, calibrated, read_calibration
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Event, Finished, Progress

CONFIG = TranslationConfig(source="a", target="b")


class Pretended:
    """A model that moves the local mean by `push` per guidance, and redraws badly or well."""

    def __init__(self, push: float, spoils: float) -> None:
        self.push, self.spoils = push, spoils
        self.base = type("Base", (), {"coefficients": 16})

    def given_channels(self, coefficients):
        return [False, True]

    def invert(self, latents, config):
        return Inversion((latents, latents), torch.zeros(len(latents)))

    def apply_freedom(self, inversion, noise, config):
        code = inversion.code + self.spoils * config.freedom * noise
        return Inversion((inversion.path[0], code), inversion.residual)

    def generate(self, inversion, config, *, strength):
        out = inversion.code.clone()
        out[:, 0] += strength * config.guidance * self.push
        return out


def latents(shift: float, n: int = 12) -> torch.Tensor:
    z = torch.randn(n, 32, 8, 8, generator=torch.Generator().manual_seed(int(10 * shift) + n))
    z[:, 0] += shift
    z[:, 16] += 5 * shift  # a reference channel has no say
    return z


@pytest.mark.parametrize("best", GUIDANCES)
def test_the_guidance_is_chosen_that_shows_the_real_effect(best):
    found = calibrate(
        Pretended(2 / best, 3.0), latents(0.0, 10), latents(0.0, 40), latents(2.0, 40), CONFIG
    )
    # the other freedoms are not tried where one spoils the cells
    assert {trial.guidance for trial in found.trials} < set(GUIDANCES)
    assert [trial.freedom for trial in found.trials] == [0, 0, 0, 0.5]
    assert found.chosen.guidance == best
    assert found.chosen.freedom == 0
    assert found.chosen.effect == pytest.approx(1, abs=0.25)
    assert found.images == 8


def test_distances_are_told_beside_that_of_as_many_real_images():
    given = latents(0.0, 10), latents(0.0, 40), latents(2.0, 40)
    found = calibrate(Pretended(2.0, 3.0), *given, CONFIG)
    # Eight images are never as their whole condition, and real ones no more than translated ones.
    assert found.untranslated == pytest.approx(1, abs=0.4)
    assert 0.05 < found.real < 0.6 * found.untranslated
    assert found.chosen.to_target == pytest.approx(found.real, abs=0.15)
    assert f"(as many real ones: {found.real:.2f})" in found.in_words()
    few = calibrate(Pretended(2.0, 3.0), *given[:2], latents(2.0, 3), CONFIG)
    assert few.real is None
    assert "distance" not in few.in_words()


@pytest.mark.parametrize(("model", "n"), [(Pretended(2.0, 3.0), 4), (None, MOST_TRIALS)])
def test_each_trial_is_told(model, n):
    model = model or Freed()
    shift = 2.2 if n == MOST_TRIALS else 2.0
    told = list(
        _told(
            calibrating(model, latents(0.0, 10), latents(0.0, 40), latents(shift, 40), CONFIG),
            lambda: False,
        )
    )
    assert [event.done for event in told] == list(range(n + 1))
    assert {event.total for event in told} == {MOST_TRIALS}
    assert {event.unit for event in told} == {"trial"}
    assert told[0].seconds_left is None
    assert all(event.seconds_left >= 0 for event in told[1:])


def test_freedom_that_spoils_the_cells_is_not_chosen():
    found = calibrate(
        Pretended(2.0, 3.0), latents(0.0, 10), latents(0.0, 40), latents(2.0, 40), CONFIG
    )
    free = [trial for trial in found.trials if trial.freedom]
    assert all(trial.to_source > found.chosen.to_source + 0.05 for trial in free)


class Freed(Pretended):
    """A model that draws structures anew as well as they were, and can only then change them."""

    def __init__(self) -> None:
        super().__init__(push=2.0, spoils=0.0)

    def apply_freedom(self, inversion, noise, config):
        part = config.freedom
        code = (1 - part**2) ** 0.5 * inversion.code + part * noise
        code[:, ::16] = inversion.code[:, ::16]  # cells stay where they are
        self.push = 0.5 + 2 * part
        return Inversion((inversion.path[0], code), inversion.residual)


def test_freedom_is_chosen_where_structures_must_be_drawn_anew_to_change():
    found = calibrate(Freed(), latents(0.0, 10), latents(0.0, 40), latents(2.2, 40), CONFIG)
    assert found.chosen.freedom > 0
    assert {trial.freedom for trial in found.trials} == set(FREEDOMS)
    # other structures of the same kind count as the source's
    assert all(trial.to_source < 0.1 for trial in found.trials)


class Elsewhere(Freed):
    """A model that draws, with freedom, other cells of the same kind in other places."""

    def apply_freedom(self, inversion, noise, config):
        freed = super().apply_freedom(inversion, noise, config)
        if config.freedom:
            freed.code[:, ::16] = inversion.code[:, ::16].flip(0)
        return freed


def test_a_freedom_that_shows_another_scene_is_not_chosen():
    given = latents(0.0, 10), latents(0.0, 40), latents(2.2, 40)
    found = calibrate(Elsewhere(), *given, CONFIG)
    # By the distances of sets of images it would be chosen.
    best = min(found.trials, key=lambda trial: trial.picture_error)
    assert best.freedom > 0
    assert best.layout < 0.5
    assert found.chosen.freedom == 0
    assert found.chosen.layout == pytest.approx(1)
    assert found.chosen.drift == pytest.approx(0, abs=1e-6)


def test_a_freedom_that_brings_the_structure_of_the_target_is_not_chosen():
    drawn = {"guidance": 1.75, "to_source": 0.01, "effect": 1.0, "structure": 1.0}
    kept = Trial(**drawn, freedom=0, to_target=0.4, layout=1.0, drift=0.0)
    freed = Trial(**drawn, freedom=0.5, to_target=0.3, layout=0.94, drift=-0.09)
    drifted = Trial(**drawn, freedom=0.7, to_target=0.2, layout=0.93, drift=0.33)
    found = Calibration(source="a", target="b", images=8, trials=(kept, freed, drifted))
    assert found.chosen == freed
    elsewhere = drifted.model_copy(update={"layout": 0.91, "drift": 0.05})
    assert found.model_copy(update={"trials": (kept, freed, elsewhere)}).chosen == freed
    # of a run of an older version it is not known
    others = tuple(t.model_copy(update={"layout": None, "drift": None}) for t in found.trials)
    assert found.model_copy(update={"trials": others}).chosen.freedom == 0.7


def trial(guidance: float, freedom: float, score: float) -> Trial:
    return Trial(guidance=guidance, freedom=freedom, to_target=score, to_source=0, effect=1)


def test_of_freedoms_that_are_as_good_the_least_is_taken():
    trials = (trial(1, 0, 0.9), trial(2, 0, 0.52), trial(2, 0.3, 0.51), trial(2, 0.5, 0.5))
    made = Calibration(source="a", target="b", images=5, trials=trials)
    assert made.chosen == trials[1]
    assert "Guidance 2 and freedom 0 suit this run: on 5 tiles" in made.in_words()
    assert not made.in_words().endswith(".")  # who tells it ends the sentence
    # without the last one is clearly better
    better = Calibration(source="a", target="b", images=5, trials=(*trials[:3], trial(2, 0.5, 0.4)))
    assert better.chosen.freedom == 0.5


def test_the_guidance_is_the_best_one_and_has_nothing_to_do_with_freedom():
    trials = (trial(1, 0, 0.53), trial(2, 0, 0.52), trial(1, 0.5, 0.1))
    assert Calibration(source="a", target="b", images=5, trials=trials).chosen == trials[1]


def test_an_effect_of_brightness_does_not_stand_for_one_of_structure():
    drawn = {"freedom": 0, "to_source": 0.0}
    dimmer = Trial(**drawn, guidance=1, to_target=0.69, effect=0.9, structure=0.5)
    beads = Trial(**drawn, guidance=1.35, to_target=0.73, effect=1.2, structure=0.85)
    found = Calibration(source="a", target="b", images=5, trials=(dimmer, beads))
    assert found.chosen == beads
    # where structure does not differ, it has no say
    others = tuple(one.model_copy(update={"structure": None}) for one in (dimmer, beads))
    assert found.model_copy(update={"trials": others}).chosen.guidance == 1


def stripes(n: int, *, beaded: bool) -> torch.Tensor:
    """Latents that are as bright, of parallel filaments or of the same light in every direction."""
    z = latents(0.0, n)
    if not beaded:
        z[:, 2] *= 0.1
        z[:, 1] *= 1.4
    return z


def test_structure_that_differs_is_seen():
    found = calibrate(
        Pretended(0.0, 3.0), stripes(10, beaded=False), stripes(40, beaded=False),
        stripes(40, beaded=True), CONFIG,
    )  # fmt: skip
    assert all(trial.structure is not None for trial in found.trials)
    assert found.trials[0].structure == pytest.approx(0, abs=0.1)
    same = calibrate(
        Pretended(2.0, 3.0), latents(0.0, 10), latents(0.0, 40), latents(2.0, 40), CONFIG
    )
    assert all(trial.structure is None for trial in same.trials)


def test_freedom_is_for_better_pictures_and_not_for_a_larger_effect():
    drawn = {"guidance": 2, "to_source": 0.0}
    trials = (
        Trial(**drawn, freedom=0, to_target=0.5, effect=0.75),
        Trial(**drawn, freedom=0.5, to_target=0.52, effect=1.0),
    )
    assert Calibration(source="a", target="b", images=5, trials=trials).chosen == trials[0]


def test_what_is_asked_for_is_not_overruled(tmp_path):
    made = Calibration(source="a", target="b", images=5, trials=(trial(1.25, 0.5, 0.1),))
    assert calibrated(CONFIG, None) is CONFIG
    found = calibrated(CONFIG, made)
    assert (found.guidance, found.freedom) == (1.25, 0.5)
    asked = TranslationConfig(source="a", target="b", guidance=3, freedom=0.0)
    assert calibrated(asked, made) == asked
    held = TranslationConfig(source="a", target="b", anchor=0.5)
    assert calibrated(held, made).freedom == 0
    assert calibrated(found, made) == found


def test_a_calibration_is_kept_in_the_run_and_a_damaged_one_is_told(tmp_path):
    assert read_calibration(tmp_path) is None
    made = Calibration(source="a", target="b", images=5, trials=(trial(1.25, 0.5, 0.1),))
    made.write(tmp_path)
    assert read_calibration(tmp_path) == made
    (tmp_path / "calibration.json").write_text("{")
    with pytest.raises(InputError, match=r"calibration\.json is damaged"):
        read_calibration(tmp_path)


@pytest.mark.slow
def test_a_training_that_is_stopped_while_it_chooses_goes_on_from_there(tmp_path):
    images = {
        name: simulate_images("translocation", role, 20, size=128, first=first)
        for name, role, first in (("untreated", "source", 0), ("treated", "target", 20))
    }
    config = TrainingConfig(
        conditions=("untreated", "treated"),
        steps=2,
        preview_every=0,
        validation_images=8,
        reference_channels=(),
    )
    seen: list[Event] = []

    def chosen() -> bool:
        return any(isinstance(e, Progress) and e.unit == "trial" and e.done for e in seen)

    run = train(images, config, tmp_path / "run", on_event=seen.append, should_stop=chosen)
    assert (run.state, run.calibration) == ("stopped", None)
    assert seen[-1] == Finished(2, stopped=True, time=seen[-1].time)
    run = resume(run.path)
    assert run.state == "finished"
    assert run.calibration is not None
