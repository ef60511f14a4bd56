"""The worker's commands of `fiqa`: demo, models, run, score, worker.

What they need is imported when one runs, so that `fiqa --help` works in the base install.
"""
# ruff: noqa: PLC0415  imports at the top would break the base install; see above

from __future__ import annotations

import os
import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from celery.exceptions import SecurityWarning
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from fiqa_producer.cli import BadLines, exit_status, results_output, tell_failed, write_results
from fiqa_producer.contract import ImageResult, Item, JobState
from fiqa_producer.entries import IMAGE_SUFFIXES
from fiqa_producer.errors import SettingsError
from fiqa_producer.export import Format
from fiqa_producer.ledger import Ledger
from fiqa_producer.manifest import read
from fiqa_producer.progress import CountProgress, JobProgress
from fiqa_producer.status import JobStatus
from fiqa_worker.resume import Models, held, left_of, taken_up
from fiqa_worker.settings import Device, WorkerSettings

if TYPE_CHECKING:
    from fiqa_worker.models import ModelFile

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

_concurrency = click.option(
    "--concurrency",
    type=click.IntRange(1),
    help="Processes [default: as many as the processors, or the container's share of them, can run].",
)


@contextmanager
def _needs(extra: str) -> Iterator[None]:
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
@_concurrency
def worker(concurrency: int | None) -> int:
    """Run a worker in the foreground, on FIQA_REDIS_URL."""
    settings = WorkerSettings.load()
    with _needs("cpu"):
        from fiqa_worker.drain import SIGNALS
        from fiqa_worker.pipeline import Pipeline
        from fiqa_worker.tasks import app

    # What is wrong is said here, once, and not by every child for ever.
    ledger = Ledger(settings.redis_url)
    ledger.ping()
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


@click.command()
@click.argument("source", nargs=-1, required=True)
@results_output
@_concurrency
@click.option("--resume", is_flag=True, help="Go on: score what has no result in the file yet, and add it there.")
def run(source: tuple[str, ...], output: Path | None, concurrency: int | None, *, resume: bool) -> int:
    """Score photos on this machine: an embedded server and a worker for one command.

    SOURCE: as for `fiqa submit`. Exit status 0 if the job succeeded and at most half of its images failed, else 1.
    """
    with _needs("local"):
        import fiqa_worker.local  # noqa: F401  where it is missing, that is said before all else

    form = Format.of(output)
    if resume and (output is None or form is not Format.JSONL):
        raise SettingsError("--resume needs a .jsonl file to go on with: name it with -o")
    if not resume and output is not None and output.is_file() and output.stat().st_size:
        or_resume = "go on with it by --resume, or " if form is Format.JSONL else ""
        raise SettingsError(f"{output} is there already: {or_resume}choose another file")
    bad_lines = BadLines()
    items = read(source, on_bad_line=bad_lines)
    first = next(items, None)  # what is wrong with the source is said before anything is started
    detector, quality_model = models_or_builtin(WorkerSettings.load())
    with ExitStack() as stack:
        done = Counter[int]()
        if resume and output:
            with CountProgress(f"results of {output}") as progress:
                models = Models(detector.name, quality_model.name)
                done = stack.enter_context(taken_up(output, models, progress=progress.show))
            if done:
                click.echo(f"{done.total():,} results are in {output} already", err=True)
        elif output and (output.is_file() or not output.exists()):
            stack.enter_context(held(output))
        left = left_of(chain([first] if first else [], items), done)
        first_left = next(left, None)
        if first and first_left is None:
            click.echo(f"nothing is left to score: see {output}", err=True)
            return 0
        hint = f"the results so far are in {output}: the same command with --resume goes on"
        try:
            status = _run_here(
                chain([first_left] if first_left else [], left),
                output,
                concurrency,
                environment=environment_of(detector, quality_model),
                bad_lines=bad_lines,
                append=resume,
            )
        except BaseException:
            if output is not None and form is Format.JSONL and output.is_file() and output.stat().st_size:
                click.echo(hint, err=True)
            raise
    tell_failed(status, "their results say why")
    if status.state is not JobState.SUCCEEDED and output is not None and form is Format.JSONL:
        click.echo(hint, err=True)
    return exit_status(status)


@click.command()
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("fiqa-demo"), show_default=True
)
@_concurrency
def demo(output: Path, concurrency: int | None) -> int:
    """Score a sample set of photos, made from one portrait; writes photos, results and a contact sheet."""
    with _needs("local"):
        from fiqa_worker.demo import best_first, table, write_contact_sheet
        from fiqa_worker.photos import make_photos

    photos, results_file, sheet = output / "photos", output / "results.jsonl", output / "contact-sheet.jpg"
    try:
        shutil.rmtree(photos, ignore_errors=True)
        photos.mkdir(parents=True)
        made = make_photos(photos)
    except OSError as error:
        raise SettingsError(f"cannot write {error.filename}: {error.strerror}: choose a folder with -o") from error
    click.echo(f"made {len(made)} photos in {photos}", err=True)
    bad_lines = BadLines()
    items = read((str(photos),), on_bad_line=bad_lines)
    environment = environment_of(*models_or_builtin(WorkerSettings.load()))
    status = _run_here(items, results_file, concurrency, environment=environment, bad_lines=bad_lines, name="demo")
    results = best_first([ImageResult.decode(line) for line in results_file.read_bytes().splitlines()])
    write_contact_sheet(sheet, photos, results, max_pixels=WorkerSettings.load().max_image_pixels)
    Console().print(table(results))
    click.echo(
        f"{status.images} photos: {status.scored} scored, {status.no_face} without a face, {status.failed} broken"
    )
    click.echo(f"results: {results_file}\ncontact sheet: {sheet}")
    return exit_status(status)


def _run_here(
    items: Iterable[Item],
    output: Path | None,
    concurrency: int | None,
    *,
    environment: dict[str, str],
    bad_lines: BadLines,
    append: bool = False,
    name: str | None = None,
) -> JobStatus:
    with _needs("local"):
        from fiqa_worker.local import local_system

    with local_system(processes=concurrency, environment=environment) as system:
        with JobProgress() as progress:

            def show(status: JobStatus) -> None:
                system.check()
                progress.show(replace(status, workers_run=True))  # its own worker, which may be starting yet

            job = system.client.submit(items, name=name)
            bad_lines.tell_rest()
            shards = system.client.result_shards(job.id, follow=True, on_status=show)
            write_results(output, shards, Format.of(output), append=append)
        return system.client.status(job.id)


def models_or_builtin(settings: WorkerSettings) -> tuple[ModelFile, ModelFile]:
    """The detector and the quality model; says so where built-in models stand in."""
    with _needs("cpu"):
        from fiqa_worker.models import fetch_or_builtin

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
    with _needs("cpu"):
        import cv2

        from fiqa_worker.annotate import draw
        from fiqa_worker.images import decode
        from fiqa_worker.pipeline import Pipeline

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
    (result,) = pipeline.run([item], skips={}, touch=lambda _: None, one_by_one=True)
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


@click.group()
def models() -> None:
    """List, download, verify and quantise the models."""


@models.command("list")
def list_models() -> None:
    """Show the models there are, their licences, and whether they are here."""
    with _needs("cpu"):
        from fiqa_worker.models import verify

    settings = WorkerSettings.load()
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("model", "kind", "licence", "state"):
        grid.add_column(column, no_wrap=True)
    grid.add_column("file", overflow="fold")
    for check in verify(settings.models_dir):
        model = check.model
        grid.add_row(model.name, model.kind, model.licence, check.state, model.file)
    Console().print(grid)
    click.echo(f"models folder: {settings.models_dir}")


@models.command()
def pull() -> int:
    """Download the official models into FIQA_MODELS_DIR and verify them; exit status 1 if one does not come."""
    with _needs("cpu"):
        from fiqa_worker.errors import ModelError
        from fiqa_worker.models import REGISTRY, local_dir
        from fiqa_worker.models import pull as pull_one

    folder = local_dir(WorkerSettings.load().models_dir)
    failures = []
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for model in REGISTRY.values():
            if model.urls:
                task = progress.add_task(model.name, total=model.bytes)
                try:
                    found = pull_one(
                        model,
                        folder,
                        timeout_s=60,
                        progress=lambda done, task=task: progress.update(task, completed=done),  # type: ignore[misc]
                    )
                except ModelError as error:
                    failures.append(error)
                    continue
                progress.update(task, completed=model.bytes)
                click.echo(found.path)
    for failure in failures:  # below the bars, where nothing draws over them
        click.echo(f"fiqa: {failure}", err=True)
    return 1 if failures else 0


@models.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("quality-int8.onnx"), show_default=True)
@click.option("--faces", type=click.IntRange(200), default=400, show_default=True, help="Half calibrate, half compare.")
@click.option("--max-mean", type=float, default=0.01, show_default=True, help="Limit of the mean score difference.")
@click.option("--max-p99", type=float, default=0.05, show_default=True, help="Limit of its 99th percentile.")
@click.option("--min-rank", type=float, default=0.98, show_default=True, help="Least rank correlation of the scores.")
def quantise(folder: Path, output: Path, *, faces: int, max_mean: float, max_p99: float, min_rank: float) -> int:
    """Make an int8 form of the quality model, calibrated on the photos of FOLDER, and compare its scores.

    Nothing is written, and the exit status is 1, where they differ by more than the limits. It is used only where
    FIQA_QUALITY_MODEL names the file.
    """
    with _needs("cpu"):
        from fiqa_worker import quantise as int8
        from fiqa_worker.detect import Detector
        from fiqa_worker.models import default_cache_dir
        from fiqa_worker.prepare import prepare
        from fiqa_worker.sessions import open_session

    if output.suffix != ".onnx" or not output.absolute().parent.is_dir():
        raise SettingsError(f"cannot write {output}: choose a folder that exists and a name like quality-int8.onnx")
    settings = WorkerSettings.load()
    detector, quality_model = models_or_builtin(settings)
    limits = int8.Limits(max_mean, max_p99, min_rank)
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True)
    ) as progress:
        task = progress.add_task("finding faces", total=faces)
        calibration, held_out = int8.collect_faces(
            photos,
            Detector(
                open_session(prepare(detector, default_cache_dir()), Device.CPU),
                threshold=settings.detect_threshold or detector.threshold,
                size=settings.detect_size,
            ),
            faces=faces,
            max_pixels=settings.max_image_pixels,
            progress=lambda done: progress.update(task, completed=done),
        )
        running = progress.add_task("quantising", total=len(calibration) + len(held_out))
        agreement, written = int8.quantise(
            quality_model,
            calibration,
            held_out,
            output,
            limits=limits,
            progress=lambda done: progress.update(running, completed=done),
        )
    click.echo(f"{quality_model.name} and its int8 form, on {len(held_out)} faces that were not calibrated on:")
    click.echo(agreement.report(limits))
    if written is None:
        click.echo(f"fiqa: refused, nothing was written: {'; '.join(agreement.beyond(limits))}", err=True)
        return 1
    click.echo(f"results will name it {written.name}; to use it, set\nFIQA_QUALITY_MODEL={written.path.absolute()}")
    return 0


@models.command("verify")
def verify_models() -> int:
    """Check every official model file by its SHA-256; exit status 1 if one is missing or not the pinned one."""
    with _needs("cpu"):
        from fiqa_worker.models import verify

    checks = [check for check in verify(WorkerSettings.load().models_dir) if check.model.urls]
    for check in checks:
        click.echo(f"{check.model.name}: {check.state}: {check.path}")
    return 0 if all(check.state == "verified" for check in checks) else 1
