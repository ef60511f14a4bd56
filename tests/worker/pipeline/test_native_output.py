"""Only what C libraries print while they work is caught."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from fiqa_worker.pipeline.native_output import captured_output
from tests.waiting import WAIT_S


def test_lines_are_caught_one_block_after_another(capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        with captured_output() as lines:
            os.write(2, b"one %d\ntwo\n" % number)
        assert lines == [f"one {number}", "two"]
    with captured_output() as lines:
        pass
    assert lines == []
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_after_an_error_standard_error_is_restored(capfd: pytest.CaptureFixture[str]) -> None:
    with suppress(ZeroDivisionError), captured_output():
        os.write(2, b"inside")
        raise ZeroDivisionError
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_lines_of_several_threads_at_once_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    inside, go_on = threading.Barrier(2), threading.Event()
    found: list[list[str]] = []

    def work() -> None:
        with captured_output() as lines:
            inside.wait(WAIT_S)
            os.write(2, b"line\n")
            assert go_on.wait(WAIT_S)
        found.append(lines)

    thread = threading.Thread(target=work)
    thread.start()
    with captured_output() as lines:
        inside.wait(WAIT_S)
        go_on.set()
        thread.join(WAIT_S)
    assert found == [[]]
    assert lines == []
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
    with captured_output() as lines:
        os.write(2, b"again\n")
    assert lines == ["again"]


def test_a_process_without_standard_error_keeps_its_descriptor_2() -> None:
    program = """
import os, sys
assert sys.stderr is None
from fiqa_worker.pipeline.native_output import captured_output
from fiqa_worker.service.logs import configure
from fiqa_worker.settings import LogFormat
configure(LogFormat.JSON)
read, write = os.pipe()
os.dup2(write, 2)
with captured_output() as lines:
    os.write(2, b"to the pipe")
assert lines == []
print(os.read(read, 100).decode())
"""
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "to the pipe\n"
