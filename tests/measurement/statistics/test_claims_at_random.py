"""Random wells, conditions and numbers of images: what is counted, and which p-values are said."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from napari_phenldiff.measurement.figures.effect_sizes import effect_sizes
from napari_phenldiff.measurement.figures.four_groups import four_group_values, four_groups
from napari_phenldiff.measurement.figures.pairs import paired_lines, paired_values
from napari_phenldiff.measurement.profiles.area import Area, AreaSettings
from napari_phenldiff.measurement.statistics.compare import compare, holm, number_text
from napari_phenldiff.measurement.statistics.effects import effects
from napari_phenldiff.measurement.tables.measurement import Measurement, image_table

ROLES = ("source", "target", "reconstructed", "translated")
COLUMNS = ("area_fraction", "perimeter_px")


def _in_wells(letter: str, style: int, well: int, i: int) -> str:
    row, column = letter, well + 1
    return (
        f"{row}{column:02d}_f{i}",
        f"rep{well % 2}_{row}{column:03d}_y{128 * i:03d}_x{64 * i:03d}",
        f"r{ord(row) - 64:02d}c{column:02d}f{i:02d}p01-ch1sk1fk1fl1",
        f"plate1_{row}{column:02d}_s{i}_w1",
        f"img{100 * well + i:03d}_{row}{column:02d}",
        f"{row} - {column:02d}(fld {i})",
        f"AssayPlate_{row}{column:02d}_T0001F{i:03d}L01A01Z01C01",
        f"mouse{ord(row) - 64}{column:02d}_{i}",
        f"scan{row}{column}_y{i:03d}_x000",
        f"s{ord(row)}{column}_t{i:03d}",
    )[style]


N_STYLES = 10
NAMES = ("untreated", "treated", "A01", "NA", "tile 3", "DMSO 1%", "y0_x0", "Ä b", "translated")


class Made:
    """A measurement of random wells, and what is true of it."""

    def __init__(self, seed: int, copies: int = 1) -> None:
        rng = np.random.default_rng(seed)
        names = [str(name) for name in rng.permutation(NAMES)[:4]]
        self.names = dict(zip(ROLES, names, strict=True))
        style = int(rng.integers(N_STYLES))
        wells = [int(rng.integers(1, 8)) for _ in "ab"]
        self.values: dict[str, dict[tuple[str, int], list[list[float]]]] = {}
        rows = []
        for role in ROLES:
            letter, n = ("A", wells[0]) if role != "target" else ("B", wells[1])
            for well in range(n):
                # as many images of each well in every group that shows the same cells
                own = np.random.default_rng([seed, ord(letter), well])
                n_images = int(own.integers(1, 5))
                for i in range(n_images):
                    numbers = rng.normal([0.3, 50], [0.05, 5]).tolist()
                    if rng.random() < 0.5:
                        numbers[0] += 0.1 * (role in ("target", "translated"))
                    self.values.setdefault(role, {}).setdefault((letter, well), []).append(numbers)
                    rows += [
                        {
                            "image": _in_wells(letter, style, well, i + 10 * copy),
                            "condition": self.names[role],
                            **dict(zip(COLUMNS, numbers, strict=True)),
                        }
                        for copy in range(copies)
                    ]
        self.rows = [rows[i] for i in rng.permutation(len(rows))]
        self.measurement = Measurement(Area(), image_table(Area(), self.rows), None, AreaSettings())

    def units(self, role: str, column: int) -> np.ndarray:
        wells = self.values[role].items()
        return np.array([np.median([x[column] for x in images]) for _, images in wells])


@pytest.mark.parametrize("seed", range(60))
def test_wells_are_counted_whatever_they_are_called(seed):
    made = Made(seed)
    table = effects(made.measurement, **made.names)
    for effect, before, after in (
        ("real", "source", "target"),
        ("translated", "reconstructed", "translated"),
    ):
        rows = table[table["effect"] == effect].set_index("measurement")
        plain = []
        for k, column in enumerate(COLUMNS):
            a, b = made.units(before, k), made.units(after, k)
            assert (rows.loc[column, "n_before"], rows.loc[column, "n_after"]) == (a.size, b.size)
            plain.append(compare(a, b, paired=effect == "translated").p_value)
            if min(a.size, b.size) == 1:
                assert math.isnan(rows.loc[column, "p_value"])
                assert math.isnan(rows.loc[column, "shift_low"])
                assert "no p-value" in rows.loc[column, "note"]
            else:
                assert "no p-value" not in rows.loc[column, "note"]
        if min(a.size, b.size) > 1:
            expected = dict(zip(COLUMNS, holm(plain), strict=True))
            if effect == "translated":
                expected[COLUMNS[0]] = plain[0]
            for column in COLUMNS:
                assert rows.loc[column, "p_value"] == pytest.approx(expected[column])


@pytest.mark.parametrize("seed", range(60, 75))
def test_a_comparison_has_the_same_p_value_in_words_figures_and_tables(seed):
    from matplotlib.text import Text

    made = Made(seed)
    m, names = made.measurement, made.names
    table = effects(m, **names)
    ends = {"before": names["reconstructed"], "after": names["translated"]}
    for column in COLUMNS:
        rows = table[table["measurement"] == column].set_index("effect")
        figure = four_groups(m, **names, column=column)
        words = "\n".join(text.get_text() for text in figure.findobj(Text))
        pairs = paired_lines(m, **ends, column=column)
        pair_words = "\n".join(text.get_text() for text in pairs.findobj(Text))
        values = four_group_values(m, **names, column=column)
        shifts = values[values["what"] == "shift"].set_index("role")
        pair_values = paired_values(m, **ends, column=column).set_index("what")
        said = {
            "real": (words, shifts.loc["real"]),
            "translated": (words, shifts.loc["translated"]),
            "pairs": (pair_words, pair_values.loc["shift of pairs"]),
        }
        for what, (text, value) in said.items():
            row = rows.loc["translated" if what == "pairs" else what]
            p = row["p_value"]
            shown = re.findall(r"^p = (\S+)$", text, re.M)
            if math.isnan(p):
                assert math.isnan(value["p_value"])
                assert "no p-value" in text
                assert re.sub(r"\s+", " ", row["note"]) in re.sub(r"\s+", " ", text + value["note"])
            else:
                assert value["p_value"] == p
                assert (value["test"], value["correction"]) == (row["test"], row["correction"])
                assert number_text(p) in shown
                assert row["test"] in text
                assert row["correction"] == "none" or row["correction"] in text
    effect_sizes(table)
    effect_sizes(table, narrow=True)


@pytest.mark.parametrize("seed", range(75, 85))
def test_more_images_of_the_same_wells_prove_nothing_more(seed):
    made, again = Made(seed), Made(seed, copies=3)
    assert len(again.rows) == 3 * len(made.rows)
    one, two = (effects(m.measurement, **made.names) for m in (made, again))
    for name in ("n_before", "n_after", "p_value", "least_p_value"):
        np.testing.assert_allclose(one[name], two[name])
