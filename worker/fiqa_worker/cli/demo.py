"""`fiqa demo`: sample photos, scored on this machine."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from fiqa.cli.files import check_free, force_option, write_whole
from fiqa.cli.messages import BadLines, report_line
from fiqa.cli.output import Destination, exit_status
from fiqa.contract import ImageResult
from fiqa.errors import OutputError
from fiqa.sources.manifest import read_source
from fiqa.text import count, shown
from fiqa_worker.cli.extras import concurrency_option, models_or_builtin, needs, own_settings
from fiqa_worker.cli.local_job import score_locally
from fiqa_worker.settings import WorkerSettings


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("fiqa-demo"),
    show_default=True,
    help="Write to this folder.",
)
@force_option
@concurrency_option
def demo(output: Path, concurrency: int | None, *, force: bool) -> int:
    """Score sample photos that are made from one portrait.

    The command writes the photos, their results and an annotated contact sheet, and prints the photos, best first. With
    --force it replaces the files of an earlier demo, and no other files.
    """
    with needs("local"):
        from fiqa_worker.demo.contact_sheet import contact_sheet_of
        from fiqa_worker.demo.photos import make_photos
        from fiqa_worker.demo.table import best_first, table

    photos, results_file, sheet = output / "photos", output / "results.jsonl", output / "contact-sheet.jpg"
    _check_free(photos, results_file, sheet, force=force)
    try:
        made = make_photos(photos)
    except OSError as error:
        raise OutputError(f"cannot write {error.filename}: {error.strerror}: choose a folder with -o") from error
    report_line(f"made {count(len(made), 'photo')} in {photos}")
    bad_lines = BadLines()
    # Only the photos of the demo: the folder may hold others.
    items = read_source([str(path) for path in made], on_bad_line=bad_lines)
    loaded = WorkerSettings.load()
    settings = own_settings(loaded, *models_or_builtin(loaded))
    status = score_locally(
        items,
        Destination(results_file, force=force),
        settings=settings,
        processes=concurrency,
        bad_lines=bad_lines,
        name="demo",
    )
    results = best_first([ImageResult.decode(line) for line in results_file.read_bytes().splitlines()])
    write_whole(sheet, contact_sheet_of(photos, results, max_pixels=settings.max_image_pixels), force=force)
    Console().print(table(results))
    ends = f"{status.scored} scored, {status.no_face} without a face, {status.failed} broken"
    click.echo(f"{count(status.images, 'photo')}: {ends}")
    click.echo(shown(f"results: {results_file}"))
    click.echo(shown(f"contact sheet: {sheet}"))
    return exit_status(status)


def _check_free(photos: Path, results_file: Path, sheet: Path, *, force: bool) -> None:
    try:
        photos.parent.mkdir(parents=True, exist_ok=True)
        taken = [photos] if not force and photos.is_dir() and any(photos.iterdir()) else []
    except OSError as error:
        raise OutputError(f"cannot write {error.filename}: {error.strerror}: choose a folder with -o") from error
    if taken:
        raise OutputError(
            f"{photos} exists already: replace the demo's files in it with --force, or choose another folder with -o"
        )
    for file in (results_file, sheet):
        check_free(file, force=force)
