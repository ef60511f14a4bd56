from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from fiqa.contract import ErrorCode, Face, ImageError, ImageResult, ImageSize, Status
from fiqa_worker.annotate import Cell, contact_sheet, draw

if TYPE_CHECKING:
    from numpy.typing import NDArray

GREY = 128


def photo(width: int, height: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, np.uint8)


def face(x: float, y: float, width: float, height: float, quality: float = 0.5) -> Face:
    return Face(
        box=(x, y, width, height),
        confidence=0.9,
        landmarks=(
            (x + 0.3 * width, y + 0.4 * height),
            (x + 0.7 * width, y + 0.4 * height),
            (x + 0.5 * width, y + 0.6 * height),
            (x + 0.3 * width, y + 0.8 * height),
            (x + 0.7 * width, y + 0.8 * height),
        ),
        quality=quality,
    )


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


def touched(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((image != GREY).any(axis=2), np.bool_)


def test_draw_leaves_its_input_as_it_is() -> None:
    image = photo(640, 480)
    drawn = draw(image, [face(200, 150, 120, 160)])
    assert (image == GREY).all()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8


def test_a_picture_without_faces_comes_back_as_it_was() -> None:
    image = photo(64, 48)
    drawn = draw(image, [])
    assert drawn is not image
    assert (drawn == image).all()


def test_box_landmarks_and_a_number_above_the_box_are_drawn_and_nothing_else() -> None:
    marks = touched(draw(photo(640, 480), [face(200, 150, 120, 160)]))
    assert marks[150, 200:320].all()
    assert marks[310, 200:320].all()
    assert marks[150:310, 200].all()
    assert marks[150:310, 320].all()
    for x, y in face(200, 150, 120, 160).landmarks:
        assert marks[round(y), round(x)]
    assert marks[140, 205]
    marks[110:315, 195:325] = False
    assert not marks.any()


@pytest.mark.parametrize(
    "box",
    [(-30, -40, 100, 120), (600, -20, 90, 110), (-50, 420, 100, 120), (590, 400, 100, 120), (-10, -10, 700, 300)],
)
def test_the_number_of_a_face_at_the_border_is_whole(box: tuple[float, float, float, float]) -> None:
    # The same face with room on all sides, in a picture of the same long side.
    with_room = draw(photo(640, 640), [face(200, 300, 100, box[3])])
    label = with_room[:298, 200:]
    rows, columns = (np.flatnonzero(touched(label).any(axis=axis)) for axis in (1, 0))
    label = label[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    at_border = draw(photo(640, 480), [face(*box)])
    assert (
        cv2.matchTemplate(at_border, label, cv2.TM_SQDIFF).min() < 1000
    )  # rounding; one pixel more or less is over 10,000


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 3), (20, 400), (400, 20)])
def test_very_small_and_very_long_pictures_are_drawn_on(width: int, height: int) -> None:
    drawn = draw(photo(width, height), [face(0, 0, width, height)])
    assert drawn.shape == (height, width, 3)
    assert touched(drawn).any()


def test_lines_and_numbers_grow_with_the_picture() -> None:
    small, large = (
        draw(photo(w, h), [face(0.3 * w, 0.3 * h, 0.3 * w, 0.4 * h)]) for w, h in ((400, 300), (4000, 3000))
    )
    assert touched(large).sum() > 50 * touched(small).sum()


def test_a_sheet_has_a_cell_for_every_photo_seven_in_a_row() -> None:
    one_row, two_rows = (contact_sheet([scored(f"p-{n}", photo(90, 60)) for n in range(count)]) for count in (7, 8))
    assert one_row.shape[1] == two_rows.shape[1]
    cell = two_rows.shape[0] - one_row.shape[0]
    assert cell > 220
    assert (two_rows == GREY).all(axis=2).sum() == pytest.approx(8 / 7 * (one_row == GREY).all(axis=2).sum(), rel=0.01)


def test_a_sheet_colors_the_highest_quality_green_and_the_lowest_red() -> None:
    best, worst = (
        contact_sheet(
            [
                scored("a", photo(90, 90), face(20, 20, 40, 50, first)),
                failed("b"),
                scored("c", photo(90, 90), face(20, 20, 40, 50, 0.5)),
            ]
        )
        for first in (0.9, 0.1)
    )
    line = [sheet[36 + 76 + 220 + 2, 36 + 100].astype(int) for sheet in (best, worst)]
    assert line[0][1] > line[0][2]
    assert line[1][2] > line[1][1]


def test_an_error_is_written_in_red_and_no_face_is_not() -> None:
    def red_pixels(cell: Cell) -> int:
        blue, green, red = np.moveaxis(contact_sheet([cell]).astype(int), 2, 0)
        return int(((red - green > 80) & (red - blue > 80)).sum())

    assert red_pixels(failed("text-0", ErrorCode.UNSUPPORTED_FORMAT)) > 100
    assert red_pixels(scored("noface-1", photo(90, 60))) == 0


def test_odd_cells_make_a_sheet_of_the_same_size() -> None:
    plain = contact_sheet([scored("a", photo(90, 60))])
    odd = [
        scored("a-name-far-too-long-for-its-cell" * 3, photo(90, 60), face(-9, -9, 200, 200)),
        scored("thin", photo(1, 3000), face(0, 0, 1, 5)),
        scored("tiny", photo(1, 1), face(0, 0, 1, 1)),
        scored("crowd", photo(90, 60), *(face(n, n, 9, 9, n / 60) for n in range(60))),
        failed("", ErrorCode.SOURCE_NOT_ALLOWED),
    ]
    assert contact_sheet(odd).shape == plain.shape


def test_a_long_name_does_not_run_into_its_quality() -> None:
    short, long = (
        contact_sheet([scored(name, photo(90, 60), face(20, 9, 30, 40))]) for name in ("a", "long-name-" * 12)
    )
    quality = np.s_[36 + 76 + 225 : 36 + 76 + 252, 36 + 220 - 42 : 36 + 220 + 20]
    assert (short[quality] == long[quality]).all()


def test_no_cells_make_a_sheet_of_the_header_alone() -> None:
    assert contact_sheet([]).shape[0] < contact_sheet([failed("a")]).shape[0]
