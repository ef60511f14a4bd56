from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner

from fiqa.contract import ImageResult, Reason, Status
from fiqa.errors import OutputError
from fiqa.measures import OFIQ_MEASURES, OWN_MEASURES
from fiqa_worker.cli.score import score
from fiqa_worker.pipeline.self_test import _KNOWN, _Known
from tests.fiqa_process import BUILTIN, Fiqa, one_line
from tests.worker.pipeline.images import portrait, resized

PORTRAIT = Path(__file__).parents[3] / "worker" / "fiqa_worker" / "demo" / "portrait" / "astronaut.jpg"


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {**BUILTIN, "FIQA_MODELS_DIR": str(tmp_path / "models")}.items():
        monkeypatch.setenv(name, value)


def test_score_reads_a_file_that_workers_may_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_ALLOWED_SOURCES", "s3://nothing/else/")
    done = CliRunner().invoke(score, [str(PORTRAIT)])
    assert done.exception is None
    assert done.stdout.startswith("quality 0.")


def test_score_obeys_the_limits_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIQA_MAX_IMAGE_BYTES", "1000")
    done = CliRunner().invoke(score, [str(PORTRAIT)], standalone_mode=False)
    assert (done.return_value, done.stdout) == (1, "")
    assert "too_large: " in done.stderr


def test_score_leaves_out_faces_as_asked() -> None:
    done = CliRunner().invoke(score, [str(PORTRAIT), "--json", "--min-face-px", "5000"])
    result = ImageResult.decode(done.stdout)
    assert (result.status, result.faces_left_out) == (Status.NO_FACE, 1)
    assert done.stderr.endswith("astronaut.jpg: no face that the options ask for, 1 left out\n")


def test_score_prints_measures_and_reasons(tmp_path: Path) -> None:
    lines = CliRunner().invoke(score, [str(PORTRAIT), "--measures"]).stdout.splitlines()
    assert lines[1] == "  reasons: none"
    table = {name: values for name, *values in map(str.split, lines[2:])}
    assert list(table) == [*OWN_MEASURES, *OFIQ_MEASURES]
    assert (len(table["face_px"]), table["HeadPoseYaw"][1]) == (1, "100")
    cv2.imwrite(str(tmp_path / "small.png"), resized(portrait(), 128, 128))
    done = CliRunner().invoke(score, [str(tmp_path / "small.png"), "--measures", "--json"])
    (face,) = ImageResult.decode(done.stdout).faces
    assert face.reasons == (Reason.TOO_SMALL,)


def test_the_error_for_an_annotated_image_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    shutil.copy(PORTRAIT, tmp_path / "a.jpg")
    done = CliRunner().invoke(score, [str(tmp_path / "a.jpg"), "-o", str(tmp_path / "results.words")])
    assert isinstance(done.exception, OutputError)
    assert "name must end in .jpg, .jpeg, .png, .webp, .tif, .tiff or .bmp" in str(done.exception)


def test_score_takes_uris_and_standard_input(tmp_path: Path) -> None:
    image = tmp_path / "a ü.jpg"
    shutil.copy(PORTRAIT, image)
    expected = CliRunner().invoke(score, [str(PORTRAIT)]).stdout
    assert CliRunner().invoke(score, [image.as_uri()]).stdout == expected
    output = tmp_path / "b.png"
    assert CliRunner().invoke(score, ["-", "-o", str(output)], input=PORTRAIT.read_bytes()).stdout == expected
    assert output.read_bytes().startswith(b"\x89PNG")
    for given, why in {
        "https://b/a.jpg": "workers read s3://",
        "nowhere.jpg": "no such",
        "x" * 5000: "File name too long",
    }.items():
        assert why in str(CliRunner().invoke(score, [given]).exception)
    done = CliRunner().invoke(score, [image.as_uri(), "-o", str(image), "--force"])
    assert str(done.exception).endswith("it is the input: choose another file")


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_the_input_file_is_never_overwritten(tmp_path: Path, options: list[str]) -> None:
    image = tmp_path / "a.jpg"
    shutil.copy(PORTRAIT, image)
    (tmp_path / "hard.jpg").hardlink_to(image)
    (tmp_path / "soft.jpg").symlink_to(image)
    for output in (image, tmp_path / "hard.jpg", tmp_path / "soft.jpg", tmp_path / "x" / ".." / "a.jpg"):
        (tmp_path / "x").mkdir(exist_ok=True)
        done = CliRunner().invoke(score, [str(image), "-o", str(output), *options])
        assert str(done.exception) == f"cannot write {output}: it is the input: choose another file"
    assert image.read_bytes() == PORTRAIT.read_bytes()


def test_an_annotated_image_overwrites_a_file_only_with_force(tmp_path: Path) -> None:
    output = tmp_path / "b.png"
    output.write_text("precious")
    done = CliRunner().invoke(score, [str(PORTRAIT), "-o", str(output)])
    assert str(done.exception) == f"{output} exists already: replace it with --force, or choose another file"
    assert (done.stdout, output.read_text()) == ("", "precious")
    assert CliRunner().invoke(score, [str(PORTRAIT), "-o", str(output), "--force"]).exception is None
    assert output.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.glob(".*")) == []


def test_json_output_is_a_workers_result_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(score, [str(PORTRAIT), "--json"])
    result = ImageResult.decode(done.stdout)
    assert (result.uri, result.status, len(result.faces)) == (PORTRAIT.as_uri(), Status.SCORED, 1)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8")
    done = CliRunner().invoke(score, [str(broken), "--json"], standalone_mode=False)
    assert done.return_value == 1
    assert ImageResult.decode(done.stdout).status is Status.FAILED


def test_a_self_test_that_gives_another_value_than_published_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    published = _Known(0.5160775, measured_here=False)
    monkeypatch.setitem(_KNOWN, "builtin_quality", published)
    done = CliRunner().invoke(score, [str(PORTRAIT)])
    assert done.exception is None
    assert done.stdout.startswith("quality 0.")
    assert done.stderr.startswith("fiqa: self-test: builtin_quality@")


def test_score_prints_a_line_for_each_face_and_draws_the_faces(fiqa: Fiqa, photos: Path, tmp_path: Path) -> None:
    done = fiqa("score", photos / "group-0.jpg", "-o", "results.jpg")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 5
    assert all(re.fullmatch(r"quality \d\.\d{4}  confidence \d\.\d{3}  box( -?\d+\.\d){4}", line) for line in lines)
    drawn, original = cv2.imread(str(tmp_path / "cwd" / "results.jpg")), cv2.imread(str(photos / "group-0.jpg"))
    assert drawn is not None
    assert original is not None
    assert drawn.shape == original.shape
    assert (drawn != original).any()


def test_score_of_a_damaged_image_says_why(fiqa: Fiqa, photos: Path) -> None:
    done = fiqa("score", photos / "cut-0.jpg")
    assert done.returncode == 1
    assert one_line(done).endswith("cut-0.jpg: decode_failed: the JPEG file is cut off or damaged")


def test_score_takes_several_images_and_folders_and_annotates_each(photos: Path, tmp_path: Path) -> None:
    folder, single = tmp_path / "in" / "deep", tmp_path / "other" / "deep.jpg"
    for path in (folder / "a.jpg", folder / "b.jpg", single):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PORTRAIT, path)
    shutil.copy(photos / "cut-0.jpg", folder / "cut.jpg")
    shutil.copy(photos / "noface-1.jpg", folder / "none.jpg")
    out = tmp_path / "out"
    done = CliRunner().invoke(score, [str(tmp_path / "in"), str(single), "-o", str(out)], standalone_mode=False)
    assert done.return_value == 1  # an image failed
    assert re.sub(r"quality.*", "*", done.stdout).splitlines() == [
        *(f"file://{folder}/a.jpg:", "*", f"file://{folder}/b.jpg:", "*", f"file://{single}:", "*"),
    ]
    assert [line.rpartition("/")[2] for line in done.stderr.splitlines()] == [
        "cut.jpg: decode_failed: the JPEG file is cut off or damaged",
        "none.jpg: no face",
        "out",
    ]
    assert done.stderr.endswith(f"4 annotated images in {out}\n")
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert written == ["deep.jpg", "deep/a.jpg", "deep/b.jpg", "deep/none.jpg"]
    drawn = cv2.imread(str(out / "deep" / "a.jpg"))
    assert drawn is not None
    assert drawn.shape == portrait().shape
    assert cv2.absdiff(drawn, portrait()).max() > 100

    again = CliRunner().invoke(score, [str(tmp_path / "in"), "-o", str(out)])
    assert str(again.exception) == f"{out} has files already: replace them with --force, or choose another folder"
    assert CliRunner().invoke(score, [str(folder), "-o", str(out), "--force"]).exception is None
    lines = CliRunner().invoke(score, [str(folder), str(single), "--json"]).stdout.splitlines()
    assert [ImageResult.decode(line).uri.rpartition("/")[2] for line in lines] == [
        *("a.jpg", "b.jpg", "cut.jpg", "none.jpg", "deep.jpg"),
    ]


@pytest.mark.parametrize("output", ["in", "in/below", "."])
def test_annotated_images_never_mix_with_their_source(tmp_path: Path, output: str) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(PORTRAIT, tmp_path / "in" / "a.jpg")
    done = CliRunner().invoke(score, [str(tmp_path / "in"), "-o", str(tmp_path / output), "--force"])
    assert "annotated images would mix with those of" in str(done.exception)
    assert (tmp_path / "in" / "a.jpg").read_bytes() == PORTRAIT.read_bytes()
    assert len(list(tmp_path.rglob("*"))) == 2
