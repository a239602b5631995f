"""The pages say what the code and the result files say."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

import zoo
from benchmarks.harness.records import newest
from benchmarks.report import PAGES, TABLES, read_pages, render
from clipzoo import app
from loaders import ClipzooError
from loaders.sampling import uniform
from tests.support.commands import ROOT
from zoo.settings import read_settings

TEXTS = read_pages()
CONTRACT = TEXTS["export/README.md"]


def test_the_front_page_is_short() -> None:
    text = TEXTS["README.md"]
    assert len(text.splitlines()) <= 180
    assert len(text.encode()) <= 10_000


def test_every_page_is_reached_from_the_front_page() -> None:
    reached, left = set(), ["README.md"]
    while left:
        page = left.pop()
        if page in TEXTS and page not in reached:
            reached.add(page)
            left += [str((ROOT / page).parent.joinpath(file).resolve().relative_to(ROOT)) for file, _ in links(page)]
    assert reached == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for file, heading in links(page):
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.is_file(), file
        if heading:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {anchor(each) for each in headings}, (file, heading)


def test_the_tables_are_the_cards_and_the_result_files() -> None:
    assert render(TEXTS) == TEXTS


def test_a_mark_has_a_table() -> None:
    marks = {name for text in TEXTS.values() for name in re.findall(r"<!-- (\w+) -->", text)} - {"end"}
    assert marks == {name for name, make in TABLES.items() if make()}


def test_a_table_without_a_place_is_an_error() -> None:
    pages = {name: text.replace("<!-- loading -->", "") for name, text in TEXTS.items()}
    with pytest.raises(ClipzooError, match="no page has a place for the table 'loading'"):
        render(pages)


def test_the_onnx_files_of_real_clips_answer_as_keras_did() -> None:
    rows = [row for results in newest("real") for row in results.rows if "keras_confusion" in row.facts]
    assert len(rows) == 6
    assert all(row.facts["confusion"] == row.facts["keras_confusion"] for row in rows)


def test_no_module_of_the_benchmarks_imports_from_a_later_line() -> None:
    block = re.search(r"```\n(statistics .*?)```", TEXTS["CONTRIBUTING.md"], re.DOTALL)
    assert block is not None
    harness, scripts = block[1].split("- harness/ ends here\n")
    lines = [
        [f"{room}.{name}" for name in re.split(r"  +", line)[0].split()]
        for room, text in (("benchmarks.harness", harness), ("benchmarks", scripts))
        for line in text.splitlines()
    ]
    place = {name: number for number, names in enumerate(lines) for name in names}
    folder = ROOT / "benchmarks"
    files = [path for path in (*folder.glob("*.py"), *folder.glob("harness/*.py")) if path.stem != "__init__"]
    found = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}
    assert set(place) == set(found)
    for name, path in found.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("benchmarks"):
                asked = {f"{node.module}.{each.name}" for each in node.names} & set(place) or {str(node.module)}
                assert all(place[each] < place[name] for each in asked), (name, asked)


def test_the_contract_s_formula_is_the_code_s() -> None:
    assert "floor((2*i*(s-1) + (T-1)) / (2*(T-1)))" in CONTRACT
    for n, t in ((30, 5), (1, 4), (7, 3), (141, 25)):
        assert uniform(n, t) == [(2 * i * (n - 1) + (t - 1)) // (2 * (t - 1)) for i in range(t)]
    example = re.search(r"n = 30, T = 5: ([\d, ]+)\.", CONTRACT)
    assert example is not None
    assert [int(number) for number in example[1].split(",")] == uniform(30, 5)


def test_the_recipe_file_is_one(tmp_path: Path) -> None:
    text = TEXTS["zoo/README.md"]
    (tmp_path / "mine.toml").write_text(text[text.index("# mine.toml") :].partition("```")[0])
    settings = read_settings(str(tmp_path / "mine.toml"), [])
    recipe = zoo.Recipe.from_dict(settings.recipe)
    assert recipe.epochs == 40 and recipe.augmentation == "noflip"
    assert isinstance(recipe.optimizer, dict) and recipe.optimizer["class_name"] == "AdamW"
    options = dict(settings.model)
    (spec,) = zoo.registry.input_specs(options.pop("name"), spec=settings.spec, **options).values()
    assert (spec.frames, spec.sampling) == (8, "segments")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_is_there(page: str) -> None:
    group = typer.main.get_command(app)
    for words in commands(page):
        if words[0] == "python" and words[1] == "-m":
            assert find_spec(words[2]), words
        if words[0] != "clipzoo" or words[1].isupper() or words[1].startswith("-"):
            continue
        command = group.get_command(None, words[1])  # type: ignore[attr-defined]
        assert command is not None, words
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words[2:] if word.startswith("--")} <= known | {"--help"}, words


@pytest.mark.parametrize("page", PAGES)
def test_every_name_of_the_python_examples_is_there(page: str) -> None:
    for block in re.findall(r"```python\n(.*?)```", TEXTS[page], re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                package = node.value.id
                if package in ("loaders", "zoo", "export") and node.attr != "weights":
                    assert node.attr in import_module(package).__all__, (page, node.attr)


def links(page: str) -> list[tuple[str, str]]:
    """(file, heading) of every relative link and picture."""
    found = re.findall(r"\]\(([^)]+)\)", TEXTS[page])
    return [(file, heading) for file, _, heading in (each.partition("#") for each in found if "://" not in each)]


def anchor(heading: str) -> str:
    """A heading as links name it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def commands(page: str) -> Iterator[list[str]]:
    """The words of each command, of blocks and of the text."""
    text = TEXTS[page]
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines += [" ".join(words.split()) for words in re.findall(r"`((?:clipzoo|python -m) [^`]+)`", outside)]
    for line in lines:
        if re.match(r"\s*(?:KERAS_BACKEND=\w+ )?(?:clipzoo|python -m) ", line):
            yield shlex.split(re.sub(r"^\s*KERAS_BACKEND=\w+ ", "", line), comments=True)
