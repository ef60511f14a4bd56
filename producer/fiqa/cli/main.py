"""The `fiqa` command: one group for the commands of the client and of the worker, and its exit statuses.

Machine-readable output goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Final, NoReturn

import click
from click.shell_completion import CompletionItem

from fiqa.cli.messages import report_error, report_line, report_notes
from fiqa.cli.setting_names import unknown_settings
from fiqa.errors import FiqaError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
_WRITE_ERRORS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}

# The place of each command, and its line in `fiqa --help`. So help and shell completion import no command.
COMMANDS: Final = {
    "cancel": ("fiqa.cli.jobs:cancel", "Stop a job for good, within 2 s."),
    "delete": ("fiqa.cli.jobs:delete", "Delete a finished job with its manifest and results."),
    "demo": ("fiqa_worker.cli.demo:demo", "Score sample photos that are made from one portrait."),
    "doctor": ("fiqa.cli.doctor:doctor", "Check the setup of this machine, and print what to do."),
    "jobs": ("fiqa.cli.jobs:jobs", "List the newest jobs."),
    "models": ("fiqa_worker.cli.models:models", "List, download, verify, prepare and quantize the models."),
    "pause": ("fiqa.cli.jobs:pause", "Start no more chunks of a job."),
    "recover": ("fiqa.cli.recover:recover", "Rebuild jobs from FIQA_STORAGE after Redis was lost."),
    "repair": ("fiqa.cli.repair:repair", "Recreate the lost result shards of a finished job."),
    "report": ("fiqa.cli.report:report", "Write an HTML page about a job or a file of results."),
    "results": ("fiqa.cli.results:results", "Write the results of a job as JSONL, CSV or Parquet."),
    "resume": (
        "fiqa.cli.jobs:resume",
        "Continue a job that is paused, or was stopped because too many images failed.",
    ),
    "retry": ("fiqa.cli.jobs:retry", "Submit the failed images of a finished job as a new job."),
    "run": ("fiqa_worker.cli.run:run", "Score images on this machine, without a Redis of your own."),
    "score": ("fiqa_worker.cli.score:score", "Score every face of images in this process."),
    "status": ("fiqa.cli.jobs:status", "Show the progress of a job."),
    "submit": ("fiqa.cli.submit:submit", "Submit a job and print its id."),
    "watch": ("fiqa.cli.jobs:watch", "Follow a job with a progress bar."),
    "worker": ("fiqa_worker.cli.worker:worker", "Run a worker in the foreground."),
    "workers": ("fiqa.cli.workers:workers", "List the workers that run, and their problems."),
}


class _LazyGroup(click.Group):
    """A group that imports a command when it is called or asked for its help."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=COMMANDS[name][1]) for name in names), *options]


@click.group(
    cls=_LazyGroup,
    # Only for "did you mean": get_command returns the real commands.
    commands={name: click.Command(name) for name in COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="fiqa")
def fiqa() -> None:
    """Face image quality at scale: submit bulk jobs of images, get one result for each image.

    Settings are read from FIQA_* environment variables, such as FIQA_REDIS_URL and FIQA_STORAGE. S3 settings are those
    of boto3, such as AWS_PROFILE and AWS_ENDPOINT_URL.
    """
    for line in unknown_settings(os.environ):
        report_line(f"fiqa: {line}")


def main() -> NoReturn:
    """Run `fiqa`. An error that fiqa raises on purpose is one line instead of a traceback."""
    _end_on_signals_as_process_1()
    _prepare_streams()
    try:
        # The name is given, so that `python -m fiqa` has the same help and the same completion.
        status = fiqa.main(prog_name="fiqa", standalone_mode=False)
        sys.stdout.flush()
    except FiqaError as error:
        report_error(error)
        _flush_or_drop()
        sys.exit(error.exit_status)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        report_line("fiqa: interrupted")
        report_notes(error if isinstance(error, KeyboardInterrupt) else error.__context__)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader, such as head or less, has closed the pipe. Without this Python complains when it flushes at exit.
        _write_no_more()
        sys.exit(FAILED)
    except OSError as error:
        if (problem := _problem_of_environment(error)) is None:
            raise
        _write_no_more()
        report_line(f"fiqa: {problem}")
        sys.exit(WRONG_USAGE)
    sys.exit(status)


def _end_on_signals_as_process_1() -> None:
    """As process 1 of a container, end on a signal as any other process does. A worker's drain replaces this.

    The kernel drops signals that process 1 does not handle: a SIGTERM during the start of a worker would be lost.
    """
    if os.getpid() != 1:
        return
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, lambda number, _: os._exit(128 + number))


def _prepare_streams() -> None:
    """Let standard output and standard error take any text, whatever their encoding is."""
    # A file that is opened later must not get the descriptor of a closed stream. The lowest descriptor comes first.
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")  # the first write fails
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush_or_drop() -> None:
    """Flush standard output. If that fails, drop its content: Python would complain at exit, with status 120."""
    try:
        sys.stdout.flush()
    except OSError:
        _write_no_more()


def _write_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _problem_of_environment(error: OSError) -> str | None:
    """Return what is wrong with the environment of this process, if that explains an unexpected error."""
    try:
        Path.cwd()
    except OSError:
        return "the working folder was removed: change to another folder"
    if error.filename is None and error.errno in _WRITE_ERRORS:
        return f"cannot write standard output: {error.strerror}"
    return None
