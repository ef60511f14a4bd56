"""Only files below the allowed folders are read, also while somebody swaps folders for links."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from fiqa_worker.errors import ImageFailure, SourceNotAllowed
from fiqa_worker.pipeline import beneath
from fiqa_worker.pipeline.files import read_file
from tests.waiting import WAIT_S

READS: Final = 3000
# Exchanges two names as fast as it can.
ATTACK: Final = """
import ctypes, sys
libc = ctypes.CDLL(None)
one, other = (name.encode() for name in sys.argv[1:])
print(flush=True)
while not libc.renameat2(-100, one, -100, other, 2):
    pass
sys.exit("renameat2 failed")
"""


@pytest.fixture(params=["openat2", "by hand"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to open a file."""
    if request.param == "by hand":
        monkeypatch.setattr(beneath, "_has_openat2", lambda: False)
    elif not beneath._has_openat2():  # noqa: SLF001  what this test is about
        pytest.skip("this system has no openat2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with an image, next to one with a secret."""
    for name, data in (("root/folder/below", b"image"), ("outside/below", b"secret")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.jpg").write_bytes(data)
    return tmp_path / "root"


def read(path: Path, *roots: Path) -> bytes:
    return bytes(read_file(str(path), [str(root) for root in roots], max_bytes=100))


@pytest.mark.usefixtures("way")
def test_nothing_outside_is_read_while_a_folder_is_swapped_for_a_link(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    swapped = [str(root / "folder"), str(root / "link")]
    outcomes: Counter[str] = Counter()
    with subprocess.Popen([sys.executable, "-c", ATTACK, *swapped], stdout=subprocess.PIPE) as attack:
        assert attack.stdout
        attack.stdout.readline()
        deadline = time.monotonic() + WAIT_S
        # On a busy machine the attack may not run during the first reads.
        while outcomes.total() < READS or not (outcomes["image"] and outcomes["source_not_allowed"]):
            assert time.monotonic() < deadline, outcomes
            try:
                outcomes[read(root / "folder" / "below" / "a.jpg", root).decode()] += 1
            except ImageFailure as failure:
                outcomes[failure.code] += 1
        assert attack.poll() is None
        attack.kill()
    assert outcomes["secret"] == 0


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("a.jpg", "folder/below/a.jpg"),
        ("a.jpg", "{root}/folder/below/a.jpg"),
        ("a.jpg", "../root/folder/below/a.jpg"),
        ("to", "folder/below"),
        ("to", "{root}/folder/below"),
        ("folder/to", "../folder/./below"),
        ("folder/to", "{alias}/folder/below"),
    ],
)
def test_links_that_stay_inside_are_followed(root: Path, link: str, target: str) -> None:
    alias = root.parent / "alias"
    alias.symlink_to(root)
    (root / link).symlink_to(target.format(root=root, alias=alias))
    for top in (root, alias):
        path = top / link
        assert read(path if path.is_file() else path / "a.jpg", top) == b"image"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("target", ["../outside/below", "{outside}/below", "/", "../..", "/proc/self/root", "{root}-2"])
def test_links_that_lead_out_are_not_followed(root: Path, target: str) -> None:
    outside = root.parent / "outside"
    (root.parent / "root-2").symlink_to(outside / "below")
    (root / "to").symlink_to(target.format(outside=outside, root=root))
    with pytest.raises(SourceNotAllowed):
        read(root / "to" / "a.jpg", root)


@pytest.mark.usefixtures("way")
def test_a_link_that_leads_to_another_root_is_followed_if_one_root_has_both(root: Path) -> None:
    outside = root.parent / "outside"
    (root / "to").symlink_to(outside)
    path = root / "to" / "below" / "a.jpg"
    with pytest.raises(SourceNotAllowed):
        read(path, root, outside)
    assert read(path, root, root.parent) == b"secret"


@pytest.mark.usefixtures("way")
def test_what_cannot_be_opened_ends_with_a_code(root: Path) -> None:
    (root / "circle").symlink_to("circle")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    names = ["circle", "circle/x", "dangling", "pipe", "folder", "folder/below/a.jpg/x", "n" * 300, "x/" * 3000 + "y"]
    for name in names:
        with pytest.raises(ImageFailure) as caught:
            read(root / name, root)
        assert caught.value.code == "not_found", name
    with pytest.raises(ImageFailure, match="no such file"):
        read(root, root)


@pytest.mark.usefixtures("way")
def test_a_link_to_the_root_is_followed(root: Path) -> None:
    (root / "folder" / "to").symlink_to(root)
    assert read(root / "folder" / "to" / "folder" / "below" / "a.jpg", root) == b"image"
    with pytest.raises(ImageFailure) as caught:
        read(root / "folder" / "to", root)
    assert caught.value.code == "not_found"


@pytest.mark.usefixtures("way")
def test_a_root_that_is_a_file_allows_that_file(root: Path) -> None:
    path = root / "folder" / "below" / "a.jpg"
    assert read(path, path) == b"image"
    assert read(path, Path("/")) == b"image"
