"""The worker's commands of `fiqa`: worker and score, and what run, demo and models share with them.

What they need is imported when one runs, so that `fiqa --help` works in the base install.
"""
# ruff: noqa: PLC0415  imports at the top would break the base install; see above

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from celery.exceptions import SecurityWarning

from fiqa.contract import Item
from fiqa.errors import SettingsError
from fiqa.ledger.ledger import Ledger
from fiqa_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from fiqa_worker.models.locate import ModelFile

# What `run`, `demo` and `score` may read: they run for the person whose files these are.
_OWN_SOURCES = "file:///,s3://"

# For glibc in the pool's processes: a picture's memory is kept for the next one. Given back, it would be cleared page
# by page for each picture anew, a seventh of the time of 12 megapixels. Two arenas, so that few threads keep some.
_MALLOC: Final = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}

_EXTRAS: Final = {"cpu": "the worker's packages", "local": "the worker's packages and a Redis server of its own"}

concurrency_option = click.option(
    "--concurrency",
    type=click.IntRange(1),
    help="Processes [default: as many as the processors, or the container's share of them, can run].",
)


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Name the extra to install, where a package that it brings is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).startswith("fiqa"):
            raise
        raise SettingsError(
            f"this command needs {_EXTRAS[extra]}, which the light client comes without ({error.name} is missing):"
            f" pip install 'fiqa[{extra}]'"
        ) from error


@click.command()
@concurrency_option
def worker(concurrency: int | None) -> int:
    """Run a worker in the foreground, on FIQA_REDIS_URL."""
    settings = WorkerSettings.load()
    with needs("cpu"):
        from fiqa_worker.pipeline.pipeline import Pipeline
        from fiqa_worker.service.drain import SIGNALS
        from fiqa_worker.service.tasks import app

    # What is wrong is said here, once, and not by every child for ever.
    ledger = Ledger(settings.redis_url)
    ledger.connection.ping()
    ledger.close()
    Pipeline.load(settings)
    for name, value in _MALLOC.items():
        os.environ.setdefault(name, value)
    # Celery's warning to root is about pickle, which these workers refuse, and names an option that `fiqa` lacks.
    warnings.filterwarnings("ignore", "You're running the worker with superuser privileges", SecurityWarning)
    running = app.Worker(
        concurrency=concurrency or "auto",
        pool_cls="prefork",
        loglevel="WARNING",  # of children before their logging is set up
        without_gossip=True,
        without_mingle=True,
        # Events for which nobody asks; publishing one blocks the event loop for as long as Redis is away.
        without_heartbeat=True,
        quiet=True,
    )
    running.start()
    for number in SIGNALS:  # one that comes while the interpreter ends must not change its status
        signal.signal(number, signal.SIG_IGN)
    return int(running.exitcode or 0)


def models_or_builtin(settings: WorkerSettings) -> tuple[ModelFile, ModelFile]:
    """The detector and the quality model; says so where built-in models stand in."""
    with needs("cpu"):
        from fiqa_worker.models.pull import fetch_or_builtin

    detector, quality_model, note = fetch_or_builtin(
        settings.models_dir, detector=settings.detector, quality_model=settings.quality_model
    )
    if note:
        click.echo(f"fiqa: {note}", err=True)
    return detector, quality_model


def environment_of(detector: ModelFile, quality_model: ModelFile) -> dict[str, str]:
    """The environment of a worker for this person alone."""
    # A model that was given by path keeps its path: its name is no name of the registry.
    return {
        "FIQA_DETECTOR": str(detector.path) if "@" in detector.name else detector.name,
        "FIQA_QUALITY_MODEL": str(quality_model.path) if "@" in quality_model.name else quality_model.name,
        "FIQA_ALLOWED_SOURCES": _OWN_SOURCES,
    }


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the annotated picture.")
def score(image: Path, output: Path | None) -> int:
    """Score every face of one image in this process: a line a face; with -o the picture with what was found."""
    with needs("cpu"):
        import cv2

        from fiqa_worker.annotate import draw
        from fiqa_worker.pipeline.decode import decode
        from fiqa_worker.pipeline.pipeline import Pipeline

    settings = WorkerSettings.load()
    chosen = environment_of(*models_or_builtin(settings))
    pipeline = Pipeline.load(
        settings.model_copy(
            update={
                "detector": chosen["FIQA_DETECTOR"],
                "quality_model": chosen["FIQA_QUALITY_MODEL"],
                "allowed_sources": tuple(_OWN_SOURCES.split(",")),
            }
        )
    )
    item = Item(uri=image.resolve().as_uri())
    (result,) = pipeline.run([item], quarantined={}, on_item_start=lambda _: None, isolated=True)
    if result.error:
        click.echo(f"fiqa: {image}: {result.error.code}: {result.error.message}", err=True)
        return 1
    if not result.faces:
        click.echo(f"fiqa: {image}: no face", err=True)
    for face in result.faces:
        x, y, width, height = face.box
        box = f"{x:.1f} {y:.1f} {width:.1f} {height:.1f}"
        click.echo(f"quality {face.quality:.4f}  confidence {face.confidence:.3f}  box {box}")
    if output:
        picture = draw(decode(image.read_bytes(), max_pixels=settings.max_image_pixels), result.faces)
        try:
            written = cv2.imwrite(str(output), picture)
        except cv2.error:
            written = False
        if not written:
            raise SettingsError(f"cannot write {output}: choose a writable folder and a name like results.jpg")
    return 0
