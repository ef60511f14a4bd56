"""`fiqa score`: one image in this process."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import unquote_to_bytes

import click

from fiqa.cli.files import check_free, check_suffix, force_option, write_whole
from fiqa.cli.job_options import job_options
from fiqa.cli.messages import report_line
from fiqa.contract import Item, JobOptions
from fiqa.errors import UsageError
from fiqa.measures import OFIQ_MEASURES, OWN_MEASURES, SCALAR
from fiqa.sources.lines import checked_uri, is_uri
from fiqa.sources.manifest import STDIN
from fiqa_worker.cli.extras import models_or_builtin, needs, own_settings
from fiqa_worker.settings import WorkerSettings

_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


@click.command()
@click.argument("image")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the annotated image.")
@force_option
@job_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line, as `fiqa run` does.")
def score(*, image: str, output: Path | None, options: JobOptions, force: bool, as_json: bool) -> int:
    """Score every face of one image.

    IMAGE is a file, an s3:// or file:/// URI, or - for the bytes of an image on standard input. The command prints a
    line for each face. With -o it also writes the image with the faces drawn into it. It needs neither Redis nor a
    worker.

    \b
    Examples:
      fiqa score portrait.jpg
      fiqa score group.jpg -o annotated.jpg
      fiqa score portrait.jpg --json | jq .faces[0].quality
    """  # noqa: D301  click's \b keeps the lines below it as they are
    with needs("cpu"):
        import cv2

        from fiqa_worker.annotate import draw
        from fiqa_worker.pipeline.decode import decode
        from fiqa_worker.pipeline.fetch import Fetcher
        from fiqa_worker.pipeline.pipeline import Pipeline
        from fiqa_worker.pipeline.self_test import run_self_test

    if output:
        check_suffix(output, _SUFFIXES)
        check_free(output, force=force, inputs=[_path(image)])
    loaded = WorkerSettings.load()
    settings = own_settings(loaded, *models_or_builtin(loaded))
    pipeline = Pipeline.load(settings)
    if warning := run_self_test(pipeline).warning:
        report_line(f"fiqa: {warning}")
    with ExitStack() as stack:
        item = Item(uri=_uri(image, stack, max_bytes=settings.max_image_bytes))
        (result,) = pipeline.run([item], quarantined={}, isolated=True, options=options)
        if as_json:
            click.echo(result.encode())
        if result.error:
            report_line(f"fiqa: {image}: {result.error.code}: {result.error.message}")
            return 1
        if not result.faces:
            left_out = f" that the options ask for, {result.faces_left_out} left out" if result.faces_left_out else ""
            report_line(f"fiqa: {image}: no face{left_out}")
        for face in () if as_json else result.faces:
            x, y, width, height = face.box
            box = f"{x:.1f} {y:.1f} {width:.1f} {height:.1f}"
            click.echo(f"quality {face.quality:.4f}  confidence {face.confidence:.3f}  box {box}")
            if face.measures:
                click.echo(f"  reasons: {', '.join(face.reasons or ()) or 'none'}")
                click.echo("\n".join(_in_columns(face.measures)))
        if output:
            data = Fetcher(settings.allowed_sources, max_bytes=settings.max_image_bytes).fetch(item.uri)
            annotated = draw(decode(data, max_pixels=settings.max_image_pixels), result.faces)
            _, encoded = cv2.imencode(output.suffix.lower() or ".jpg", annotated)
            write_whole(output, encoded.tobytes(), force=force)
    return 0


def _in_columns(measures: Mapping[str, float | None]) -> Iterator[str]:
    """Yield a line for each measure: its name, its native value and its scalar."""
    for name in (*OWN_MEASURES, *OFIQ_MEASURES):
        native, scalar = (measures.get(key, "") for key in (name, name + SCALAR))
        yield f"  {name:26}  {_or_dash(native):>8}  {_or_dash(scalar):>3}".rstrip()


def _or_dash(value: float | str | None) -> str:
    return "-" if value is None else str(value)


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
    path = Path(image)
    if not path.exists() or path.is_dir():
        raise UsageError(f"{image}: {'it is a folder: use fiqa run' if path.is_dir() else 'no such file'}")
    return path.resolve().as_uri()


def _path(image: str) -> Path:
    is_file_uri = image.startswith("file:///")
    return Path(os.fsdecode(unquote_to_bytes(image.removeprefix("file://"))) if is_file_uri else image)
