"""Loads and tests the models once at a worker's start, in a process that then ends.

A wrong model is reported here, once, in one line. Without this check every child of the pool would fail and be replaced
for ever. The main process loads no model itself, so it holds neither OpenCV nor onnxruntime: 57 MiB instead of 139.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fiqa.contract import SelfTest
from fiqa.errors import FiqaError, SettingsError
from fiqa_worker.errors import ModelError
from fiqa_worker.pipeline.identity import Identity
from fiqa_worker.settings import WorkerSettings

# The exit statuses of the process that checks. It prints an error message, or the attributes of Checked as JSON.
_REFUSED: Final = 10
_WRONG_SETTING: Final = 11
_MISSING_PACKAGE: Final = 12


class Checked:
    """What the check found. The attributes are set at the end of the block of `checking_models`.

    Attributes:
        identity: the identity of the loaded pipeline.
        self_test: what its models gave for the test images.
        providers: onnxruntime's names of the devices that it was built for.
    """

    identity: Identity
    self_test: SelfTest
    providers: list[str]


@contextmanager
def checking_models(*, timeout_s: float | None = None) -> Iterator[Checked]:
    """Check the models of FIQA_DETECTOR and FIQA_QUALITY_MODEL while the block runs. Its end waits for the result.

    Args:
        timeout_s: how long the end of the block waits; None for ever.

    Raises:
        ModelError: a model is missing, is not the pinned file, does not load in time, or fails the self-test.
        SettingsError: a setting of the pipeline is wrong.
        ModuleNotFoundError: a package that the pipeline needs is not installed.
    """
    process = subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-P", "-m", __name__], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    checked = Checked()
    with process:
        try:
            yield checked
            message = process.communicate(timeout=timeout_s)[0]
        except subprocess.TimeoutExpired:
            raise ModelError(f"the models do not load within {timeout_s:g} s: try again on a quiet machine") from None
        finally:
            process.kill()  # does nothing to a process that has ended
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
    except FiqaError as error:
        message, status = str(error), _REFUSED
    sys.stdout.write(message)
    return status


if __name__ == "__main__":
    sys.exit(_check())
