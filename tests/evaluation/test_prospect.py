from __future__ import annotations

import pytest

from napari_phenldiff.evaluation.prospect import why_cannot_tell
from napari_phenldiff.runs.preparing import WELLS_OF_A_VERDICT


def wells(row: str, n: int, fields: int = 2) -> list[str]:
    return [f"{row}{1 + i:02d}_s{1 + j}" for i in range(n) for j in range(fields)]


@pytest.mark.parametrize(
    ("names", "pattern", "told"),
    [
        ({"a": wells("B", 1), "b": wells("C", 8)}, None, "all images of a to judge with come from"),
        ({"a": wells("B", 2), "b": wells("C", 2)}, None, "no test of so few (2 wells and 2)"),
        ({"a": ["one"], "b": ["x", "y", "z"]}, None, "there is one image of a to judge with"),
        # these can differ, but three cannot be shown to change
        ({"a": wells("B", 3), "b": wells("C", 8)}, None, "few (3 wells of a, before and after)"),
        ({"a": wells("B", 6), "b": wells("C", 6)}, None, ""),
        ({"a": wells("B", 1, 6), "b": wells("C", 1, 6)}, "image", ""),
        ({"a": wells("B", 6), "b": wells("C", 6)}, "^[BC]", "come from one well"),
    ],
)
def test_that_one_cannot_tell_is_known_beforehand(names, pattern, told):
    said = why_cannot_tell(names, pattern)
    assert told in said
    assert bool(said) == bool(told)


def test_wells_that_were_trained_on_tell_how_far_the_conditions_differ():
    real = {"a": wells("B", 8), "b": wells("C", 8)}
    assert not why_cannot_tell(real, translated=wells("B", 4))
    assert "3 wells of a, before and after" in why_cannot_tell(real, translated=wells("B", 3))
    assert "all images of a" in why_cannot_tell(real, translated=wells("B", 1))


def test_images_of_one_name_are_of_other_wells_in_another_condition():
    names = [f"img{i}" for i in range(12)]
    own = {name: f"well B{1 + i // 2:02d}" for i, name in enumerate(names)}
    for one, other in (("a", "b"), ("b", "a")):
        parts = {one: dict.fromkeys(names, "well A01"), other: own}
        said = why_cannot_tell({"a": names, "b": names}, parts=parts)
        assert f"all images of {one} to judge with come from one well" in said


def test_a_training_holds_out_as_many_wells_as_a_verdict_needs():
    def said(n: int) -> str:
        return why_cannot_tell({"a": wells("B", n), "b": wells("C", n)})

    assert said(WELLS_OF_A_VERDICT - 1)
    assert not said(WELLS_OF_A_VERDICT)
