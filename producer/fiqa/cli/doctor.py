"""`fiqa doctor`: the setup of this machine, in one table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Final, cast

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fiqa.cli.messages import report_line
from fiqa.doctor.findings import Check, Finding, State, examine
from fiqa.doctor.fleet import check_jobs, check_workers
from fiqa.doctor.machine import check_temporary_folder, check_versions
from fiqa.doctor.redis import check_redis
from fiqa.doctor.rights import check_rights
from fiqa.doctor.sources import check_s3, check_source
from fiqa.doctor.storage import check_storage
from fiqa.errors import SettingsError
from fiqa.settings import Settings
from fiqa.text import count, shown

_STYLES: Final = {State.OK: "green", State.WARNING: "yellow", State.WRONG: "bold red", State.SKIPPED: "dim"}
# By its name, since the client does not import the worker.
_WORKERS_HALF: Final = "fiqa_worker.doctor"
_WORKERS_PACKAGES: Final = ("cv2", "onnxruntime")
_ASK_REDIS: Final = "check the host and the port in FIQA_REDIS_URL, and the firewalls on the way"
_ASK_STORAGE: Final = "check FIQA_STORAGE, the network and the mount"
_ASK_S3: Final = "check AWS_ENDPOINT_URL, AWS_PROFILE, and the network"
_ASK_DISK: Final = "a mount hangs: mount it again"


@click.command()
@click.option(
    "--source", "sources", multiple=True, metavar="URI", help="Check this source too: list it, read an image."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each finding.")
def doctor(*, sources: tuple[str, ...], as_json: bool) -> int:
    """Check the setup of this machine, and print what to do.

    The command looks at Redis, the storage, S3, the workers, disks and versions. If the worker's packages are
    installed, it also tests the models. It deletes all that it writes. The exit status is 1 if something is wrong.

    \b
    Examples:
      fiqa doctor
      fiqa doctor --source s3://images/2026/ --source /mnt/images
    """  # noqa: D301  click's \b keeps the lines below it as they are
    with Console(stderr=True).status("checking", spinner="line"):
        findings = examine(_checks(sources))
    if as_json:
        for finding in findings:
            click.echo(json.dumps(dataclasses.asdict(finding)))
    else:
        _print(findings)
    wrong, warnings = (sum(each.state is state for each in findings) for state in (State.WRONG, State.WARNING))
    report_line(f"{wrong or 'nothing'} wrong, {count(warnings, 'warning')}")
    return 1 if wrong else 0


def _checks(sources: Sequence[str]) -> list[Check]:
    machine = [
        Check("disk", check_temporary_folder, _ASK_DISK),
        Check("versions", check_versions, "try again"),
    ]
    try:
        settings = Settings.load()
    except SettingsError as error:
        return [Check("settings", partial(_fail, error), ""), *machine]
    url, namespace, storage = settings.redis_url, settings.namespace, settings.storage
    in_s3 = any(each.startswith("s3://") for each in (storage, *sources))
    return [
        Check("redis", lambda: check_redis(url, namespace), _ASK_REDIS),
        Check("rights", lambda: check_rights(url, namespace), _ASK_REDIS),
        Check("storage", lambda: check_storage(storage, url, namespace), _ASK_STORAGE),
        Check("s3", lambda: check_s3(is_needed=in_s3), _ASK_S3),
        *(Check("source", partial(check_source, source), _ASK_STORAGE) for source in sources),
        Check("workers", lambda: check_workers(url, namespace), _ASK_REDIS),
        Check("jobs", lambda: check_jobs(url, namespace), _ASK_REDIS),
        *_workers_half(sources),
        *machine,
    ]


def _workers_half(sources: Sequence[str]) -> list[Check]:
    """Return the checks of the worker. On a light client, or if a setting is wrong, return one finding instead."""
    if not any(map(find_spec, _WORKERS_PACKAGES)):
        text = "this is the light client: to run a worker here, pip install 'fiqa[cpu]'"
        return [Check("models", lambda: [Finding("models", State.SKIPPED, text)], "")]
    try:
        return cast("list[Check]", import_module(_WORKERS_HALF).worker_checks(sources))
    except SettingsError as error:
        return [Check("settings", partial(_fail, error), "")]


def _fail(error: SettingsError) -> Iterable[Finding]:
    raise error


def _print(findings: Sequence[Finding]) -> None:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("check", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("what was found, and what to do", overflow="fold")
    for finding in findings:
        style = _STYLES[finding.state]
        text = Text(shown(finding.text), style="dim" if finding.state is State.SKIPPED else "")
        table.add_row(finding.check, Text(finding.state, style=style), text)
    console = Console()
    if not console.is_terminal:  # one line for each finding, for grep
        console = Console(width=Console(width=10_000).measure(table).maximum)
    console.print(table)
