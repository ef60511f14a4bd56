from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa.contract import ErrorCode, Face, ImageError, ImageResult, ImageSize, Status
from fiqa_worker.demo.contact_sheet import Cell, contact_sheet
from tests.worker.plain import GRAY, face, gray_pixels


def scored(name: str, image: NDArray[np.uint8], *faces: Face) -> Cell:
    size = ImageSize(width=image.shape[1], height=image.shape[0])
    status = Status.SCORED if faces else Status.NO_FACE
    result = ImageResult(
        uri=f"s3://photos/{name}", status=status, image=size, faces=faces, detector="d", quality_model="q"
    )
    return Cell(name, image, result)


def failed(name: str, code: ErrorCode = ErrorCode.DECODE_FAILED) -> Cell:
    error = ImageError(code=code, message="no")
    return Cell(
        name,
        None,
        ImageResult(uri=f"s3://photos/{name}", status=Status.FAILED, error=error, detector="d", quality_model="q"),
    )


def test_a_sheet_has_a_cell_for_every_photo_seven_in_a_row() -> None:
    one_row, two_rows = (
        contact_sheet([scored(f"p-{n}", gray_pixels(90, 60)) for n in range(count)]) for count in (7, 8)
    )
    assert one_row.shape[1] == two_rows.shape[1]
    cell = two_rows.shape[0] - one_row.shape[0]
    assert cell > 220
    assert (two_rows == GRAY).all(axis=2).sum() == pytest.approx(8 / 7 * (one_row == GRAY).all(axis=2).sum(), rel=0.01)


def test_a_sheet_colors_the_highest_quality_green_and_the_lowest_red() -> None:
    best, worst = (
        contact_sheet(
            [
                scored("a", gray_pixels(90, 90), face(20, 20, 40, 50, first)),
                failed("b"),
                scored("c", gray_pixels(90, 90), face(20, 20, 40, 50, 0.5)),
            ]
        )
        for first in (0.9, 0.1)
    )
    line = [sheet[36 + 76 + 220 + 2, 36 + 100].astype(int) for sheet in (best, worst)]
    assert line[0][1] > line[0][2]
    assert line[1][2] > line[1][1]


def test_an_error_is_red_and_no_face_is_not() -> None:
    def red_pixels(cell: Cell) -> int:
        blue, green, red = np.moveaxis(contact_sheet([cell]).astype(int), 2, 0)
        return int(((red - green > 80) & (red - blue > 80)).sum())

    assert red_pixels(failed("text-0", ErrorCode.UNSUPPORTED_FORMAT)) > 100
    assert red_pixels(scored("noface-1", gray_pixels(90, 60))) == 0


def test_unusual_cells_make_a_sheet_of_the_same_size() -> None:
    plain = contact_sheet([scored("a", gray_pixels(90, 60))])
    odd = [
        scored("a-name-far-too-long-for-its-cell" * 3, gray_pixels(90, 60), face(-9, -9, 200, 200)),
        scored("thin", gray_pixels(1, 3000), face(0, 0, 1, 5)),
        scored("tiny", gray_pixels(1, 1), face(0, 0, 1, 1)),
        scored("crowd", gray_pixels(90, 60), *(face(n, n, 9, 9, n / 60) for n in range(60))),
        failed("", ErrorCode.SOURCE_NOT_ALLOWED),
    ]
    assert contact_sheet(odd).shape == plain.shape


def test_a_long_name_does_not_run_into_its_quality() -> None:
    short, long = (
        contact_sheet([scored(name, gray_pixels(90, 60), face(20, 9, 30, 40))]) for name in ("a", "long-name-" * 12)
    )
    quality = np.s_[36 + 76 + 225 : 36 + 76 + 252, 36 + 220 - 42 : 36 + 220 + 20]
    assert (short[quality] == long[quality]).all()


def test_a_sheet_without_cells_is_only_a_header() -> None:
    assert contact_sheet([]).shape[0] < contact_sheet([failed("a")]).shape[0]
