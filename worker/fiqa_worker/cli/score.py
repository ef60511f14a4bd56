"""`fiqa score`: images in this process, one or many."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from fiqa.cli.files import check_free, check_suffix, force_option, write_whole
from fiqa.cli.job_options import job_options
from fiqa.cli.messages import BadLines, report_line
from fiqa.cli.progress import CountProgress
from fiqa.contract import ImageResult, Item, JobOptions
from fiqa.errors import UsageError
from fiqa.measures import OFIQ_MEASURES, OWN_MEASURES, SCALAR
from fiqa.sources.lines import checked_uri, is_uri
from fiqa.sources.manifest import STDIN, read_source
from fiqa.text import readable_uri, shown
from fiqa_worker.cli.annotated import AnnotatedFolder, is_folder, path_of
from fiqa_worker.cli.extras import models_or_builtin, needs, own_settings
from fiqa_worker.settings import WorkerSettings

_BATCH: Final = 64  # images that are scored together, and then annotated


@click.command()
@click.argument("image", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write the annotated image to this file. Of several images or a folder: to this folder.",
)
@force_option
@job_options
@click.option("--json", "as_json", is_flag=True, help="Print each result as one JSON line, as `fiqa run` does.")
def score(*, image: tuple[str, ...], output: Path | None, options: JobOptions, force: bool, as_json: bool) -> int:
    """Score every face of images in this process.

    IMAGE is a file, an s3:// or file:/// URI, a folder, an s3:// prefix with a slash at its end, or - for the bytes of
    an image on standard input. The command prints a line for each face. With -o it also writes the images with the
    faces drawn into them. It needs neither Redis nor a worker. For many images, `fiqa run` is faster. The exit status
    is 1 if an image failed.

    \b
    Examples:
      fiqa score portrait.jpg
      fiqa score group.jpg -o annotated.jpg
      fiqa score ~/images extra.jpg -o annotated/
      fiqa score portrait.jpg --json | jq .faces[0].quality
    """  # noqa: D301  click's \b keeps the lines below it as they are
    with needs("cpu"):
        from fiqa_worker.annotated import SUFFIXES, annotated
        from fiqa_worker.pipeline.pipeline import Pipeline
        from fiqa_worker.pipeline.self_test import run_self_test

    several = len(image) > 1 or _holds_many(image[0])
    if output and not several:
        check_suffix(output, SUFFIXES)
        check_free(output, force=force, inputs=[path_of(image[0])])
    loaded = WorkerSettings.load()
    folder = AnnotatedFolder(output, image, loaded, force=force) if output and several else None
    settings = own_settings(loaded, *models_or_builtin(loaded))
    pipeline = Pipeline.load(settings)
    if warning := run_self_test(pipeline).warning:
        report_line(f"fiqa: {warning}")
    failed = 0
    bad_lines = BadLines()
    with ExitStack() as stack:
        # On a terminal the results themselves show the progress.
        progress = stack.enter_context(CountProgress("images scored")) if not sys.stdout.isatty() else None
        items = _items(image, stack, bad_lines, max_bytes=settings.max_image_bytes)
        number = 0
        while batch := list(islice(items, _BATCH)):
            results = []
            for result in pipeline.run(batch, quarantined={}, isolated=len(batch) == 1, options=options):
                name = readable_uri(result.uri) if several else image[0]
                failed += _print(result, name, several=several, as_json=as_json)
                number += 1
                if progress:
                    progress.show(number)
                results.append(result)
            if folder:
                folder.write(results)
            elif output and not results[0].error:
                data = annotated(
                    results[0], output.suffix.lower() or ".jpg", pipeline.fetcher, max_pixels=settings.max_image_pixels
                )
                write_whole(output, data, force=force)
    bad_lines.report_rest()
    if folder:
        folder.report()
    return 1 if failed or (folder and folder.failed) else 0


def _print(result: ImageResult, name: str, *, several: bool, as_json: bool) -> bool:
    """Print a result. Returns whether the image failed."""
    if as_json:
        click.echo(result.encode())
    elif several and result.faces:
        click.echo(f"{shown(name)}:")
    if result.error:
        report_line(f"fiqa: {name}: {result.error.code}: {result.error.message}")
        return True
    if not result.faces:
        left_out = f" that the options ask for, {result.faces_left_out} left out" if result.faces_left_out else ""
        report_line(f"fiqa: {name}: no face{left_out}")
    for face in () if as_json else result.faces:
        x, y, width, height = face.box
        box = f"{x:.1f} {y:.1f} {width:.1f} {height:.1f}"
        click.echo(f"quality {face.quality:.4f}  confidence {face.confidence:.3f}  box {box}")
        if face.measures:
            click.echo(f"  reasons: {', '.join(face.reasons or ()) or 'none'}")
            click.echo("\n".join(_in_columns(face.measures)))
    return False


def _in_columns(measures: Mapping[str, float | None]) -> Iterator[str]:
    """Yield a line for each measure: its name, its native value and its scalar."""
    for name in (*OWN_MEASURES, *OFIQ_MEASURES):
        native, scalar = (measures.get(key, "") for key in (name, name + SCALAR))
        yield f"  {name:26}  {_or_dash(native):>8}  {_or_dash(scalar):>3}".rstrip()


def _or_dash(value: float | str | None) -> str:
    return "-" if value is None else str(value)


def _holds_many(image: str) -> bool:
    return (image.startswith("s3://") and image.endswith("/")) or is_folder(path_of(image))


def _items(images: Sequence[str], stack: ExitStack, bad_lines: BadLines, *, max_bytes: int) -> Iterator[Item]:
    for image in images:
        if _holds_many(image):
            yield from read_source(image, on_bad_line=bad_lines, left_out=bad_lines.left_out)
        else:
            yield Item(uri=_uri(image, stack, max_bytes=max_bytes))


def _uri(image: str, stack: ExitStack, *, max_bytes: int) -> str:
    """Return the URI of the image. Bytes from standard input are written to a file, which the stack removes."""
    if image == STDIN:
        if sys.stdin is None:
            raise UsageError("standard input is closed: pipe an image into it")
        file = Path(stack.enter_context(TemporaryDirectory(prefix="fiqa-")), "stdin")
        # One byte over the limit, so that the result is too_large.
        file.write_bytes(sys.stdin.buffer.read(max_bytes + 1))
        return file.as_uri()
    try:
        if is_uri(image):
            return checked_uri(image)
    except ValueError as error:
        raise UsageError(f"{image}: {error}") from None
    try:
        return Path(image).resolve(strict=True).as_uri()
    except FileNotFoundError:
        raise UsageError(f"{image}: no such file") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{image}: {getattr(error, 'strerror', None) or error}") from None
