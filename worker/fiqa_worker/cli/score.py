"""`fiqa score`: one image in this process."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

from pathlib import Path

import click

from fiqa.contract import Item
from fiqa.errors import OutputError
from fiqa_worker.cli.extras import models_or_builtin, needs, own_settings
from fiqa_worker.settings import WorkerSettings


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the annotated image.")
def score(image: Path, output: Path | None) -> int:
    """Score every face of one image.

    It prints a line for each face. With -o it also writes the image with the faces drawn into it. It needs neither
    Redis nor a worker.

    \b
    Examples:
      fiqa score portrait.jpg
      fiqa score group.jpg -o annotated.jpg
    """  # noqa: D301  click's \b keeps the lines below it as they are
    with needs("cpu"):
        import cv2

        from fiqa_worker.annotate import draw
        from fiqa_worker.pipeline.decode import decode
        from fiqa_worker.pipeline.pipeline import Pipeline

    loaded = WorkerSettings.load()
    settings = own_settings(loaded, *models_or_builtin(loaded))
    pipeline = Pipeline.load(settings)
    item = Item(uri=image.resolve().as_uri())
    (result,) = pipeline.run([item], quarantined={}, on_item_start=lambda _: None, isolated=True)
    if result.error:
        click.echo(f"fiqa: {image}: {result.error.code}: {result.error.message}", err=True)
        return 1
    if not result.faces:
        click.echo(f"fiqa: {image}: no face", err=True)
    for face in result.faces:
        x, y, width, height = face.box
        box = f"{x:.1f} {y:.1f} {width:.1f} {height:.1f}"
        click.echo(f"quality {face.quality:.4f}  confidence {face.confidence:.3f}  box {box}")
    if output:
        annotated = draw(decode(image.read_bytes(), max_pixels=settings.max_image_pixels), result.faces)
        try:
            written = cv2.imwrite(str(output), annotated)
        except cv2.error:
            written = False
        if not written:
            raise OutputError(f"cannot write {output}: choose a writable folder and a name like results.jpg")
    return 0
