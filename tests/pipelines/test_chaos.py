"""Every long command, stopped just before one of its file operations and run again: the bytes of an undisturbed run.

`make chaos` does the same at many more moments, drawn anew each time, and adds to the counts in docs/reliability.json.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from degrade_kit.flipnet.weights import read_weights
from tests.pipelines.models.runs import needs_ray, run, write_config
from tests.processes import CommandProcess, Moment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIDE = 32
MOMENTS = int(os.environ.get("DEGRADE_KIT_CHAOS", "0"))
"""Moments for each command that are drawn anew; 0 for five that are always the same."""
COUNTS = ROOT / "docs" / "reliability.json"
PATIENCE = 240.0
SCRATCH = re.compile(r"\..*\.(tmp|old|fit)|lock", re.DOTALL)
"""Names of what is there while a command works: the last of the endings, what a search for a bank has measured."""
JOURNALS = (".records.partial.jsonl", ".align.partial.jsonl", "metrics.jsonl")
"""Files that grow by lines while a command works."""
TRAINERS = ("train-degrade", "train-restore", "distill")
LOOP = {"num_steps": 4, "checkpoint_steps": 2, "validation_steps": 2, "crop_sizes": [SIDE], "batch_size": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, astronaut: npt.NDArray[np.uint8]) -> Path:
    """All that the commands take: faces, photographs with landmarks, pairs, data sets, configurations and models."""
    root = tmp_path_factory.mktemp("chaos")

    def save(name: str, pixels: npt.NDArray[Any]) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name)

    for number in range(6):
        face = astronaut[10 * number : 10 * number + SIDE, 180 : 180 + SIDE]
        save(f"faces/{number}.png", face)
        save(f"restored/{number}.png", face * 0.8 + 20)
        save(f"pairs/hq/{number}.png", face)
        save(f"pairs/lq/{number}.png", face * 0.5 + 60)
    for number in range(16):
        save(f"many/{number:02}.png", astronaut[8 * number : 8 * number + SIDE, 150 : 150 + SIDE])
    save("photos/a.png", astronaut)
    save("photos/b.png", astronaut // 2)
    points = [[200.0, 110.0], [245.0, 110.0], [222.0, 140.0], [205.0, 160.0], [240.0, 160.0]]
    (root / "points.json").write_text(json.dumps({"a.png": points, "b.png": points}))
    restore = dict.fromkeys(("reconstruction", "association", "restoration"), LOOP)
    write_config(root / "restore.yaml", **restore)
    config = json.loads((root / "restore.yaml").read_text("utf-8"))
    degrade = {
        **{key: config[key] for key in ("base", "network", "sampling", "validation_images")},
        "train": {**config["restoration"], "noise_draws": 1},
        "data": {"presets": ["gfpgan"], "face_sizes": [SIDE], "held_out": 0.34, "survey": 40},
        "validation_size": SIDE,
    }
    (root / "degrade.yaml").write_text(json.dumps(degrade), "utf-8")
    for words in (
        [*["synth", "--hq", root / "faces", "--shards", root / "shards", "--size", SIDE, "--preset", "gfpgan"],
         *["--variants", 2, "--samples-per-shard", 2, "--workers", 0]],
        ["export", root / "shards", "--to", "lq-only", "--out", root / "bare"],
    ):  # fmt: skip
        result = run([str(word) for word in words])
        assert result.exit_code == 0, result.output
    for command, name in (("train-degrade", "flipnet"), ("train-restore", "restorer")):
        words = [str(word) for word in COMMANDS[command](root, root / name)]
        process = CommandProcess(words, root / f"{name}.log", Moment(root / name, root / f"{name}.operations"))
        assert process.wait(PATIENCE) == 0, (root / f"{name}.log").read_text("utf-8")
    return root


HERE = ("--workers", 0)
ON_CPU = ("--device", "cpu")
COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "synth": lambda w, out: [
        *["synth", "--hq", w / "faces", "--shards", out, "--size", SIDE, "--preset", "gfpgan", "--variants", 2],
        *["--samples-per-shard", 2, *HERE],
    ],
    "train-degrade": lambda w, out: [
        *["train-degrade", "--pairs", f"folder={w}/pairs", "--hq", w / "faces", "--config", w / "degrade.yaml"],
        *["--out", out, *ON_CPU, "--threads", 1, "--no-registration"],
    ],
    "train-restore": lambda w, out: [
        *["train-restore", "--shards", w / "shards", "--config", w / "restore.yaml", "--out", out],
        *[*ON_CPU, "--threads", 1],
    ],
    "distill": lambda w, out: [
        *["distill", "--hq", w / "faces", "--flipnet", w / "flipnet/model", "--out", out, *ON_CPU, "--threads", 1],
        *["--solver-steps", 1, "--teacher-steps", 2, "--steps", 4, "--batch-size", 2, "--size", SIDE, "--images", 20],
    ],
    "restore": lambda w, out: [
        *["restore", "--model", w / "restorer", "--input", w / "faces", "--out", out, "--batch-size", 2],
        *[*ON_CPU, *HERE],
    ],
    "degrade": lambda w, out: [
        *["degrade", w / "faces/1.png", "--flipnet", w / "flipnet/model", "--size", SIDE, "--variants", 2],
        *["--out", out, *ON_CPU],
    ],
    "align": lambda w, out: [
        *["align", "--input", w / "photos", "--landmarks", w / "points.json", "--size", 64, "--out", out, *HERE],
    ],
    "export": lambda w, out: ["export", w / "shards", "--out", out],
    "export lmdb": lambda w, out: ["export", w / "shards", "--to", "lmdb", "--out", out],
    "export parquet": lambda w, out: ["export", w / "shards", "--to", "parquet", "--out", out],
    "export lq-only": lambda w, out: ["export", w / "shards", "--to", "lq-only", "--out", out],
    "join": lambda w, out: ["join", w / "bare", "--hq", w / "faces", "--out", out, *HERE],
    "make-testset": lambda w, out: [
        "make-testset", "--hq", w / "faces", "--count", 4, "--size", SIDE, "--out", out, *HERE
    ],
    "evaluate": lambda w, out: [
        "evaluate", "--restored", w / "restored", "--reference", w / "faces", "--out", out, *HERE
    ],
    "analyze-distribution": lambda w, out: [
        *["analyze-distribution", "--synth", f"made={w}/shards", "--real", f"real={w}/restored", "--size", SIDE],
        *["--projection", "pca", "--out", out, *HERE],
    ],
    "fit-recipe": lambda w, out: [
        *["fit-recipe", "--real", w / "many", "--hq", w / "faces", "--size", SIDE, "--out", out / "fitted.yaml"],
        *["--num-faces", 2, "--candidates", 2, "--images-per-candidate", 2, "--rounds", 0, *HERE],
    ],
    "match": lambda w, out: [
        *["match", "--real", w / "many", "--hq", w / "faces", "--shards", out / "set", "--out", out / "match"],
        *["--size", SIDE, "--num-faces", 4, *HERE],
    ],
}  # fmt: skip
LONG = ("train-degrade", "train-restore", "distill", "analyze-distribution", "export parquet", "fit-recipe", "match")
"""Commands that take half a minute or more to be stopped five times."""
STATUS = {"fit-recipe": {0, 1}, "distill": {0, 3}}
"""Exit statuses of a run that nothing disturbs: a recipe that fits no better is told by 1, a student by 3."""


@pytest.fixture(scope="module")
def counts() -> Iterator[Counter[tuple[str, str]]]:
    """Stops by command and signal; those of `make chaos` are added to what the documents show."""
    found = Counter[tuple[str, str]]()
    yield found
    if MOMENTS:
        known: dict[str, Any] = json.loads(COUNTS.read_text("utf-8")) if COUNTS.exists() else {}
        kills: dict[str, dict[str, int]] = known.setdefault("kills", {})
        for (command, name), number in sorted(found.items()):
            of_command = kills.setdefault(command, {})
            of_command[name] = of_command.get(name, 0) + number
        COUNTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", "utf-8")


class Bench:
    """Runs one command in one output folder, as often as asked for.

    Args:
        world: What it takes.
        folder: An empty one, for the output, the logs, and temporary files.
        name: Of the command in `COMMANDS`.
    """

    def __init__(self, world: Path, folder: Path, name: str) -> None:
        self.out, self.log, self.temporary = folder / "out", folder / "log", folder / "t"
        self._listing = folder / "operations"
        self._words = [str(word) for word in COMMANDS[name](world, self.out)]
        self._name = name
        self.temporary.mkdir()

    def start(
        self,
        operation: int = 0,
        number: int = signal.SIGKILL,
        *more: str,
        environment: dict[str, str] | None = None,
        log: Path | None = None,
    ) -> CommandProcess:
        """Start the command, which sends itself a signal before one of its operations."""
        return CommandProcess(
            [*self._words, *more],
            log or self.log,
            Moment(self.out, self._listing, operation, number),
            {"TMPDIR": str(self.temporary), **(environment or {})},
        )

    def run(self, operation: int = 0, number: int = signal.SIGKILL, *more: str, **others: Any) -> int:  # noqa: ANN401
        """Run the command, as `start`; returns its exit status, and waits until nothing of it is left."""
        process = self.start(operation, number, *more, **others)
        status = process.wait(PATIENCE)
        deadline = time.monotonic() + 90  # helpers of a Ray that was killed try for a minute to tell it
        while left := [*session(process.pid), *shared_memory(process.pid)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.02)
        return status

    @property
    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def undisturbed(self) -> tuple[dict[str, bytes], list[str]]:
        """The files of a run that nothing disturbs, and its operations; the output is removed again."""
        assert self.run() in STATUS.get(self._name, {0}), self.said
        files = self.files()
        assert not self.scratch(), self.scratch()
        shutil.rmtree(self.out)
        return files, self._listing.read_text("utf-8").splitlines()

    def files(self) -> dict[str, bytes]:
        """Content by name, without the times in the numbers of a training, and without its checkpoints but the last.

        A run that was asked to stop wrote one more.
        """
        found = {
            path.relative_to(self.out).as_posix(): path.read_bytes() for path in self.out.rglob("*") if path.is_file()
        }
        return {
            name: timeless(data) if name.endswith("metrics.jsonl") else data
            for name, data in found.items()
            if "/step-" not in name or "/checkpoints/" not in f"/{name}" or f"step-{LOOP['num_steps']:08d}" in name
        }

    def scratch(self) -> list[str]:
        """Whatever is there that is no result."""
        places = [*self.out.rglob("*"), *self.temporary.iterdir()]
        return [str(path) for path in places if SCRATCH.fullmatch(path.name) or path.parent == self.temporary]

    def check_whole(self, expected: dict[str, bytes]) -> None:
        """Whatever stands under a final name is whole."""
        for path in self.out.rglob("*"):
            name = path.relative_to(self.out).as_posix()
            if not path.is_file() or any(SCRATCH.fullmatch(part) for part in name.split("/")) or path.name in JOURNALS:
                continue
            if path.suffix == ".safetensors":
                read_weights(path)
            elif self._name not in TRAINERS:
                assert expected.get(name) == path.read_bytes(), f"{name} is not what an undisturbed run makes"
            elif path.suffix == ".json":
                json.loads(path.read_bytes())

    def stop_and_rerun(self, operation: int, number: signal.Signals, expected: dict[str, bytes]) -> None:
        """Stop a run at an operation, run it again, and compare; the output is removed again."""
        about = f"{self._name}, {number.name} before operation {operation}"
        status = self.run(operation, number)
        assert status == (-signal.SIGKILL if number == signal.SIGKILL else 130), f"{about}: {status}\n{self.said}"
        if number != signal.SIGKILL:
            assert self.said.count("run the same command again to go on") == 1, f"{about}:\n{self.said}"
            assert "Traceback" not in self.said, f"{about}:\n{self.said}"
        self.check_whole(expected)
        assert self.run() in STATUS.get(self._name, {0}), f"{about}:\n{self.said}"
        found = self.files()
        assert sorted(found) == sorted(expected), about
        assert [name for name in expected if found[name] != expected[name]] == [], about
        assert not self.scratch(), about
        shutil.rmtree(self.out)


def timeless(data: bytes) -> bytes:
    lines = [json.loads(line) for line in data.splitlines()]
    times = {"steps_per_second", "data_wait"}
    return json.dumps([{key: line[key] for key in line if key not in times} for line in lines]).encode()


def session(pid: int) -> list[str]:
    """Processes of a session that live."""
    found: list[str] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, number = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:4]
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # it has ended
        if int(number) == pid and state != "Z":
            found.append(f"{folder.name}: {title}")
    return found


def shared_memory(pid: int) -> list[str]:
    """What a process left in shared memory, by the numbers in the names."""
    folder = Path("/dev/shm")
    return [path.name for path in folder.glob("*")] and [
        str(path) for path in folder.glob("*") if re.search(rf"(^|\D){pid}(\D|$)", path.name)
    ]


def moments(name: str, operations: int) -> list[tuple[int, signal.Signals]]:
    """When to stop a command, and how: mostly by SIGKILL."""
    if MOMENTS:
        rng = random.Random()
        return [
            (rng.randint(1, operations), rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)))
            for _ in range(MOMENTS)
        ]
    rng = random.Random(name)
    drawn = sorted(rng.sample(range(1, operations + 1), min(5, operations)))
    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL]
    return list(zip(drawn, signals, strict=False))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in COMMANDS]
)
def test_a_command_that_is_stopped_and_run_again_gives_the_same_bytes(
    name: str, world: Path, tmp_path: Path, counts: Counter[tuple[str, str]]
) -> None:
    bench = Bench(world, tmp_path, name)
    expected, operations = bench.undisturbed()
    for operation, number in moments(name, len(operations)):
        bench.stop_and_rerun(operation, number, expected)
        counts[name, number.name] += 1


@pytest.mark.skipif(not MOMENTS, reason="takes minutes: `make chaos`")
@pytest.mark.parametrize(("name", "stage"), [("train-degrade", "out"), ("train-restore", "reconstruction")])
def test_a_training_killed_at_any_operation_around_its_last_checkpoint_is_finished_by_the_next_run(
    name: str, stage: str, world: Path, tmp_path: Path
) -> None:
    bench = Bench(world, tmp_path, name)
    expected, operations = bench.undisturbed()
    last = [number for number, text in enumerate(operations, 1) if re.search(rf"/{stage}/checkpoints/.*step-0*4", text)]
    marks = [number for number, text in enumerate(operations, 1) if re.search(rf"/{stage}/\.model\.json", text)]
    window = range(last[0], next(number for number in reversed(marks)) + 2)
    assert len(window) > 10
    for operation in window:
        bench.stop_and_rerun(operation, signal.SIGKILL, expected)


@pytest.mark.skipif(not MOMENTS, reason="takes minutes: `make chaos`")
@pytest.mark.parametrize("name", COMMANDS)
def test_of_two_runs_at_once_the_second_is_refused_or_right(name: str, world: Path, tmp_path: Path) -> None:
    bench = Bench(world, tmp_path, name)
    expected, operations = bench.undisturbed()
    first = bench.start(len(operations) // 2 + 1, signal.SIGSTOP)
    wait_until_stopped(first.pid)
    try:
        status = bench.run(log=tmp_path / "second")
        said = (tmp_path / "second").read_text("utf-8")
        if status not in STATUS.get(name, {0}):
            assert status == 1, said
            assert f"error: {bench.out}" in said, said
            assert f"is in use by another run: process {first.pid} on " in said, said
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait(PATIENCE) in STATUS.get(name, {0}), bench.said
    assert bench.files() == expected
    assert not bench.scratch()


def wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)


HOOK: Final = """
import os, sys
if "KILLED_WORKER" in os.environ:
    from pathlib import Path
    from tests.processes import Counter, Moment
    folder, operation, number, once = os.environ["KILLED_WORKER"].split(os.pathsep)

    class Once(Counter):
        def hit(self):
            try:
                os.close(os.open(once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return False
            return True

    sys.addaudithook(Once(Moment(Path(folder), Path(once), int(operation), int(number))))
"""
"""A `sitecustomize` by which the first worker of Ray that comes to a file operation sends itself a signal."""


@pytest.mark.long
def test_synth_survives_the_death_of_its_ray_worker_and_of_its_driver(
    world: Path, tmp_path: Path, counts: Counter[tuple[str, str]]
) -> None:
    needs_ray()
    bench = Bench(world, tmp_path, "synth")
    expected, _ = bench.undisturbed()
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK, "utf-8")
    rng = random.Random() if MOMENTS else random.Random(0)
    for round_ in range(MOMENTS or 1):
        once = tmp_path / f"once{round_}"
        fields = (bench.out, rng.randint(1, 4), int(signal.SIGKILL), once)
        environment = {"PYTHONPATH": f"{hook}{os.pathsep}{ROOT}", "KILLED_WORKER": os.pathsep.join(map(str, fields))}
        assert bench.run(0, signal.SIGKILL, "--workers", "1", environment=environment) == 0, bench.said
        assert once.exists(), "no worker was killed"
        assert bench.files() == expected
        assert not bench.scratch()
        counts["synth, its worker on Ray", "SIGKILL"] += 1
        shutil.rmtree(bench.out)
    for _ in range(MOMENTS or 1):
        status = bench.run(rng.randint(4, 8), signal.SIGKILL, "--workers", "1")
        assert status == -signal.SIGKILL, bench.said
        bench.check_whole(expected)
        assert bench.run() == 0, bench.said  # in its own process: how many workers there are changes nothing
        assert bench.files() == expected
        assert not bench.scratch()
        counts["synth, its driver on Ray", "SIGKILL"] += 1
        shutil.rmtree(bench.out)
