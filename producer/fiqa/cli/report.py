"""`fiqa report`: jobs, or files of results, to one page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from fiqa.client import Client
from fiqa.errors import SettingsError
from fiqa.results.charts import import_drawing
from fiqa.results.page import render
from fiqa.results.tally import Tally, tally, tally_file

MAX_INPUTS: Final = 6  # as many as can be told apart in one chart


@click.command()
@click.argument("source", nargs=-1, required=True, metavar="JOB_OR_JSONL...")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The page, an .html file."
)
def report(source: tuple[str, ...], output: Path) -> None:
    """Write one HTML page about the results of a job or a .jsonl file (also .gz); up to six are set side by side.

    The page opens from disk and loads nothing: counts, failures and what to do about them, quality, faces, and the
    best and the worst photos.
    """
    if len(source) > MAX_INPUTS:
        raise SettingsError(f"a report sets at most {MAX_INPUTS} side by side: join files that belong together")
    import_drawing()  # before all the results are read
    tallies = [_tally(name) for name in source]
    page = render(tallies)
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error.strerror}") from error
    click.echo(f"{sum(tally.images for tally in tallies):,} results in {output}", err=True)


def _tally(source: str) -> Tally:
    # A job id has neither; so a file that is not there is said to be that, and not to be a job.
    if "/" in source or "." in source or Path(source).exists():
        return tally_file(Path(source), on_bad_line=lambda error: click.echo(f"fiqa: {error}", err=True))
    with Client() as client:
        job = client.status(source)
        return tally(client.results(source), f"{job.name} ({job.id})" if job.name else job.id, job)
