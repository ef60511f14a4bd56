"""`fiqa run`: one's own images, scored on this machine by an embedded server and a worker."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO

import click

from fiqa.cli.messages import BadLines, report_failures
from fiqa.cli.output import exit_status, results_option
from fiqa.cli.progress import CountProgress
from fiqa.contract import JobState
from fiqa.errors import OutputError, UsageError
from fiqa.results.export import Format
from fiqa.sources.manifest import read_source
from fiqa_worker.cli.extras import concurrency_option, models_or_builtin, needs, own_settings
from fiqa_worker.cli.local_job import score_locally
from fiqa_worker.local.resume import Earlier, held
from fiqa_worker.settings import WorkerSettings


@click.command()
@click.argument("source", nargs=-1, required=True)
@results_option
@concurrency_option
@click.option("--resume", is_flag=True, help="Score only what has no result in the file yet, and add it to the file.")
def run(source: tuple[str, ...], output: Path | None, concurrency: int | None, *, resume: bool) -> int:
    """Score images on this machine, without a Redis of your own.

    It starts an embedded Redis server and a worker, and stops both at the end. For SOURCE see `fiqa submit --help`.
    The exit status is 0 if the job succeeded and at most half of its images failed. Otherwise it is 1.

    \b
    Examples:
      fiqa run ~/photos -o results.jsonl
      fiqa run ~/photos -o results.jsonl --resume
      fiqa run s3://photos/2026/ --concurrency 4 -o faces.parquet
    """  # noqa: D301  click's \b keeps the lines below it as they are
    with needs("local"):
        import fiqa_worker.local.system  # noqa: F401  a missing package is reported first

    form = Format.of(output)
    _check_output(output, form, resume=resume)
    bad_lines = BadLines()
    items = read_source(source, on_bad_line=bad_lines)
    first = next(items, None)  # an error of the source is reported before anything is started
    settings = WorkerSettings.load()
    detector, quality_model = models_or_builtin(settings)
    with ExitStack() as stack:
        file, earlier = None, Earlier()
        if output is not None and (resume or output.is_file() or not output.exists()):
            file = stack.enter_context(held(output, read=resume))
            if resume:
                earlier = _read_earlier(file, output, detector.name, quality_model.name)
            else:
                _check_output(output, form, resume=False)  # another run may have left results in it since
        left = earlier.left_of(chain([first] if first else [], items))
        first_left = next(left, None)
        if first and first_left is None:
            click.echo(f"nothing is left to score: see {output}", err=True)
            return 0
        try:
            status = score_locally(
                chain([first_left] if first_left else [], left),
                output,
                settings=own_settings(settings, detector, quality_model),
                processes=concurrency,
                bad_lines=bad_lines,
                file=file,
            )
        except BaseException:
            _report_how_to_resume(output, form)
            raise
        report_failures(status, "their results say why")
        if status.state is not JobState.SUCCEEDED:
            _report_how_to_resume(output, form)
        elif output is not None:
            earlier.remove_retried(output)
    return exit_status(status, images=earlier.done.total(), failed=earlier.failed)


def _check_output(output: Path | None, form: Format, *, resume: bool) -> None:
    if resume and (output is None or form is not Format.JSONL):
        raise UsageError("--resume needs a .jsonl file to add to: name it with -o")
    if output is None:
        return
    try:
        if resume and output.exists() and not output.is_file():
            raise OutputError(f"{output} is not a file: --resume needs one")
        if not resume and output.is_file() and output.stat().st_size:
            or_resume = "add to it with --resume, or " if form is Format.JSONL else ""
            raise OutputError(f"{output} exists already: {or_resume}choose another file")
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror}: choose another file") from error


def _read_earlier(file: IO[bytes], output: Path, detector: str, quality_model: str) -> Earlier:
    with CountProgress(f"results of {output}") as progress:
        earlier = Earlier.read(file, output, detector=detector, quality_model=quality_model, progress=progress.show)
    if earlier.done or earlier.retryable:
        again = f", and {len(earlier.retryable):,} failures that are tried again" if earlier.retryable else ""
        click.echo(f"{earlier.done.total():,} results are in {output} already{again}", err=True)
    return earlier


def _report_how_to_resume(output: Path | None, form: Format) -> None:
    if output is not None and form is Format.JSONL and output.is_file() and output.stat().st_size:
        click.echo(f"the results so far are in {output}: to continue, run the same command with --resume", err=True)
