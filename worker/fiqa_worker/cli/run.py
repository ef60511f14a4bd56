"""`fiqa run`: scores the user's images on this machine, with an embedded server and a worker."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, Final

import click

from fiqa.cli.failures import report_failures
from fiqa.cli.files import check_free, force_option, is_stream, new_file
from fiqa.cli.job_options import job_options
from fiqa.cli.messages import BadLines, report_line
from fiqa.cli.output import Destination, exit_status, results_option
from fiqa.cli.progress import CountProgress
from fiqa.contract import JobOptions, JobState
from fiqa.errors import OutputError, UsageError
from fiqa.results.export import Format
from fiqa.sources.manifest import read_source
from fiqa.text import count
from fiqa_worker.cli.annotated import AnnotatedFolder
from fiqa_worker.cli.extras import concurrency_option, models_or_builtin, needs, own_settings
from fiqa_worker.cli.local_job import score_locally
from fiqa_worker.local.resume import Earlier, held
from fiqa_worker.settings import WorkerSettings

_OR_RESUME: Final = "add to it with --resume, "


@click.command()
@click.argument("source", nargs=-1, required=True)
@results_option
@force_option
@concurrency_option
@job_options
@click.option(
    "--annotate",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write a copy of each image to this folder, with the faces drawn into it.",
)
@click.option(
    "--resume", is_flag=True, help="Score only images that have no result in the file yet, and add their results."
)
def run(
    *,
    source: tuple[str, ...],
    output: Path | None,
    concurrency: int | None,
    options: JobOptions,
    force: bool,
    annotate: Path | None,
    resume: bool,
) -> int:
    """Score images on this machine, without a Redis of your own.

    The command starts an embedded Redis server and a worker, and stops both at the end. For SOURCE see
    `fiqa submit --help`. The exit status is 0 if the job succeeded and at most half of its images failed. Otherwise it
    is 1.

    Results are added to a .jsonl file as they come. If the run is interrupted, --resume continues this file. A file of
    another format appears when it is complete.

    \b
    Examples:
      fiqa run ~/images -o results.jsonl
      fiqa run ~/images -o results.jsonl --resume
      fiqa run ~/images -o results.jsonl --annotate annotated/
      fiqa run s3://images/2026/ --concurrency 4 -o faces.parquet
    """  # noqa: D301  click's \b keeps the lines below it as they are
    with needs("local"):
        import fiqa_worker.local.system  # noqa: F401  so that a missing package is reported first

    destination = Destination.of(output, force=force)
    can_resume = destination.file_format is Format.JSONL and not destination.gzipped
    _check_output(source, output, can_resume=can_resume, resume=resume, force=force)
    settings = WorkerSettings.load()
    annotated = AnnotatedFolder(annotate, source, settings, force=force or resume) if annotate else None
    bad_lines = BadLines()
    items = read_source(source, on_bad_line=bad_lines, left_out=bad_lines.left_out)
    first = next(items, None)  # an error of the source is reported before anything is started
    detector, quality_model = models_or_builtin(settings)
    with ExitStack() as stack:
        file, earlier = None, Earlier()
        if output is not None and can_resume and not is_stream(output):
            file = stack.enter_context(held(output, read=resume))
            if resume:
                earlier = _read_earlier(file, output, detector.name, quality_model.name, measures=options.measures)
            else:  # since the first check, another run may have written results
                check_free(output, force=force, or_else=_OR_RESUME)
                file.truncate(0)
        elif output is not None:
            file = stack.enter_context(new_file(output, force=force))
        remaining = earlier.remaining(chain([first] if first else [], items))
        first_remaining = next(remaining, None)
        if first and first_remaining is None:
            bad_lines.report_rest()
            report_line(f"nothing is left to score: see {output}")
            return 0
        try:
            status = score_locally(
                chain([first_remaining] if first_remaining else [], remaining),
                destination,
                settings=own_settings(settings, detector, quality_model),
                processes=concurrency,
                bad_lines=bad_lines,
                options=options,
                file=file,
                annotate=annotated,
                images_before=earlier.done.total(),
                failed_before=earlier.failed,
            )
        except BaseException:
            _report_how_to_resume(output, can_resume=can_resume)
            raise
        report_failures(status, "their results say why")
        if status.state is not JobState.SUCCEEDED:
            _report_how_to_resume(output, can_resume=can_resume)
        elif output is not None:
            earlier.remove_retried(output)
    return exit_status(status, images=earlier.done.total(), failed=earlier.failed)


def _check_output(source: tuple[str, ...], output: Path | None, *, can_resume: bool, resume: bool, force: bool) -> None:
    if resume and force:
        raise UsageError("--resume adds to the file and --force replaces it: choose one of them")
    if resume and (output is None or not can_resume):
        raise UsageError("--resume needs a .jsonl file to add to: name it with -o")
    if output is None:
        return
    if resume and output.exists() and not output.is_file():
        raise OutputError(f"{output} is not a file: --resume needs one")
    check_free(output, force=force or resume, inputs=map(Path, source), or_else=_OR_RESUME if can_resume else "")


def _read_earlier(file: IO[bytes], output: Path, detector: str, quality_model: str, *, measures: bool) -> Earlier:
    with CountProgress(f"results of {output}") as progress:
        earlier = Earlier.read(
            file,
            output,
            detector=detector,
            quality_model=quality_model,
            measures=measures,
            progress=progress.show,
        )
    if earlier.done or earlier.retryable:
        again = (
            f", and {count(len(earlier.retryable), 'failure that is', 'failures that are')} tried again"
            if earlier.retryable
            else ""
        )
        report_line(f"{count(earlier.done.total(), 'result is', 'results are')} in {output} already{again}")
    return earlier


def _report_how_to_resume(output: Path | None, *, can_resume: bool) -> None:
    if output is not None and can_resume and output.is_file() and output.stat().st_size:
        report_line(f"the results so far are in {output}: to continue, run the same command with --resume")
