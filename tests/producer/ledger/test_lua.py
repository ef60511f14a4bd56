"""The Lua scripts as text: luacheck passes, each is used, and each name exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import fiqa.ledger
from fiqa.ledger.lua import constants, script_text

FOLDER = Path(fiqa.ledger.__file__).parent
SHARED = FOLDER / "shared.lua"
SCRIPTS = sorted(set(FOLDER.glob("*.lua")) - {SHARED})
ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(not shutil.which("luacheck"), reason="needs Debian's package lua-check")
def test_luacheck_passes() -> None:
    command = ["luacheck", "--no-color", "producer"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"0 warnings / 0 errors in {len(SCRIPTS) + 1} files" in done.stdout, done.stdout


def test_every_script_is_used_and_every_used_script_exists() -> None:
    used = {
        name
        for path in (ROOT / "producer").rglob("*.py")
        for name in re.findall(r"\.script\(\"(\w+)\"\)", path.read_text("utf-8"))
    }
    assert used == {path.stem for path in SCRIPTS}


def test_every_shared_name_exists_and_is_used() -> None:
    functions = set(re.findall(r"^function fiqa\.(\w+)", SHARED.read_text("utf-8"), re.MULTILINE))
    text = "".join(path.read_text("utf-8") for path in [SHARED, *SCRIPTS])
    assert set(re.findall(r"(?<!function )\bfiqa\.(\w+)", text)) == functions | constants("fiqa").keys()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_says_what_it_does_and_takes_and_replies(path: Path) -> None:
    header = re.match(r"(?:--.*\n)+", path.read_text("utf-8"))
    assert header
    assert [part for part in ("Keys", "ARGV", "Reply") if f"\n-- {part}: " not in header[0]] == []


def test_a_script_is_assembled_once() -> None:
    assert script_text("claim") is script_text("claim")
