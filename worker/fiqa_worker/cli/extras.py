"""What the worker's commands share: optional packages, the choice of models, and the option --concurrency.

A command imports the packages of an extra when it runs, so that its help works in the base install.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from fiqa.cli.messages import report_line
from fiqa.errors import MissingDependencyError
from fiqa_worker.settings import OWN_SOURCES, WorkerSettings

if TYPE_CHECKING:
    from fiqa_worker.models.locate import ModelFile

_EXTRAS: Final = {"cpu": "the worker's packages", "local": "the worker's packages and an embedded Redis server"}

concurrency_option = click.option(
    "--concurrency",
    type=click.IntRange(1),
    help="Number of processes [default: the number of processors, or the container's share of them].",
)


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """If the block fails to import a package, raise an error that names the extra to install.

    Raises:
        MissingDependencyError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).startswith("fiqa"):
            raise
        raise MissingDependencyError(
            f"this command needs {_EXTRAS[extra]}, which are not installed ({error.name} is missing):"
            f" pip install 'fiqa[{extra}]'"
        ) from error


def models_or_builtin(settings: WorkerSettings) -> tuple[ModelFile, ModelFile]:
    """Return the detector and the quality model. If a built-in model is the fallback, report it.

    Raises:
        ModelError: a model is missing, or is not the pinned file.
        SettingsError: the environment names an official model that is missing and cannot be downloaded.
    """
    with needs("cpu"):
        from fiqa_worker.models.pull import fetch_or_builtin  # noqa: PLC0415  it is part of an extra

    fields = {"detector", "quality_model"} & settings.model_fields_set
    detector, quality_model, note = fetch_or_builtin(
        settings.models_dir,
        detector=settings.detector,
        quality_model=settings.quality_model,
        named={getattr(settings, field): f"FIQA_{field.upper()}" for field in fields},
    )
    if note:
        report_line(f"fiqa: {note}")
    return detector, quality_model


def own_settings(settings: WorkerSettings, detector: ModelFile, quality_model: ModelFile) -> WorkerSettings:
    """Return settings with these models. They allow every file and every bucket that the user may read."""
    return settings.model_copy(
        update={
            "detector": _name_or_path(detector),
            "quality_model": _name_or_path(quality_model),
            "allowed_sources": OWN_SOURCES,
        }
    )


def _name_or_path(model: ModelFile) -> str:
    # A model that was given by path has a name that the registry does not know: `stem@digest`.
    return str(model.path) if "@" in model.name else model.name
