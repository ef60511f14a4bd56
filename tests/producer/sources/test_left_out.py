from __future__ import annotations

from pathlib import Path

from tests.producer.sources.reading import left_out_of, touch, uris


def test_what_a_folder_leaves_out_is_counted(tmp_path: Path) -> None:
    touch(
        tmp_path, "a.jpg", ".b.jpg", ".hidden/c.jpg", "notes.txt", "jpg", "a.jpg.part", "d.DNG", "e.dng", "e.jpg/f.bmp"
    )
    touch(tmp_path, ".DS_Store", "x.\x1b[31m", "sub/y.dng")
    (tmp_path / "link").symlink_to(tmp_path / "sub", target_is_directory=True)
    found, left_out = left_out_of(tmp_path)
    assert found == uris(tmp_path) == [(tmp_path / "a.jpg").as_uri(), (tmp_path / "e.jpg/f.bmp").as_uri()]
    others = {"hidden file": 1, "hidden folder": 1, "linked folder": 1, "other file": 2}
    assert left_out.counts == {".dng": 3, ".txt": 1, ".part": 1} | others
    assert str(left_out).startswith("3 .dng, 2 other files, 1 ")
    assert f"1 linked folder ({tmp_path / 'link'})" in str(left_out)


def test_a_folder_of_many_kinds_is_one_short_line(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number}.a{number}" for number in range(300)))
    _, left_out = left_out_of(tmp_path)
    assert len(left_out.counts) <= 101
    assert left_out.counts.total() == 300
    assert len(str(left_out)) < 300
