"""`verify` finds every tampering, says which shard it is in, and has it made again; `replay` makes the stored bytes."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from degrade_kit.errors import ShardError
from degrade_kit.hq import HqConfig
from degrade_kit.image import decode_image, encode_png
from degrade_kit.pipelines.dataset.verify import VerifyReport, replay_variant, verify
from degrade_kit.pipelines.executor import ExecutorConfig
from degrade_kit.pipelines.makers.config import SynthConfig
from degrade_kit.pipelines.synth.plan import Plan, make_plan
from degrade_kit.pipelines.synth.synthesize import run_plan
from degrade_kit.presets import preset
from degrade_kit.shards import Sample, open_shards
from degrade_kit.store import open_store
from tests.limits import time_limit

HERE = ExecutorConfig(workers=0)
Members = list[tuple[str, bytes]]
Change = Callable[[Members], Members]
Tampering = Callable[[Path], object]


@pytest.fixture(scope="module")
def plan(faces_dir: Path) -> Plan:
    """Six faces, two to a shard, two variants each."""
    recipe = preset("flipnet-paper")
    config = SynthConfig(hq=str(faces_dir), recipe=recipe, variants=2, samples_per_shard=2, image=HqConfig(size=64))
    return make_plan(config)


@pytest.fixture(scope="module")
def made(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("verify") / "out"
    assert run_plan(plan, str(out), HERE).complete
    return out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of the data set to do harm to."""
    return shutil.copytree(made, tmp_path / "out")


def check(out: Path, replay: float = 0.05) -> VerifyReport:
    return verify(out, workers=0, replay=replay)


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def members_of(tar: Path) -> Members:
    with tarfile.open(tar) as archive:
        return [(info.name, archive.extractfile(info).read()) for info in archive]  # pyright: ignore[reportOptionalMemberAccess]


def edit_json(path: Path, **changes: Any) -> None:  # noqa: ANN401
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


def sidecar(out: Path, number: int) -> Path:
    return out / f".degrade_kit/shard-00000{number}.json"


def repack(out: Path, number: int, change: Change) -> None:
    """Change the members of a shard, and all hashes, sizes and counts, as one does who wants to be believed."""
    tar = out / f"shard-00000{number}.tar"
    members = change(members_of(tar))
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    index: list[list[Any]] = []
    offset = 0
    for name, data in members:
        key = name.partition(".")[0]
        if not index or index[-1][0] != key:
            index.append([key, offset])
        index[-1].append(len(data))
        offset += 512 + -(-len(data) // 512) * 512
    told = {"bytes": tar.stat().st_size, "sha256": hashlib.sha256(tar.read_bytes()).hexdigest()}
    old = json.loads(sidecar(out, number).read_bytes())["index"]
    # An index with entries of other lengths is no index at all; that is found before anything else.
    regular = [entry if len(entry) == len(old[0]) else old[0] for entry in index]
    edit_json(sidecar(out, number), index=regular, **told)
    manifest = json.loads((out / "manifest.json").read_bytes())
    manifest["shards"][number] |= told
    manifest["bytes"] = sum(entry["bytes"] for entry in manifest["shards"])
    hashes = "".join(entry["sha256"] for entry in manifest["shards"])
    manifest["digest"] = hashlib.sha256(hashes.encode()).hexdigest()
    (out / "manifest.json").write_text(json.dumps(manifest))


def replacing(name: str, change: Callable[[bytes], bytes]) -> Change:
    """Change one member of the shard, the first whose name ends so."""

    def apply(members: Members) -> Members:
        at = next(i for i, (member, _) in enumerate(members) if member.endswith(name))
        return [*members[:at], (members[at][0], change(members[at][1])), *members[at + 1 :]]

    return apply


def info(**changes: Any) -> Change:  # noqa: ANN401
    """Change fields of the first sample's JSON; None removes one."""

    def change(data: bytes) -> bytes:
        fields = {**json.loads(data), **changes}
        return json.dumps({key: value for key, value in fields.items() if value is not None}).encode()

    return replacing(".json", change)


def record(change: Callable[[dict[str, Any]], None]) -> Change:
    """Change the record of the first sample's first LQ image."""

    def apply(data: bytes) -> bytes:
        fields = json.loads(data)
        inner = json.loads(fields["lq0_record"])
        change(inner)
        return json.dumps({**fields, "lq0_record": json.dumps(inner)}).encode()

    return replacing(".json", apply)


def lq_swapped(members: Members) -> Members:
    """Swap the first LQ images of the two samples, each with the fields of its size."""
    files = dict(members)
    first, second = (name.partition(".")[0] for name in files if name.endswith("hq.png"))
    one, other = (json.loads(files[f"{key}.json"]) for key in (first, second))
    for field in ("lq0_height", "lq0_width", "lq0_tail"):
        one[field], other[field] = other[field], one[field]
    swapped = {
        f"{first}.json": json.dumps(one).encode(),
        f"{second}.json": json.dumps(other).encode(),
        f"{first}.lq0.png": files[f"{second}.lq0.png"],
        f"{second}.lq0.png": files[f"{first}.lq0.png"],
    }
    return [(name, swapped.get(name, data)) for name, data in members]


def grey_levels(data: bytes) -> bytes:
    pixels = decode_image(data, min_side=1).pixels.copy()
    pixels[0, 0] ^= 1
    return encode_png(pixels)


@pytest.mark.slow
def test_a_data_set_that_was_not_touched_is_whole(made: Path) -> None:
    report = check(made, replay=1)
    assert report == VerifyReport(shards=3, samples=6, replayed=12, identical=12, problems=[])


@pytest.mark.parametrize(("share", "samples"), [(0, 0), (0.05, 1), (1 / 6, 1), (0.2, 2), (0.5, 3), (0.9, 6), (1, 6)])
def test_the_share_that_is_made_again_counts_over_all_shards(made: Path, share: float, samples: int) -> None:
    assert check(made, replay=share).replayed == 2 * samples


@pytest.mark.slow
def test_a_data_set_behind_a_url_is_checked_alike(plan: Plan, out: Path) -> None:
    url = "memory://verify-test/out"
    run_plan(plan, url, HERE)
    store = open_store(url)
    assert {name: store.read(name) for name in store.names()} == files(out)
    assert verify(url, workers=0, replay=1).problems == []
    store.write("shard-000001.tar", store.read("shard-000001.tar")[:-1024])
    assert [problem[:12] for problem in verify(url, workers=0).problems] == ["shard-000001"] * 2


def cut(tar: Path, samples: int, blocks: int = 0) -> None:
    with tarfile.open(tar) as archive:
        boundary = archive.getmembers()[4 * samples].offset  # four members in each sample
    tar.write_bytes(tar.read_bytes()[:boundary] + bytes(512 * blocks))


def flip(tar: Path, member: int, header: bool = False) -> None:
    with tarfile.open(tar) as archive:
        info = archive.getmembers()[member]
    data = bytearray(tar.read_bytes())
    data[info.offset + 5 if header else info.offset_data + info.size // 2] ^= 4
    tar.write_bytes(data)


SHARD = "shard-000001.tar"

# What is done to shard 1, and a part of what must be said of it.
TAMPERINGS: dict[str, tuple[Tampering, str]] = {
    "a flipped byte in an HQ image": (lambda out: flip(out / SHARD, 0), "its bytes have changed"),
    "a flipped byte in a JSON": (lambda out: flip(out / SHARD, 5), "its bytes have changed"),
    "a flipped byte in an LQ image": (lambda out: flip(out / SHARD, 7), "its bytes have changed"),
    "a flipped byte in a header": (lambda out: flip(out / SHARD, 4, header=True), "its bytes have changed"),
    "a byte after the end": (lambda out: (out / SHARD).write_bytes((out / SHARD).read_bytes() + b"\0"), "bytes, found"),
    "cut between samples": (lambda out: cut(out / SHARD, 1), "cut or damaged"),
    "cut between samples and closed": (lambda out: cut(out / SHARD, 1, blocks=2), "expected 2 samples, found 1"),
    "cut within a sample": (
        lambda out: (out / SHARD).write_bytes((out / SHARD).read_bytes()[:5000]),
        "not a whole tar",
    ),
    "a missing tar": (lambda out: (out / SHARD).unlink(), "the tar is missing"),
    "a tar of another shard": (lambda out: shutil.copy(out / "shard-000000.tar", out / SHARD), "found"),
    "a missing sidecar": (lambda out: sidecar(out, 1).unlink(), "no sidecar"),
    "a sidecar that is no JSON": (lambda out: sidecar(out, 1).write_bytes(b"{"), "not JSON"),
    "the sidecar of another shard": (lambda out: shutil.copy(sidecar(out, 0), sidecar(out, 1)), "another shard"),
    "a sidecar of another run": (
        lambda out: edit_json(sidecar(out, 1), config_sha256="0" * 64),
        "another configuration",
    ),
    "another count in the sidecar": (lambda out: edit_json(sidecar(out, 1), count=3), "its sidecar 3"),
    "another range in the sidecar": (lambda out: edit_json(sidecar(out, 1), last=9), "do not add up"),
    "no failures in the sidecar": (
        lambda out: edit_json(sidecar(out, 1), failures=[{"source": "x", "reason": "y", "detail": "z"}]),
        "do not add up",
    ),
    "other statistics in the sidecar": (
        lambda out: edit_json(sidecar(out, 1), statistics=json.loads(sidecar(out, 0).read_bytes())["statistics"]),
        "the statistics in its sidecar are not those of its records",
    ),
    "another index in the sidecar": (
        lambda out: edit_json(sidecar(out, 1), index=json.loads(sidecar(out, 0).read_bytes())["index"]),
        "its sidecar's index says",
    ),
}


def points_to(report: VerifyReport, shard: str, words: str) -> None:
    assert report.problems
    assert all(problem.startswith(f"{shard}: ") for problem in report.problems), report.problems
    assert any(words in problem for problem in report.problems), report.problems
    advice = f"to make this shard again, delete .degrade_kit/{shard}.json and manifest.json and run"
    assert sum(advice in problem for problem in report.problems) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TAMPERINGS))
def test_tampering_is_found_and_mended_as_advised(plan: Plan, made: Path, out: Path, name: str) -> None:
    tamper, words = TAMPERINGS[name]
    tamper(out)
    assert files(out) != files(made)
    points_to(check(out, replay=0), "shard-000001", words)
    sidecar(out, 1).unlink(missing_ok=True)
    (out / "manifest.json").unlink()
    report = run_plan(plan, str(out), HERE)
    assert (report.shards_made, report.shards_kept) == (1, 2)
    assert files(out) == files(made)


# What is done to the members, all hashes made to fit, a part of what must be said, and whether it takes a replay.
REPACKED: dict[str, tuple[Change, str, bool]] = {
    "two LQ images swapped": (lq_swapped, "lq0 is not what its record makes", True),
    "an LQ image changed": (replacing("lq1.png", grey_levels), "lq1 is not what its record makes", True),
    "another noise seed": (record(lambda data: data.update(seed=1)), "lq0 is not what its record makes", True),
    "another strength": (
        record(lambda data: data["steps"][0].update(sigma_x=1.0)),
        "the statistics in its sidecar are not those of its records",
        False,
    ),
    "a record that is none": (record(lambda data: data.pop("seed")), "not a degradation record", False),
    "a record with an unknown step": (record(lambda data: data["steps"][0].update(op="x")), "unknown operation", False),
    "a record with a field of another type": (
        record(lambda data: data["steps"].insert(0, {"op": "shift", "right": 0, "down": "x"})),
        "shift.down: expected int in a record, got 'x'",
        False,
    ),
    "a record that cannot be run": (
        record(lambda data: data["steps"].insert(0, {"op": "blur", "size": 4, "sigma_x": 1.0, "sigma_y": 1.0})),
        "lq0: its record cannot be run",
        True,
    ),
    "another HQ image": (replacing("hq.png", grey_levels), "the HQ image is not the one of its JSON", False),
    "an HQ image that is none": (replacing("hq.png", lambda data: b"text"), "hq: not an image", False),
    "an LQ image that is cut": (replacing("lq0.png", lambda data: data[:-9]), "lq0: truncated", False),
    "another size": (info(height=65), "hq has shape (64, 64), its JSON says (65, 64)", False),
    "another native size": (info(lq1_width=3000), "lq1 has shape", False),
    "a field less": (info(lq0_tail=None), "field lq0_tail: expected text, found no such field", False),
    "a field of another type": (
        info(variants="2"),
        "field variants: expected a whole number within [0, 1000], got '2'",
        False,
    ),
    "a tail that is none": (info(lq0_tail="x"), "lq0_tail is not the end of its record", False),
    "no tail": (info(lq1_tail="[]"), "lq1_tail is not the end of its record", False),
    "another target": (info(lq1_target='[{"op":"gray"}]'), "lq1_target is not that of its record", False),
    "a JSON that is none": (replacing(".json", lambda data: data[:-1]), "not JSON", False),
    "members in another order": (
        lambda members: [members[1], members[0], *members[2:]],
        "has members json, hq.png",
        False,
    ),
    "a member less": (lambda members: members[:3] + members[4:], "has members hq.png, json, lq0.png, expected", False),
    "a member more": (lambda members: [*members, ("000000003.pkl", b"evil")], "'000000003.pkl' (not read)", False),
    "a name outside": (lambda members: [*members, ("../../x.png", b"evil")], "'../../x.png' (not read)", False),
    "members that are not adjacent": (lambda members: [*members[:3], *members[4:], members[3]], "has members", False),
    "samples in another order": (lambda members: members[4:] + members[:4], "not the number of an input", False),
    "a sample less": (lambda members: members[4:], "expected 2 samples, found 1", False),
    "a sample twice": (lambda members: members[:4] + members, "two members 000000002.hq.png", False),
    "another key": (
        lambda members: [(name.replace("000000002", "000000009"), data) for name, data in members],
        "not the number of an input from 2 to 3",
        False,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(REPACKED))
def test_tampering_is_found_where_all_hashes_were_made_to_fit(out: Path, name: str) -> None:
    change, words, by_replay = REPACKED[name]
    repack(out, 1, change)
    if by_replay:
        assert check(out, replay=0).problems == [] or "statistics" in check(out, replay=0).problems[0]
    points_to(check(out, replay=1), "shard-000001", words)


def test_a_repacked_shard_without_a_change_is_whole(out: Path, made: Path) -> None:
    repack(out, 1, lambda members: members)
    assert (out / SHARD).read_bytes() == (made / SHARD).read_bytes()
    assert check(out, replay=1).problems == []


MANIFESTS: dict[str, tuple[dict[str, Any], str]] = {
    "digest": ({"digest": "0" * 64}, "its digest does not match"),
    "samples": ({"num_samples": 7}, "its num_samples does not match"),
    "bytes": ({"bytes": 7}, "its bytes does not match"),
    "sources": ({"num_sources": 7}, "do not add up to its num_sources"),
    "failures": ({"num_failures": 1}, "do not add up"),
    "skipped": ({"num_skipped": 1}, "do not add up"),
    "fewer shards": ({"num_shards": 2}, "its num_shards does not match"),
    "more shards": ({"num_shards": 4}, "shard-000003: no sidecar"),
    "configuration": ({"config_sha256": "0" * 64}, "config.yaml: not the configuration"),
}


@pytest.mark.parametrize("name", list(MANIFESTS))
def test_an_altered_manifest_is_found(out: Path, name: str) -> None:
    changes, words = MANIFESTS[name]
    edit_json(out / "manifest.json", **changes)
    assert any(words in problem for problem in check(out).problems)


@pytest.mark.parametrize("key", ["count", "bytes", "sha256"])
def test_a_manifest_that_disagrees_with_a_sidecar_points_to_the_shard(out: Path, key: str) -> None:
    manifest = json.loads((out / "manifest.json").read_bytes())
    manifest["shards"][2][key] = "0" * 64 if key == "sha256" else 1
    (out / "manifest.json").write_text(json.dumps(manifest))
    problems = check(out).problems
    assert any(problem.startswith(f"shard-000002: manifest.json says {key} ") for problem in problems), problems


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1}'])
def test_a_manifest_that_is_none_stops_the_check(out: Path, text: str) -> None:
    (out / "manifest.json").write_text(text)
    with pytest.raises(ShardError, match=r"manifest\.json: "):
        check(out)


def test_tars_that_are_not_listed_are_named(out: Path) -> None:
    shutil.copy(out / SHARD, out / "shard-000009.tar")
    (out / "extra.tar").touch()
    (out / "folder").mkdir()
    (out / "folder/other.tar").touch()  # no reader of this folder takes it for data
    assert check(out).problems == ["extra.tar: not in manifest.json", "shard-000009.tar: not in manifest.json"]


def test_a_renamed_tar_is_both_missing_and_too_much(out: Path) -> None:
    (out / SHARD).rename(out / "shard-1.tar")
    problems = check(out).problems
    assert "shard-1.tar: not in manifest.json" in problems
    assert "shard-000001: the tar is missing" in problems


def test_a_tar_in_the_place_of_an_empty_shard_is_found(made: Path, tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces/a.png").write_bytes(b"")
    (tmp_path / "faces/b.png").write_bytes(encode_png(np.zeros((64, 64, 3), np.uint8)))
    image = HqConfig(size=64)
    config = SynthConfig(hq=str(tmp_path / "faces"), recipe=preset("gfpgan"), samples_per_shard=1, image=image)
    out = tmp_path / "out"
    run_plan(make_plan(config), str(out), HERE)
    assert check(out, replay=1).problems == []
    shutil.copy(made / SHARD, out / "shard-000000.tar")
    assert check(out).problems == ["shard-000000.tar: not in manifest.json"]


@pytest.mark.slow
def test_the_configuration_and_the_failures_beside_the_shards_are_checked(out: Path) -> None:
    config = out / ".degrade_kit/config.yaml"
    fields = yaml.safe_load(config.read_text("utf-8"))
    for text in (yaml.safe_dump({**fields, "seed": 1}), "{", ""):
        config.write_text(text)
        assert any("config.yaml" in problem for problem in check(out).problems)
    config.unlink()
    assert any("config.yaml" in problem for problem in check(out).problems)
    config.write_text(yaml.safe_dump(fields))  # written another way, the same configuration
    assert check(out).problems == []
    failures = out / ".degrade_kit/failures.jsonl"
    failures.write_text('{"source": "x", "reason": "truncated", "detail": "cut"}\n')
    assert any("failures.jsonl: 1 lines" in problem for problem in check(out).problems)
    for text in ("{}\n", "{", "[]", "[" * 3000, "\0"):
        failures.write_text(text)
        assert any("damaged: " in problem and "failures.jsonl, line 1: " in problem for problem in check(out).problems)
    failures.unlink()
    assert any("failures.jsonl is missing" in problem for problem in check(out).problems)


@pytest.mark.slow
def test_a_deep_or_endless_file_is_a_problem_at_once(out: Path) -> None:
    with time_limit(10):
        (out / ".degrade_kit/config.yaml").write_text("[" * 100_000)
        assert any("config.yaml" in problem and "deeper than 64 levels" in problem for problem in check(out).problems)
        sidecar(out, 1).write_text("[" * 100_000)
        found = [problem for problem in check(out).problems if problem.startswith("shard-000001: damaged")]
        assert [problem.rpartition(": ")[2] for problem in found] == ["deeper than 64 levels"]
        edit_json(out / "manifest.json", num_shards=1_000_000)
        assert any(
            "its num_shards is 1,000,000, but 3 sidecars are there" in problem for problem in check(out).problems
        )
        edit_json(out / "manifest.json", num_shards=10**12)
        with pytest.raises(ShardError, match=r"field num_shards: expected a whole number within \[0, 1000000\]"):
            check(out)
        (out / "manifest.json").write_text("[" * 100_000)
        with pytest.raises(ShardError, match="deeper than 64 levels"):
            check(out)


def test_all_damaged_shards_are_named_and_a_long_list_is_shortened(out: Path) -> None:
    flip(out / "shard-000000.tar", 0)
    (out / "shard-000002.tar").unlink()
    many = [(f"{n:09d}.{extension}", b"") for n in range(30) for extension in ("hq.png", "json")]
    repack(out, 1, lambda members: members + many)
    problems = check(out).problems
    assert {problem[:12] for problem in problems} == {"shard-000000", "shard-000001", "shard-000002"}
    ours = [problem for problem in problems if problem.startswith("shard-000001")]
    assert len(ours) == 21
    assert any("more problems; to make this shard again" in problem for problem in ours)


@pytest.mark.slow
def test_other_library_versions_may_round_another_way_but_not_make_another_picture(out: Path) -> None:
    repack(out, 1, replacing("lq0.png", grey_levels))
    assert any("lq0 is not what its record makes" in problem for problem in check(out, replay=1).problems)
    edit_json(sidecar(out, 1), versions={"numpy": "1.0"})
    report = check(out, replay=1)
    assert report.problems == []
    assert (report.replayed, report.identical) == (12, 12)
    repack(out, 1, replacing("lq0.png", lambda data: encode_png(255 - decode_image(data, min_side=1).pixels)))
    assert any("lq0 is not what its record makes" in problem for problem in check(out, replay=1).problems)


def samples_of(out: Path) -> list[Sample]:
    return list(open_shards(out).samples())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gfpgan", "codeformer", "real-esrgan", "flipnet-paper"])
@pytest.mark.parametrize("lq_size", ["native", "full"])
def test_replay_makes_the_stored_bytes(faces_dir: Path, tmp_path: Path, name: str, lq_size: Any) -> None:  # noqa: ANN401
    config = SynthConfig(
        hq=str(faces_dir), recipe=preset(name), variants=2, lq_size=lq_size, image=HqConfig(size=64), hq_format="jpg"
    )
    run_plan(make_plan(config), str(tmp_path / "out"), HERE)
    for sample in samples_of(tmp_path / "out"):
        for variant in range(2):
            outcome = replay_variant(sample, variant)
            assert outcome.identical
            assert outcome.mean_difference == 0
            assert np.array_equal(outcome.stored, outcome.again)


def test_replay_measures_how_far_an_image_is_from_its_record(made: Path) -> None:
    sample = samples_of(made)[0]
    image = sample.native_lq(0).astype(int)
    inverted = Sample(sample.key, {**sample.members, "lq0.png": encode_png((255 - image).astype(np.uint8))})
    outcome = replay_variant(inverted, 0)
    assert not outcome.identical
    assert outcome.mean_difference == pytest.approx(np.abs(255 - 2 * image).mean())
    larger = Sample(sample.key, {**sample.members, "lq0.png": encode_png(np.zeros((99, 99, 3), np.uint8))})
    assert replay_variant(larger, 0).mean_difference == float("inf")
    with pytest.raises(ShardError, match="variants 0 to 1, not 2"):
        replay_variant(sample, 2)
