"""The figures as tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from tests.bench.figures import COMPETITORS, RATIOS, SYSTEM_2, Figures, SetFigures, Spread

_CORES_SHOWN = 8  # the JSON has all
_SHOWN = {
    "reference": "reference: the zoo demo's loop",
    "limit": "limit: bare loop",
    "pipeline": "pipeline, in process",
    "system": "whole system, 1 process",
    "system_2": "whole system, 2 processes",
    "naive": "naive worker: one task an image",
}


def show(figures: Figures, console: Console) -> None:
    """Print all figures."""
    for name, value in figures.machine.items():
        console.print(f"{name}: {value}", highlight=False)
    if figures.sets:
        for table in (
            _rates(figures),
            _ratios(figures),
            _processor_ratios(figures),
            _stages(figures),
            _machine(figures),
        ):
            console.print(table)
    effects = [one for one in figures.sets if one.decode]
    if effects:
        console.print(_decode(effects))
    lines = []
    if figures.starts:
        lines.append(
            f"start of a worker to its first result   {_spread(Spread.of([one.worker_s for one in figures.starts]))} s"
        )
        lines.append(
            f"start of fiqa run to its first result   {_spread(Spread.of([one.run_s for one in figures.starts]))} s"
        )
    if figures.memory.at_rest is not None:
        lines.append(f"memory of a worker's child at rest      {figures.memory.at_rest:.0f} MB")
    if figures.memory.peak is not None:
        lines.append(f"its peak over 36mp                      {figures.memory.peak:.0f} MB")
    console.print("\n".join(lines), highlight=False)


def _rates(figures: Figures) -> Table:
    table = _table(f"images a second, median (min to max) of {figures.rounds} rounds", "set", "competitor")
    for column in ("images/s", "ms an image", "on a processor", "faces"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in figures.sets:
        for competitor in COMPETITORS:
            first = competitor == COMPETITORS[0]
            rate = one.rate(competitor)
            table.add_row(
                f"{one.name}: {one.about}" if first else "",
                _SHOWN[competitor],
                _spread(rate),
                f"{1000 / rate.median:.2f}",
                f"{one.processor_ms(competitor):.2f}",
                f"{one.faces_per_image(competitor):.2f}",
                end_section=competitor == COMPETITORS[-1],
            )
    return table


def _ratios(figures: Figures) -> Table:
    table = _table("ratios in one round, median (min to max)", "set")
    for name in RATIOS:
        table.add_column(name, justify="right", no_wrap=True)
    for one in figures.sets:
        table.add_row(one.name, *(_spread(one.ratio(name)) for name in RATIOS))
    return table


def _processor_ratios(figures: Figures) -> Table:
    table = _table("the same ratios by processor time, which other programs on the machine hardly change", "set")
    for name in RATIOS:
        table.add_column(name, justify="right", no_wrap=True)
    for one in figures.sets:
        ratios = (one.processor_ratio(name) for name in RATIOS)
        table.add_row(one.name, *(_spread(ratio) if ratio else "-" for ratio in ratios))
    return table


def _stages(figures: Figures) -> Table:
    table = _table("stages of a worker with 1 process: processor ms an image, and share", "set")
    for name in figures.sets[0].stages():
        table.add_column(name, justify="right", no_wrap=True)
    for one in figures.sets:
        stages = one.stages()
        whole = sum(stages.values())
        table.add_row(one.name, *(f"{ms:.2f} {ms / whole:4.0%}" for ms in stages.values()))
    return table


def _machine(figures: Figures) -> Table:
    table = _table("the machine during the jobs: idle cores, and processor time an image", "set", "processes")
    cores = list(figures.sets[0].idle(SYSTEM_2))[:_CORES_SHOWN]
    for core in cores:
        table.add_column(f"core {core} idle", justify="right", no_wrap=True)
    for column in ("worker", "Redis, S3 and others"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in figures.sets:
        for processes, competitor in enumerate(one.systems, start=1):
            idle = one.idle(competitor)
            table.add_row(
                one.name if processes == 1 else "",
                str(processes),
                *(f"{idle[core]:.0%}" for core in cores),
                f"{one.processor_ms(competitor):.2f} ms",
                f"{one.others_ms(competitor):.2f} ms",
            )
    return table


def _decode(sets: list[SetFigures]) -> Table:
    table = _table("FIQA_DECODE=fast against full: difference of the scores", "set")
    for column in ("faces", "mean", "p99", "found by one only", "times as fast"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in sets:
        if one.decode:
            effect = one.decode
            table.add_row(
                one.name,
                str(effect.faces),
                f"{effect.mean:.4f}",
                f"{effect.p99:.4f}",
                str(effect.only_one),
                f"{effect.speedup:.2f}",
            )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _spread(spread: Spread) -> str:
    if spread.min == spread.max:
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.min)} to {_number(spread.max)})"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
