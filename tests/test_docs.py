"""What the documents say must be true: their Python runs, and the commands and options that they show exist.

A Python block that cannot run here has the line `<!-- no-run: reason -->` above its fence; one that needs a package
which may not be there, `<!-- needs: package -->`.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from degrade_kit.pipelines.cli import main
from degrade_kit.steps import STEPS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NO_RUN = re.compile(r"<!-- no-run: (\S.*) -->")
NEEDS = re.compile(r"<!-- needs: (\w+) -->")
CONTROL_OPERATORS = {"&&", "||", ";", "|", "&"}


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
    """Yield the words of each degrade-kit call in a console block (lines after `$ `) or a shell script."""
    lines = block.code.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word in CONTROL_OPERATORS:
                names = [Path(part).name for part in command]
                if "degrade-kit" in names:
                    yield command[names.index("degrade-kit") + 1 :]
                command = []
            else:
                command.append(word)


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
            if word in command.commands:
                return unknown + unknown_parts(command.commands[word], list(rest), context)
            return [*unknown, f"{command.name}: no command {word}"]
    return unknown


def load_renderer() -> Callable[[click.Group], str]:
    """Import docs/generate_cli.py from its path, since docs is no package."""
    spec = importlib.util.spec_from_file_location("generate_cli", ROOT / "docs" / "generate_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.render_cli_reference


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# webdataset leaves the file of a shard to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*shard-000000.tar:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file .*shard:ResourceWarning")
# Lightning uses a class of PyTorch's that is on its way out, and says how many workers it would have.
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


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_and_options_exist(page: Path) -> None:
    unknown = [
        f"{page.name}:{block.line}: degrade-kit {shlex.join(words)}: {problem}"
        for block in fenced_blocks(page.read_text("utf-8"))
        if block.language in {"console", "bash", "sh", "shell"}
        for words in shell_commands(block)
        for problem in unknown_parts(main, words)
    ]
    assert unknown == []


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


def test_every_command_has_help_and_a_place_in_the_reference() -> None:
    reference = (ROOT / "docs" / "cli.md").read_text("utf-8")
    for name, command in main.commands.items():
        assert command.hidden or command.get_short_help_str(), f"{name} has no help"
        assert command.hidden or f"## degrade-kit {name}\n" in reference, f"{name} is missing in docs/cli.md"


def test_reference_is_up_to_date() -> None:
    # In a fresh interpreter, since click caches in a command what its first call, perhaps in another test, gave it.
    render = (
        "import runpy\nfrom degrade_kit.pipelines.cli import main\n"
        "print(runpy.run_path('docs/generate_cli.py')['render_cli_reference'](main), end='')"
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
    console = "$ cd x && .venv/bin/degrade-kit make --size 3 \\\n    4 'a b'  # a remark\ndegrade-kit printed this"
    script = "A=1 degrade-kit also | head; ls\nfor x in 1; do degrade-kit make $x; done"

    assert list(shell_commands(Block("console", console, 1, None))) == [["make", "--size", "3", "4", "a b"]]
    assert list(shell_commands(Block("bash", script, 1, None))) == [["also"], ["make", "$x"]]


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


def test_reference_holds_each_command_sorted() -> None:
    page = load_renderer()(tool)

    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert headings == ["# Command line", "## degrade-kit", "## degrade-kit also", "## degrade-kit make"]
    assert "Usage: degrade-kit make [OPTIONS] SOURCE" in page
    assert re.search(r"--size INTEGER\.\.\. +Height and width, px\.", page)


def test_every_step_of_a_recipe_is_described() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    assert set(STEPS) <= {name for row in rows for name in re.findall(r"`(\w+)`", row)}
