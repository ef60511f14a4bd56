"""Loads and tests the models once at a worker's start, in a process that then ends.

A wrong model is reported here, once, in one line. Without this check every child of the pool would fail and be replaced
for ever. The main process loads no model itself, so it holds neither OpenCV nor onnxruntime: 57 MiB instead of 139.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from fiqa.contract import SelfTest
from fiqa.errors import FiqaError, SettingsError
from fiqa_worker.errors import ModelError, ModelsUnavailable
from fiqa_worker.pipeline.identity import Identity
from fiqa_worker.settings import WorkerSettings

# The exit statuses of the process that checks. It prints an error message, or the attributes of Checked as JSON.
_REFUSED: Final = 10
_WRONG_SETTING: Final = 11
_MISSING_PACKAGE: Final = 12
_UNAVAILABLE: Final = 13

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 8.0

_log = logging.getLogger(__name__)


class Checked:
    """What the check found. The attributes are set at the end of the block of `checking_models`.

    Attributes:
        identity: the identity of the loaded pipeline.
        self_test: the values of its models for the test images.
        providers: onnxruntime's names of the devices that it was built for.
    """

    identity: Identity
    self_test: SelfTest
    providers: list[str]


@contextmanager
def checking_models(*, timeout_s: float | None = None) -> Iterator[Checked]:
    """Check the models of FIQA_DETECTOR and FIQA_QUALITY_MODEL while the block runs. Its end waits for the result.

    If the mirror of the models cannot be read, the check logs this and tries again until it succeeds. With a
    `timeout_s`, it tries only once.

    Args:
        timeout_s: how long the end of the block waits. None: without a limit.

    Raises:
        ModelError: a model is missing, is not the pinned file, does not load in time, or fails the self-test.
        SettingsError: a setting of the pipeline is wrong.
        ModuleNotFoundError: a package that the pipeline needs is not installed.
    """
    checked = Checked()
    with _started() as process:
        yield checked
        try:
            message = process.communicate(timeout=timeout_s)[0]
        except subprocess.TimeoutExpired:
            raise ModelError(f"the models do not load within {timeout_s:g} s: try again on a quiet machine") from None
    waits_for, pause_s = "", _FIRST_PAUSE_S
    while process.returncode == _UNAVAILABLE and timeout_s is None:
        if message != waits_for:
            _log.warning("waiting for the models: %s", message)
            waits_for = message
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        with _started() as process:
            message = process.communicate()[0]
    if process.returncode == _MISSING_PACKAGE:
        raise ModuleNotFoundError(f"No module named {message!r}", name=message)
    if process.returncode == _WRONG_SETTING:
        raise SettingsError(message)
    if process.returncode:
        raise ModelError(message or f"the models do not load: the check ended with status {process.returncode}")
    found = json.loads(message.splitlines()[-1])
    checked.identity = Identity(**found["identity"])
    checked.self_test = SelfTest(**found["self_test"])
    checked.providers = found["providers"]


@contextmanager
def _started() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-P", "-m", __name__], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # does nothing to a process that has ended


def _check() -> int:
    """Load the pipeline as every child will, and test it. Returns the exit status."""
    # Ctrl-C reaches this process too; the main process reports it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        # Imported here: the main process imports this module, and must not load OpenCV and onnxruntime with it.
        from fiqa_worker.models.sessions import available_providers  # noqa: PLC0415
        from fiqa_worker.pipeline.pipeline import Pipeline  # noqa: PLC0415
        from fiqa_worker.pipeline.self_test import run_self_test  # noqa: PLC0415

        pipeline = Pipeline.load(WorkerSettings.load())
        found = {
            "identity": dataclasses.asdict(pipeline.identity),
            "self_test": dataclasses.asdict(run_self_test(pipeline)),
            "providers": available_providers(),
        }
        message, status = json.dumps(found), 0
    except ModuleNotFoundError as error:
        message, status = str(error.name), _MISSING_PACKAGE
    except SettingsError as error:
        message, status = str(error), _WRONG_SETTING
    except ModelsUnavailable as error:
        message, status = str(error), _UNAVAILABLE
    except FiqaError as error:
        message, status = str(error), _REFUSED
    with suppress(BrokenPipeError):  # a signal has ended the worker
        os.write(sys.stdout.fileno(), message.encode())
    return status


if __name__ == "__main__":
    sys.exit(_check())
