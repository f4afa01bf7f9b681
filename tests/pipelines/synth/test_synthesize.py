"""What the bytes of a data set depend on, and what they do not."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from degrade_kit.errors import ConfigError, RunError
from degrade_kit.hq import HqConfig
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.makers.recipe_maker import Prepared, RecipeMaker
from degrade_kit.pipelines.synth.plan import Plan, make_plan
from degrade_kit.pipelines.synth.shard import CRASH_LIMIT, ShardTask, synthesize_shard, synthesize_shard_by_recipe
from degrade_kit.pipelines.synth.synthesize import SynthReport, run_plan
from degrade_kit.presets import preset
from degrade_kit.progress import Progress
from degrade_kit.shards import Sample, Variant, iterate_samples, open_shards, read_sidecar, shard_name
from degrade_kit.store import open_store

HERE = ExecutorConfig(workers=0)
PROGRESS = re.compile(r"\d+/\d+ images, .*, \d+/\d+ shards, .* MB")


@pytest.fixture
def config(faces_dir: Path) -> SynthConfig:
    return SynthConfig(
        hq=str(faces_dir),
        recipe=preset("flipnet-paper"),
        variants=2,
        seed=3,
        samples_per_shard=2,
        image=HqConfig(size=64),
    )


def synth(config: SynthConfig, out: Path, **options: Any) -> SynthReport:  # noqa: ANN401 (of `run_plan`)
    return run_plan(make_plan(config), str(out), HERE, **options)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def samples_in(out: Path) -> dict[str, Sample]:
    """Samples by source."""
    samples = list(open_shards(out).samples())
    return {sample.info["source"]: sample for sample in samples}


def lq_of(sample: Sample, variant: int) -> tuple[Any, ...]:
    """Everything about one LQ image."""
    info = sample.info
    return (sample.image(f"lq{variant}"), *(info[key] for key in sorted(info) if key.startswith(f"lq{variant}_")))


# ----------------------------------------------------------------------------------------------------- the real command


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """A short path, since Ray's sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="dk-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def run_command(faces: Path, out: Path, workers: int, temporary: Path) -> subprocess.CompletedProcess[str]:
    # The same options as the fixture `config`.
    command = [sys.executable, "-m", "degrade_kit.pipelines.cli", "synth", "--hq", str(faces), "--shards", str(out)]
    command += [
        "--preset",
        "flipnet-paper",
        "--variants",
        "2",
        "--seed",
        "3",
        "--samples-per-shard",
        "2",
        "--size",
        "64",
    ]
    return subprocess.run(
        [*command, "--workers", str(workers)],
        # A Ray of its own starts whatever the environment names.
        env={**os.environ, "TMPDIR": str(temporary), "RAY_ADDRESS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2, pytest.param(5, marks=pytest.mark.long)])
def test_bytes_do_not_depend_on_the_number_of_workers(
    workers: int, config: SynthConfig, faces_dir: Path, tmp_path: Path, temporary: Path
) -> None:
    synth(config, tmp_path / "here")
    result = run_command(faces_dir, tmp_path / "out", workers, temporary)

    assert result.returncode == 0, result.stderr
    found = files_in(tmp_path / "out")
    assert sorted(found) == [
        ".degrade_kit/config.yaml",
        ".degrade_kit/failures.jsonl",
        *(f".degrade_kit/shard-00000{i}.json" for i in range(3)),
        "README.md",
        "manifest.json",
        "preview.png",
        *(f"shard-00000{i}.tar" for i in range(3)),
    ]
    assert found == files_in(tmp_path / "here")
    # Nothing from Ray: a clean run says what this project says.
    said = [line for line in result.stderr.splitlines() if not PROGRESS.fullmatch(line)]
    assert [line for line in said if not line.startswith("note: an enlarged HQ image")] == []
    assert "Traceback" not in result.stdout
    assert not list(temporary.glob("degrade-kit-*"))


# ------------------------------------------------------------------------------------------------- what does not matter


@pytest.mark.slow
@pytest.mark.parametrize("samples_per_shard", [1, 4, 100])
def test_samples_do_not_depend_on_the_size_of_shards(
    config: SynthConfig, tmp_path: Path, samples_per_shard: int
) -> None:
    synth(config, tmp_path / "two")
    report = synth(replace(config, samples_per_shard=samples_per_shard), tmp_path / "other")

    assert report.num_shards == -(-6 // samples_per_shard)
    assert samples_in(tmp_path / "other") == samples_in(tmp_path / "two")


@pytest.mark.slow
def test_moving_the_folder_changes_no_byte(config: SynthConfig, faces_dir: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "with another name"
    shutil.copytree(faces_dir, moved)
    synth(config, tmp_path / "here")
    synth(replace(config, hq=str(moved)), tmp_path / "there")

    assert files_in(tmp_path / "there") == files_in(tmp_path / "here")


@pytest.mark.slow
def test_other_files_change_no_lq_image(config: SynthConfig, faces_dir: Path, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    shutil.copytree(faces_dir, faces)
    (faces / "astronaut_left.png").unlink()
    shutil.copy(faces_dir / "astronaut.png", faces / "0_first_of_all.png")
    shutil.copy(faces_dir / "nested/hopper.png", faces / "nested/zz_last.png")
    (faces / "a_broken_one.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    synth(config, tmp_path / "before")
    synth(replace(config, hq=str(faces)), tmp_path / "after")

    before, after = samples_in(tmp_path / "before"), samples_in(tmp_path / "after")
    both = before.keys() & after.keys()
    assert len(both) == 5
    assert before.keys() - both == {"astronaut_left.png"}
    assert after.keys() - both == {"0_first_of_all.png", "nested/zz_last.png"}
    for name in both:
        assert before[name].members == after[name].members  # their keys differ, and nothing else
    # One photograph under two names is degraded in two ways.
    assert after["0_first_of_all.png"].image("hq") == after["astronaut.png"].image("hq")
    assert lq_of(after["0_first_of_all.png"], 0) != lq_of(after["astronaut.png"], 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flipnet-paper", "gfpgan"])
def test_more_variants_leave_the_first_ones_as_they_were(config: SynthConfig, tmp_path: Path, name: str) -> None:
    synth(replace(config, recipe=preset(name), variants=2), tmp_path / "two")
    synth(replace(config, recipe=preset(name), variants=5), tmp_path / "five")

    two, five = samples_in(tmp_path / "two"), samples_in(tmp_path / "five")
    assert len(two) == 6
    for source in two:
        assert [lq_of(two[source], i) for i in range(2)] == [lq_of(five[source], i) for i in range(2)]
        assert len({lq_of(five[source], i) for i in range(5)}) == 5


@pytest.mark.slow
def test_another_seed_changes_every_lq_image_and_no_hq_image(config: SynthConfig, tmp_path: Path) -> None:
    synth(config, tmp_path / "three")
    synth(replace(config, seed=4), tmp_path / "four")

    three, four = samples_in(tmp_path / "three"), samples_in(tmp_path / "four")
    for source in three:
        assert three[source].image("hq") == four[source].image("hq")
        assert not {lq_of(three[source], i) for i in range(2)} & {lq_of(four[source], i) for i in range(2)}


@pytest.mark.slow
def test_full_size_is_native_size_finished(config: SynthConfig, tmp_path: Path) -> None:
    synth(config, tmp_path / "native")
    synth(replace(config, lq_size="full"), tmp_path / "full")

    native, full = samples_in(tmp_path / "native"), samples_in(tmp_path / "full")
    for source in native:
        for variant in range(2):
            assert full[source].info[f"lq{variant}_tail"] == "[]"
            assert (full[source].native_lq(variant) == native[source].pair(variant)[1]).all()


# ------------------------------------------------------------------------------------------------------------- resuming


@pytest.mark.slow
def test_ranges_of_shards_make_the_same_data_set(config: SynthConfig, tmp_path: Path) -> None:
    whole = synth(config, tmp_path / "whole")
    first = synth(config, tmp_path / "parts", shard_range=(1, 3))
    assert not first.complete
    assert not (tmp_path / "parts/manifest.json").exists()
    second = synth(config, tmp_path / "parts", shard_range=(0, 1))

    assert second.complete
    assert second.digest == whole.digest
    assert files_in(tmp_path / "parts") == files_in(tmp_path / "whole")


@pytest.mark.parametrize("shard_range", [(0, 4), (3, 4), (2, 2)])
def test_a_range_beyond_the_shards_is_an_error(
    config: SynthConfig, tmp_path: Path, shard_range: tuple[int, int]
) -> None:
    with pytest.raises(ConfigError, match="within 0:3"):
        synth(config, tmp_path / "out", shard_range=shard_range)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_finished_shards_are_kept(config: SynthConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    synth(config, out)
    before = files_in(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    (out / ".degrade_kit/shard-000001.json").unlink()
    (out / "manifest.json").unlink()
    told: list[tuple[int, int | None]] = []
    report = synth(config, out, progress=lambda step: told.append((step.done, step.total)))

    assert (report.shards_made, report.shards_kept, told) == (1, 2, [(2, 2)])
    assert files_in(out) == before
    changed = {name for name, when in times.items() if (out / name).stat().st_mtime_ns != when}
    assert changed == {"shard-000001.tar"}


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_shard_without_its_tar_is_made_again(config: SynthConfig, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    synth(config, out)
    before = files_in(out)
    tar = out / "shard-000001.tar"
    if damage == "gone":
        tar.unlink()
    else:
        tar.write_bytes(tar.read_bytes()[:-512])
    report = synth(config, out)

    assert (report.shards_made, report.shards_kept) == (1, 2)
    assert files_in(out) == before


@pytest.mark.slow
def test_a_data_set_that_lacks_a_tar_is_not_called_whole(config: SynthConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    synth(config, out)
    (out / "manifest.json").unlink()
    (out / "shard-000002.tar").unlink()
    report = synth(config, out, shard_range=(0, 1))

    assert not report.complete
    assert not (out / "manifest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 4}, "seed: there 3, now 4"),
        ({"variants": 3}, "variants: there 2, now 3"),
        ({"samples_per_shard": 3}, "samples_per_shard: there 2, now 3"),
        ({"recipe": preset("gfpgan")}, "recipe.name: there 'flipnet-paper', now 'gfpgan'"),
        ({"image": HqConfig(size=32)}, "image.size: there 64, now 32"),
        ({"include": "*.png"}, "num_sources: there 6, now 4"),
    ],
)
def test_another_configuration_is_refused(
    config: SynthConfig, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    out = tmp_path / "out"
    synth(config, out)
    before = files_in(out)

    with pytest.raises(RunError, match="another configuration") as caught:
        synth(replace(config, **change), out)
    assert said in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert files_in(out) == before


@pytest.mark.slow
def test_overwrite_removes_what_was_ours_alone(config: SynthConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    synth(config, out)
    foreign = {"notes.txt": b"mine", "shard-final.tar": b"mine too", "sub/shard-000000.tar": b"and this"}
    for name, data in foreign.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(data)
    other = replace(config, seed=4, samples_per_shard=3)
    synth(other, out, overwrite=True)
    synth(other, tmp_path / "fresh")

    assert files_in(out) == {**files_in(tmp_path / "fresh"), **foreign}


# ----------------------------------------------------------------------------------------------------------- the report


@pytest.mark.slow
def test_the_report_counts_what_was_made(config: SynthConfig, tmp_path: Path) -> None:
    report = synth(replace(config, image=HqConfig(size=64, min_side=64)), tmp_path / "out")

    assert report.complete
    assert (report.num_shards, report.shards_made, report.shards_kept) == (3, 3, 0)
    assert (report.num_sources, report.num_samples, report.variants) == (6, 5, 2)
    assert report.failures == {"too small": 1}
    assert report.bytes == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tar"))
    manifest = json.loads((tmp_path / "out/manifest.json").read_text("utf-8"))
    assert (manifest["digest"], manifest["num_samples"], manifest["num_failures"]) == (report.digest, 5, 1)
    (failure,) = (tmp_path / "out/.degrade_kit/failures.jsonl").read_text("utf-8").splitlines()
    assert json.loads(failure)["source"] == "nested/hopper_tiny.png"


@pytest.mark.slow
def test_progress_is_told_of_every_shard(config: SynthConfig, tmp_path: Path) -> None:
    told: list[Progress] = []
    synth(config, tmp_path / "out", progress=told.append)

    assert [(step.done, step.total) for step in told] == [(2, 6), (4, 6), (6, 6)]
    assert [step.note.partition(",")[0] for step in told] == ["1/3 shards", "2/3 shards", "3/3 shards"]


def task_of(plan: Plan, first: int, last: int, out: Path, crumbs: Path) -> ShardTask:
    return ShardTask(
        index=0,
        first=first,
        sources=plan.sources.select(first, last),
        config=plan.config,
        lq_extension=plan.lq_extension,
        fingerprint=plan.fingerprint,
        url=str(out),
        crumbs=str(crumbs),
    )


class InBatches:
    """A maker that takes some faces before it yields for the first of them, as a model does."""

    def __init__(self, plan: Plan, size: int) -> None:
        self.maker, self.size = RecipeMaker(plan.config, plan.lq_extension), size

    def variants(self, faces: Iterable[Prepared]) -> Iterator[list[Variant]]:
        faces = iter(faces)
        while batch := list(itertools.islice(faces, self.size)):
            yield from list(self.maker.variants(batch))


@pytest.mark.parametrize("size", [1, 2, 100])
def test_makers_may_work_in_batches(config: SynthConfig, faces_dir: Path, size: int, tmp_path: Path) -> None:
    hq = tmp_path / "hq"
    shutil.copytree(faces_dir, hq)
    (hq / "b_bad.png").write_bytes(b"no image")
    plan = make_plan(replace(config, hq=str(hq)))
    count = len(plan.sources.names)
    expected = synthesize_shard_by_recipe(task_of(plan, 0, count, tmp_path / "one", tmp_path))
    found = synthesize_shard(task_of(plan, 0, count, tmp_path / "batch", tmp_path), InBatches(plan, size))
    assert found == expected
    assert (found.count, found.failures) == (count - 1, 1)
    assert files_in(tmp_path / "batch") == files_in(tmp_path / "one")


def test_a_maker_that_leaves_a_face_out_makes_no_shard(config: SynthConfig, tmp_path: Path) -> None:
    class Lazy(InBatches):
        def variants(self, faces: Iterable[Prepared]) -> Iterator[list[Variant]]:
            return itertools.islice(self.maker.variants(list(faces)), 1)

    plan = make_plan(config)
    with pytest.raises(AssertionError, match="1 faces were given no variants"):
        synthesize_shard(task_of(plan, 0, 2, tmp_path / "out", tmp_path), Lazy(plan, 1))
    assert not list((tmp_path / "out").rglob("*.tar"))


def test_an_image_that_crashed_its_workers_is_set_aside(config: SynthConfig, tmp_path: Path) -> None:
    plan = make_plan(config)
    crumbs = tmp_path / "crumbs"
    crumbs.mkdir()
    task = task_of(plan, 0, 2, tmp_path / "out", crumbs)
    # What the workers before this one left behind: each noted the image that it was at when it died.
    (crumbs / "0.txt").write_text('"astronaut_left.png"\n' * CRASH_LIMIT)

    report = synthesize_shard_by_recipe(task)

    assert (report.count, report.failures) == (1, 1)
    sidecar = read_sidecar(open_store(tmp_path / "out"), shard_name(0))
    assert sidecar is not None
    assert [(failure.source, failure.reason) for failure in sidecar.failures] == [
        ("astronaut_left.png", "crashed the worker")
    ]
    (sample,) = iterate_samples(tmp_path / "out/shard-000000.tar")
    assert sample.info["source"] == "astronaut.png"
