"""`fiqa run` and `fiqa demo`: photos of one's own scored on this machine, by a server and a worker of their own."""
# ruff: noqa: PLC0415  imports at the top would break the base install; see cli.py

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import IO

import click
from rich.console import Console

from fiqa.cli.main import BadLines, exit_status, results_output, tell_failed, write_results
from fiqa.cli.progress import CountProgress, JobProgress
from fiqa.contract import ImageResult, Item, JobState
from fiqa.errors import SettingsError
from fiqa.ledger.status import JobStatus
from fiqa.results.export import Format
from fiqa.sources.manifest import read
from fiqa_worker.cli.worker import concurrency_option, environment_of, models_or_builtin, needs
from fiqa_worker.local.resume import Earlier, held
from fiqa_worker.settings import WorkerSettings


@click.command()
@click.argument("source", nargs=-1, required=True)
@results_output
@concurrency_option
@click.option("--resume", is_flag=True, help="Go on: score what has no result in the file yet, and add it there.")
def run(source: tuple[str, ...], output: Path | None, concurrency: int | None, *, resume: bool) -> int:
    """Score photos on this machine: an embedded server and a worker for one command.

    SOURCE: as for `fiqa submit`. Exit status 0 if the job succeeded and at most half of its images failed, else 1.
    """
    with needs("local"):
        import fiqa_worker.local.system  # noqa: F401  where it is missing, that is said before all else

    form = Format.of(output)
    _check_output(output, form, resume=resume)
    bad_lines = BadLines()
    items = read(source, on_bad_line=bad_lines)
    first = next(items, None)  # what is wrong with the source is said before anything is started
    detector, quality_model = models_or_builtin(WorkerSettings.load())
    with ExitStack() as stack:
        file, earlier = None, Earlier()
        if output is not None and (resume or output.is_file() or not output.exists()):
            file = stack.enter_context(held(output, read=resume))
            if resume:
                earlier = _taken_up(file, output, detector.name, quality_model.name)
            else:
                _check_output(output, form, resume=False)  # a run that ended meanwhile may have left results
        left = earlier.left_of(chain([first] if first else [], items))
        first_left = next(left, None)
        if first and first_left is None:
            click.echo(f"nothing is left to score: see {output}", err=True)
            return 0
        try:
            status = _run_here(
                chain([first_left] if first_left else [], left),
                output,
                concurrency,
                environment=environment_of(detector, quality_model),
                bad_lines=bad_lines,
                file=file,
            )
        except BaseException:
            _tell_how_to_go_on(output, form)
            raise
        tell_failed(status, "their results say why")
        if status.state is not JobState.SUCCEEDED:
            _tell_how_to_go_on(output, form)
        elif output is not None:
            earlier.take_out_tried(output)
    return exit_status(status, images=earlier.done.total(), failed=earlier.failed)


def _check_output(output: Path | None, form: Format, *, resume: bool) -> None:
    if resume and (output is None or form is not Format.JSONL):
        raise SettingsError("--resume needs a .jsonl file to go on with: name it with -o")
    if output is None:
        return
    try:
        if resume and output.exists() and not output.is_file():
            raise SettingsError(f"{output} is no file: --resume goes on with one")
        if not resume and output.is_file() and output.stat().st_size:
            or_resume = "go on with it by --resume, or " if form is Format.JSONL else ""
            raise SettingsError(f"{output} is there already: {or_resume}choose another file")
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error.strerror}: choose another file") from error


def _taken_up(file: IO[bytes], output: Path, detector: str, quality_model: str) -> Earlier:
    with CountProgress(f"results of {output}") as progress:
        earlier = Earlier.read(file, output, detector=detector, quality_model=quality_model, progress=progress.show)
    if earlier.done or earlier.passing:
        again = f", and {len(earlier.passing):,} failures that are tried again" if earlier.passing else ""
        click.echo(f"{earlier.done.total():,} results are in {output} already{again}", err=True)
    return earlier


def _tell_how_to_go_on(output: Path | None, form: Format) -> None:
    if output is not None and form is Format.JSONL and output.is_file() and output.stat().st_size:
        click.echo(f"the results so far are in {output}: the same command with --resume goes on", err=True)


@click.command()
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("fiqa-demo"), show_default=True
)
@concurrency_option
def demo(output: Path, concurrency: int | None) -> int:
    """Score a sample set of photos, made from one portrait; writes photos, results and a contact sheet."""
    with needs("local"):
        from fiqa_worker.demo.photos import make_photos
        from fiqa_worker.demo.table import best_first, table, write_contact_sheet

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
    file: IO[bytes] | None = None,
    name: str | None = None,
) -> JobStatus:
    with needs("local"):
        from fiqa_worker.local.system import local_system

    with local_system(processes=concurrency, environment=environment) as system:
        with JobProgress() as progress:

            def show(status: JobStatus) -> None:
                system.check()
                progress.show(replace(status, workers_run=True))  # its own worker, which may be starting yet

            job = system.client.submit(items, name=name)
            bad_lines.tell_rest()
            shards = system.client.result_shards(job.id, follow=True, on_status=show)
            write_results(output, shards, Format.of(output), file=file)
        return system.client.status(job.id)
