"""What the documents say must be true: their Python runs, and each line of their console blocks can be typed as it is.

A Python block that cannot run here has the line `<!-- no-run: reason -->` above its fence; one that needs a package
which may not be there, `<!-- needs: package -->`. A console block holds command lines alone: what a command prints is
shown in a `text` block.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from degrade_kit.pipelines.cli import main
from degrade_kit.steps import STEPS
from tests.by_path import load_module
from tests.requirement_lines import install_problems

ROOT = Path(__file__).resolve().parents[1]
render_cli_reference = load_module(ROOT / "docs" / "generate_cli.py").render_cli_reference
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NO_RUN = re.compile(r"<!-- no-run: (\S.*) -->")
NEEDS = re.compile(r"<!-- needs: (\w+) -->")
CONTROL_OPERATORS = {"&&", "||", ";", "|", "&"}
SHELLS = {"console", "bash", "sh", "shell"}
NOT_OURS = {
    "accelerate": "launches a trainer of another repository",
    "apptainer": "runs a container",
    "apt-get": "installs system packages",
    "cd": "built into the shell",
    "docker": "builds and runs a container",
    "export": "built into the shell",
    "git": "run by tests/test_first_hour.py",
    "hf": "the command of huggingface_hub",
    "kubectl": "the command of Kubernetes",
    "ln": "a command of every system",
    "mkdir": "a command of every system",
    "ray": "the command of Ray",
    "torchrun": "launches a trainer of another repository",
}
"""Programs in console blocks whose words are not looked at, and why."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a Markdown page; `line` is the 1-based line of its fence."""

    language: str
    code: str
    line: int
    no_run: str | None
    needs: str | None = None

    @property
    def can_run(self) -> bool:
        """Whether it is meant to run, and its package is here."""
        return self.no_run is None and (self.needs is None or importlib.util.find_spec(self.needs) is not None)


def fenced_blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    blocks: list[Block] = []
    lines = page.splitlines()
    index = 0
    while index < len(lines):
        opening = re.match(r"(\s*)(`{3,}|~{3,})\s*([\w+-]*)", lines[index])
        index += 1
        if opening is None:
            continue
        indent, fence, language = opening.groups()
        start = index
        while index < len(lines) and lines[index].strip() != fence:
            index += 1
        assert index < len(lines), f"line {start}: this fence is never closed"
        above = lines[start - 2].strip() if start >= 2 else ""
        mark, needs = NO_RUN.fullmatch(above), NEEDS.fullmatch(above)
        code = "\n".join(line.removeprefix(indent) for line in lines[start:index])
        blocks.append(Block(language, code, start, mark.group(1) if mark else None, needs.group(1) if needs else None))
        index += 1
    return blocks


def shell_commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command in a console block, where a line may begin with `$ `, or in a shell script."""
    for line in block.code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word not in CONTROL_OPERATORS:
                command.append(word)
                continue
            while command and (re.fullmatch(r"\w+=.*", command[0]) or command[0] in {"do", "then", "else"}):
                command.pop(0)
            if command:
                yield command
            command = []


def command_problems(words: list[str], page: Path) -> list[str]:
    """List what is wrong with a command that a document shows, as far as it can be known without running it."""
    program, *rest = words
    name = Path(program).name
    if name == "degrade-kit":
        return unknown_parts(main, rest)
    if name == "pip":
        return install_problems(rest, ROOT)
    if name == "make":
        targets = re.findall(r"^([\w-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        return [f"no target {word}" for word in rest if word not in targets]
    if name == "sbatch":
        return script_problems(next((word for word in rest if not word.startswith("-")), ""), [])
    if program.startswith("examples/"):
        return script_problems(program, rest)
    if name == "python":
        return python_problems(rest, page)
    return [] if name in NOT_OURS else [f"{program}: no command of ours; list it in NOT_OURS with a reason"]


def script_problems(path: str, words: list[str]) -> list[str]:
    """List what is wrong with a call of a script in `examples/`; its options are those that its first comment names."""
    if not (path.startswith("examples/") and (ROOT / path).is_file()):
        return [f"no script {path or 'named'}"]
    known = re.findall(r"^#.*?(--[a-z-]+)", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    return [f"{path}: no option {word}" for word in words if word.startswith("--") and word not in known]


def python_problems(words: list[str], page: Path) -> list[str]:
    """List what is wrong with a call of Python: a module of ours must exist; a trainer's script is not here."""
    if words[:1] == ["-m"]:
        there = importlib.util.find_spec(words[1]) is not None
        return [] if there else [f"no module {words[1]}"]
    return [] if page.parent.name == "trainers" else [f"no script {words[0]}"]


def unknown_parts(command: click.Command, words: list[str], parent: click.Context | None = None) -> list[str]:
    """List the sub-commands and options in `words` that `command` does not have."""
    # A command caches its help option under the names that its first context gives, and takes them from the parent.
    context = click.Context(command, info_name=command.name, parent=parent, **command.context_settings)
    options = {
        name: parameter
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    unknown: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            break
        if re.match(r"--?[A-Za-z]", word):
            option = options.get(word.partition("=")[0])
            if option is None:
                unknown.append(f"{command.name}: no option {word}")
            elif not option.is_flag and not option.count and "=" not in word:
                for _ in range(option.nargs):
                    next(rest, None)
        elif isinstance(command, click.Group):
            ahead = list(rest)
            if ahead and (two := f"{word} {ahead[0]}") in command.commands:  # such as `pairs from-photos`
                word, ahead = two, ahead[1:]
            rest = iter(ahead)
            if word in command.commands:
                return unknown + unknown_parts(command.commands[word], list(rest), context)
            return [*unknown, f"{command.name}: no command {word}"]
    return unknown


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# webdataset leaves the file of a shard to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*shard-000000.tar:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file .*shard:ResourceWarning")
# Lightning uses a class of PyTorch's that is on its way out, and says how many workers it would have.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.filterwarnings("ignore:Your `IterableDataset` has `__len__` defined:UserWarning")
@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_blocks_run(
    page: Path, faces_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run a page's blocks in order in one namespace, in a folder that holds photographs in `faces/`."""
    shutil.copytree(faces_dir, tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in fenced_blocks(page.read_text("utf-8")):
        if block.language == "python" and block.can_run:
            # Blank lines before the code make a traceback name the line in the page.
            exec(compile("\n" * block.line + block.code, str(page), "exec"), namespace)
    capsys.readouterr()


def blocks_not_run() -> list[object]:
    found: list[object] = []
    for page in PAGES:
        for block in fenced_blocks(page.read_text("utf-8")):
            if block.no_run is not None:
                found.append(pytest.param(block, id=f"{page_id(page)}:{block.line}"))
    return found


@pytest.mark.parametrize("block", blocks_not_run())
def test_block_is_left_out_for_a_stated_reason(block: Block) -> None:
    assert block.language == "python", "only Python blocks run, so only they can be left out"
    pytest.skip(str(block.no_run))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=page_id)
def test_every_line_of_a_console_block_can_be_typed(page: Path) -> None:
    problems = [
        f"{page.name}:{block.line}: {shlex.join(words)}: {problem}"
        for block in fenced_blocks(page.read_text("utf-8"))
        if block.language in SHELLS
        for words in shell_commands(block)
        for problem in command_problems(words, page)
    ]
    assert problems == []


@pytest.mark.parametrize("script", sorted((ROOT / "examples").iterdir()), ids=lambda script: script.name)
def test_commands_and_options_of_the_examples_exist(script: Path) -> None:
    joined = script.read_text("utf-8").replace("\\\n", " ")
    calls = re.findall(r"^ *((?:\w+ )*degrade-kit .*)$", joined, re.MULTILINE)
    problems = [
        problem
        for words in shell_commands(Block("bash", "\n".join(calls), 1, None))
        for problem in unknown_parts(main, words[words.index("degrade-kit") + 1 :])
    ]
    assert calls, "an example calls the tool"
    assert problems == []


def anchors(page: Path) -> set[str]:
    """The names that headings of a page have in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    broken: list[str] = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
            broken.append(link)
    assert broken == []


def linked(page: Path) -> set[Path]:
    """The pages that a page has links to; a folder stands for its README."""
    places = (
        page.parent / link for link in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")) if "://" not in link
    )
    return {(place / "README.md" if place.is_dir() else place).resolve() for place in places}


def test_every_page_is_within_two_clicks_of_the_readme() -> None:
    first = linked(ROOT / "README.md")
    second = first.union(*(linked(page) for page in first if page.suffix == ".md"))
    assert {*PAGES, *(ROOT / "docs").rglob("*.ipynb")} - {ROOT / "README.md"} <= second


def test_every_command_has_help_and_a_place_in_the_reference() -> None:
    reference = (ROOT / "docs" / "cli.md").read_text("utf-8")
    for name, command in main.commands.items():
        assert command.hidden or command.get_short_help_str(), f"{name} has no help"
        assert command.hidden or f"## degrade-kit {name}\n" in reference, f"{name} is missing in docs/cli.md"


def test_reference_is_up_to_date() -> None:
    # In a fresh interpreter, since click caches in a command what its first call, perhaps in another test, gave it.
    render = (
        "import runpy\nfrom degrade_kit.pipelines.cli import GROUPS, main\n"
        "print(runpy.run_path('docs/generate_cli.py')['render_cli_reference'](main, groups=GROUPS), end='')"
    )
    expected = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", render], cwd=ROOT, capture_output=True, check=True
    ).stdout
    written = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert written == expected.decode("utf-8"), "docs/cli.md is stale: run python docs/generate_cli.py"


# The helpers themselves, on a command line of their own: a checker that cannot fail checks nothing.


@click.group(name="tool")
@click.option("--debug", is_flag=True)
@click.option("--config", metavar="FILE", help="Read defaults from FILE.")
def tool(**_: object) -> None:
    """Do two things."""


@tool.command(name="make")
@click.option("--size", nargs=2, type=int, default=(1, 2), show_default=True, help="Height and width, px.")
@click.option("--flip/--no-flip", default=True)
@click.option("-v", "--verbose", count=True)
@click.argument("source")
def make_command(**_: object) -> None:
    """Make a thing."""


@tool.command(name="also")
def also_command() -> None:
    """Do the other thing."""


@pytest.mark.parametrize(
    ("words", "problems"),
    [
        ("make faces --size 3 4 --no-flip -v", []),
        ("--debug --config make make --size=3 src", []),
        ("make --help", []),
        ("make -- --not-an-option", []),
        ("make --siez 3 4 src", ["make: no option --siez"]),
        ("make --debug src", ["make: no option --debug"]),
        ("--quiet make -x", ["tool: no option --quiet", "make: no option -x"]),
        ("mkae --size 3 4", ["tool: no command mkae"]),
    ],
)
def test_unknown_commands_and_options_are_found(words: str, problems: list[str]) -> None:
    assert unknown_parts(tool, words.split()) == problems


def test_calls_are_found_in_shell_blocks() -> None:
    console = "$ cd x && .venv/bin/degrade-kit make --size 3 \\\n    4 'a b'  # a remark\npip install x"
    script = "A=1 degrade-kit also | head; ls\nfor x in 1; do degrade-kit make $x; done"

    assert list(shell_commands(Block("console", console, 1, None))) == [
        ["cd", "x"],
        [".venv/bin/degrade-kit", "make", "--size", "3", "4", "a b"],
        ["pip", "install", "x"],
    ]
    assert list(shell_commands(Block("bash", script, 1, None))) == [
        ["degrade-kit", "also"],
        ["head"],
        ["ls"],
        ["for", "x", "in", "1"],
        ["degrade-kit", "make", "$x"],
        ["done"],
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("degrade-kit synth --hqs faces", "synth: no option --hqs"),
        ("pip install 'degrade-kit[rays]'", "degrade-kit[rays]: no extra rays"),
        ("make demos", "no target demos"),
        ("examples/restore_faces.sh --step 1", "examples/restore_faces.sh: no option --step"),
        ("sbatch examples/nothing.sbatch", "no script examples/nothing.sbatch"),
        ("python -m benchmarks.nothing", "no module benchmarks.nothing"),
        ("python train.py", "no script train.py"),
        ("degradekit synth", "degradekit: no command of ours; list it in NOT_OURS with a reason"),
    ],
)
def test_a_line_that_cannot_be_typed_is_found(line: str, problem: str) -> None:
    [words] = shell_commands(Block("console", line, 1, None))
    assert command_problems(words, ROOT / "README.md") == [problem]


def test_fenced_blocks_are_found() -> None:
    plain = "Text\n\n```python\na = 1\n```\n"
    marked = "<!-- no-run: needs a network -->\n```python\nb\n```\n"
    indented = "- list\n\n  ~~~bash\n  ls\n  ~~~\n"
    needing = "<!-- needs: pytest -->\n```python\nc\n```\n<!-- needs: not_there -->\n```python\nd\n```\n"

    blocks = fenced_blocks(plain + marked + indented + needing)
    assert blocks == [
        Block("python", "a = 1", 3, None),
        Block("python", "b", 7, "needs a network"),
        Block("bash", "ls", 12, None),
        Block("python", "c", 16, None, "pytest"),
        Block("python", "d", 20, None, "not_there"),
    ]
    assert [block.can_run for block in blocks] == [True, False, True, True, False]
    with pytest.raises(AssertionError, match="line 1: this fence is never closed"):
        fenced_blocks("```python\n1")


def test_reference_holds_each_command_in_the_order_of_the_help() -> None:
    page = render_cli_reference(tool)

    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert headings == ["# Command line", "## degrade-kit", "## degrade-kit also", "## degrade-kit make"]
    grouped = render_cli_reference(tool, groups={"Make": [make_command], "Look": [also_command]})
    headings = [line for line in grouped.splitlines() if line.startswith("#") and "degrade-kit " in line]
    assert headings == ["### degrade-kit make", "### degrade-kit also"]
    assert grouped.index("## Make") < grouped.index("### degrade-kit make") < grouped.index("## Look")
    assert "Usage: degrade-kit make [OPTIONS] SOURCE" in page
    assert re.search(r"--size INTEGER\.\.\. +Height and width, px\.", page)


def test_every_step_of_a_recipe_is_described() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    assert set(STEPS) <= {name for row in rows for name in re.findall(r"`(\w+)`", row)}
