"""The contact sheet shows what it says, on one scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_node.contracts import Units
from dicom_node.errors import StorageFailed
from training.contact_sheet import GAP, LINE, SheetRow, draw_sheet, grey, tinted, write_sheets
from training.subject import Scale

SCALE = Scale(Units.HU, judged=(-1000, 1604), shown=(-200, 300), difference=200)
HIGH, WIDE = 40, 60


def row(offset: float = 100.0, side: tuple[int, int] = (HIGH, WIDE)) -> SheetRow:
    truth = np.full(side, 50.0, np.float32)
    excluded = np.zeros(side, bool)
    excluded[:5, :5] = True
    return SheetRow("case é", truth + offset, {"better": truth + offset / 2}, truth, excluded)


def panel(sheet: Image.Image, column: int, lower: bool) -> np.ndarray:
    left, top = column * (WIDE + GAP), 2 * LINE + (HIGH + GAP if lower else 0)
    return np.asarray(sheet)[top : top + HIGH, left : left + WIDE]


def test_columns_are_artefact_methods_and_truth_with_differences_beneath() -> None:
    sheet = draw_sheet([row()], SCALE)
    assert [panel(sheet, c, lower=False)[-1, -1, 0] for c in range(3)] == [
        round(255 * (value + 200) / 500) for value in (150, 100, 50)
    ]
    assert [panel(sheet, c, lower=True)[-1, -1, 0] for c in range(2)] == [
        round(255 * (value + 200) / 400) for value in (100, 50)
    ]
    assert not panel(sheet, 2, lower=True).any()  # the truth has no error


def test_what_is_not_judged_is_tinted_in_pictures_and_differences() -> None:
    sheet = draw_sheet([row()], SCALE)
    for lower in (False, True):
        shown = panel(sheet, 0, lower=lower).astype(int)
        assert (shown[:5, :5, 0] > shown[:5, :5, 2] + 60).all()
        assert (shown[6:, 6:, 0] == shown[6:, 6:, 2]).all()


def test_grey_levels_are_clipped_at_the_window() -> None:
    values = np.array([[-1e4, -200, 50, 300, 1e4]], np.float32)
    assert grey(values, (-200, 300)).tolist() == [[0, 0, 128, 255, 255]]
    assert tinted(grey(values, (-200, 300)), np.zeros((1, 5), bool)).shape == (1, 5, 3)


def test_large_slices_are_made_smaller_and_keep_their_shape(tmp_path: Path) -> None:
    (path,) = write_sheets([row(side=(512, 256))], SCALE, tmp_path, "sheet")
    with Image.open(path) as sheet:
        assert sheet.width == 3 * (144 + GAP)
        assert sheet.height == 2 * (288 + GAP) + 3 * LINE


def test_many_cases_fill_several_sheets(tmp_path: Path) -> None:
    paths = write_sheets([row()] * 13, SCALE, tmp_path, "sheet-ct")
    assert [path.name for path in paths] == ["sheet-ct-1.png", "sheet-ct-2.png", "sheet-ct-3.png"]


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="sheet-1"):
        write_sheets([row()], SCALE, tmp_path / "gone", "sheet")
