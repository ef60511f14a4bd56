"""`fiqa models`: list, download, verify and quantize the models."""
# ruff: noqa: PLC0415  imports at the top would break help in the base install

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from fiqa.cli.files import check_free, check_suffix, force_option
from fiqa.cli.messages import report_line
from fiqa.sources.folder import image_files
from fiqa.sources.left_out import LeftOut
from fiqa.text import count, shown
from fiqa_worker.cli.extras import models_or_builtin, needs
from fiqa_worker.settings import Device, WorkerSettings


@click.group()
def models() -> None:
    """List, download, verify, prepare and quantize the models."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each model.")
def list_models(*, as_json: bool) -> None:
    """Show all models, their licenses, and whether their files are on this machine."""
    with needs("cpu"):
        from fiqa_worker.models.locate import verify

    settings = WorkerSettings.load()
    checks = verify(settings.models_dir)
    if as_json:
        for check in checks:
            model = check.model
            fields = {"name": model.name, "kind": model.kind, "license": model.license, "state": check.state}
            click.echo(json.dumps({**fields, "file": model.file, "path": str(check.path), "sha256": model.sha256}))
        return
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("model", "kind", "license", "state"):
        grid.add_column(column, no_wrap=True)
    grid.add_column("file", no_wrap=True)
    for check in checks:
        model = check.model
        grid.add_row(model.name, model.kind, model.license, check.state, model.file)
    # The console is as wide as the table. Otherwise rich would wrap names at the terminal's width or, in a pipe, at 80
    # columns.
    Console(width=Console(width=10_000).measure(grid).maximum).print(grid)
    click.echo(shown(f"models folder: {settings.models_dir}"))


@models.command()
def pull() -> int:
    """Download the official models into FIQA_MODELS_DIR and verify them.

    The exit status is 1 if one of them cannot be downloaded.
    """
    with needs("cpu"):
        from fiqa_worker.errors import ModelError
        from fiqa_worker.models.locate import local_dir
        from fiqa_worker.models.pull import pull as pull_one
        from fiqa_worker.models.registry import REGISTRY

    folder = local_dir(WorkerSettings.load().models_dir)
    failures = []
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for model in REGISTRY.values():
            if model.urls:
                task = progress.add_task(model.name, total=model.bytes)
                try:
                    found = pull_one(
                        model,
                        folder,
                        timeout_s=60,
                        progress=lambda done, task=task: progress.update(task, completed=done),  # type: ignore[misc]
                    )
                except ModelError as error:
                    failures.append(error)
                    continue
                progress.update(task, completed=model.bytes)
                click.echo(found.path)
    for failure in failures:  # after the progress bars, which would overwrite them
        report_line(f"fiqa: {failure}")
    return 1 if failures else 0


@models.command("prepare")
def prepare_models() -> None:
    """Prepare FIQA_DETECTOR and FIQA_QUALITY_MODEL for workers.

    A worker does this at its first start. If a worker runs from read-only folders, run this command first.
    """
    with needs("cpu"):
        from fiqa_worker.models.locate import find
        from fiqa_worker.models.prepare import prepared_dirs, store_prepared

    settings = WorkerSettings.load()
    detector = find(settings.detector, "detector", settings.models_dir)
    quality_model = find(settings.quality_model, "quality", settings.models_dir)
    for model in (detector, quality_model):
        click.echo(store_prepared(model, *prepared_dirs(settings.models_dir)))


@models.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("quality-int8.onnx"),
    show_default=True,
    help="Write the int8 model to this .onnx file.",
)
@click.option(
    "--faces",
    type=click.IntRange(200),
    default=400,
    show_default=True,
    help="Faces to use: half to calibrate, half to compare.",
)
@click.option("--max-mean", type=float, default=0.01, show_default=True, help="Highest allowed mean score difference.")
@click.option(
    "--max-p99", type=float, default=0.05, show_default=True, help="Highest allowed 99th percentile of the difference."
)
@click.option(
    "--min-rank", type=float, default=0.98, show_default=True, help="Lowest allowed rank correlation of the scores."
)
@force_option
def quantize(
    folder: Path, output: Path, *, faces: int, max_mean: float, max_p99: float, min_rank: float, force: bool
) -> int:
    """Quantize the quality model to int8, calibrated on the images in FOLDER.

    After that, the command compares the scores of both models. If they differ by more than the limits, no file is
    written and the exit status is 1. Workers use the int8 model only if FIQA_QUALITY_MODEL names its file.

    \b
    Examples:
      fiqa models quantize ~/images
      fiqa models quantize ~/images -o mine-int8.onnx --faces 1000
    """  # noqa: D301  click's \b keeps the lines below it as they are
    with needs("cpu"):
        from fiqa_worker.models.prepare import prepare, prepared_dirs
        from fiqa_worker.models.sessions import open_session
        from fiqa_worker.pipeline.detect import Detector
        from fiqa_worker.quantize.agreement import Limits
        from fiqa_worker.quantize.faces import collect_faces
        from fiqa_worker.quantize.int8 import quantize as write_int8

    check_suffix(output, (".onnx",))
    check_free(output, force=force)
    settings = WorkerSettings.load()
    detector, quality_model = models_or_builtin(settings)
    check_free(output, force=force, inputs=[detector.path, quality_model.path])
    limits = Limits(max_mean, max_p99, min_rank)
    images = list(image_files(folder, LeftOut()))
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True)
    ) as progress:
        task = progress.add_task("finding faces", total=faces)
        calibration, held_out = collect_faces(
            images,
            Detector(
                open_session(prepare(detector, *prepared_dirs(settings.models_dir)), Device.CPU),
                threshold=settings.detect_threshold or detector.threshold,
                size=settings.detect_size,
            ),
            faces=faces,
            max_pixels=settings.max_image_pixels,
            progress=lambda done: progress.update(task, completed=done),
        )
        running = progress.add_task("quantizing", total=len(calibration) + len(held_out))
        agreement, written = write_int8(
            quality_model,
            calibration,
            held_out,
            output,
            limits=limits,
            progress=lambda done: progress.update(running, completed=done),
        )
    faces_compared = count(len(held_out), "face")
    click.echo(
        f"{quality_model.name} and its int8 form, compared on {faces_compared} that the calibration did not use:"
    )
    click.echo(agreement.report(limits))
    if written is None:
        report_line(f"fiqa: refused, nothing was written: {'; '.join(agreement.beyond(limits))}")
        return 1
    click.echo(f"its name in results is {written.name}; to use it, set\nFIQA_QUALITY_MODEL={written.path.absolute()}")
    return 0


@models.command("verify")
def verify_models() -> int:
    """Check the SHA-256 of every official model file.

    The exit status is 1 if a file is missing, or is not the pinned one.
    """
    with needs("cpu"):
        from fiqa_worker.models.locate import verify

    checks = [check for check in verify(WorkerSettings.load().models_dir) if check.model.urls]
    for check in checks:
        click.echo(f"{check.model.name}: {check.state}: {check.path}")
    return 0 if all(check.state == "verified" for check in checks) else 1
