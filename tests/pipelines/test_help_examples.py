"""Every example in every `--help` runs as it is printed, on tiny inputs under the names that it uses, for two steps."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from degrade_kit.files import sha256
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.cli import main
from tests.degrade_kit.foreign.test_reader import FACE, HCL
from tests.pipelines.models.runs import write_config

SIZE = 64
FLIPNET = Path(__file__).resolve().parents[2] / "degrade_kit/flipnet/small"

PARSED_ONLY = {
    "--download": "fetches weights from the network",
    "degrade-kit demo": "test_cli.py runs it, and looks at what it makes",
    "make-testset ffhq-press-photo@1 --hq": "takes 1,000 faces; test_named_sets.py makes sets of fewer",
    "degrade-kit match": "takes minutes; test_match.py runs it on small images",
    "--pairs dense-haze=Dense_Haze_NTIRE19 --pairs lol=LOLdataset --pairs sidd=": "stands on Stable Diffusion, 5 GB",
    "pairs from-photos": "restores for minutes; test_photo_pairs.py runs it with a network of its own",
    "--config photos": "takes half a minute for two steps; test_train_degrade.py trains one further in seconds",
}
"""Parts of examples that cannot run here, and why; such an example is parsed, with its values checked."""
SLOW = {
    "degrade",
    "demo",
    "distill",
    "fit-recipe",
    "restore",
    "synth --mode mix",
    "train-degrade",
    "train-restore",
    "--flipnet",
    "--mode flipnet",
}
"""Beginnings, or options, of examples that take more than a second."""
LONG = ("analyze-distribution", "distill", "fit-recipe", "train-degrade --config small", "train-restore")
"""Beginnings of those that take most of a minute."""
SMALLER: Mapping[str, Mapping[str, str]] = {
    "": {
        "--workers": "0",
        "--size": str(SIZE),
        "--steps": "2",
        "--solver-steps": "2",
        "--count": "2",
        "--device": "cpu",
    },
    "analyze-distribution": {"--allow-resize": "", "--max-images": "40"},
    "bench-read": {"--workers": "1", "--data-workers": "1", "--samples": "8"},
    "fit-recipe": {
        "--allow-resize": "",
        **dict.fromkeys(("--num-faces", "--candidates", "--images-per-candidate", "--records"), "4"),
        "--rounds": "1",
    },
    "restore": {"--size": "32", "--solver-steps": "1"},
    "train-restore": {"--batch-size": "2"},
    "train-degrade": {"--batch-size": "2"},
    "distill": {"--batch-size": "2", "--teacher-steps": "2", "--images": "20"},
}
"""Options that are put behind those of an example, by command; those that a command does not have are left out."""
REPLACED = {"distill": ("--size",)}
"""Options of examples whose values are too large for a test, by command."""
STATUS = {"--fail-above": {0, 1}, "fit-recipe": {0, 1}, "distill": {0, 3}}
"""Exit statuses that are as good as 0, by word: who asks whether something is near enough may be answered with no."""


@dataclass(frozen=True)
class Example:
    """One example of a command's help."""

    command: str
    """Such as `synth`."""
    line: str
    """Joined to one line."""

    @property
    def words(self) -> list[str]:
        """The words behind `degrade-kit`."""
        words = shlex.split(self.line.partition(">")[0])
        return words[words.index("degrade-kit") + 1 :]

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that are set before the command."""
        before = shlex.split(self.line)[: shlex.split(self.line).index("degrade-kit")]
        return dict(word.split("=", 1) for word in before)


def commands(group: click.Group, parents: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*parents, name))
        else:
            yield " ".join((*parents, name)), command


COMMANDS = dict(commands(main))


def examples(name: str, help_text: str) -> list[Example]:
    """The examples of a help text: what stands below a line "Example:" or "Examples:", up to an empty one."""
    block = re.search(r"\x08\n\s*Examples?:\n((?:.*\S.*\n?)*)", help_text)
    lines = block[1].replace("\\\n", " ").splitlines() if block else []
    return [Example(name, " ".join(line.split())) for line in lines if line.strip()]


EXAMPLES = [example for name, command in COMMANDS.items() for example in examples(name, command.help or "")]


def reason_not_to_run(example: Example) -> str | None:
    return next((reason for part, reason in PARSED_ONLY.items() if part in example.line), None)


def command_of(example: Example) -> click.Command:
    """The command that an example calls, which need not be the one whose help shows it."""
    return COMMANDS[name_of(example.words)]


def name_of(words: list[str]) -> str:
    """The command that words call: of `pairs` and `pairs from-photos` the longer one."""
    line = " ".join(words)
    return max((name for name in COMMANDS if f"{line} ".startswith(f"{name} ")), key=len)


def marked(chosen: Callable[[Example], bool]) -> list[object]:
    """Examples as parameters of a test, with the marks that they need."""
    parameters: list[object] = []
    for example in filter(chosen, EXAMPLES):
        line = " ".join(example.words)
        slow = any(line.startswith(each) or (each in line and each.startswith("-")) for each in SLOW)
        marks = [pytest.mark.slow] if slow else []
        marks += [pytest.mark.long] if line.startswith(LONG) else []
        parameters.append(pytest.param(example, id=line, marks=marks))
    return parameters


# ------------------------------------------------------------------------------------------ what the examples are given


def write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(pixels))


@dataclass(frozen=True)
class Things:
    """Makes what an example names; each folder is made once and copied."""

    root: Path
    portrait: Pixels
    """512 x 512, with a face."""

    def make(self, kind: str, path: Path) -> None:
        """Put a thing of a kind at a path."""
        made = self.root / kind
        if not made.exists():
            getattr(self, f"_{kind}")(made)
        if made.is_dir():
            shutil.copytree(made, path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, path)

    def _crops(self, side: int, count: int) -> Iterator[Pixels]:
        for number in range(count):
            yield np.ascontiguousarray(self.portrait[number : number + side, 100 + number : 100 + number + side])

    def _foreign_yml(self, out: Path) -> None:
        out.write_text(FACE, "utf-8")

    def _foreign_hcl(self, out: Path) -> None:
        out.write_text(HCL, "utf-8")

    def _faces(self, out: Path) -> None:
        for number, crop in enumerate(self._crops(SIZE, 43)):
            write(out / f"{number:05}.png", crop)

    def _given_hq(self, out: Path) -> None:
        for number, crop in enumerate(self._crops(SIZE, 3)):
            write(out / f"{number:05}.png", crop)

    def _given_lq(self, out: Path) -> None:
        for number, crop in enumerate(self._crops(SIZE, 3)):
            write(out / f"{number:05}.png", np.ascontiguousarray(crop[::2, ::2]))

    def _large_faces(self, out: Path) -> None:
        for number, crop in enumerate(self._crops(256, 8)):
            write(out / f"{number:05}.png", crop)

    def _photographs(self, out: Path) -> None:
        for number in range(8):
            write(out / f"{number}.png", np.roll(self.portrait, number, axis=1))

    def _photograph(self, out: Path) -> None:
        write(out, self.portrait)

    def _results(self, out: Path) -> None:
        for number, crop in enumerate(self._crops(SIZE, 4)):
            write(out / f"{number}.png", np.maximum(crop, 8))

    def _results_with_suffix(self, out: Path) -> None:
        for number, crop in enumerate(self._crops(SIZE, 4)):
            write(out / f"{number}_00.png", np.maximum(crop, 8))

    def _shards(self, out: Path) -> None:
        self.make("faces", self.root / "faces_of_shards")
        run(["synth", "--hq", self.root / "faces_of_shards", "--shards", out, "--variants", "2", "--size", SIZE])

    def _published(self, out: Path) -> None:
        self.make("shards", self.root / "shards_to_publish")
        run(["export", self.root / "shards_to_publish", "--to", "lq-only", "--out", out])

    def _evaluation(self, out: Path) -> None:
        self._evaluate("results", out)

    def _evaluation_of_other_faces(self, out: Path) -> None:
        self._evaluate("faces", out)

    def _evaluate(self, kind: str, out: Path) -> None:
        images = self.root / f"{kind}_to_evaluate"
        self.make(kind, images)
        run(["evaluate", "--restored", images, "--reference", images, "--out", out])

    def _captions(self, out: Path) -> None:
        faces = self.root / "faces_with_captions"
        self.make("faces", faces)
        lines = [
            json.dumps({"sha256": sha256(path.read_bytes()), "model": "tiny", "caption": "a face"})
            for path in sorted(faces.iterdir())
        ]
        out.write_text("\n".join(lines) + "\n", "utf-8")

    def _recipe(self, out: Path) -> None:
        out.write_text(run(["presets", "gfpgan"]), "utf-8")

    def _flipnet(self, out: Path) -> None:
        shutil.copytree(FLIPNET, out)

    def _restorer(self, out: Path) -> None:
        self.make("shards", self.root / "shards_to_train_on")
        config = write_config(self.root / "restorer.yaml")
        run(["train-restore", "--shards", self.root / "shards_to_train_on", "--config", config, "--crop", "--out", out])

    def _pairs(self, out: Path) -> None:
        for number, crop in enumerate(self._crops(256, 8)):
            write(out / f"hq/{number}.png", crop)
            write(out / f"lq/{number}.png", noisy(crop, number))

    def _dense_haze(self, out: Path) -> None:
        for number, crop in enumerate(self._crops(128, 4), 1):
            write(out / f"GT/{number:02}_GT.png", crop)
            write(out / f"hazy/{number:02}_hazy.png", (crop * 0.5 + 110).astype(np.uint8))

    def _lol(self, out: Path) -> None:
        for number, crop in enumerate(self._crops(128, 4), 1):
            write(out / f"our485/high/{number}.png", crop)
            write(out / f"our485/low/{number}.png", (crop * 0.25).astype(np.uint8))


def noisy(crop: Pixels, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, 10, crop.shape)
    return (crop + noise).clip(0, 255).astype(np.uint8)


KINDS = {
    "Dense_Haze_NTIRE19": "dense_haze",
    "LOLdataset": "lol",
    "captions.jsonl": "captions",
    "celeba_hq": "faces",
    "celeba_test/hq": "results",
    "celeba_test/lq": "results",
    "default.hcl": "foreign_hcl",
    "eval/": "evaluation",
    "eval/o_wider": "evaluation_of_other_faces",
    "eval/of_wider": "evaluation_of_other_faces",
    "face.png": "photograph",
    "faces": "faces",
    "ffhq": "faces",
    "ffhq/images1024x1024": "faces",
    "ffhq512": "faces",
    "lfw": "photographs",
    "lfw_test": "photographs",
    "mine.yaml": "recipe",
    "my_photos": "faces",
    "out": "shards",
    "out/": "shards",
    "pairs/hq": "given_hq",
    "pairs/lq": "given_lq",
    "pairs/noise": "pairs",
    "photo_pairs/press": "pairs",
    "photos": "photographs",
    "published": "published",
    "results/": "results",
    "results/restoreformer": "results_with_suffix",
    "runs/degrade/model": "flipnet",
    "runs/restore": "restorer",
    "shards": "shards",
    "train_gfpgan_v1.yml": "foreign_yml",
    "wider_test": "photographs",
}
"""What stands behind the names that examples use; a name that ends in / is the beginning of one."""


def inputs(example: Example) -> list[str]:
    """The names in an example that must be there before it runs."""
    named: list[str] = []
    words = example.words
    for before, word in zip(["", *words], words, strict=False):
        written = before == "--out" or (before == "--shards" and words[0] == "synth")
        name = word.rpartition("=")[2]
        known = name in KINDS or any(name.startswith(start) and name != start for start in KINDS if start.endswith("/"))
        if known and not written and name not in named:
            named.append(name)
    return named


def kind_of(name: str, example: Example) -> str:
    """What stands behind a name."""
    if name == "faces" and example.words[0] == "train-degrade":
        return "large_faces"  # its crops are larger than those of the other examples
    return KINDS.get(name) or next(
        kind for start, kind in KINDS.items() if start.endswith("/") and name.startswith(start)
    )


def has_effect(name: str, words: list[str]) -> bool:
    """Whether the last option of a command line has an effect beside the others."""
    try:
        COMMANDS[name].make_context(name, words[1:])
    except click.UsageError as error:
        if "has no effect" in error.message:
            return False
        raise
    return True


def run(words: list[object], statuses: set[int] | None = None) -> str:
    """Run a command in this process with small values, and return what it printed."""
    texts = [str(word) for word in words]
    name = name_of(texts)
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    smaller = {**SMALLER[""], **SMALLER.get(name, {})}
    given = {word.partition("=")[0] for word in texts} - {
        "--workers",
        "--data-workers",
        "--count",
        *REPLACED.get(name, ()),
    }
    added = [
        (option, value)
        for option, value in smaller.items()
        if option in options and option not in given and has_effect(name, [*texts, option, *filter(None, [value])])
    ]
    result = CliRunner().invoke(main, [*texts, *(part for pair in added for part in pair if part)])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (statuses or {0}), result.output
    return result.output


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory, astronaut: Pixels) -> Things:
    return Things(tmp_path_factory.mktemp("things"), astronaut)


@pytest.mark.usefixtures("fresh_accelerator")
@pytest.mark.slow
@pytest.mark.parametrize("example", marked(lambda example: reason_not_to_run(example) is None))
def test_the_example_runs(example: Example, things: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if {"degrade", "restore", "train-degrade", "train-restore", "--flipnet"} & set(example.words):
        pytest.importorskip("diffusers")
    for name in inputs(example):
        if not (tmp_path / name).exists():
            things.make(kind_of(name, example), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for variable, value in example.variables.items():
        monkeypatch.setenv(variable, value)

    statuses = next((found for option, found in STATUS.items() if option in example.words), {0})
    before = set(tmp_path.rglob("*"))
    printed = run(list(example.words), statuses)
    assert printed
    assert "error: " not in printed
    if {"--out", "--shards"} & set(example.words) and "--dry-run" not in example.words:
        assert set(tmp_path.rglob("*")) - before, "it wrote nothing"


@pytest.mark.parametrize("example", marked(lambda example: reason_not_to_run(example) is not None))
def test_the_example_that_cannot_run_here_is_parsed(example: Example) -> None:
    words = example.words
    command = command_of(example)
    with main.make_context("degrade-kit", [words[0], "--help"]) as parent:
        context = command.make_context(command.name, words[len((command.name or "").split()) :], parent=parent)
    assert all(
        context.params.get(parameter.name or "") is not None for parameter in command.params if parameter.required
    )


def test_every_input_of_an_example_has_a_kind() -> None:
    """A new example that names something else fails here, and not for want of a file."""
    shown = {Path(word.rpartition("=")[2]).parts[0] for example in EXAMPLES for word in example.words if "/" in word}
    known = {Path(name).parts[0] for name in KINDS} | {"~"}
    assert shown - known == set(), f"add them to KINDS: {os.fspath(FLIPNET)}"


def test_every_reason_not_to_run_is_of_an_example() -> None:
    assert [part for part in PARSED_ONLY if not any(part in example.line for example in EXAMPLES)] == []


def test_examples_are_found_in_a_help_text() -> None:
    text = "Do it.\n\n\x08\nExamples:\n  degrade-kit a --x \\\n      1\n  V=2 degrade-kit b > c\n\nMore.\n"
    found = examples("a", text)
    assert [example.words for example in found] == [["a", "--x", "1"], ["b"]]
    assert found[1].variables == {"V": "2"}
    assert len(EXAMPLES) > 30
