"""What a newcomer types first works as it is printed: the lines of the README's "Get it", each in a fresh environment.

They use the package index, through pip's own settings, and are skipped where there is none.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from degrade_kit.pipelines.doctor import required_packages
from tests.requirement_lines import install_problems, project_extras
from tests.test_docs import PAGES, ROOT, Block, fenced_blocks, page_id

SOURCES = [
    path
    for folder in ("degrade_kit", "analysis", "restore", "pipelines", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
HINT = re.compile(r"pip install ((?:--?[a-z-]+ )*(?:'[^']+'|[\w.=<>-]*\w|\.))")


def hints(path: Path) -> list[str]:
    """What the messages of a module tell people to install; adjacent string literals are read as one."""
    return HINT.findall(re.sub(r"\"\s*\n\s*f?\"", "", path.read_text("utf-8")))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=page_id)
def test_every_install_line_in_a_sentence_is_one_that_pip_reads(page: Path) -> None:
    prose = re.findall(r"`(pip install [^`]+)`", page.read_text("utf-8"))
    problems = [
        problem for line in prose if "EXTRA" not in line for problem in install_problems(shlex.split(line)[1:], ROOT)
    ]
    assert problems == []


def test_every_hint_of_a_message_names_what_pip_reads_and_an_extra_that_exists() -> None:
    found = [(path, hint) for path in SOURCES for hint in hints(path)]
    problems = [
        f"{path.relative_to(ROOT)}: {problem}"
        for path, hint in found
        if "{" not in hint
        for problem in install_problems(["install", *shlex.split(hint)], ROOT)
    ]
    assert problems == []
    named = {name for _, hint in found for name in re.findall(r"degrade-kit\[(\w+)\]", hint)}
    assert {"align", "demo", "flipnet", "ray"} <= named, "the hints were not found"


def test_doctor_names_extras_that_exist() -> None:
    assert set(required_packages()) - {""} <= project_extras(ROOT)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (".[ray]", None),
        (".[rays]", ".[rays]: no extra rays"),
        ("degrade-kit[ray] @ .", "degrade-kit[ray] @ .: "),
        ("./nowhere[ray]", "./nowhere[ray]: no project there"),
        ("a b", "a b: "),
        ("--sideways", "pip install: unknown option --sideways"),
    ],
)
def test_a_line_that_pip_refuses_is_found(line: str, problem: str | None) -> None:
    found = install_problems(["install", line], ROOT)
    assert len(found) == (problem is not None)
    assert problem is None or found[0].startswith(problem)


# ------------------------------------------------------------------------------------------------ in fresh environments


def get_it_blocks() -> list[Block]:
    """The console blocks below the README's "Get it"."""
    section = (ROOT / "README.md").read_text("utf-8").split("\n## Get it\n")[1].split("\n## ")[0]
    return [block for block in fenced_blocks(section) if block.language == "console"]


def clean_environment(path: str) -> dict[str, str]:
    """Environment of a new shell: nothing of this interpreter's, and pip's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "MAKE"))}
    return {**kept, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(command: str, folder: Path, path: str = os.environ["PATH"]) -> str:
    """Run a shell command and return what it printed; its failure is the test's."""
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=folder,
        env=clean_environment(path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment; the test is skipped where pip finds no package index."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, capture_output=True)
    probe = [folder / "venv/bin/python", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "click"]
    found = subprocess.run(
        probe, env=clean_environment(os.environ["PATH"]), capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        pytest.skip(f"no package index: {found.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture(scope="module")
def clone(fresh: Path) -> Path:
    """A clone of what is committed, made by the README's own line."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so there is nothing to clone")
    [line] = [line for block in get_it_blocks() for line in block.code.splitlines() if line.startswith("git clone ")]
    run(line.replace("URL", shlex.quote(ROOT.as_uri())), fresh)
    return fresh / "degrade-kit"


@pytest.mark.slow
@pytest.mark.long
def test_the_install_line_of_the_readme_installs_a_base_that_works(fresh: Path, clone: Path, faces_dir: Path) -> None:
    # Without its extra, which is hundreds of megabytes. A hint of a message then adds a small one, before any release.
    [line] = [line for block in get_it_blocks() for line in block.code.splitlines() if line.startswith("pip install ")]
    base = re.sub(r"\[[\w,]+\]", "", line)
    assert base != line
    path = f"{fresh / 'venv/bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
    run(base, clone, path)
    run("pip install 'degrade-kit[lmdb]'", fresh, path)

    printed = run(f"degrade-kit synth --hq {shlex.quote(str(faces_dir))} --shards out --size 64", fresh, path)
    assert "6 samples, 6 pairs" in printed
    run("degrade-kit verify out", fresh, path)
    assert run("python -c 'import lmdb, importlib.util as u; print(u.find_spec(\"torch\"))'", fresh, path) == "None\n"


@pytest.mark.slow
@pytest.mark.long
def test_the_demo_lines_of_the_readme_make_a_verified_data_set(clone: Path) -> None:
    lines = get_it_blocks()[0].code.splitlines()
    assert lines == ["git clone URL degrade-kit", "cd degrade-kit", "make demo"]
    run(lines[-1], clone)

    assert (clone / "demo-output/shards/manifest.json").is_file()
    assert (clone / "demo-output/shards/preview.png").is_file()
