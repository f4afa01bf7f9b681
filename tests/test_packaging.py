"""What is built and installed: one name, each file of it once, and nothing that the working directory can take over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.by_path import load_module

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "degrade_kit"
FOLDERS = ("pipelines", "analysis", "restore")
"""The folders at the top that are installed as sub-packages."""


def files_below(folder: Path) -> set[str]:
    """Return the files of a tree, through links to folders, without compiled ones, as names below its parent."""
    return {
        (Path(place) / name).relative_to(folder.parent).as_posix()
        for place, folders, names in os.walk(folder, followlinks=True)
        if "__pycache__" not in Path(place).parts and (folders.sort() or True)
        for name in names
    }


def call(*command: str | Path, cwd: Path, timeout: float = 300) -> str:
    """Run a command that must succeed, away from pip's settings and PYTHONPATH; return what it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**environment, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Environment:
    """A virtual environment with degrade-kit alone; other packages are those of the running one."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        [found] = self.folder.glob("lib/python*/site-packages")
        return found

    @property
    def command(self) -> Path:
        return self.folder / "bin" / "degrade-kit"


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source archive, the wheel, and the wheel that the source archive makes."""
    folder = tmp_path_factory.mktemp("archives")
    call(sys.executable, "-m", "hatchling", "build", "--directory", folder, cwd=ROOT)
    [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    (folder / "unpacked").mkdir()
    call("tar", "-xzf", sdist, "--directory", "unpacked", cwd=folder)
    [unpacked] = (folder / "unpacked").iterdir()
    call(
        *(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder / "again"),
        cwd=unpacked,
    )
    [again] = (folder / "again").glob("*.whl")
    return {"sdist": sdist, "wheel": wheel, "wheel of the sdist": again}


@pytest.fixture(scope="session")
def install(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    """Return a function that installs the source archive, the wheel or, editable, the repository; each once."""
    made: dict[str, Environment] = {}

    def install(how: str) -> Environment:
        if how not in made:
            made[how] = environment = Environment(tmp_path_factory.mktemp("environment"))
            venv.create(environment.folder, symlinks=True)
            # Folders named in such a file are searched, but the files of this kind that they hold are not read: the
            # editable install of the running environment stays out.
            shared = [path for path in sys.path if Path(path).name == "site-packages"]
            (environment.site_packages / "shared.pth").write_text("\n".join(shared))
            what = ["--editable", ROOT] if how == "editable" else [archives[how]]
            options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"]
            call(environment.python, "-m", "pip", "install", *options, *what, cwd=environment.folder)
        return made[how]

    return install


@pytest.mark.slow
def test_the_wheel_holds_each_file_of_the_package_once_and_nothing_else(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives["wheel"]) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert len(names) == len(set(names))
    assert set(names) == files_below(PACKAGE)
    assert {"degrade_kit/py.typed", "degrade_kit/flipnet/small/flipnet.json"} <= set(names)
    assert any(name.startswith("degrade_kit/pipelines/configs/") and name.endswith(".yaml") for name in names)


@pytest.mark.slow
def test_the_source_archive_makes_the_same_wheel(archives: dict[str, Path]) -> None:
    assert archives["wheel of the sdist"].read_bytes() == archives["wheel"].read_bytes()


@pytest.mark.slow
def test_the_source_archive_holds_each_file_of_the_repository_once(archives: dict[str, Path]) -> None:
    tracked = set(call("git", "ls-files", cwd=ROOT).splitlines())
    links = {f"degrade_kit/{name}" for name in FOLDERS}
    expected = {f"degrade_kit/{name}" if name.split("/")[0] in FOLDERS else name for name in tracked - links}

    with tarfile.open(archives["sdist"]) as archive:
        members = archive.getmembers()
    names = [member.name.split("/", 1)[1] for member in members]
    assert all(member.isfile() for member in members)
    assert len(names) == len(set(names))
    assert expected <= set(names)
    # Whatever lies in the folders that are packed, like a file that is not committed yet, is packed too.
    assert {name.split("/")[0] for name in names} == {name.split("/")[0] for name in expected} | {"PKG-INFO"}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["wheel", "sdist", "editable"])
def test_one_name_is_installed(how: str, install: Callable[[str], Environment], tmp_path: Path) -> None:
    environment = install(how)

    ours = {path.name for path in environment.site_packages.iterdir()} - {"__pycache__", "shared.pth"}
    code = {"_editable_impl_degrade_kit.pth", "_editable_impl_degrade_kit.py"} if how == "editable" else {"degrade_kit"}
    assert {name for name in ours if not name.startswith("degrade_kit-")} == code
    assert len(ours) == len(code) + 1
    if how != "editable":
        assert files_below(environment.site_packages / "degrade_kit") == files_below(PACKAGE)
    where = "import degrade_kit.pipelines.cli, pathlib; print(pathlib.Path(degrade_kit.__file__).parent)"
    found = Path(call(environment.python, "-c", where, cwd=tmp_path).strip())
    assert found == (PACKAGE if how == "editable" else environment.site_packages / "degrade_kit")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["wheel", "sdist", "editable"])
def test_plain_names_find_nothing_of_ours(how: str, install: Callable[[str], Environment], tmp_path: Path) -> None:
    environment = install(how)
    folders = {line.split("/")[0] for line in call("git", "ls-files", "*/*", cwd=ROOT).splitlines()}
    names = sorted(name for name in folders - {"degrade_kit"} if name.isidentifier())
    assert {*FOLDERS, "tests", "benchmarks", "docs"} <= {*names}

    code = f"""
import importlib.util, json
specs = [importlib.util.find_spec(name) for name in {names}]
print(json.dumps([[spec.origin, *(spec.submodule_search_locations or [])] for spec in specs if spec]))
"""
    found: list[list[str | None]] = json.loads(call(environment.python, "-c", code, cwd=tmp_path))

    # Others may be found: torch-fidelity 0.4 installs a package of the name `tests`.
    ours = [environment.folder, *(ROOT / name for name in names)]
    places = [Path(place).resolve() for spec in found for place in spec if place]
    assert [place for place in places if any(place.is_relative_to(folder) for folder in ours)] == []


@pytest.mark.long
def test_what_a_foreign_repository_calls_its_modules_is_never_imported(
    install: Callable[[str], Environment], faces_dir: Path, tmp_path: Path
) -> None:
    """Ray puts the working directory first in its workers' path."""
    command = install("wheel").command
    (tmp_path / "pipelines").mkdir()
    for name in ("pipelines/__init__.py", "analysis.py", "restore.py"):
        (tmp_path / name).write_text("open(__file__ + '.imported', 'w').close()\n")
    shutil.copytree(faces_dir, tmp_path / "faces")

    call(
        *(command, "synth", "--hq", "faces", "--shards", "out", "--preset", "gfpgan"),
        *("--size", "64", "--workers", "1"),
        cwd=tmp_path,
    )
    call(
        *(command, "evaluate", "--restored", "faces", "--reference", "faces", "--out", "scores", "--workers", "1"),
        cwd=tmp_path,
    )

    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    assert manifest["num_samples"] == 6
    assert any((tmp_path / "scores").iterdir())
    assert [*tmp_path.rglob("*.imported")] == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["wheel", "editable"])
def test_a_script_finds_the_folder_beside_it(how: str, install: Callable[[str], Environment], tmp_path: Path) -> None:
    """SeeSR and PASD keep `pipelines/pipeline_seesr.py` without an `__init__.py`."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "pipeline_own.py").write_text("ANSWER = 'own'\n")
    script = tmp_path / "train_own.py"
    script.write_text(
        "from pipelines.pipeline_own import ANSWER\nimport degrade_kit.pipelines.cli\nprint(ANSWER, end='')\n"
    )

    assert call(install(how).python, script, cwd=tmp_path) == "own"


@pytest.mark.slow
def test_a_type_checker_sees_the_types_of_the_installed_package(
    install: Callable[[str], Environment], tmp_path: Path
) -> None:
    (tmp_path / "pyrightconfig.json").write_text("{}")
    code = tmp_path / "uses.py"
    code.write_text(
        "import degrade_kit as dk\nfrom degrade_kit.analysis.metrics import psnr\n"
        "reveal_type(dk.preset('gfpgan'))\nreveal_type(psnr)\n"
    )

    report = json.loads(
        call(
            *(sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", install("wheel").python, code),
            cwd=tmp_path,
        )
    )

    assert report["summary"]["errorCount"] == 0
    recipe, metric = (note["message"] for note in report["generalDiagnostics"])
    assert recipe.endswith('is "Recipe"')
    assert "-> float" in metric
    assert "Unknown" not in metric


@pytest.mark.slow
@pytest.mark.parametrize("archive", ["wheel", "sdist"])
def test_the_description_on_an_index_has_no_relative_link(archive: str, archives: dict[str, Path]) -> None:
    if archive == "wheel":
        with zipfile.ZipFile(archives[archive]) as wheel:
            [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            metadata = BytesParser().parsebytes(wheel.read(name))
    else:
        with tarfile.open(archives[archive]) as source:
            [name] = [name for name in source.getnames() if name.count("/") == 1 and name.endswith("/PKG-INFO")]
            member = source.extractfile(name)
            assert member is not None
            metadata = BytesParser().parsebytes(member.read())

    assert metadata["Description-Content-Type"] == "text/markdown"
    description = metadata.get_payload(decode=True)
    assert isinstance(description, bytes)
    text = description.decode()
    assert text.startswith("# degrade-kit\n")
    assert "](docs/" not in text
    assert "](CONTRIBUTING.md" not in text


absolute_links = load_module(ROOT / "hatch_build.py").absolute_links
PAGE = """\
![Faces](docs/images/preview.jpg) [Shards](docs/shards.md#keys), [style](https://example.org) and [below](#more)
```python
table[key](docs/shards.md)
```
"""


def test_links_of_the_description_lead_to_the_repository() -> None:
    assert absolute_links(PAGE, "https://example.org/kit/") == PAGE.replace(
        "![Faces](docs", "![Faces](https://example.org/kit/raw/HEAD/docs"
    ).replace("[Shards](docs", "[Shards](https://example.org/kit/blob/HEAD/docs")


def test_links_of_the_description_become_text_while_the_repository_has_no_address() -> None:
    assert absolute_links(PAGE, None) == PAGE.replace("![Faces](docs/images/preview.jpg)", "*Faces*").replace(
        "[Shards](docs/shards.md#keys)", "Shards"
    )


def test_every_requirement_is_pinned_once_for_each_python() -> None:
    """For one Python, a name with two pins could not be installed at all; one without would move."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all([specifier.operator for specifier in pin.specifier] == ["=="] for pin in pins)
    for version in ("3.10", "3.11", "3.12", "3.13"):
        environment = {"python_version": version, "python_full_version": f"{version}.0"}
        here = [pin.name for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
        assert len(here) == len(set(here))
        assert {"hatchling", "editables", "numpy", "torch", "pyright", "types-pyyaml"} <= {*here}
