from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fiqa.contract import ErrorCode, Face, ImageResult, Item, JobOptions, Reason, Status
from fiqa_worker.demo.photos import make_photos
from fiqa_worker.pipeline import pipeline as module
from fiqa_worker.pipeline.decode import DecodedImage, decode_reduced
from fiqa_worker.pipeline.pipeline import Pipeline
from fiqa_worker.pipeline.quality import QualityScorer
from fiqa_worker.pipeline.watch import UNWATCHED, Stage, Watch
from fiqa_worker.settings import Decode, Device, WorkerSettings
from tests.worker.pipeline.images import gradient, jpeg, portrait, resized

GPU_BATCH = 32


def load(decode: Decode = Decode.FAST, batch_size: int | None = None) -> Pipeline:
    settings = WorkerSettings(
        detector="builtin_detector",
        quality_model="builtin_quality",
        device=Device.CPU,
        decode=decode,
        allowed_sources=("file:///",),
    )
    return Pipeline.load(settings, batch_size=batch_size)


@pytest.fixture(scope="module")
def fast() -> Pipeline:
    return load()


@pytest.fixture(scope="module")
def full() -> Pipeline:
    return load(Decode.FULL)


@pytest.fixture(scope="module")
def batching() -> Pipeline:
    return load(batch_size=GPU_BATCH)


class Records(Watch):
    """Records the items whose work starts."""

    def __init__(self, started: list[int], computed: list[int | None] | None = None) -> None:
        self._started = started
        self._computed = [] if computed is None else computed

    def on_item_start(self, index: int) -> None:
        self._started.append(index)

    @contextmanager
    def computing(self, index: int | None) -> Iterator[None]:
        self._computed.append(index)
        yield


def run(
    pipeline: Pipeline,
    paths: Sequence[Path],
    *,
    quarantined: dict[int, ErrorCode] | None = None,
    computed: list[int | None] | None = None,
    isolated: bool = False,
) -> list[ImageResult]:
    items = [Item(uri=path.as_uri(), id=path.name) for path in paths]
    watch = UNWATCHED if computed is None else Records([], computed)
    return list(pipeline.run(items, quarantined=quarantined or {}, watch=watch, isolated=isolated))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def in_a_scene(side: int, width: int, height: int) -> NDArray[np.uint8]:
    """Put the portrait, with sides of `side` pixels, into the middle of a scene."""
    scene = resized(gradient(64, 64), width, height)
    left, top = (width - side) // 2, (height - side) // 2
    scene[top : top + side, left : left + side] = resized(portrait(), side, side)
    return scene


def assert_same_faces(found: ImageResult, expected: ImageResult, *, share: float, quality: float) -> None:
    """Assert that landmarks differ by at most `share` of the face's width, and scores by at most `quality`."""
    assert (found.status, found.image, len(found.faces)) == (expected.status, expected.image, len(expected.faces))
    for one, other in zip(found.faces, expected.faces, strict=True):
        np.testing.assert_allclose(one.landmarks, other.landmarks, atol=share * other.box[2])
        np.testing.assert_allclose(one.box, other.box, atol=2 * share * other.box[2])
        assert abs(one.quality - other.quality) <= quality


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[DecodedImage]:
    """The decoded images, in the order in which they are decoded."""
    images: list[DecodedImage] = []

    def decode(data: bytes, **options: Any) -> DecodedImage:
        images.append(decode_reduced(data, **options))
        return images[-1]

    monkeypatch.setattr(module, "decode_reduced", decode)
    return images


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_fast_decode_finds_the_same_faces_in_pixels_of_the_whole_image(
    fast: Pipeline, full: Pipeline, decoded: list[DecodedImage], tmp_path: Path, orientation: int
) -> None:
    upright = in_a_scene(2200, 2800, 2300)
    turn = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_COUNTERCLOCKWISE, 8: cv2.ROTATE_90_CLOCKWISE}.get(orientation)
    stored = upright if turn is None else np.asarray(cv2.rotate(upright, turn), np.uint8)
    path = write(tmp_path / "a.jpg", jpeg(stored, orientation))
    (found,), (expected,) = run(fast, [path]), run(full, [path])
    assert [image.reduction for image in decoded] == [4, 2, 1]  # a face of 390 pixels is too small at a quarter
    assert found.image is not None
    assert (found.image.width, found.image.height) == (2800, 2300)
    assert found.status is Status.SCORED
    assert_same_faces(found, expected, share=0.03, quality=0.1)


def test_a_face_that_is_large_enough_in_the_copy_is_cut_from_it(
    fast: Pipeline, full: Pipeline, decoded: list[DecodedImage], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jpg", jpeg(resized(portrait()[:320, 60:380], 2560, 2560)))
    (found,) = run(fast, [path])
    assert [image.reduction for image in decoded] == [4]
    assert found.faces[0].box[2] >= 1.5 * 112 * 4
    (expected,) = run(full, [path])
    assert_same_faces(found, expected, share=0.03, quality=0.1)


def test_a_small_face_is_cut_from_the_whole_image(
    fast: Pipeline, full: Pipeline, decoded: list[DecodedImage], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jpg", jpeg(in_a_scene(1000, 2800, 1800)))
    (found,), (expected,) = run(fast, [path]), run(full, [path])
    assert [image.reduction for image in decoded] == [4, 1, 1]
    assert found.faces[0].box[2] < 1.5 * 112 * 2
    assert_same_faces(found, expected, share=0.05, quality=0.1)


def test_an_image_without_a_face_is_decoded_once(fast: Pipeline, decoded: list[DecodedImage], tmp_path: Path) -> None:
    (found,) = run(fast, [write(tmp_path / "a.jpg", jpeg(gradient(1800, 2800)))])
    assert found.status is Status.NO_FACE
    assert [image.reduction for image in decoded] == [4]


def test_an_image_whose_quarter_is_too_small_is_decoded_in_full(
    fast: Pipeline, decoded: list[DecodedImage], tmp_path: Path
) -> None:
    run(fast, [write(tmp_path / "a.jpg", jpeg(in_a_scene(512, 2400, 1800)))])
    assert [image.reduction for image in decoded] == [1]


def test_a_job_may_ask_for_large_faces_and_for_few(fast: Pipeline, tmp_path: Path) -> None:
    scene = resized(gradient(64, 64), 640, 400)
    for left, side in ((10, 240), (260, 160), (440, 80), (540, 80)):
        scene[20 : 20 + side, left : left + side] = resized(portrait(), side, side)
    item = Item(uri=write(tmp_path / "a.jpg", jpeg(scene)).as_uri())

    def found(**options: int) -> tuple[list[Face], int]:
        (result,) = fast.run([item], quarantined={}, options=JobOptions.model_validate(options))
        return list(result.faces), result.faces_left_out

    every, none_left_out = found()
    assert (len(every), none_left_out) == (4, 0)
    size = math.ceil(every[2].size_px)
    assert found(max_faces=2) == (every[:2], 2)
    assert found(max_faces=9) == (every, 0)
    large = [face for face in every if face.size_px >= size]
    assert found(min_face_px=size) == (large, 4 - len(large))
    assert found(min_face_px=size, max_faces=1) == (every[:1], 3)
    # Detection uses a smaller copy, in which it does not even find the small faces.
    none, left_out = found(min_face_px=500)
    assert none == []
    assert 1 <= left_out < 4


def test_a_job_that_asks_for_large_faces_only_is_decoded_and_detected_in_a_smaller_copy(
    fast: Pipeline, decoded: list[DecodedImage], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jpg", jpeg(in_a_scene(1200, 1800, 1300)))

    def found(**options: int) -> tuple[Face, ...]:
        decoded.clear()
        (result,) = fast.run([Item(uri=path.as_uri())], quarantined={}, options=JobOptions.model_validate(options))
        return result.faces

    (face,) = found()
    assert [image.reduction for image in decoded] == [1]
    (seen,) = found(min_face_px=200)
    assert decoded[0].reduction == 4
    np.testing.assert_allclose(seen.box, face.box, atol=0.1 * face.size_px)
    assert seen.quality == pytest.approx(face.quality, abs=0.1)
    assert found(min_face_px=math.ceil(1.2 * face.size_px)) == ()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The demo's photos, images of other sizes, and files that are damaged or missing."""
    folder = tmp_path_factory.mktemp("mixed")
    make_photos(folder)
    write(folder / "large.jpg", jpeg(in_a_scene(1500, 2600, 1700)))
    write(folder / "small.jpg", jpeg(in_a_scene(300, 1400, 900)))
    write(folder / "broken.jpg", jpeg(portrait())[:9000])
    write(folder / "text.jpg", b"text")
    return [*sorted(folder.iterdir()), folder / "missing.jpg"]


def test_batches_give_the_same_results_as_one_image_after_another(
    fast: Pipeline, batching: Pipeline, mixed: list[Path]
) -> None:
    assert len(mixed) > GPU_BATCH / 2
    paths = mixed * (1 + 2 * GPU_BATCH // len(mixed))
    quarantined = {0: ErrorCode.TIME_LIMIT, 5: ErrorCode.WORKER_CRASHED, len(paths) - 1: ErrorCode.TIME_LIMIT}
    computed: list[int | None] = []
    alone, together = (
        run(fast, paths, quarantined=quarantined),
        run(batching, paths, quarantined=quarantined, computed=computed),
    )
    assert [result.id for result in together] == [path.name for path in paths]
    assert {result.status for result in alone} == set(Status)
    # An image that cannot be read is not computed.
    readable = {index for index, path in enumerate(paths) if path.exists()}
    assert set(computed) == {None} | readable - set(quarantined)
    for one, other in zip(together, alone, strict=True):
        assert one.error == other.error
        assert_same_faces(one, other, share=1e-4, quality=1e-4)


@pytest.mark.parametrize("batch_size", [1, GPU_BATCH])
def test_in_an_isolated_chunk_an_image_is_reported_before_any_work_on_it(
    batch_size: int, mixed: list[Path], fast: Pipeline
) -> None:
    pipeline = fast if batch_size == 1 else load(batch_size=batch_size)
    started: list[int] = []
    items = [Item(uri=path.as_uri(), id=path.name) for path in mixed]
    quarantined = {2: ErrorCode.WORKER_CRASHED}
    results = []
    for result in pipeline.run(items, quarantined=quarantined, watch=Records(started), isolated=True):
        results.append(result)
        assert started == [index for index in range(len(results)) if index not in quarantined]
    for one, other in zip(results, run(fast, mixed, quarantined=quarantined), strict=True):
        assert_same_faces(one, other, share=1e-4, quality=1e-4)


class Durations(Watch):
    """Keeps what it is called with at the end of each item."""

    def __init__(self) -> None:
        self.ended: list[tuple[dict[Stage, float], int]] = []

    def on_item_end(self, seconds: Mapping[Stage, float], bytes_fetched: int) -> None:
        self.ended.append((dict(seconds), bytes_fetched))


@pytest.mark.parametrize("name", ["fast", "batching"])
def test_the_watch_gets_the_duration_of_each_stage_that_ran(
    name: str, tmp_path: Path, photos: Path, request: pytest.FixtureRequest
) -> None:
    pipeline: Pipeline = request.getfixturevalue(name)
    text, photo = write(tmp_path / "notes.jpg", b"not an image"), min(photos.glob("*.jpg"))
    items = [Item(uri=path.as_uri()) for path in (photo, tmp_path / "missing.jpg", text, photo)]
    watch = Durations()
    assert len(list(pipeline.run(items, quarantined={3: ErrorCode.WORKER_CRASHED}, watch=watch))) == 4
    assert [(set(seconds), size) for seconds, size in watch.ended] == [
        (set(Stage), photo.stat().st_size),
        ({Stage.FETCH}, 0),
        ({Stage.FETCH, Stage.DECODE}, len(b"not an image")),
        (set(), 0),
    ]
    assert all(duration >= 0 for seconds, _ in watch.ended for duration in seconds.values())


class _OneAtATime(QualityScorer):
    """A model that fails on batches, like a GPU that is out of memory."""

    def score(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        if len(crops) > 1:
            raise RuntimeError("out of memory")
        return super().score(crops)


def test_measures_change_nothing_else_and_are_the_same_in_batches_and_in_reduced_copies(
    fast: Pipeline, full: Pipeline, batching: Pipeline, mixed: list[Path]
) -> None:
    items = [Item(uri=path.as_uri()) for path in mixed]
    plain = list(full.run(items, quarantined={}))
    every = [
        list(pipeline.run(items, quarantined={}, options=JobOptions(measures=True)))
        for pipeline in (full, fast, batching)
    ]
    for without, one, *others in zip(plain, *every, strict=True):
        bare = tuple(face.model_copy(update={"measures": None, "reasons": None}) for face in one.faces)
        assert (bare, one.error) == (without.faces, without.error)
        for other in others:
            assert [face.reasons for face in other.faces] == [face.reasons for face in one.faces]
            for mine, its in zip(one.faces, other.faces, strict=True):
                for name in ("HeadSize", "LuminanceMean", "SingleFacePresent"):
                    assert (its.measures or {})[name] == pytest.approx((mine.measures or {})[name], abs=0.02)
    group = next(result for result in every[0] if result.uri.endswith("/group-0.jpg"))
    assert all(Reason.SEVERAL_FACES in (face.reasons or ()) for face in group.faces)
    original = next(result for result in every[0] if result.uri.endswith("/original-0.jpg"))
    assert original.faces[0].reasons == ()


def test_an_error_in_a_batch_fails_only_its_image(
    fast: Pipeline, batching: Pipeline, mixed: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    weak = replace(batching, scorer=_OneAtATime(batching.scorer._session))  # noqa: SLF001  the same model
    expected = run(fast, mixed)
    for one, other in zip(run(weak, mixed), expected, strict=True):
        if len(other.faces) > 1:
            assert one.error is not None
            assert one.error.code is ErrorCode.INTERNAL_ERROR
        else:
            assert one.error == other.error
            assert_same_faces(one, other, share=1e-4, quality=1e-4)
    assert sum("internal error" in record.message for record in caplog.records) == sum(
        len(result.faces) > 1 for result in expected
    )
