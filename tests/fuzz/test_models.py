"""Whatever stands in the files of a model, it is refused in one message, at once, and no code in it runs."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from degrade_kit import upscale_ops
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.folder import CONFIG_FILE, SMALL, read_config
from degrade_kit.restore.folder import RESTORER_FILE, trained_size
from tests.degrade_kit.test_upscale import network
from tests.fuzz.budget import complaint, fuzz
from tests.fuzz.mutations import Damage, Mutation, damages, mutations, to_json
from tests.fuzz.test_inputs import fuzz_file


def test_no_description_of_a_flipnet_breaks_its_reader(tmp_path: Path) -> None:
    path = Path(shutil.copy(SMALL / CONFIG_FILE, tmp_path))
    fuzz_file(CONFIG_FILE, path, lambda: read_config(tmp_path), examples=100)


def test_no_description_of_a_restorer_breaks_its_reader(tmp_path: Path) -> None:
    path = tmp_path / RESTORER_FILE
    path.write_text('{"size": 64}')
    fuzz_file(RESTORER_FILE, path, lambda: trained_size(tmp_path))


def test_no_header_of_safetensors_breaks_its_reader(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from degrade_kit.flipnet.weights import read_weights, write_weights

    path = tmp_path / "weights.safetensors"
    write_weights({"a": torch.ones(2, 3), "b": torch.zeros(4)}, path)
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]

    def one(mutation: Mutation) -> None:
        if isinstance(mutation, Damage):
            path.write_bytes(mutation.apply(data))
        else:
            text = mutation.apply(b"", header, to_json)
            path.write_bytes(struct.pack("<Q", len(text)) + text + body)
        assert str(path) in (complaint(lambda: read_weights(path)) or str(path))

    fuzz("safetensors", mutations(header), one, 100)


@pytest.mark.slow
def test_no_torch_file_breaks_its_reader(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from degrade_kit.analysis.tensors import read_tensors

    path = tmp_path / "weights.pth"
    for zipped in (True, False):
        tensors: Any = {"params_ema": {"module.a": torch.ones(2, 3)}, "step": 7}
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
        data = path.read_bytes()

        def one(damage: Damage, data: bytes = data) -> None:
            path.write_bytes(damage.apply(data))
            assert str(path) in (complaint(lambda: read_tensors(path, "weights")) or str(path))

        fuzz(f".pth ({'zip' if zipped else 'legacy'})", damages(), one, 40)
    itself: dict[str, Any] = {}
    itself["state_dict"] = itself
    torch.save(itself, path)
    with pytest.raises(ConfigError, match="holds no tensors"):
        read_tensors(path, "weights")


@pytest.mark.slow
def test_no_network_of_others_ends_the_process(tmp_path: Path) -> None:
    """OpenCV's reader of ONNX dies of some damaged bytes: a process of its own tries each file first."""
    path = tmp_path / "x4.onnx"
    data = network(4, 1.0)
    pixels = np.zeros((16, 16, 3), np.uint8)

    def read() -> None:
        resolve = upscale_ops._onnx_upscaler(str(path))[0]
        resolve(pixels)

    def one(damage: Damage) -> None:
        path.write_bytes(damage.apply(data))
        complaint(read)

    path.write_bytes(data)
    assert complaint(read) is None
    path.write_bytes(data[:23] + b"\x80" + data[24:])
    assert "x4.onnx: damaged, or no network for this OpenCV: the process that tried it was ended by" in str(
        complaint(read)
    )
    fuzz("onnx", damages(), one, 2)


@pytest.mark.slow
def test_no_description_of_a_face_embedding_breaks_its_reader(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    from degrade_kit.restore.embeddings import FaceEmbedding, LatentSource, load_embedding, save_embedding
    from tests.degrade_kit.flipnet.models import tiny_base

    save_embedding(FaceEmbedding(LatentSource(tiny_base().vae, 2), 16), tmp_path)
    assert load_embedding(tmp_path) is not None
    fuzz_file("embedding.json", tmp_path / "embedding.json", lambda: load_embedding(tmp_path), examples=40)


def test_no_caption_file_breaks_its_reader(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from degrade_kit.flipnet.blip import CaptionFile

    path = tmp_path / "captions.jsonl"
    path.write_text(json.dumps({"sha256": "0" * 64, "model": "blip", "caption": "a face"}) + "\n")

    def read() -> None:
        CaptionFile(path, "blip")

    fuzz_file("captions", path, read, json.loads, lambda document: to_json(document) + "\n")
