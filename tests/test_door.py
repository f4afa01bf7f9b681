"""`import degrade_kit as dk`: every promised name, its one list, and functions that do what their commands do."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import degrade_kit as dk
from degrade_kit.pipelines.cli import main
from tests.by_path import load_module

ROOT = Path(__file__).resolve().parents[1]
STUB = (ROOT / "degrade_kit" / "__init__.pyi").read_text("utf-8")
HOMES = {name: module for module, name in re.findall(r"^from ([\w.]+) import (\w+) as \w+$", STUB, re.MULTILINE)}
"""The module of each promised name."""

COMMANDS: dict[str, tuple[Callable[..., object], list[str]]] = {
    "synth": (dk.synthesize, ["--hq", "a", "--shards", "b"]),
    "match": (dk.match, ["--real", "a", "--hq", "b", "--shards", "c"]),
    "verify": (dk.verify, ["a"]),
    "view": (dk.view, ["a", "--out", "b"]),
    "analyze-distribution": (dk.analyze, ["--synth", "s=a", "--real", "r=b", "--out", "c"]),
    "fit-recipe": (dk.fit_recipe, ["--real", "a", "--hq", "b", "--out", "c"]),
    "evaluate": (dk.evaluate, ["--restored", "a", "--out", "b"]),
}
"""Each command with the function behind it, and the least that it asks for."""
render_api_reference = load_module(ROOT / "docs" / "generate_api.py").render_api_reference
TERMINAL = {"max_failures"}
"""What is of a command alone: it decides the exit status."""


def loaded_by(names: list[str]) -> set[str]:
    """Top-level packages that a new interpreter loads for these names."""
    code = f"import sys, degrade_kit as dk\nfor name in {names}: getattr(dk, name)\n"
    report = "print(*{name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


# ----------------------------------------------------------------------------------------------------------- the list


@pytest.mark.parametrize("name", HOMES)
def test_a_promised_name_is_there(name: str) -> None:
    assert getattr(dk, name) is getattr(importlib.import_module(HOMES[name]), name)


def test_each_line_of_the_list_promises_one_name() -> None:
    code = [line for line in STUB.splitlines() if line and not line.startswith("#")]
    assert len(code) == len(HOMES), "two lines promise one name, or a line is no `from MODULE import NAME as NAME`"
    assert all(re.fullmatch(r"from degrade_kit(\.[\w.]+)? import (\w+) as \2", line) for line in code)


def test_run_time_and_editors_see_the_same_names() -> None:
    everything: dict[str, object] = {}
    exec("from degrade_kit import *", everything)

    assert vars(dk)["__getattr__"]("__all__") == list(HOMES)
    assert set(HOMES) <= set(dir(dk))
    assert set(everything) - {"__builtins__"} == set(HOMES)


def test_no_module_hides_a_promised_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules([str(ROOT / "degrade_kit")])}
    promised = {name for name, home in HOMES.items() if home == "degrade_kit"}
    assert modules & set(HOMES) == promised == {"transforms"}, (
        "`import degrade_kit.NAME` would put the module in the place of the name"
    )


def test_what_is_not_listed_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'synthesise'"):
        _ = dk.synthesise  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]


@pytest.mark.slow
def test_names_load_neither_torch_nor_ray_unless_they_are_torch() -> None:
    torch_names = {name for name, home in HOMES.items() if re.search(r"\.(streaming|flipnet|restore|wds_)", home)}

    assert {"PairDataset", "Degrader", "Restorer"} <= torch_names
    assert not loaded_by(sorted(set(HOMES) - torch_names)) & {"torch", "ray", "diffusers", "transformers"}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.delitem(vars(dk), "Restorer", raising=False)
    monkeypatch.setattr(importlib, "import_module", fail)

    with pytest.raises(ImportError, match=r"degrade_kit\.Restorer needs torch, .* `degrade-kit doctor`"):
        _ = dk.Restorer


def test_the_reference_is_whole_and_up_to_date() -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")

    assert [name for name in HOMES if f"\n### dk.{name}\n" not in page] == []
    assert page == render_api_reference(), "docs/api.md is stale: run python docs/generate_api.py"


def test_every_promised_name_says_what_it_is() -> None:
    for name in HOMES:
        value = getattr(dk, name)
        assert name == "PRESETS" or (value.__doc__ and not value.__doc__.startswith(f"{name}(")), (
            f"{name}: no docstring"
        )


# ------------------------------------------------------------------------------------------- commands and functions


# What the command line needs a word of its own for: the owner's name for the output, and an option that is repeated.
KEYWORDS = {"synth": {"shards": "out", "prompt": "prompts"}}


def parameters_of(command: str) -> dict[str, Any]:
    """The parameters of a command by keyword, with their values where none is given beyond what it needs."""
    found = main.commands[command]
    given = found.make_context(command, list(COMMANDS[command][1])).params
    return {KEYWORDS.get(command, {}).get(name, name): value for name, value in given.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_a_command_are_keywords_of_its_function(command: str) -> None:
    keywords = set(inspect.signature(COMMANDS[command][0]).parameters)

    assert set(parameters_of(command)) - TERMINAL == keywords - {"progress"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_and_its_function_have_the_same_defaults(command: str) -> None:
    given = parameters_of(command)
    for name, parameter in inspect.signature(COMMANDS[command][0]).parameters.items():
        if parameter.default is not inspect.Parameter.empty and name != "progress":
            value = given[name] or None if isinstance(given[name], (tuple, dict)) else given[name]
            assert value == parameter.default, (
                f"{name}: the command takes {value!r}, the function {parameter.default!r}"
            )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_calls_its_function_with_all_its_options(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, words = COMMANDS[command]
    name = function.__name__
    calls: list[set[str]] = []

    def record(*positional: object, **keywords: object) -> None:
        calls.append({*list(inspect.signature(function).parameters)[: len(positional)], *keywords})
        raise dk.RunError("seen")

    monkeypatch.setattr(f"{HOMES[name]}.{name}", record)
    result = CliRunner().invoke(main, [command, *words])

    assert "error: seen" in result.output
    assert calls == [set(inspect.signature(function).parameters) - ({"progress"} if command == "verify" else set())]


def without_time(text: str) -> str:
    return re.sub(r"\d+ s\b", "T", text)


@pytest.mark.slow
def test_a_report_reads_as_its_command(faces_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--variants", "2", "--size", "64", "--workers", "0"]
    (tmp_path / "by_command").mkdir()
    (tmp_path / "by_function").mkdir()
    monkeypatch.chdir(tmp_path / "by_command")
    printed = CliRunner().invoke(
        main, ["synth", "--hq", str(faces_dir), "--shards", "out", "--preset", "gfpgan", *words]
    )
    verified = CliRunner().invoke(main, ["verify", "out", "--workers", "0"])
    monkeypatch.chdir(tmp_path / "by_function")
    report = dk.synthesize(faces_dir, "out", preset=dk.preset("gfpgan"), variants=2, size=64, workers=0)
    checked = dk.verify(Path("out"), workers=0)

    said = [line for line in printed.stdout.splitlines() if not line.startswith("next:")]
    assert [without_time(line) for line in said] == [
        without_time(line.text) for line in report.lines() if not line.warning
    ]
    assert without_time(str(report)) == "\n".join(without_time(line.text) for line in report.lines())
    assert verified.stdout.splitlines()[0] == str(checked)
    assert report.complete


def test_a_dry_run_writes_nothing_and_tells_the_plan(faces_dir: Path, tmp_path: Path) -> None:
    report = dk.synthesize(faces_dir, tmp_path / "out", preset="gfpgan", size=64, workers=0, dry_run=True)

    assert not (tmp_path / "out").exists()
    assert not report.complete
    assert report.num_sources == sum(path.is_file() for path in faces_dir.rglob("*"))
    assert report.bytes > 0
    assert str(report).endswith("dry run: nothing was written")


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"preset": "gfpgen"}, "did you mean `gfpgan`"),
        ({"mode": "flipnett"}, "mode: expected one of onthefly, flipnet, mix"),
        ({"mix": 1.5}, "mix: expected a number within"),
        ({"variants": 0}, "variants: expected a whole number"),
        ({"seed": -1}, "seed: expected a whole number"),
        ({"size": 5}, "size: expected 0 or"),
        ({"hq_filter": "nearest"}, "hq_filter: expected one of lanczos"),
        ({"square": "left"}, "crop: expected one of center, error"),
        ({"hq_format": "bmp"}, "hq_format: expected one of auto, png"),
        ({"lq_size": "half"}, "lq_size: expected one of native, full"),
        ({"min_side": 0}, "min_side: expected a whole number"),
        ({"alpha": "red"}, "alpha: expected one of black"),
        ({"samples_per_shard": -1}, "samples_per_shard: expected 0"),
        ({"shard_range": (3, 2)}, "shard range 3:2: expected"),
        ({"workers": -1}, "workers: expected 0 or more"),
        ({"gpus_per_worker": -1.0}, "gpus_per_worker: expected 0 or more"),
        ({"batch_size": 0}, "batch_size: expected a whole number"),
        ({"dtype": "float8"}, "dtype: expected one of float32"),
        ({"prompts": {"haze": 0}}, "prompts: expected a positive weight for 'haze'"),
    ],
)
def test_synthesize_checks_what_its_command_checks(
    keywords: dict[str, Any], message: str, faces_dir: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"workers": 0, **keywords}
    with pytest.raises(dk.ConfigError, match=message):
        dk.synthesize(faces_dir, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_progress_of_synthesize_counts_up_to_all(faces_dir: Path, tmp_path: Path) -> None:
    seen: list[dk.Progress] = []
    report = dk.synthesize(
        faces_dir, tmp_path, preset="gfpgan", size=64, samples_per_shard=1, workers=0, progress=seen.append
    )

    assert len(seen) == report.num_shards
    assert [found.noun for found in seen] == ["image"] * len(seen)
    assert seen[-1].done == seen[-1].total == report.num_sources


def test_a_set_is_not_named_twice_on_the_command_line() -> None:
    words = ["analyze-distribution", "--synth", "a=x", "--synth", "a=y", "--real", "b=z", "--out", "o"]
    result = CliRunner().invoke(main, words)

    assert result.exit_code == click.UsageError.exit_code
    assert "the name 'a' is given twice" in result.output
