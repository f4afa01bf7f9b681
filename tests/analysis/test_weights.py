"""Where files of others' making are looked for."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from degrade_kit.analysis.weights import WEIGHTS, find, hash_state, locate, parse_given
from degrade_kit.errors import ConfigError
from degrade_kit.files import file_sha256
from degrade_kit.pipelines.cli import main


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEGRADE_KIT_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def put(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"\x80weights")
    return folder / name


def test_what_is_missing_says_which_file_where_it_looked_and_what_to_pass(tmp_path: Path) -> None:
    found = find("lpips-vgg", {})

    assert found.path is None
    assert found.missing() == (
        "needs vgg16-397923af.pth (553.4 MB, torchvision). Looked in: DEGRADE_KIT_WEIGHTS (not set), "
        f"{tmp_path / 'torch' / 'hub' / 'checkpoints'}. Get it: `degrade-kit weights --download lpips-vgg`; "
        "or give --weights lpips-vgg=PATH"
    )


def test_the_option_goes_before_the_variable_and_the_variable_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = put(tmp_path / "torch" / "hub" / "checkpoints", "vgg16-397923af.pth")
    assert find("lpips-vgg", {}).path == cached
    listed = put(tmp_path / "second", "vgg16-397923af.pth")
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    assert find("lpips-vgg", {}).path == listed
    given = put(tmp_path, "mine.pth")
    assert find("lpips-vgg", parse_given([("lpips-vgg", str(given))])).path == given


def test_other_public_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = put(tmp_path / "all", "pt_inception-2015-12-05-6726825d.pth")
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", str(tmp_path / "all"))

    assert find("inception", {}).path == other


def test_a_wrong_path_or_name_is_an_error() -> None:
    with pytest.raises(ConfigError, match="nothing is there"):
        find("niqe", {"niqe": Path("/nowhere.npz")})
    with pytest.raises(ConfigError, match="did you mean `lpips-vgg`"):
        parse_given([("lpips-vg", "x")])
    with pytest.raises(ConfigError, match="`sd21-base` is a folder of a model; give it by --base-model DIR"):
        parse_given([("sd21-base", "x")])


def test_a_models_folder_is_looked_for_where_its_library_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", str(tmp_path / "all"))
    (tmp_path / "all" / WEIGHTS["sd21-base"].files[0]).mkdir(parents=True)
    assert find("sd21-base", {}).path is None
    cached = tmp_path / "hf" / "hub" / WEIGHTS["sd21-base"].files[0]
    cached.mkdir(parents=True)
    assert find("sd21-base", {}).path == cached


def test_what_needs_a_file_is_a_command_and_its_options() -> None:
    for weight in WEIGHTS.values():
        assert any(weight.needed_by.startswith(name) for name in main.commands), weight.needed_by
        for name, option in re.findall(r"((?:pairs )?[a-z-]+) (--[a-z-]+)", weight.needed_by):
            options = {text for param in main.commands[name].params for text in param.opts}
            assert option in options, weight.needed_by


def test_a_file_that_a_command_does_not_read_is_refused() -> None:
    found = CliRunner().invoke(main, ["align", "--input", "a", "--out", "b", "--weights", "niqe=x"])
    assert found.exit_code == 2
    assert "--weights niqe: `align` does not read it; it is for evaluate: NIQE" in found.output


def test_hashes_are_compared(tmp_path: Path, shared_data: Path) -> None:
    assert hash_state(WEIGHTS["niqe"], shared_data / "weights" / "niqe_pris_params.npz") == "ok"
    assert hash_state(WEIGHTS["niqe"], put(tmp_path, "niqe_pris_params.npz")) == "other"
    assert hash_state(WEIGHTS["arcface-deg"], put(tmp_path, "resnet18_110.pth")) == "unknown"


def test_eight_digits_are_told_from_all_of_them(tmp_path: Path) -> None:
    path = put(tmp_path, "inception_FFHQ_512-f7b384ab.pth")
    digest = file_sha256(path)
    for known, state in ((digest, "ok"), (digest[:8], "begin"), ("0" * 8, "other"), ("", "unknown")):
        assert hash_state(replace(WEIGHTS["ffhq512-basicsr"], sha256=known), path) == state


def test_a_file_that_is_read_is_the_published_one(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", str(tmp_path))
    path = put(tmp_path, "niqe_pris_params.npz")
    expected = WEIGHTS["niqe"].sha256
    with pytest.raises(ConfigError) as caught:
        locate("niqe", {})
    assert str(caught.value) == (
        f"niqe: {path} is not the published niqe_pris_params.npz, of SHA-256 {expected}; remove it, and get it: "
        "`degrade-kit weights --download niqe`; or give --weights niqe=PATH to use another one"
    )
    assert not caplog.messages
    assert locate("niqe", {"niqe": path}).path == path
    assert caplog.messages == [
        f"{path} is not the published niqe_pris_params.npz, of SHA-256 {expected}: numbers by it compare with nobody "
        "else's"
    ]
    path.write_bytes((shared_data / "weights" / path.name).read_bytes())
    assert locate("niqe", {}).path == path


@pytest.mark.parametrize("name", ["arcface-deg", "arcface-idd", "arcface-iresnet", "ffhq512-vqfr"])
def test_a_file_without_a_published_hash_is_held_to_the_one_beside_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ArcFace's files no hash is published: what `sha256sum` told once holds from then on."""
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", str(tmp_path))
    path = put(tmp_path, WEIGHTS[name].files[0])
    assert locate(name, {}).path == path
    assert f"its SHA-256 is {file_sha256(path)}" in CliRunner().invoke(main, ["weights", name, "--hash"]).output

    note = path.with_name(f"{path.name}.sha256")
    note.write_text(f"{file_sha256(path)}  {path.name}\n")
    assert hash_state(WEIGHTS[name], path) == "noted"
    assert locate(name, {}).path == path
    path.write_bytes(b"\x80other weights")
    with pytest.raises(ConfigError, match=rf"{name}: .* is not the published .*, of SHA-256 {note.read_text()[:64]}"):
        locate(name, {})
    note.write_text("what?\n")
    with pytest.raises(ConfigError, match=r"expected 64 hexadecimal digits, as `sha256sum .*` prints them"):
        hash_state(WEIGHTS[name], path)


def test_a_page_in_place_of_a_file_is_told_where_no_hash_is_known(tmp_path: Path) -> None:
    path = put(tmp_path, "resnet18_110.pth")
    path.write_bytes(b"<!DOCTYPE html>")
    assert hash_state(WEIGHTS["arcface-deg"], path) == "other"


def test_each_file_has_a_size_and_a_whole_hash_or_the_reason_is_known() -> None:
    """Of those that can be fetched, one publisher gives no hash; what must be fetched by hand is no download."""
    assert all(weight.num_bytes > 0 for weight in WEIGHTS.values())
    assert {weight.name for weight in WEIGHTS.values() if weight.url and not weight.pinned} == {"arcface-idd"}
    assert all(re.fullmatch("([0-9a-f]{8}|[0-9a-f]{64})?", weight.sha256) for weight in WEIGHTS.values())


def test_the_command_lists_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "all", "vgg19-dcbb9e9d.pth")
    monkeypatch.setenv("DEGRADE_KIT_WEIGHTS", str(tmp_path / "all"))
    shown = CliRunner().invoke(main, ["weights", "--hash"])
    listed = json.loads(CliRunner().invoke(main, ["weights", "--json"]).stdout)

    assert shown.exit_code == 0
    assert all(name in shown.output for name in WEIGHTS)
    assert f"found    {path}  (NOT the published file)" in shown.output
    assert {row["name"]: row["path"] for row in listed}["vgg19"] == str(path)
    assert {row["name"]: row["path"] for row in listed}["arniqa"] is None
