"""README, CONTRIBUTING and docs/ are true: what they name and show is what the code has and does."""

from __future__ import annotations

import ast
import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest

import fiqa
from fiqa import Client, ErrorCode, Face, ImageResult, Job, JobState, Reason, Status
from fiqa.cli.main import fiqa as command_line
from fiqa.measures import OFIQ_MEASURES, OWN_MEASURES
from fiqa.results.advice import ADVICE
from fiqa.results.export import COLUMNS, Format, write
from fiqa.results.selection import Selection
from fiqa.settings import Settings
from fiqa_worker.pipeline import reasons
from fiqa_worker.settings import WorkerSettings
from tests.faults.injuries import INJURIES
from tests.faults.short import SHORT
from tests.integration.test_security import ACL
from tests.keys import KEYS

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
ALL_PAGES = "\n\n".join(PAGES.values())
README = PAGES["README.md"]
FAULTS = PAGES["docs/faults.md"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The folders that a file name in a page may begin in.
ROOMS = [ROOT, ROOT / "producer" / "fiqa", ROOT / "worker" / "fiqa_worker", ROOT / "producer", ROOT / "worker"]
# The words that have a special meaning in fiqa.
OWN_WORDS = [
    *("job", "item", "chunk", "shard", "manifest", "storage", "ledger", "ticket", "claim", "lease", "heartbeat", "due"),
    *("reconciler", "drain", "release", "requeued", "in flight", "isolated", "quarantined", "prefetch", "crop"),
    *("landmarks", "virtual time", "submission token", "fencing token"),
]
ONLY_FOR_TESTS = {"FIQA_TEST_REDIS", "FIQA_TEST_S3", "FIQA_TEST_MUTATIONS", "FIQA_TEST_CRDS", "FIQA_COMPLETE"}


def blocks(language: str, text: str = ALL_PAGES) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def inline(text: str = ALL_PAGES) -> list[str]:
    """The text between two backticks in the running text."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def commands() -> list[str]:
    """Every `fiqa ...` of the shell samples and of the running text, without its comment."""
    lines = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    found = re.findall(r"(?:^|[ /(])(fiqa [a-z][^)&|]*)", "\n".join(lines), flags=re.MULTILINE)
    found += [code for code in inline() if re.match(r"fiqa [a-z]", code)]
    return sorted({line.strip() for command in found for line in command.splitlines() if line.startswith("fiqa ")})


def table(page: str, header: str) -> list[list[str]]:
    """The rows of the table with this header."""
    rows = PAGES[page].partition(f"| {header} |\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def names(page: str, header: str) -> list[str]:
    """The names in the first column of a table."""
    return [name for row in table(page, header) for name in re.findall(r"`([^`]+)`", row[0])]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def public_methods(kind: type) -> set[str]:
    """The methods without an underscore, unless the docstring says that they are private."""
    return {
        name
        for name, method in inspect.getmembers(kind, callable)
        if not name.startswith("_") and "Private:" not in (method.__doc__ or "")
    }


# Commands and settings


@pytest.mark.parametrize("command", commands())
def test_a_command_and_its_options_exist(command: str) -> None:
    words = command.split()[1:]
    found: click.Command | None = command_line
    context = click.Context(command_line)
    while isinstance(found, click.Group) and words:
        found = found.get_command(context, words.pop(0))
        assert found is not None
    assert found is not None
    options = {name for parameter in found.params for name in parameter.opts}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= options


def test_every_command_is_documented() -> None:
    documented = {command.split()[1] for command in commands()}
    assert documented == set(command_line.list_commands(click.Context(command_line)))


def test_the_settings_are_complete_with_their_defaults() -> None:
    rows = table("docs/settings.md", "variable | default | meaning")
    documented = {row[0].strip("`").removeprefix("FIQA_").lower(): row[1].strip("`") for row in rows}
    assert list(documented) == list(WorkerSettings.model_fields)
    assert list(documented)[: len(Settings.model_fields)] == list(Settings.model_fields)
    for name, field in WorkerSettings.model_fields.items():
        default: Any = field.get_default(call_default_factory=True)
        if default is None:
            assert documented[name] == {"detect_threshold": "the detector's own"}.get(name, "none")
        elif name == "models_dir":
            assert str(default).endswith(documented[name].removeprefix("~"))
        else:
            assert documented[name] == (",".join(default) if isinstance(default, tuple) else str(default))


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    known = {f"FIQA_{name.upper()}" for name in WorkerSettings.model_fields} | ONLY_FOR_TESTS
    assert set(re.findall(r"FIQA_[A-Z0-9_]*[A-Z0-9]", ALL_PAGES)) <= known


def test_the_redis_user_has_the_rights_that_the_tests_use() -> None:
    (line,) = re.findall(r"^ACL SETUSER fiqa (.*)$", PAGES["docs/operate.md"], re.MULTILINE)
    assert [word for word in line.split() if not word.startswith(">")] == list(ACL)


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documented = {name.removeprefix("make ") for name in names("CONTRIBUTING.md", "command | what it does")}
    assert documented == targets


@pytest.mark.parametrize("package", ["producer/fiqa", "worker/fiqa_worker"])
def test_every_room_is_explained(package: str) -> None:
    explained = names("CONTRIBUTING.md", f"in `{package}/` | what belongs there")
    entries = [path for path in (ROOT / package).iterdir() if not path.name.startswith("_")]
    rooms = {f"{path.name}/" if path.is_dir() else path.name for path in entries if path.name != "py.typed"}
    assert {name for name in explained if name.endswith(("/", ".py"))} == rooms


# Results


def test_the_error_codes_and_their_advice_are_those_of_the_code() -> None:
    rows = table("docs/results.md", "`error.code` | what to do")
    assert {row[0].strip("`"): row[1].replace("`", "") for row in rows} == {
        str(code): ADVICE[code] for code in ErrorCode
    }


def test_the_sample_of_a_result_is_one() -> None:
    (sample,) = blocks("json")
    assert json.loads(ImageResult.decode(sample).encode()) == json.loads(sample)


def test_every_field_of_a_result_is_explained() -> None:
    explained = set(names("docs/results.md", "field | meaning"))
    assert explained == (set(ImageResult.model_fields) | set(Face.model_fields))


def test_the_columns_of_csv_and_parquet_are_complete() -> None:
    (sample,) = [block for block in blocks("text", PAGES["docs/results.md"]) if block.startswith("uri ")]
    assert sample.split() == list(COLUMNS)


def test_the_measures_and_the_reasons_are_complete() -> None:
    assert names("docs/measures.md", "measure | native value | scalar | compared with OFIQ") == [
        *OWN_MEASURES,
        *OFIQ_MEASURES,
    ]
    rows = table("docs/measures.md", "reason | if | share of LFW")
    assert [row[0].strip("`") for row in rows] == list(Reason)
    limits = {name: value for name, value in vars(reasons).items() if name.startswith(("MIN_", "MAX_"))}
    written = {float(number) for row in rows for number in re.findall(r"\d+(?:\.\d+)?", row[1])}
    assert limits
    assert set(map(float, limits.values())) <= written


def test_the_sql_samples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = blocks("json")
    lines = [json.dumps(json.loads(line)).encode()]
    for number, form in enumerate((Format.JSONL, Format.PARQUET)):
        with Path(f"{number}.jsonl" if form is Format.JSONL else "faces.parquet").open("wb") as file:
            write([lines], file, form, Selection())
    samples = blocks("sql")
    assert samples
    for sample in samples:
        duckdb.execute(re.sub(r"'s3://[^']*'", "'0.jsonl'", sample))
        assert duckdb.fetchall()[0][0] == "s3://images/a.jpg"


# Python


def test_the_python_samples_compile_and_import_public_names_only() -> None:
    samples = blocks("python")
    assert samples
    for sample in samples:
        for node in ast.walk(ast.parse(sample)):
            if isinstance(node, ast.ImportFrom):
                assert node.module == "fiqa"
                assert {alias.name for alias in node.names} <= set(fiqa.__all__)


def test_every_public_name_is_explained() -> None:
    assert names("docs/api.md", "name | what it is") == fiqa.__all__


@pytest.mark.parametrize("kind", [Client, Job])
def test_every_public_method_is_explained(kind: type) -> None:
    documented = names("docs/api.md", f"method of `{kind.__name__}` | what it does")
    assert {re.split(r"[.(]", name)[0] for name in documented} == public_methods(kind)


def test_the_extras_exist() -> None:
    extras = {extra for group in re.findall(r"\.?(?:fiqa)?\[([a-z,]+)\]['`]", ALL_PAGES) for extra in group.split(",")}
    assert extras
    assert extras <= set(PROJECT["optional-dependencies"])


# Links, files, words


@pytest.mark.parametrize("page", PAGES)
def test_links_into_the_project_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if "://" in link:
            continue
        file, _, fragment = link.partition("#")
        target = ((ROOT / page).parent / file).resolve() if file else ROOT / page
        assert target.is_file(), link
        if fragment:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert fragment in {anchor(heading) for heading in headings}, link


def test_every_page_is_linked_from_readme() -> None:
    links = set(re.findall(r"\]\(([^)#]+)", README))
    assert {page for page in PAGES if page != "README.md"} <= links


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_exist(page: str) -> None:
    files = {
        code
        for code in inline(PAGES[page])
        if re.fullmatch(r"[\w./-]+\.(py|lua|md|html|css|toml|yml|Dockerfile)", code)
    }
    assert {file for file in files if not any((room / file).is_file() for room in ROOMS)} == set()


def test_the_modules_that_it_runs_exist() -> None:
    modules = set(re.findall(r"python -m ((?:tests|fiqa|fiqa_worker)[a-z_.]*)", ALL_PAGES))
    assert modules
    paths = [room / module.replace(".", "/") for module in modules for room in ROOMS]
    found = {path for path in paths if path.with_suffix(".py").exists() or (path / "__main__.py").exists()}
    assert {path.name for path in found} == {module.rpartition(".")[2] for module in modules}


def test_the_proofs_of_faults_exist() -> None:
    proofs = [code for row in table("docs/faults.md", "fault | what happens | proof") for code in inline(row[2])]
    functions = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    known = functions | {"+".join(row) for row in SHORT} | set(INJURIES)
    assert proofs
    unknown = [proof for proof in proofs if proof not in known and not proof.startswith("python -m ")]
    assert [proof for proof in unknown if not (ROOT / proof).is_file()] == []


def test_every_fault_of_the_tests_is_explained() -> None:
    explained = {code for row in table("docs/faults.md", "fault | what happens | proof") for code in inline(row[2])}
    assert {"+".join(row) for row in SHORT} <= explained


def test_the_redis_keys_are_complete() -> None:
    documented = set(names("docs/architecture.md", "key | type | content"))
    assert set(vars(KEYS).values()) - {KEYS.job_prefix} <= documented


def test_the_diagram_has_every_state_of_a_job() -> None:
    (diagram,) = [block for block in blocks("mermaid") if block.startswith("stateDiagram")]
    assert set(re.findall(r"[a-z]+(?= --> )|(?<= --> )[a-z]+", diagram)) == set(JobState)


def test_the_glossary_is_in_order() -> None:
    words = [row[0] for row in table("docs/glossary.md", "word | meaning")]
    assert words == sorted(words)
    assert set(OWN_WORDS) <= set(words)


def test_readme_fits_on_a_few_screens_and_has_one_test_command() -> None:
    assert len(README.splitlines()) <= 150
    # .ci/run reads it.
    assert len(re.findall(r"^ *python3 -m venv .* -m pytest$", README, re.MULTILINE)) == 1


def test_statuses_are_explained() -> None:
    (meaning,) = [row[1] for row in table("docs/results.md", "field | meaning") if row[0] == "`status`"]
    assert set(re.findall(r"`(\w+)`", meaning)) == set(Status)
