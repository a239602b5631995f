"""The README says what the code and the result files say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import zoo
from benchmarks.report import render
from loaders.sampling import uniform
from tests.support.commands import ROOT
from zoo.settings import read_settings

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_real_clips_is_the_result_files() -> None:
    files = sorted((ROOT / "benchmarks" / "results" / "fights").glob("*-onnx.json"))
    assert files
    for file in files:
        backend, seed, _ = file.stem.split("-")
        onnx, keras = (json.loads(file.with_stem(f"{backend}-{seed}-{kind}").read_text()) for kind in ("onnx", "keras"))
        low, high = onnx["interval"]
        row = (
            f"| {backend} | {seed} | {onnx['top1']:.1%} | {low:.1%} to {high:.1%} | {onnx['mean_class_accuracy']:.1%} |"
        )
        assert row in README
        assert onnx["confusion"] == keras["confusion"]
    mean = sum(json.loads(file.read_text())["top1"] for file in files) / len(files)
    assert f"{mean:.1%}. What they show" in README.replace("\n", " ")


def test_the_contract_s_formula_is_the_code_s() -> None:
    assert "floor((2*i*(n-1) + (T-1)) / (2*(T-1)))" in README
    for n, t in ((30, 5), (1, 4), (7, 3), (141, 25)):
        assert uniform(n, t) == [(2 * i * (n - 1) + (t - 1)) // (2 * (t - 1)) for i in range(t)]
    example = re.search(r"n = 30, T = 5: ([\d, ]+)\.", README)
    assert example is not None
    assert [int(number) for number in example[1].split(",")] == uniform(30, 5)


def test_the_recipe_file_of_the_readme_is_one(tmp_path: Path) -> None:
    block = README[README.index("# mine.toml") :].partition("```")[0]
    (tmp_path / "mine.toml").write_text(block)
    settings = read_settings(str(tmp_path / "mine.toml"), [])
    recipe = zoo.Recipe.from_dict(settings.recipe)
    assert recipe.epochs == 40 and recipe.augmentation == "noflip"
    assert isinstance(recipe.optimizer, dict) and recipe.optimizer["class_name"] == "AdamW"
    options = dict(settings.model)
    (spec,) = zoo.registry.input_specs(options.pop("name"), spec=settings.spec, **options).values()
    assert (spec.frames, spec.sampling) == (8, "segments")


def test_every_file_that_the_readme_names_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_the_tables_of_measurements_are_the_result_files() -> None:
    assert render(README) == README
