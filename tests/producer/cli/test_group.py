"""The group of all commands: their help, their completion, and what importing them costs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

import click
import pytest

from fiqa.cli.main import COMMANDS, fiqa
from tests.fiqa_process import run_fiqa


def complete(*words: str) -> list[str]:
    """Return what the shell completes for the last word."""
    environment = {
        "_FIQA_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["fiqa", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = run_fiqa(environment=os.environ | environment)
    assert done.returncode == 0
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def command(name: str) -> click.Command:
    found = fiqa.get_command(click.Context(fiqa), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_of_commands_has_the_place_name_and_first_sentence_of_each(name: str) -> None:
    found = command(name)
    assert found.name == name
    assert f"{found.get_short_help_str(limit=1000).removesuffix('.')}." == COMMANDS[name][1].split(". ")[0]


def test_no_command_imports_another_one() -> None:
    places = sorted({place.partition(":")[0] for place, _ in COMMANDS.values()})
    # One process imports what the commands share, and none of them. Each is then imported in a fork of it.
    code = f"""
import importlib, os, sys
import fiqa.client, fiqa.cli.main, fiqa.cli.output, fiqa.cli.progress, fiqa_worker.settings
for place in {places}:
    if not os.fork():
        importlib.import_module(place)
        print(place, *(set({places}) & sys.modules.keys()), flush=True)
        os._exit(0)
    os.wait()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{place} {place}" for place in places]


@pytest.mark.parametrize("name", ["report", "results", "run", "score", "submit", "worker"])
def test_the_long_help_has_examples_whose_options_exist(name: str) -> None:
    found = command(name)
    assert found.help is not None
    examples = found.help.partition("Examples:\n")[2].strip().splitlines()
    assert examples
    for example in examples:
        words = example.partition(f"fiqa {name} ")[2].partition(" | ")[0].split()
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-") and word != "-"} <= options


def test_the_shell_completes_commands_and_their_options() -> None:
    assert complete("") == list(COMMANDS)
    assert complete("re") == ["recover", "repair", "report", "results", "resume", "retry"]
    assert complete("submit", "--pri") == ["--priority"]
    assert complete("models", "") == ["list", "prepare", "pull", "quantize", "verify"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_printed(shell: str) -> None:
    done = run_fiqa(environment=os.environ | {"_FIQA_COMPLETE": f"{shell}_source"})
    assert f"_FIQA_COMPLETE={shell}_complete" in done.stdout


def test_a_mistyped_command_is_answered_with_the_right_one() -> None:
    done = run_fiqa("statu", environment=os.environ)
    assert done.returncode == 2
    assert "Did you mean 'status'?" in done.stderr


def test_help_imports_no_command() -> None:
    code = "import sys; from fiqa.cli.main import fiqa; fiqa(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert import_module("fiqa.cli.main").__name__ in modules
    assert not {"rich", *(place.partition(":")[0] for place, _ in COMMANDS.values())} & modules
