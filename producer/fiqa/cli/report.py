"""`fiqa report`: jobs, or files of results, to one HTML page and to a figure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from fiqa.cli.files import check_free, check_suffix, force_option, write_whole
from fiqa.cli.messages import LostShards, report_error, report_line
from fiqa.cli.progress import CountProgress
from fiqa.client import Client
from fiqa.contract import ImageResult
from fiqa.errors import UsageError
from fiqa.results.figure import check_matplotlib, figure
from fiqa.results.gallery import ranked_for, rows
from fiqa.results.page import import_jinja, render
from fiqa.results.ranking import LISTED
from fiqa.results.tally import Tally, tally, tally_file
from fiqa.sources.lines import is_uri
from fiqa.text import count

if TYPE_CHECKING:
    from fiqa.results.gallery import Crop
    from fiqa.results.ranking import RankedImage

MAX_INPUTS: Final = 6  # a chart has no more colors that people can distinguish
MAX_FACES: Final = 120  # of an input: a page of six inputs then has crops of about 4 MB
_SHOW_EVERY: Final = 500  # results
# By its name, since the client does not import the worker.
_CROPS: Final = "fiqa_worker.crops"


@click.command()
@click.argument("source", nargs=-1, required=True, metavar="JOB_OR_JSONL...")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the page to this .html file.",
)
@click.option(
    "--faces",
    type=click.IntRange(0, MAX_FACES),
    default=0,
    metavar="N",
    help="Show N faces of each input: the worst, those in the middle and the best. It reads their images again.",
)
@click.option(
    "--figure",
    "figure_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the distribution of the quality to this .svg or .png file.",
)
@force_option
def report(source: tuple[str, ...], output: Path | None, faces: int, figure_file: Path | None, *, force: bool) -> int:
    """Write an HTML page about a job or a file of results.

    The page shows counts, failures and what to do about them, quality, a threshold to move, faces, and the best and the
    worst images. Up to six jobs or .jsonl files (also .gz) are laid over each other. The page needs no network.

    \b
    Examples:
      fiqa report JOB -o report.html --faces 24
      fiqa report january.jsonl february.jsonl.gz -o months.html
      fiqa report january.jsonl february.jsonl.gz --figure quality.png
    """  # noqa: D301  click's \b keeps the lines below it as they are
    _check_outputs(source, output, faces, figure_file, force=force)
    lost = {name: LostShards() for name in source}
    with CountProgress("results read") as progress:
        ranked = max(LISTED, ranked_for(faces))
        tallies = [_tally(name, lost[name], partial(_shown, progress=progress), ranked) for name in source]
    number = count(sum(tally.images for tally in tallies), "result")
    if figure_file:
        drawn = figure(tallies, "png" if figure_file.suffix.lower() == ".png" else "svg")
        write_whole(figure_file, drawn, force=force)
        report_line(f"{number} in {figure_file}")
    if output:
        crops, problem = _crops(tallies, faces)
        page = render(tallies, faces=faces, crops=crops, no_crops=problem)
        write_whole(output, page.encode(), force=force)
        if problem:
            report_line(f"fiqa: {problem}")
        report_line(f"{number} in {output}")
    for name, shards in lost.items():
        shards.report_rest(name)
    return 1 if any(shards.found for shards in lost.values()) else 0


def _check_outputs(
    source: Sequence[str], output: Path | None, faces: int, figure_file: Path | None, *, force: bool
) -> None:
    """Refuse what cannot work before all the results are read."""
    if len(source) > MAX_INPUTS:
        raise UsageError(f"a report compares at most {MAX_INPUTS} inputs: join files that belong together")
    if not output and not figure_file:
        raise UsageError("name a file for the page with -o, or for the figure with --figure")
    if faces and not output:
        raise UsageError("--faces is for the page: name its file with -o")
    for path, suffixes in ((output, (".html", ".htm")), (figure_file, (".svg", ".png"))):
        if path:
            check_suffix(path, suffixes)
            check_free(path, force=force, inputs=map(Path, source))
    if output:
        import_jinja()
    if figure_file:
        check_matplotlib()


def _tally(
    source: str, lost: LostShards, seen: Callable[[Iterable[ImageResult]], Iterator[ImageResult]], ranked: int
) -> Tally:
    if is_uri(source):
        raise UsageError(f"{source}: a report reads a job or a file on this machine: copy the file here")
    # A job id has neither a slash nor a dot. So a missing file is reported as a file, and not as an unknown job.
    if "/" in source or "." in source or os.path.exists(source):  # noqa: PTH110  for a name that is too long, Path.exists fails
        return tally_file(Path(source), on_bad_line=report_error, ranked=ranked, seen=seen)
    with Client() as client:
        job = client.status(source)
        name = f"{job.name} ({job.id})" if job.name else job.id
        return tally(seen(client.results(source, on_lost=lost)), name, job, ranked=ranked)


def _shown(results: Iterable[ImageResult], progress: CountProgress) -> Iterator[ImageResult]:
    """Yield results, and show their number."""
    for number, result in enumerate(results):
        if not number % _SHOW_EVERY:
            progress.show(number)
        yield result


def _crops(tallies: Sequence[Tally], faces: int) -> tuple[dict[RankedImage, Crop], str]:
    """Return the crops of the faces to show, or why there are none."""
    images = list(
        dict.fromkeys(
            image
            for tally in tallies
            for scores in tally.scores.values()
            for row in (rows(scores, faces) if faces else ())
            for image in row.images
        )
    )
    if not images:
        return {}, ""
    try:
        crops_of = import_module(_CROPS).crops_of
    except ModuleNotFoundError as error:
        return {}, f"the page has no faces, since {error.name} is not installed: pip install 'fiqa[cpu]'"
    crops = {}
    with CountProgress("faces read") as progress:
        for image, crop in zip(images, crops_of(images), strict=True):
            crops[image] = crop
            progress.show(len(crops))
    return crops, ""
