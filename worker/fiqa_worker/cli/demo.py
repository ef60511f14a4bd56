"""`fiqa demo`: sample photos, scored on this machine."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

import shutil
from pathlib import Path

import click
from rich.console import Console

from fiqa.cli.messages import BadLines
from fiqa.cli.output import exit_status
from fiqa.contract import ImageResult
from fiqa.errors import OutputError
from fiqa.sources.manifest import read_source
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
@concurrency_option
def demo(output: Path, concurrency: int | None) -> int:
    """Score sample photos that are made from one portrait.

    It writes the photos, their results and an annotated contact sheet, and prints the photos by quality.
    """
    with needs("local"):
        from fiqa_worker.demo.contact_sheet import write_contact_sheet
        from fiqa_worker.demo.photos import make_photos
        from fiqa_worker.demo.table import best_first, table

    photos, results_file, sheet = output / "photos", output / "results.jsonl", output / "contact-sheet.jpg"
    try:
        shutil.rmtree(photos, ignore_errors=True)
        photos.mkdir(parents=True)
        made = make_photos(photos)
    except OSError as error:
        raise OutputError(f"cannot write {error.filename}: {error.strerror}: choose a folder with -o") from error
    click.echo(f"made {len(made)} photos in {photos}", err=True)
    bad_lines = BadLines()
    items = read_source((str(photos),), on_bad_line=bad_lines)
    loaded = WorkerSettings.load()
    settings = own_settings(loaded, *models_or_builtin(loaded))
    status = score_locally(
        items, results_file, settings=settings, processes=concurrency, bad_lines=bad_lines, name="demo"
    )
    results = best_first([ImageResult.decode(line) for line in results_file.read_bytes().splitlines()])
    write_contact_sheet(sheet, photos, results, max_pixels=settings.max_image_pixels)
    Console().print(table(results))
    click.echo(
        f"{status.images} photos: {status.scored} scored, {status.no_face} without a face, {status.failed} broken"
    )
    click.echo(f"results: {results_file}\ncontact sheet: {sheet}")
    return exit_status(status)
