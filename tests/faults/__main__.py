"""The long form: `python -m tests.faults --injuries 200 --images 20000 --seed 1`."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Final

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.faults.injuries import INJURIES, Injury
from tests.faults.system import start_system
from tests.faults.takeover import measure_takeover
from tests.faults.trial import Log, Trial, injure_a_job
from tests.servers import start_s3

_INJURIES_A_JOB: Final = 4


@click.command()
@click.option("--injuries", type=click.IntRange(1), default=200, show_default=True)
@click.option(
    "--images",
    type=click.IntRange(100),
    default=20_000,
    show_default=True,
    help="Minimum number of images in all jobs.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--only", type=click.Choice(list(INJURIES)), multiple=True, help="Inflict only this injury.")
@click.option("--log", "log_file", type=click.Path(dir_okay=False, path_type=Path), default=Path("faults.jsonl"))
def main(injuries: int, images: int, seed: int, only: tuple[str, ...], log_file: Path) -> None:
    """Injure jobs that run on real servers, and audit them."""
    random = Random(seed)
    wanted = deal(random, injuries, only)
    images_a_job = max(100, -(-images * _INJURIES_A_JOB // injuries))
    log = Log(log_file, seed)
    folder = Path(tempfile.mkdtemp(prefix="fiqa-faults-"))
    trials: list[Trial] = []
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        start_s3() as s3,
        start_system(folder, s3, seed) as system,
        Progress(*columns, console=console) as progress,
    ):
        task = progress.add_task("injuries", total=injuries)
        while wanted or sum(trial.audit.images for trial in trials) < images:
            storage, chosen = choose(random, wanted)
            trial = injure_a_job(
                system,
                chosen,
                storage=storage,
                images=images_a_job,
                random=random,
                log=log,
                brief=False,
                on_injury=lambda injury: progress.update(task, advance=1, description=injury.name),
            )
            trials.append(trial)
            left = list(chosen)
            for injury in trial.injuries:
                left.remove(injury)
            wanted += left
            if not trial.audit.is_clean:
                console.print(f"[red]seed {seed}[/]", [injury.name for injury in trial.injuries], trial.audit)
                if trial.audit.stuck:
                    sys.exit(f"a job is stuck, and left as it is: {folder}")
        takeovers = [(number.name, *measure_takeover(system, number)) for number in (signal.SIGKILL, signal.SIGTERM)]
    Console().print(table(trials))
    for name, seconds, found in takeovers:
        Console().print(f"after {name} of one of two workers its chunk ran again within {seconds:.1f} s")
        trials.append(Trial((), found))
    if not all(trial.audit.is_clean for trial in trials):
        console.print(f"the logs of Redis and the workers: {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


def deal(random: Random, injuries: int, only: tuple[str, ...]) -> list[Injury]:
    """Return this number of injuries in random order, with the same number of each kind."""
    kinds = [INJURIES[name] for name in only] or list(INJURIES.values())
    random.shuffle(kinds)
    dealt = [kinds[number % len(kinds)] for number in range(injuries)]
    random.shuffle(dealt)
    return dealt


def choose(random: Random, wanted: list[Injury]) -> tuple[str, list[Injury]]:
    """Take the first injury and the next few that fit the same storage out of `wanted`; return them and the storage."""
    storage = random.choice(sorted(wanted[0].storages) if wanted else ["redis", "s3", "folder"])
    chosen = [injury for injury in wanted if storage in injury.storages][:_INJURIES_A_JOB]
    for injury in chosen:
        wanted.remove(injury)
    return storage, chosen


def table(trials: list[Trial]) -> Table:
    """Make a table with one row for each kind of injury. What a job lost counts for each kind that it suffered."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for trial in trials:
        found = trial.audit
        for name in [injury.name for injury in trial.injuries]:
            counts[name]["times"] += 1
        for name in {injury.name for injury in trial.injuries} | {"all"}:
            counts[name] += Counter(
                jobs=1,
                images=found.images,
                lost=found.lost,
                doubled=found.doubled,
                miscounted=len(found.miscounted),
                stuck=len(found.stuck),
                wrong=found.wrong.total(),
                left=len(found.left),
            )
    counts["all"]["times"] = sum(len(trial.injuries) for trial in trials)
    grid = Table("injury", box=None, header_style="dim", pad_edge=False)
    columns = ("times", "jobs", "images", "lost", "doubled", "miscounted", "stuck", "wrong", "left")
    for column in columns:
        grid.add_column(column, justify="right")
    for name in [*(name for name in INJURIES if name in counts), "all"]:
        grid.add_row(name, *(f"{counts[name][column]:,}" for column in columns))
    return grid


if __name__ == "__main__":
    main()
