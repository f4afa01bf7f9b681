from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.weights import check_shapes, load_weights, network_fingerprint, read_weights, write_weights


def test_weights_come_back(tmp_path: Path) -> None:
    written = {"a": torch.randn(3, 2), "b": torch.tensor(4), "c": torch.randn(2).half()}
    write_weights(written, tmp_path / "w.safetensors")
    found = read_weights(tmp_path / "w.safetensors")
    assert found.keys() == written.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in written.items())


def test_a_module_is_filled_whole_or_not_at_all(tmp_path: Path) -> None:
    path, module, other = tmp_path / "w.safetensors", nn.Linear(3, 2), nn.Linear(3, 2)
    write_weights(module.state_dict(), path)
    load_weights(other, path)
    assert torch.equal(module.weight, other.weight)
    write_weights({"weight": torch.zeros(2, 3), "bias": torch.zeros(5)}, path)
    with pytest.raises(ConfigError, match="0 missing, 0 unexpected, 1 of another shape; bias is 5, expected 2"):
        load_weights(other, path)
    assert torch.equal(module.weight, other.weight)


def test_a_summary_counts_and_gives_three_examples() -> None:
    expected = {f"layer{i}": torch.zeros(2) for i in range(40)}
    with pytest.raises(ConfigError) as caught:
        check_shapes(expected, {"other": torch.zeros(1)}, "file")
    message = str(caught.value)
    assert "file: weights of another network: 40 missing, 1 unexpected, 0 of another shape" in message
    assert message.count("is missing") == 3


@pytest.mark.parametrize(("width", "guess"), [(768, "Stable Diffusion 1.x"), (1024, "2.x"), (2048, "XL"), (640, None)])
def test_a_known_width_is_recognised(width: int, guess: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        check_shapes({"to_k": torch.zeros(320, 32)}, {"to_k": torch.zeros(320, width)}, "file")
    assert ("it has layers as wide as those of" in str(caught.value)) == (guess is not None)
    assert guess is None or guess in str(caught.value)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_weights_that_a_wrapped_network_saved_are_loaded(prefix: str, tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3)
    saved = {f"{prefix}{name}": tensor + 1 for name, tensor in module.state_dict().items()}
    expected = module.weight.detach() + 1
    write_weights(saved, tmp_path / "w.safetensors")
    load_weights(module, tmp_path / "w.safetensors")
    assert torch.equal(module.weight, expected)


def test_a_header_as_long_as_a_pickles_first_bytes_say_is_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for length in range(1, 400):
        write_weights({"n" * length: torch.zeros(2)}, path)
        if path.read_bytes()[0] == 0x80:
            break
    else:
        raise AssertionError("no name gave such a header")
    assert set(read_weights(path)) == {"n" * length}


def test_a_header_that_is_no_header_is_told(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for content in (b"", b"\x08\0\0\0\0\0\0\0not json", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="not a safetensors file, or cut short"):
            read_weights(path)
    with pytest.raises(ConfigError, match="cannot be read: expected a regular file, found a folder"):
        read_weights(tmp_path)


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(OSError, match=r"w\.safetensors"):
            write_weights({"a": torch.zeros(100_000)}, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_fingerprint_tells_networks_apart_and_not_precisions() -> None:
    torch.manual_seed(0)
    last = nn.Linear(20, 5)
    module = nn.Sequential(nn.Linear(30, 20), last)
    first = network_fingerprint(module)
    with torch.no_grad():
        last.bias.add_(0.01)
    second = network_fingerprint(module)
    assert first != second
    assert network_fingerprint(nn.Sequential(nn.Linear(30, 20))) not in (first, second)
    assert network_fingerprint(module.half()) == second
