"""What README says is so: its commands, options, settings, codes, links and samples are those of the code."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from fiqa import ErrorCode, ImageResult
from fiqa.cli.main import fiqa
from fiqa.settings import Settings
from fiqa_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every `fiqa ...` of the shell samples and of the running text, without its comment."""
    lines = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    found = re.findall(r"(?:^|[ /(])(fiqa [a-z][^)&|]*)", "\n".join(lines), flags=re.MULTILINE)
    found += re.findall(r"`(fiqa [a-z][^`]*)`", README)
    return sorted({line.strip() for command in found for line in command.splitlines() if line.startswith("fiqa ")})


def table(header: str) -> list[list[str]]:
    """The rows of the table whose header begins so, cells without their backticks."""
    rows = README.partition(f"| {header} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


@pytest.mark.parametrize("command", commands())
def test_a_command_and_its_options_exist(command: str) -> None:
    words = command.split()[1:]
    found: click.Command | None = fiqa
    context = click.Context(fiqa)
    while isinstance(found, click.Group) and words:
        found = found.get_command(context, words.pop(0))
        assert found is not None
    assert found is not None
    options = {name for parameter in found.params for name in parameter.opts}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= options


def test_there_are_commands_to_check() -> None:
    assert {"fiqa demo", "fiqa worker"} <= set(commands())


def test_the_settings_are_those_there_are_with_their_defaults() -> None:
    told = {row[0].removeprefix("FIQA_").lower(): row[1] for row in table("variable | default | meaning")}
    assert list(told) == list(WorkerSettings.model_fields)
    assert list(told)[: len(Settings.model_fields)] == list(Settings.model_fields)
    for name, field in WorkerSettings.model_fields.items():
        default: Any = field.get_default(call_default_factory=True)
        if default is None:
            assert told[name] == {"detect_threshold": "the detector's own"}.get(name, "none")
        elif name == "models_dir":
            assert str(default).endswith(told[name].removeprefix("~"))
        else:
            assert told[name] == (",".join(default) if isinstance(default, tuple) else str(default))


def test_the_error_codes_are_those_there_are() -> None:
    assert [row[0] for row in table("`error.code` | what to do")] == list(ErrorCode)


def test_the_sample_of_a_result_is_one() -> None:
    (sample,) = blocks("json")
    assert json.loads(ImageResult.decode(sample).encode()) == json.loads(sample)


def test_the_python_samples_compile() -> None:
    assert blocks("python")
    for sample in blocks("python"):
        compile(sample, "README.md", "exec")


def test_the_extras_exist() -> None:
    extras = {extra for group in re.findall(r"\.?(?:fiqa)?\[([a-z,]+)\]'", README) for extra in group.split(",")}
    assert extras
    assert extras <= set(PROJECT["optional-dependencies"])


def test_links_into_the_project_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_modules_that_it_runs_exist() -> None:
    modules = re.findall(r"python -m (tests\.[a-z_.]+)", README)
    assert modules
    paths = [ROOT / module.replace(".", "/") for module in modules]
    assert [p for p in paths if not (p.with_suffix(".py").exists() or (p / "__main__.py").exists())] == []
