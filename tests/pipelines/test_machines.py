"""Machines as they are: every command where calls fail as they do in containers, on network file systems, on clusters.

docs/machines.md says what is different there. Each place is made here by the calls that fail in it, or by an account, a
namespace or a limit of its own, where the machine lets a test make one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import degrade_kit.pipelines.machine as machine
from degrade_kit.image import Pixels
from degrade_kit.pipelines.cli import main
from degrade_kit.pipelines.executor import ExecutorConfig, _object_store_folder, default_workers
from degrade_kit.reader import PairReader

SIDE = 64
ROOT = Path(__file__).resolve().parents[2]

Shim = Callable[[pytest.MonkeyPatch], None]


# -------------------------------------------------------------------------------------------------------- what is given


@pytest.fixture(scope="module")
def world(astronaut: Pixels) -> Iterator[Path]:
    """Faces, a photograph with landmarks, restored images, a data set, and the same without faces.

    Not below the folder of the tests, which is root's alone, nor below /tmp, which may be another one.
    """
    with tempfile.TemporaryDirectory(prefix="pytest-of-", dir="/var/tmp") as name:
        yield filled(Path(name), astronaut)


def filled(root: Path, astronaut: Pixels) -> Path:
    for number in range(8):
        pixels = astronaut[10 * number : 10 * number + SIDE, 180 : 180 + SIDE]
        for folder in ("faces", "restored"):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{number:02}.png")
    (root / "photos").mkdir()
    Image.fromarray(astronaut).save(root / "photos/a.png")
    points = [[200.0, 110.0], [245.0, 110.0], [222.0, 140.0], [205.0, 160.0], [240.0, 160.0]]
    (root / "foreign.yml").write_text("downsample_range: [0.8, 8]\nnoise_range: [0, 20]\n")
    (root / "points.json").write_text(json.dumps({"a.png": points}))
    run(*COMMANDS["synth"](root, root / "shards"))
    run("export", root / "shards", "--to", "lq-only", "--out", root / "bare")
    run(*COMMANDS["evaluate"](root, root / "evaluation"))
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.output


COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "synth": lambda w, out: [
        "synth", "--hq", w / "faces", "--shards", out, "--size", SIDE, "--samples-per-shard", 4, "--workers", 0
    ],
    "align": lambda w, out: ["align", "--input", w / "photos", "--landmarks", w / "points.json", "--out", out],
    "verify": lambda w, out: ["verify", w / "shards", "--workers", 0],
    "inspect": lambda w, out: ["inspect", w / "shards"],
    "view": lambda w, out: ["view", w / "shards", "--out", out],
    "import-recipe": lambda w, out: ["import-recipe", w / "foreign.yml", "--out", out / "mine.yaml"],
    "replay": lambda w, out: ["replay", w / "shards", "000000000", "--out", out],
    "preview": lambda w, out: [
        "preview", "--hq", w / "faces", "--size", SIDE, "--num-faces", 2, "--out", out / "p.png"
    ],
    "join": lambda w, out: ["join", w / "bare", "--hq", w / "faces", "--out", out, "--workers", 0],
    "export folder": lambda w, out: ["export", w / "shards", "--out", out],
    "export lmdb": lambda w, out: ["export", w / "shards", "--to", "lmdb", "--out", out],
    "export parquet": lambda w, out: ["export", w / "shards", "--to", "parquet", "--out", out],
    "export lq-only": lambda w, out: ["export", w / "shards", "--to", "lq-only", "--out", out],
    "make-testset": lambda w, out: [
        "make-testset", "--hq", w / "faces", "--count", 4, "--size", SIDE, "--out", out, "--workers", 0
    ],
    "evaluate": lambda w, out: [
        "evaluate", "--restored", w / "restored", "--reference", w / "faces", "--out", out, "--workers", 0
    ],
    "pairs": lambda w, out: ["pairs", "--hq", w / "faces", "--size", 32, "--shown", 1, "--out", out],
    "compare": lambda w, out: ["compare", w / "evaluation", "--out", out],
    "doctor": lambda w, out: ["doctor"],
    "presets": lambda w, out: ["presets", "gfpgan"],
    "weights": lambda w, out: ["weights"],
}  # fmt: skip
SLOW: dict[str, Callable[[Path, Path], list[object]]] = {
    "analyze-distribution": lambda w, out: [
        "analyze-distribution", "--synth", f"s={w}/shards", "--real", f"r={w}/restored", "--size", SIDE, "--out", out,
        "--features", "degradation", "--projection", "pca", "--workers", 0
    ],
    "degrade": lambda w, out: ["degrade", w / "faces/00.png", "--out", out, "--device", "cpu", "--solver-steps", 1],
}  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, scratch files too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --------------------------------------------------------------------------------- file systems, by the calls that fail


def failing(function: Callable[..., Any], number: int, when: Callable[..., bool]) -> Callable[..., Any]:
    """A call that fails as a file system makes it, for some of its arguments."""

    def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401 (whatever the call takes and gives)
        if when(*args):
            raise OSError(number, os.strerror(number), *(str(arg) for arg in args[:1] if isinstance(arg, str | Path)))
        return function(*args, **options)

    return call


def is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def leads_elsewhere(source: str, target: str, *_: object) -> bool:
    return os.path.dirname(os.path.abspath(source)) != os.path.dirname(os.path.abspath(target))


def no_folder_sync(number: int) -> Shim:
    return lambda patch: patch.setattr(os, "fsync", failing(os.fsync, number, is_folder))


def no_locks(number: int) -> Shim:
    def shim(patch: pytest.MonkeyPatch) -> None:
        for name in ("flock", "lockf"):
            patch.setattr(fcntl, name, failing(getattr(fcntl, name), number, lambda *_: True))

    return shim


def no_links(patch: pytest.MonkeyPatch) -> None:
    for name in ("link", "symlink"):
        patch.setattr(os, name, failing(getattr(os, name), errno.EPERM, lambda *_: True))


def no_renames_between_folders(patch: pytest.MonkeyPatch) -> None:
    for name in ("rename", "replace"):
        patch.setattr(os, name, failing(getattr(os, name), errno.EXDEV, leads_elsewhere))


def coarse_times(patch: pytest.MonkeyPatch) -> None:
    """Files change their time in steps of two seconds, as on FAT, and one inode number serves all, as on some FUSE."""
    real = os.stat, os.lstat

    def rounded(status: os.stat_result) -> os.stat_result:
        numbers = list(status)
        numbers[stat.ST_MTIME] -= numbers[stat.ST_MTIME] % 2
        return os.stat_result(numbers)

    patch.setattr(os, "stat", lambda *args, **options: rounded(real[0](*args, **options)))
    patch.setattr(os, "lstat", lambda *args, **options: rounded(real[1](*args, **options)))


def no_owner_or_mode(patch: pytest.MonkeyPatch) -> None:
    """CIFS and FAT keep neither."""
    for name in ("chmod", "chown", "fchmod", "fchown"):
        patch.setattr(os, name, failing(getattr(os, name), errno.EPERM, lambda *_: True))


def of_tests(path: object, *_: object) -> bool:
    """Whether a path is one that a test made, and not of a library's cache."""
    return isinstance(path, str | os.PathLike) and "/pytest-of-" in os.path.abspath(path)


def lost_answers(patch: pytest.MonkeyPatch) -> None:
    """Each answer of the server is lost once: the client asks again, for what is done by then."""

    def again(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> None:  # noqa: ANN401 (whatever the call takes)
            function(*args, **options)
            if of_tests(args[0]) and not options:
                function(*args)

        return call

    for name in ("rename", "replace", "unlink", "remove", "rmdir", "link", "mkdir"):
        patch.setattr(os, name, again(getattr(os, name)))


def kept_while_open(patch: pytest.MonkeyPatch) -> None:
    """Every file that is removed stays under a hidden name, as on NFS while somebody has it open."""
    number = itertools.count()

    def hide(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, **options: Any) -> None:  # noqa: ANN401 (whatever the call takes)
            if options or not of_tests(path):
                function(path, **options)
            else:
                os.rename(path, os.path.join(os.path.dirname(os.path.abspath(path)), f"{SILLY}{next(number):024x}"))

        return call

    for name in ("unlink", "remove"):
        patch.setattr(os, name, hide(getattr(os, name)))


SILLY = ".nfs"


def stale_handles(patch: pytest.MonkeyPatch) -> None:
    """The first handle of each file was lost by the server before it is used."""
    status, seen = os.fstat, set[str]()

    def call(descriptor: int) -> os.stat_result:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path not in seen and of_tests(path) and os.path.isfile(path) and "/lock" not in path:
            seen.add(path)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return status(descriptor)

    patch.setattr(os, "fstat", call)


def all_of(*shims: Shim) -> Shim:
    def shim(patch: pytest.MonkeyPatch) -> None:
        for each in shims:
            each(patch)

    return shim


FILE_SYSTEMS: dict[str, Shim] = {
    "no sync of folders: EINVAL": no_folder_sync(errno.EINVAL),
    "no locks: ENOLCK": no_locks(errno.ENOLCK),
    "no links": no_links,
    "no renames between folders": no_renames_between_folders,
    "coarse times": coarse_times,
    "no owners, no modes": no_owner_or_mode,
    "answers are lost": lost_answers,
    "removed files stay": kept_while_open,
    "handles go stale": stale_handles,
}
WHOLE_FILE_SYSTEMS: dict[str, Shim] = {
    "NFS": all_of(no_locks(errno.ENOLCK), lost_answers, stale_handles, no_owner_or_mode),
    "CIFS": all_of(no_folder_sync(errno.EINVAL), no_locks(errno.EINVAL), no_links, coarse_times, no_owner_or_mode),
}


NAMES_ITS_PLACE = {"align/align.yaml"}
"""Files that say where they are."""
NAMES_HOME = {f"evaluate/{name}" for name in ("metrics.json", "report.html", "report.md")}
"""Files that say where weights were looked for, in the user's home too."""
NAMES_ITS_MOST = {f"export lmdb/{side}.lmdb/data.mdb" for side in ("hq", "lq")}
"""Files that say how large they might have become, which is less where there are fewer addresses."""


@pytest.fixture(scope="module")
def expected(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What all commands write on the file system of the tests."""
    out = tmp_path_factory.mktemp("plain")
    for name, words in COMMANDS.items():
        run(*words(world, out / name))
    return tree(out)


@pytest.mark.slow
@pytest.mark.parametrize("place", FILE_SYSTEMS)
def test_commands_give_the_same_files_on_every_file_system(
    place: str, world: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All quick commands in one test: each takes a tenth of a second."""
    with monkeypatch.context() as patch:
        FILE_SYSTEMS[place](patch)
        for name, words in COMMANDS.items():
            run(*words(world, tmp_path / name))
        for name in ("synth", "evaluate", "export folder"):
            run(*COMMANDS[name](world, tmp_path / name))  # over what is there
    found = {name: data for name, data in tree(tmp_path).items() if not Path(name).name.startswith(SILLY)}
    assert found.keys() == expected.keys()
    assert {name for name, data in expected.items() if found[name] != data} <= NAMES_ITS_PLACE


@pytest.mark.slow
def test_a_quota_that_is_told_when_a_file_is_synced_leaves_nothing_half_written(
    world: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS tells of a full quota not when a file is written, but when it is synced or closed."""
    writers = [name for name in COMMANDS if any(made.startswith(f"{name}/") for made in expected)]
    assert len(writers) > 10
    sync = os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(sync, errno.EDQUOT, lambda descriptor: not is_folder(descriptor)))
        for name in writers:
            assert os.strerror(errno.EDQUOT) in run(*COMMANDS[name](world, tmp_path / name), code=1), name
    found = tree(tmp_path)
    assert {name for name, data in found.items() if expected.get(name) != data} <= NAMES_ITS_PLACE
    for name in writers:
        run(*COMMANDS[name](world, tmp_path / name))
    assert tree(tmp_path).keys() == expected.keys()


@pytest.mark.slow
def test_a_server_that_takes_nothing_from_root_is_one_message(
    world: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`root_squash`: the client takes root for one who may, and the server does not."""
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(os, "mkdir", failing(os.mkdir, errno.EACCES, of_tests))
    for name, words in COMMANDS.items():
        if any(made.startswith(f"{name}/") for made in expected):
            said = run(*words(world, tmp_path / name), code=1)
            assert re.search(rf"error: cannot write (to )?{re.escape(str(tmp_path / name))}.*: Permission denied", said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_folder_whose_sync_fails_for_real_ends_a_run(
    number: int, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_folder_sync(number)(monkeypatch)
    assert os.strerror(number) in run(*COMMANDS["synth"](world, tmp_path / "out"), code=1)


def test_a_lost_handle_of_a_network_file_is_opened_again(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, read, failed = PairReader(world / "shards"), os.pread, list[int]()
    expected = reader.read(0, 0)

    def stale(descriptor: int, *args: int) -> bytes:
        if not failed:
            failed.append(descriptor)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(descriptor, *args)

    monkeypatch.setattr(os, "pread", stale)
    assert reader.read(0, 0) == expected
    assert failed


@pytest.mark.slow
def test_files_that_a_server_keeps_for_open_ones_are_no_obstacle(world: Path, tmp_path: Path) -> None:
    """NFS renames an open file that is removed to `.nfs0000...`, which cannot be removed."""
    out = tmp_path / "out"
    run(*COMMANDS["synth"](world, out))
    before = tree(out)
    for folder in (out, out / ".degrade_kit"):
        (folder / ".nfs000000000000002a00000001").write_bytes(b"open elsewhere")
    run(*COMMANDS["synth"](world, out))
    run("verify", out, "--workers", 0)
    run("export", out, "--out", tmp_path / "pairs")
    assert {name: data for name, data in tree(out).items() if ".nfs" not in name} == before


# -------------------------------------------------------------------------------------------------- accounts and limits


def call(
    words: list[object],
    *,
    env: dict[str, str] | None = None,
    before: str = "",
    cwd: Path | None = None,
    limits: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, behind the shell commands `before`, with no environment but `env`."""
    line = 'exec "$@"' if not before else f'{before}; exec "$@"'
    return subprocess.run(
        ["sh", "-ec", line, "sh", sys.executable, "-m", "degrade_kit.pipelines.cli", *map(str, words)],
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **(env or {})},
        cwd=cwd,
        preexec_fn=limits,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=300,
    )


def check(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said, said
    return said


@dataclass(frozen=True)
class Account:
    """An account without a name or a home, which may write to one folder alone."""

    world: Path
    """As the fixture of that name, where it may read."""
    out: Path
    """Where it may write."""

    def run(self, words: list[object], code: int = 0) -> str:
        return check(self.python("-m", "degrade_kit.pipelines.cli", *map(str, words)), code)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        there = 'umask 077; cd /; exec setpriv --reuid=64321 --regid=64321 --clear-groups -- "$@"'
        return subprocess.run(
            ["sh", "-c", there, "sh", sys.executable, *words],
            env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "TMPDIR": str(self.out / "tmp")},
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=300,
        )


@pytest.fixture(scope="module")
def nobody(world: Path) -> Iterator[Account]:
    needs_accounts()
    with open_folder() as out:
        yield Account(world, out)


def needs_accounts() -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, and setpriv, to become another user")


@contextlib.contextmanager
def open_folder() -> Generator[Path]:
    """A folder that all may write to, and one in it for temporary files."""
    with tempfile.TemporaryDirectory(prefix="pytest-of-", dir="/var/tmp") as name:
        for folder in (Path(name), Path(name) / "tmp"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        yield Path(name)


LOCKED_DOWN = ("synth", "verify", "export lmdb", "make-testset", "evaluate", "weights")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [*LOCKED_DOWN, *(pytest.param(name, marks=pytest.mark.long) for name in ("analyze-distribution", "degrade"))],
)
def test_an_account_without_name_home_or_other_places_to_write_can_work(name: str, nobody: Account) -> None:
    out = nobody.out / name
    nobody.run({**COMMANDS, **SLOW}[name](nobody.world, out))
    for path in out.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, f"{path}: the umask is not obeyed"
    assert not (Path("/") / "~").exists()


@pytest.mark.long
def test_numba_compiles_for_such_an_account(nobody: Account) -> None:
    """UMAP itself takes a minute to compile; whether numba finds a place for it, it says at once."""
    pytest.importorskip("umap")
    module = nobody.world / "compiled.py"
    module.write_text("import numba\n@numba.njit(cache=True)\ndef same(x):\n    return x\n")
    module.chmod(0o644)
    there = f"import sys; sys.path.insert(0, {str(nobody.world)!r}); import compiled"
    alone = nobody.python("-c", there)
    assert "no locator available" in alone.stderr
    helped = f"from degrade_kit.analysis.projection import _let_numba_cache; _let_numba_cache(); {there}"
    check(nobody.python("-c", helped))
    assert not list((nobody.out / "tmp").glob("degrade-kit*")), "the folder goes with the process"


@pytest.mark.slow
def test_what_such_an_account_may_not_write_is_said(nobody: Account) -> None:
    for name in ("synth", "evaluate", "export folder", "make-testset"):
        assert "cannot write to" in nobody.run(COMMANDS[name](nobody.world, nobody.world / "out"), 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "xx_YY.nonsense"},
    ],
    ids=["C", "ascii", "unknown"],
)
def test_names_beyond_ascii_are_worked_on_and_told_without_a_locale(
    env: dict[str, str], world: Path, tmp_path: Path
) -> None:
    faces = tmp_path / "Gesichter ü 顔"
    shutil.copytree(world / "faces", faces)
    (faces / "05.png").rename(faces / "Zoë.png")
    (faces / "ö broken.png").write_bytes(b"none")
    out = tmp_path / "größe"
    words: list[object] = ["synth", "--hq", faces, "--shards", out, "--size", SIDE, "--workers", 0]
    assert "not usable: 1 not an image" in check(call(words, env=env), 3)
    check(call(["verify", out, "--workers", 0], env=env))
    assert "not an image" in check(call(["inspect", out], env=env))
    there = call(["verify", tmp_path / "fehlt ü"], env=env)
    assert there.returncode in (1, 2)
    assert "Traceback" not in there.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["synth", "verify", "export folder", "evaluate"])
def test_few_open_files_suffice(name: str, world: Path, tmp_path: Path) -> None:
    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))

    check(call(COMMANDS[name](world, tmp_path / "out"), limits=limits))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("sources._opened", OSError(errno.EMFILE, os.strerror(errno.EMFILE))),
        ("image._decode_plain", MemoryError()),
        ("image._decode_plain", cv2.error("OpenCV: (-4:Insufficient memory) Failed to allocate 9 bytes")),
    ],
    ids=["open files", "memory", "memory, of OpenCV"],
)
def test_what_this_process_lacks_is_no_fault_of_an_image(
    step: str, error: Exception, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"degrade_kit.{step}", Mock(side_effect=error))
        assert "; this process " in run(*COMMANDS["synth"](world, tmp_path / "out"), code=1)
    assert not list((tmp_path / "out").rglob("*.tar"))
    run(*COMMANDS["synth"](world, tmp_path / "out"))


@pytest.mark.slow
def test_a_limit_of_file_size_is_said_as_a_full_disk_is(world: Path, tmp_path: Path) -> None:
    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    said = check(call(COMMANDS["synth"](world, tmp_path / "out"), limits=limits), 1)
    assert "File too large" in said
    assert not list((tmp_path / "out").rglob("*.tar*"))


@pytest.mark.slow
def test_commands_run_from_a_folder_that_is_gone_or_closed(world: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    words = COMMANDS["synth"](world, tmp_path / "out")
    check(call(words, before=f"rmdir '{gone}'", cwd=gone))
    gone.mkdir(mode=0o555)
    check(call(COMMANDS["verify"](world, tmp_path), cwd=gone))
    assert not list(gone.iterdir())


def namespace(*flags: str) -> None:
    """Skip where this machine lets nobody make a namespace."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", *flags, "true"], capture_output=True).returncode:
        pytest.skip(f"needs `unshare {' '.join(flags)}`")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A machine that takes something away from a process."""

    unshared: tuple[str, ...] = ()
    """Namespaces, as flags of `unshare`."""
    setup: str = ""
    """What root does there before, in words of the shell; `$OUT` is where results go."""
    account: bool = False
    """Whether an account without a name or a home runs it, in place of root."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables beside PATH; `$OUT` as in `setup`; an empty one is not set."""
    refused: Mapping[int, int] = field(default_factory=dict[int, int])
    """Errors that system calls are answered by, by their numbers."""
    limits: Mapping[int, int] = field(default_factory=dict[int, int])
    """What a command may have, by the numbers of `resource`."""

    def run(
        self,
        commands: Mapping[str, list[object]],
        out: Path,
        allowed: Mapping[str, set[int]],
        said: str = "",
    ) -> None:
        """Run commands in one process there, or in one for each where it may have little.

        Args:
            commands: By name.
            out: Where they write.
            allowed: With what status each may end, by name; with 0 alone where it is not named.
            said: What those have to say that end with another one, as a pattern.
        """
        needs(self)
        plan = {
            "refused": list(self.refused.items()),
            "limits": list(self.limits.items()),
            "said": said,
            "commands": [(name, list(map(str, words)), [*allowed.get(name, {0})]) for name, words in commands.items()],
        }
        (out / "plan.json").write_text(json.dumps(plan), "utf-8")
        account = "setpriv --reuid=64321 --regid=64321 --clear-groups --" if self.account else ""
        line = f'{self.setup or "true"}; cd /; exec {account} "$@"'
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OUT": str(out)}
        env |= {name: value.replace("$OUT", str(out)) for name, value in self.env.items()}
        done = subprocess.run(
            [*(["unshare", *self.unshared] if self.unshared else []), "sh", "-ec", line, "sh", sys.executable, "-c",
             RUNNER, str(out / "plan.json")],
            env={name: value for name, value in env.items() if value},
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=1200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (out / "plan.json").unlink()


RUNNER = """
import json, os, pathlib, re, resource, signal, sys
plan = json.loads(pathlib.Path(sys.argv[1]).read_bytes())
if plan["refused"]:
    from tests.refused import refuse
    refuse(dict(plan["refused"]))
from click.testing import CliRunner
from degrade_kit.pipelines.cli import main
def run(name, words, allowed):
    done = CliRunner().invoke(main, words)
    if done.exit_code not in allowed or not isinstance(done.exception, SystemExit | None):
        sys.exit(f"{name}: status {done.exit_code}: {done.output}{done.exception!r}")
    if done.exit_code and not re.search(plan["said"], done.output):
        sys.exit(f"{name} does not say why: {done.output}")
def within_limits(*command):
    if child := os.fork():
        if status := os.waitpid(child, 0)[1]:
            sys.exit(f"{command[0]}: {os.waitstatus_to_exitcode(status)}")
        return
    signal.alarm(120)
    for kind, most in plan["limits"]:
        resource.setrlimit(kind, (most, most))
    sys.exit(run(*command))
if plan["limits"]:  # OpenBLAS takes its memory at the first product, and ends the process where there is none
    import numpy
    numpy.ones((256, 256)) @ numpy.ones((256, 256))
for command in plan["commands"]:
    (within_limits if plan["limits"] else run)(*command)
"""
# As the profiles of Docker and Podman answer what is newer than they are, or may touch other containers. By their
# numbers on x86-64, of `asm/unistd_64.h`.
REFUSED = {
    **dict.fromkeys((316, 326, 332, 425, 434, 435, 436, 437, 439), errno.ENOSYS),  # renameat2, copy_file_range, statx,
    # io_uring_setup, pidfd_open, clone3, close_range, openat2, faccessat2
    **dict.fromkeys((101, 141, 144, 149, 203, 237, 238, 239, 272, 319), errno.EPERM),  # ptrace, setpriority,
    # sched_setscheduler, mlock, sched_setaffinity, mbind, set_mempolicy, get_mempolicy, unshare, memfd_create
    285: errno.EOPNOTSUPP,  # fallocate
}
CLOSED = 'mount --bind "$OUT" "$OUT"; mount -o remount,ro,bind /; mount -t tmpfs -o ro none /tmp'
INSIDE = {"TMPDIR": "$OUT/tmp"}
PLACES: dict[str, Place] = {
    "no /proc": Place(unshared=("-m",), setup="mount -t tmpfs none /proc"),
    "no /sys": Place(unshared=("-m",), setup="mount -t tmpfs none /sys"),
    "closed /dev/shm": Place(unshared=("-m",), setup="mount -t tmpfs -o ro none /dev/shm"),
    "small /dev/shm": Place(unshared=("-m",), setup="mount -t tmpfs -o size=64m none /dev/shm"),
    "/tmp that runs nothing": Place(unshared=("-m",), setup="mount -t tmpfs -o noexec none /tmp"),
    "no network": Place(unshared=("-n",)),
    "read-only root": Place(unshared=("-m",), setup=CLOSED, env=INSIDE),
    "no name, no home": Place(account=True, setup="umask 077", env=INSIDE),
    "a job's folder that is gone": Place(env={"TMPDIR": "/gone", "HOME": "/gone"}),
    "calls that are refused": Place(refused=REFUSED),
    "few files": Place(limits={resource.RLIMIT_NOFILE: 64}),
    "no other process": Place(account=True, env={**INSIDE, "OMP_NUM_THREADS": ""}, limits={resource.RLIMIT_NPROC: 1}),
    "little memory": Place(limits={resource.RLIMIT_AS: 2_000_000_000}),
}
TOO_LITTLE: dict[str, tuple[Place, str]] = {
    "files": (
        Place(limits={resource.RLIMIT_NOFILE: 10}),
        r"Too many open files.*; this process may have 10 open files",
    ),
    "memory": (Place(limits={resource.RLIMIT_AS: 300_000_000}), r"; this process may have 300,000,000 bytes of memory"),
}
"""What a command cannot work with, and what it says of it."""


def needs(place: Place) -> None:
    """Skip where this machine lets nobody make such a place."""
    if place.unshared:
        namespace(*place.unshared)
    if place.account:
        needs_accounts()
    if place.refused and os.uname().machine != "x86_64":
        pytest.skip("needs the system calls of x86-64")


@pytest.mark.long
@pytest.mark.parametrize("name", PLACES)
def test_commands_give_the_same_files_in_every_place(name: str, world: Path, expected: dict[str, bytes]) -> None:
    """All quick commands in one process: most of the time goes to its start."""
    with open_folder() as out:
        PLACES[name].run({each: words(world, out / each) for each, words in COMMANDS.items()}, out, {})
        found = tree(out)
    assert found.keys() == expected.keys()
    named = NAMES_ITS_PLACE | (NAMES_HOME if PLACES[name].account or "HOME" in PLACES[name].env else set[str]())
    named |= NAMES_ITS_MOST if resource.RLIMIT_AS in PLACES[name].limits else set[str]()
    assert {made for made, data in expected.items() if found[made] != data} <= named


@pytest.mark.long
@pytest.mark.parametrize("name", TOO_LITTLE)
def test_commands_say_what_there_is_too_little_of(name: str, world: Path, expected: dict[str, bytes]) -> None:
    place, said = TOO_LITTLE[name]
    with open_folder() as out:
        commands = {each: words(world, out / each) for each, words in COMMANDS.items()}
        place.run(commands, out, {each: {0, 1} for each in COMMANDS}, rf"(?s)error: [^\n]*{said}[^\n]*\n$")
        found = tree(out)
    assert {made for made, data in found.items() if expected.get(made) != data} <= NAMES_ITS_PLACE


@pytest.mark.slow
@pytest.mark.long
def test_ray_starts_with_little_shared_memory(world: Path, tmp_path: Path) -> None:
    namespace("-m")
    words = [*COMMANDS["synth"](world, tmp_path / "out")[:-1], 1]
    inner = [sys.executable, "-m", "degrade_kit.pipelines.cli", *map(str, words)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", 'mount -t tmpfs -o size=64m none /dev/shm; exec "$@"', "sh", *inner],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "/dev/shm has only" in check(done)


@pytest.mark.long
def test_without_a_folder_for_temporary_files_commands_work_or_say_so(world: Path, expected: dict[str, bytes]) -> None:
    place = Place(unshared=("-m",), setup=CLOSED)
    with open_folder() as out:
        commands = {each: words(world, out / each) for each, words in COMMANDS.items()}
        place.run(commands, out, {each: {0, 1} for each in COMMANDS})
        found = tree(out)
    assert {made for made, data in found.items() if expected.get(made) != data} <= NAMES_ITS_PLACE


# ----------------------------------------------------------------------------------------------------------- processors


CGROUPS: dict[str, tuple[str, dict[str, str], float | None]] = {
    "version 2": ("0::/job/step\n", {"job/step/cpu.max": "max 100000", "job/cpu.max": "150000 100000"}, 1.5),
    "version 2, in a container": ("0::/host/path\n", {"cpu.max": "50000 100000"}, 0.5),
    "version 2, no limit": ("0::/\n", {"cpu.max": "max 100000"}, None),
    "version 1": (
        "4:memory:/m\n3:cpu,cpuacct:/slurm/job\n0::/\n",
        {"cpu/slurm/job/cpu.cfs_quota_us": "200000", "cpu/slurm/job/cpu.cfs_period_us": "100000"},
        2.0,
    ),
    "version 1, no limit": ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    "nonsense": ("what\n0::/../../x\n", {"cpu.max": "many 0"}, None),
    "none": ("", {}, None),
}


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, str]], None]:
    """Puts this process into control groups that are plain files."""

    def enter(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "groups" / name).write_text(f"{text}\n")
        monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
        monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "groups")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)

    return enter


@pytest.mark.parametrize("name", CGROUPS)
def test_workers_keep_to_the_quota_of_a_container(name: str, cgroup: Callable[[str, dict[str, str]], None]) -> None:
    own, files, quota = CGROUPS[name]
    cgroup(own, files)
    expected = 64 if quota is None else int(np.ceil(quota))
    assert machine.processors() == default_workers() == expected


def test_threads_are_limited_by_a_quota_alone(
    cgroup: Callable[[str, dict[str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cgroup("0::/\n", {"cpu.max": "max 100000"})
    assert machine.default_threads() == 0
    cgroup("0::/\n", {"cpu.max": "300000 100000"})
    assert machine.default_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert machine.default_threads() == 0


@pytest.mark.parametrize("most", [0, 3, 1000])
def test_libraries_have_one_thread_where_a_process_may_start_few(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    start, started = threading.Thread.start, list[threading.Thread]()

    def limited(thread: threading.Thread) -> None:
        if len(started) == most:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    machine.keep_to_threads()
    assert os.environ.get("OMP_NUM_THREADS") == ("1" if most < 4 else None)
    assert len(started) == min(most, 4)
    assert not any(thread.is_alive() for thread in started)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    machine.keep_to_threads()
    assert (os.environ["OMP_NUM_THREADS"], len(started)) == ("5", min(most, 4)), "which the user said"


def test_memory_is_what_the_group_may_have(cgroup: Callable[[str, dict[str, str]], None]) -> None:
    cgroup("0::/a\n", {"memory.max": "1000000", "a/memory.max": "max"})
    assert machine.memory() == 1_000_000
    cgroup("7:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712"})
    physical = machine.memory()
    assert physical is not None
    assert physical < 1 << 50


def test_ray_keeps_its_store_elsewhere_where_shared_memory_is_small_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert ExecutorConfig().threads == 1
    monkeypatch.setattr("degrade_kit.pipelines.executor.shared_memory", lambda: 1 << 30)
    assert _object_store_folder(str(tmp_path)) is None
    assert not caplog.messages
    monkeypatch.setattr("degrade_kit.pipelines.executor.shared_memory", lambda: 64 << 20)
    assert _object_store_folder(str(tmp_path)) == str(tmp_path)
    monkeypatch.setattr("degrade_kit.pipelines.executor.shared_memory", machine.shared_memory)
    monkeypatch.setattr(machine, "_SHARED_MEMORY", tmp_path / "none")
    assert _object_store_folder(str(tmp_path)) == str(tmp_path)
    assert "has only 67.1 MB free" in caplog.messages[0]
    assert "is not there" in caplog.messages[1]


def test_data_workers_follow_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, shared = 6 << 20, [None, 64 << 30, 64 << 20, 0]

    def count(processors: int, shared: int | None = None, *, on_gpu: bool = True) -> int:
        monkeypatch.setattr(machine, "processors", lambda: processors)
        monkeypatch.setattr(machine, "shared_memory", lambda: shared)
        return machine.default_data_workers(on_gpu=on_gpu, batch_bytes=batch)

    assert [count(64, memory) for memory in shared] == [8, 8, 1, 0]
    assert [count(processors) for processors in (1, 2, 5)] == [1, 1, 4]
    assert count(64, on_gpu=False) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert count(32) == 3
    assert count(64, 64 << 20) == 0, "shared memory is shared by the processes, too"


def test_every_command_is_tried() -> None:
    tried = {str(words(Path("w"), Path("o"))[0]) for words in {**COMMANDS, **SLOW}.values()}
    # These train, fetch, or are made of the others.
    elsewhere = {
        "bench-read",
        "caption",
        "demo",
        "distill",
        "fit-recipe",
        "match",
        "pairs from-photos",
        "restore",
        "train-degrade",
        "train-restore",
    }
    assert tried | elsewhere == set(main.commands)
    assert not tried & elsewhere
