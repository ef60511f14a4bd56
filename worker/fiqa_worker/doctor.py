"""The worker's half of `fiqa doctor`: models, device, threads, memory, and the sources that a worker here may read.

`fiqa.cli.doctor` loads it by its name, if the worker's packages are installed. It imports none of them itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from celery.utils.sysinfo import cpu_budget

from fiqa.doctor.findings import Check, Finding, State
from fiqa.doctor.machine import check_disk, versions
from fiqa.doctor.sources import check_source
from fiqa.text import count, without_secrets
from fiqa_worker.models.locate import find, local_dir
from fiqa_worker.models.prepare import is_prepared, prepared_dirs
from fiqa_worker.models.registry import Kind
from fiqa_worker.models.runtime import ONNXRUNTIMES, onnxruntime_version, processor
from fiqa_worker.pipeline.roots import allows
from fiqa_worker.service.model_check import Checked, checking_models
from fiqa_worker.service.semaphores import check_semaphores
from fiqa_worker.settings import Device, WorkerSettings

# The models are loaded and tested in a process. That takes half a second on a quiet machine.
_MODELS_S: Final = 30.0
# What a process takes with small images: docs/operate.md.
_PROCESS_BYTES: Final = 240_000_000
# The official models and their prepared forms take 15 MB.
_MODELS_BYTES: Final = 50_000_000
_PACKAGES: Final = (*ONNXRUNTIMES, "opencv-python-headless", "opencv-python", "numpy", "pillow", "obstore")
_OPENCVS: Final = (
    *("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
)
_GPU: Final = Path("/dev/nvidia0")
_CUDA: Final = "CUDAExecutionProvider"


def worker_checks(sources: Sequence[str]) -> list[Check]:
    """Return the checks of a worker with the settings of this environment.

    Args:
        sources: the sources that the user asks about.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = WorkerSettings.load()
    folders = [prefix for prefix in settings.allowed_sources if prefix.startswith("file:///") and prefix != "file:///"]
    return [
        Check("models", partial(_models, settings), "check FIQA_MODELS_DIR", _MODELS_S + 5),
        Check("packages", _packages, "try again"),
        Check("threads", _threads, "try again"),
        Check("sources", partial(_allowed, settings, sources), "try again"),
        *(Check("source", partial(check_source, folder), "a mount hangs: mount it again") for folder in folders),
        Check("disk", partial(_disk, settings), "a mount hangs: mount it again"),
    ]


def _models(settings: WorkerSettings) -> Iterator[Finding]:
    wanted: tuple[tuple[str, Kind], ...] = ((settings.detector, "detector"), (settings.quality_model, "quality"))
    models = []
    for name, kind in wanted:
        model = find(name, kind, settings.models_dir)
        models.append(model)
        yield Finding("models", State.OK, f"{kind}: {model.name}, verified, {model.path}")
    try:
        with checking_models(timeout_s=_MODELS_S) as checked:
            pass
    except ModuleNotFoundError as error:
        text = f"the package of the module {error.name} is not installed: pip install 'fiqa[cpu]'"
        yield Finding("self-test", State.WRONG, text)
        return
    # The process that tested them has stored the prepared forms, if it could.
    folders = prepared_dirs(settings.models_dir)
    if not all(is_prepared(model, *folders) for model in models):
        tried = " or ".join(map(str, folders)) or "the cache folder, since this user has no home folder"
        text = (
            f"prepared models cannot be stored in {tried}, so each process prepares them again: run"
            " `fiqa models prepare` as a user who may write there, or set FIQA_MODELS_DIR to a writable folder"
        )
        yield Finding("models", State.WARNING, text)
    yield _self_test(checked)
    yield _device(settings, checked)


def _self_test(checked: Checked) -> Finding:
    found = checked.self_test
    if found.warning:
        return Finding("self-test", State.WARNING, found.warning)
    expected = "as expected" if found.verdict == "passed" else "noted, since a model has no known value"
    text = f"quality {found.quality:.5f} and confidence {found.confidence:.5f} for the test images: {expected}"
    return Finding("self-test", State.OK, text)


def _device(settings: WorkerSettings, checked: Checked) -> Finding:
    device = checked.identity.device
    built_for = ", ".join(name.removesuffix("ExecutionProvider") for name in checked.providers)
    text = f"{device}: {processor()}, {onnxruntime_version()} for {built_for}"
    if settings.device is Device.AUTO and device == "cpu":
        if _CUDA in checked.providers:
            return Finding("device", State.WARNING, f"{text}; no GPU answers: check its driver, or set FIQA_DEVICE=cpu")
        if _GPU.exists():
            advice = "install fiqa[gpu] in place of fiqa[cpu], or set FIQA_DEVICE=cpu"
            return Finding("device", State.WARNING, f"{text}; the GPU of this machine is not used: {advice}")
    return Finding("device", State.OK, text)


def _packages() -> Iterator[Finding]:
    """Report packages that overwrite each other's files."""
    for several in (versions(ONNXRUNTIMES), versions(_OPENCVS)):
        if len(several) > 1:
            text = f"{' and '.join(several)} overwrite each other: uninstall all of them, and install one again"
            yield Finding("packages", State.WARNING, text)
    yield Finding("packages", State.OK, ", ".join(versions(_PACKAGES)))


def _threads() -> Iterator[Finding]:
    check_semaphores()
    budget = cpu_budget()
    share = "" if budget.quota is None else f", of which this container may use {budget.quota:g}"
    memory = _memory_bytes()
    processes = count(budget.count, "process", "processes")
    text = f"{count(budget.available, 'core')}{share}, {memory / 1e9:,.1f} GB of memory: a worker starts {processes}"
    if memory < budget.count * _PROCESS_BYTES:
        yield Finding("threads", State.WARNING, f"{text}, which need more: set a smaller --concurrency, or add memory")
    else:
        yield Finding("threads", State.OK, text)


def _memory_bytes() -> int:
    """Return the memory of this machine, or the container's share of it."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # there is no such file, or no limit: "max"
            continue
    return min(limits)


def _allowed(settings: WorkerSettings, sources: Sequence[str]) -> Iterator[Finding]:
    may_read = f"a worker here may read {', '.join(settings.allowed_sources)}"
    uris = {source: source if "://" in source else Path(source).absolute().as_uri() for source in sources}
    others = [without_secrets(source) for source, uri in uris.items() if not allows(settings.allowed_sources, uri)]
    if others:
        text = f"{may_read}, and not {', '.join(others)}: add what is missing to FIQA_ALLOWED_SOURCES"
        yield Finding("sources", State.WARNING, text)
    else:
        yield Finding("sources", State.OK, may_read)


def _disk(settings: WorkerSettings) -> Iterator[Finding]:
    yield from check_disk("models", local_dir(settings.models_dir), warn_bytes=_MODELS_BYTES)
    if settings.health_dir:
        yield _health(settings.health_dir)


def _health(folder: Path) -> Finding:
    """Check whether the files of probes can be written. No file is created."""
    try:
        existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        with TemporaryFile(dir=existing):
            return Finding("health", State.OK, f"{folder} can be written")
    except OSError as error:
        text = f"cannot write {folder}: {error.strerror}: set FIQA_HEALTH_DIR to a writable folder"
        return Finding("health", State.WRONG, text)
