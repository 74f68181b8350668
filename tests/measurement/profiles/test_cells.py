from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from skimage.measure import regionprops

from napari_phenldiff.errors import InputError
from napari_phenldiff.images import simulate
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.measure import labels, measure
from napari_phenldiff.measurement.profiles.cells import (
    SPECKS,
    CellsSettings,
    cell_bodies,
    channel_columns,
)
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import ThresholdSettings
from napari_phenldiff.settings import without_options

NUCLEI = ((40, 40), (40, 110), (100, 75))
BODIES = SegmentationSettings(threshold=ThresholdSettings(method=30.0))


def field(*, nuclei=NUCLEI, axes=(12, 8), body=18, pixel_size=(0.5, 0.5), name="field"):
    """Make elliptic nuclei of these half axes in round cell bodies."""
    rng = np.random.default_rng(0)
    dna, actin = np.full((140, 150), 10.0), np.full((140, 150), 10.0)
    y, x = np.mgrid[:140, :150]
    for row, column in nuclei:
        dna[((y - row) / axes[0]) ** 2 + ((x - column) / axes[1]) ** 2 <= 1] = 110
        actin[np.hypot(y - row, x - column) <= body] = 60
    data = np.stack([dna, actin]) + rng.normal(0, 0.5, (2, 140, 150))
    return Image(data.astype(np.float32), ("DNA (Hoechst)", "F-actin"), pixel_size, name)


def test_finds_the_nuclei_that_were_drawn():
    found = measure("cells", {"a": [field()]})
    row = found.images.iloc[0]
    assert row.reason == ""
    assert (row.n_cells, row.n_measured) == (3, 3)
    assert row.area_px == pytest.approx(math.pi * 12 * 8, rel=0.03)
    assert row.axis_major_length_px == pytest.approx(24, rel=0.03)
    assert row.axis_minor_length_px == pytest.approx(16, rel=0.03)
    assert row.eccentricity == pytest.approx(math.sqrt(1 - (8 / 12) ** 2), rel=0.03)
    assert row.solidity > 0.94
    assert row.intensity_mean_dna_hoechst == pytest.approx(109, abs=3)
    assert row.intensity_mean_f_actin == pytest.approx(60, abs=0.2)
    assert row.area_um2 == row.area_px / 4
    assert row.axis_major_length_um == row.axis_major_length_px / 2
    assert math.isnan(row.cytoplasm_area_px)
    np.testing.assert_allclose(found.cells[["y", "x"]], NUCLEI, atol=0.2)
    assert list(found.images.columns[-1:]) == ["reason"]


def test_area_of_cytoplasm():
    settings = CellsSettings(cytoplasm_channel="F-actin", cytoplasm=BODIES)
    found = measure("cells", {"a": [field()]}, settings)
    truth = math.pi * (18**2 - 12 * 8)
    np.testing.assert_allclose(found.cells.cytoplasm_area_px, truth, rtol=0.03)
    assert found.images.cytoplasm_area_um2[0] == found.images.cytoplasm_area_px[0] / 4


def test_neighbours_share_the_cytoplasm_and_lone_pieces_belong_to_none():
    nuclei = np.zeros((30, 60), int)
    nuclei[10:20, 5:15], nuclei[10:20, 35:45] = 1, 2
    mask = np.zeros((30, 60), bool)
    mask[8:22, 2:48] = mask[25:, 50:] = True
    bodies = cell_bodies(mask, nuclei)
    assert not bodies[25:, 50:].any()
    assert (bodies[mask] > 0).sum() == 14 * 46
    assert set(np.unique(bodies[8:22, 2:24])) == {1}
    assert set(np.unique(bodies[8:22, 26:48])) == {2}
    np.testing.assert_array_equal(bodies[nuclei > 0], nuclei[nuclei > 0])


def test_the_border_cuts_no_nucleus_that_is_measured():
    image = field(nuclei=(*NUCLEI, (2, 75)))
    found = measure("cells", {"a": [image]})
    assert (found.images.n_cells[0], found.images.n_measured[0]) == (4, 3)
    shown = labels("cells", image, thresholds=found.thresholds)
    for cell in found.cells.itertuples():
        assert shown[round(cell.y), round(cell.x)] == cell.label
        assert (shown == cell.label).sum() == cell.area_px
    every = measure("cells", {"a": [image]}, CellsSettings(exclude_border=False))
    assert every.images.n_measured[0] == len(every.cells) == 4
    alone = measure("cells", {"a": [field(nuclei=((2, 75),))]})
    assert (alone.images.n_cells[0], alone.images.n_measured[0]) == (1, 0)
    assert alone.images.reason[0] == "no whole nucleus, since all touch the border"
    assert math.isnan(alone.values("a")[0])


def test_a_cell_that_the_border_cuts_has_no_area_of_cytoplasm():
    image = field(nuclei=((40, 40), (14, 110)))
    settings = CellsSettings(cytoplasm_channel="F-actin", cytoplasm=BODIES)
    cells = measure("cells", {"a": [image]}, settings).cells.sort_values("x")
    assert list(cells.cytoplasm_area_px.isna()) == [False, True]
    row = measure("cells", {"a": [field(nuclei=((14, 110),))]}, settings).images.iloc[0]
    assert math.isnan(row.cytoplasm_area_px)
    assert row.reason == "no whole cell to measure the cytoplasm of"


def test_no_nuclei_are_a_count_of_zero():
    found = measure("cells", {"a": [field(nuclei=())]}, thresholds={"nuclei": 60.0})
    row = found.images.iloc[0]
    assert (row.n_cells, row.n_measured, row.reason) == (0, 0, "no nucleus")
    assert math.isnan(row.area_px)
    row = measure("cells", {"a": [field()]}, thresholds={"nuclei": -60.0}).images.iloc[0]
    assert row.reason == "the whole field is one nucleus"


def test_a_channel_that_cannot_be_measured_costs_only_its_columns():
    image = field()
    data = np.stack([*image.data, np.full((140, 150), np.nan)])
    image = Image(data, ("DNA", "actin", "GFP"), None, "nan")
    settings = CellsSettings(cytoplasm_channel="GFP")
    row = measure("cells", {"a": [image]}, settings, thresholds={"cytoplasm": 1.0}).images.iloc[0]
    assert row.n_measured == 3
    assert math.isnan(row.intensity_mean_gfp)
    assert math.isnan(row.cytoplasm_area_px)
    assert row.intensity_mean_actin == pytest.approx(60, abs=0.2)
    assert "GFP: holds values that are not finite" in row.reason


def test_objects_of_a_few_pixels_have_no_warnings():
    image = field(nuclei=())
    image.data[0, 5, 5:8] = image.data[0, 20, 20] = image.data[0, 40:42, 40:42] = 99
    nuclei = SegmentationSettings()
    found = measure(
        "cells", {"a": [image]}, CellsSettings(nuclei=nuclei), thresholds={"nuclei": 50}
    )
    assert sorted(found.cells.area_px) == [1, 3, 4]


def test_names_of_columns_of_channels():
    assert channel_columns(["F-actin (TRITC)", "DNA"]) == (
        "intensity_mean_f_actin_tritc",
        "intensity_mean_dna",
    )
    assert channel_columns(["GFP", "gfp", "?"]) == (
        "intensity_mean_gfp_0",
        "intensity_mean_gfp_1",
        "intensity_mean_2",
    )


@pytest.mark.parametrize("phenotype", simulate.PHENOTYPES)
def test_simulated_nuclei_have_their_areas(phenotype):
    fields = list(simulate.simulate_fields(phenotype, "source", 5, size=192, seed=1))
    settings = CellsSettings(nuclei_channel="DNA")
    found = measure("cells", {"a": [field.image for field in fields]}, settings)
    errors, n_true, areas = [], 0, []
    for field in fields:
        truth = field.drawing.masks["nuclei"]
        cells = found.cells[found.cells["image"] == field.image.name]
        regions = [r for r in regionprops(truth) if not touches(r.bbox, truth.shape)]
        n_true += len(regions)
        pairs = []
        for region in regions:
            away = np.hypot(cells.y - region.centroid[0], cells.x - region.centroid[1])
            if away.min() < 3:
                pairs.append((cells.area_px[away.idxmin()], region.area))
        errors.append(np.divide(*np.sum(pairs, axis=0)) - 1)
        areas.extend(pairs)
    assert len(areas) > 0.95 * n_true > 35
    assert abs(np.divide(*np.sum(areas, axis=0)) - 1) < 0.025
    # A nucleus whose chromatin is dim at the rim may be off by more, and so a field with few.
    assert np.median(np.abs(errors)) < 0.04
    assert np.abs(errors).max() < 0.1


def touches(box, shape):
    return min(box[:2]) == 0 or box[2] == shape[0] or box[3] == shape[1]


def test_toxic_knock_down_leaves_fewer_cells(shared_data):
    conditions = Experiment.from_folder(shared_data / "hela_sirna_fields").conditions
    groups = {condition.name: condition.images for condition in conditions}
    found = measure("cells", groups)
    assert found.values("UBC_siRNA", "n_cells").max() < found.values("RLUC_siRNA", "n_cells").min()


def test_specks_that_are_measured_since_all_nuclei_are_cut_are_told():
    cut = field(nuclei=((0, 0), (139, 149), (139, 0)), axes=(40, 40))
    data = cut.data.copy()
    for row, column in ((60, 60), (70, 90), (80, 75)):
        data[0, row : row + 8, column : column + 8] = 110
    specks = replace(cut, data=data, name="specks")
    found = measure("cells", {"a": [specks, field()]})
    assert found.images["n_measured"].tolist() == [3, 3]
    assert found.images["area_px"][0] < 120
    assert found.images["reason"].tolist() == [SPECKS, ""]
    assert found.outcome is not None
    (told,) = [text for text in found.outcome.warnings() if "specks" in text]
    assert told.startswith("In 1 of 2 images the nuclei are cut by the border")
    assert "--min-size" in told
    larger = CellsSettings(nuclei=SegmentationSettings(min_size=200))
    assert "no whole nucleus" in measure("cells", {"a": [specks, field()]}, larger).images.reason[0]


def test_that_most_images_have_no_whole_nucleus_is_told_first():
    cut = field(nuclei=((0, 0), (139, 149), (139, 0)), axes=(40, 40))
    groups = {"a": [replace(cut, name=f"a{i}") for i in range(3)] + [field()], "b": [field()]}
    found = measure("cells", groups)
    assert found.outcome is not None
    told = found.outcome.warnings()
    assert told[0] == (
        "In 3 of 4 images of a the nuclei touch the border and are left out, so that nothing is "
        "measured, or only what is small. To measure them as well, untick “Exclude border” "
        "(--no-exclude-border), or give larger fields."
    )
    assert "--no-" not in without_options(told[0])
    assert not [text for text in told if "could not be measured" in text]
    every = measure("cells", groups, CellsSettings(exclude_border=False))
    assert every.outcome is not None
    assert not [text for text in every.outcome.warnings() if "border" in text]
    # Where it is not most of them, the default does what it should.
    few = measure("cells", {"a": [cut, field(), replace(field(), name="c")]})
    assert few.outcome is not None
    (said,) = few.outcome.about_lacking()
    assert said.startswith("a: 1 of 3 images could not be measured (the first is field): no whole")
    alone = measure("cells", {"a": [cut]})
    assert alone.outcome is not None
    with pytest.raises(InputError, match="untick “Exclude border”"):
        alone.outcome.check()
