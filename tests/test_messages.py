"""What all messages of the code have in common: harmless on a terminal, and one thing is not plural."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
MODULES: Final = [*(ROOT / "producer").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]
THINGS: Final = re.compile(
    r" (bytes|chunks|columns|faces|failures|images|items|jobs|lines|photos|processes|results|shards|tickets|workers)\b"
)
LOGGED: Final = re.compile(rf"%d{THINGS.pattern}")


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            yield path, node


def test_every_line_on_standard_error_goes_through_the_function_that_makes_it_harmless() -> None:
    found = {
        path.name
        for path, node in nodes()
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "click.echo"
        if any(keyword.arg == "err" for keyword in node.keywords)
    }
    assert found == {"messages.py"}


def test_things_are_counted_by_the_function_that_knows_one_thing() -> None:
    found = []
    for path, node in nodes():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and LOGGED.search(node.value):
            found.append((path.name, node.value))
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, text in zip(node.values, node.values[1:], strict=False):
            if isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant):
                counted = ast.unparse(value.value)
                is_limit = counted.strip("_").isupper()  # a constant, and not 1
                if THINGS.match(str(text.value)) and not is_limit:
                    found.append((path.name, ast.unparse(node)))
    assert found == []
