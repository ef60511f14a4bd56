"""`fiqa report`: jobs, or files of results, to one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from fiqa.cli.files import check_free, check_suffix, force_option, write_whole
from fiqa.cli.messages import LostShards, report_error, report_line
from fiqa.client import Client
from fiqa.errors import UsageError
from fiqa.results.charts import import_drawing
from fiqa.results.page import render
from fiqa.results.tally import Tally, tally, tally_file
from fiqa.sources.lines import is_uri
from fiqa.text import count

MAX_INPUTS: Final = 6  # a chart has no more colors that people can distinguish


@click.command()
@click.argument("source", nargs=-1, required=True, metavar="JOB_OR_JSONL...")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Write the page to this .html file.",
)
@force_option
def report(source: tuple[str, ...], output: Path, *, force: bool) -> int:
    """Write an HTML page about a job or a file of results.

    The page shows counts, failures and what to do about them, quality, faces, and the best and the worst images. Up to
    six jobs or .jsonl files (also .gz) are shown side by side. The page needs no network and runs no script.

    \b
    Examples:
      fiqa report JOB -o report.html
      fiqa report january.jsonl february.jsonl.gz -o months.html
    """  # noqa: D301  click's \b keeps the lines below it as they are
    if len(source) > MAX_INPUTS:
        raise UsageError(f"a report compares at most {MAX_INPUTS} inputs: join files that belong together")
    check_suffix(output, (".html", ".htm"))
    check_free(output, force=force, inputs=map(Path, source))
    import_drawing()  # before all the results are read
    lost = {name: LostShards() for name in source}
    tallies = [_tally(name, lost[name]) for name in source]
    page = render(tallies)
    write_whole(output, page.encode(), force=force)
    report_line(f"{count(sum(tally.images for tally in tallies), 'result')} in {output}")
    for name, shards in lost.items():
        shards.report_rest(name)
    return 1 if any(shards.found for shards in lost.values()) else 0


def _tally(source: str, lost: LostShards) -> Tally:
    if is_uri(source):
        raise UsageError(f"{source}: a report reads a job or a file on this machine: copy the file here")
    # A job id has neither a slash nor a dot. So a missing file is reported as a file, and not as an unknown job.
    if "/" in source or "." in source or Path(source).exists():
        return tally_file(Path(source), on_bad_line=report_error)
    with Client() as client:
        job = client.status(source)
        return tally(client.results(source, on_lost=lost), f"{job.name} ({job.id})" if job.name else job.id, job)
