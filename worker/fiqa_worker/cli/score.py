"""`fiqa score`: one image in this process."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from fiqa.cli.files import check_ending, check_free, force_option, write_whole
from fiqa.contract import Item
from fiqa_worker.cli.extras import models_or_builtin, needs, own_settings
from fiqa_worker.settings import WorkerSettings

_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the annotated image.")
@force_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line, as `fiqa run` does.")
def score(image: Path, output: Path | None, *, force: bool, as_json: bool) -> int:
    """Score every face of one image.

    It prints a line for each face. With -o it also writes the image with the faces drawn into it. It needs neither
    Redis nor a worker.

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
        from fiqa_worker.pipeline.pipeline import Pipeline

    if output:
        check_ending(output, _ENDINGS)
        check_free(output, force=force, inputs=[image])
    loaded = WorkerSettings.load()
    settings = own_settings(loaded, *models_or_builtin(loaded))
    pipeline = Pipeline.load(settings)
    item = Item(uri=image.resolve().as_uri())
    (result,) = pipeline.run([item], quarantined={}, on_item_start=lambda _: None, isolated=True)
    if as_json:
        click.echo(result.encode())
    if result.error:
        click.echo(f"fiqa: {image}: {result.error.code}: {result.error.message}", err=True)
        return 1
    if not result.faces:
        click.echo(f"fiqa: {image}: no face", err=True)
    for face in () if as_json else result.faces:
        x, y, width, height = face.box
        box = f"{x:.1f} {y:.1f} {width:.1f} {height:.1f}"
        click.echo(f"quality {face.quality:.4f}  confidence {face.confidence:.3f}  box {box}")
    if output:
        annotated = draw(decode(image.read_bytes(), max_pixels=settings.max_image_pixels), result.faces)
        _, encoded = cv2.imencode(output.suffix.lower() or ".jpg", annotated)
        write_whole(output, encoded.tobytes(), force=force)
    return 0
