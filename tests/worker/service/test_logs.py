"""The log lines of a worker, in a new process, since logging belongs to the whole process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys, warnings
from fiqa_worker.service.logs import about, configure
from fiqa_worker.settings import LogFormat
configure(LogFormat(sys.argv[1]))
log = logging.getLogger("fiqa_worker.test")
log.info("before")
with about("JOB", 7):
    log.warning("odd text\\n\\n")
    try:
        raise ConnectionError("planted")
    except ConnectionError:
        log.exception("failed")
logging.getLogger("celery.app.trace").info("for each ticket")
try:
    from redis import RedisError
    raise RedisError("lost")
except RedisError:
    logging.getLogger("celery").exception("Redis is away")
warnings.warn("a warning of Python")
"""


def lines(log_format: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, log_format], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.fixture(scope="module")
def as_json() -> list[dict[str, object]]:
    return [json.loads(line) for line in lines("json")]


def test_lines_about_a_chunk_name_it(as_json: list[dict[str, object]]) -> None:
    found = [(line["message"], line.get("job"), line.get("chunk")) for line in as_json[:3]]
    assert found == [("before", None, None), ("odd text", "JOB", 7), ("failed", "JOB", 7)]
    assert [text.partition(" job ")[2] for text in lines("text")[:2]] == ["", "JOB chunk 7: odd text"]


def test_a_line_has_its_time_level_and_logger(as_json: list[dict[str, object]]) -> None:
    assert (as_json[1]["level"], as_json[1]["logger"]) == ("WARNING", "fiqa_worker.test")
    assert all({"time", "level", "logger", "process", "message"} <= set(line) for line in as_json)


def test_an_unexpected_error_has_its_traceback_and_a_lost_redis_has_none(as_json: list[dict[str, object]]) -> None:
    (failed,) = [line for line in as_json if line["message"] == "failed"]
    assert "ConnectionError: planted" in str(failed["traceback"])
    (lost,) = [line for line in as_json if line["message"] == "Redis is away"]
    assert "traceback" not in lost


def test_lines_of_celery_for_each_ticket_are_left_out_and_warnings_are_lines(as_json: list[dict[str, object]]) -> None:
    assert "for each ticket" not in [line["message"] for line in as_json]
    assert any("a warning of Python" in str(line["message"]) for line in as_json)


LOG = """
import logging, sys
from fiqa_worker.service.logs import about, configure
from fiqa_worker.settings import LogFormat
configure(LogFormat(sys.argv[1]))
with about("JOB", 7):
    logging.getLogger("x").warning("%s: damaged\\n", "s3://KEY:SECRET@b/\\x1b[2J\\nINFO forged")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_message_is_one_line_without_escape_codes_and_credentials(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOG, form], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert "s3://***@b/" in line
    assert "SECRET" not in line
    assert "\x1b" not in line
    assert "JOB" in line
    escaped = r"\x1b[2J\nINFO forged: damaged"
    assert (escaped if form == "text" else escaped.replace("\\", "\\\\")) in line
