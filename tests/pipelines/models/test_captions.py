"""Captions of training pairs: made ahead by `degrade-kit caption`, or once by the first process, never unasked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch.distributed

from degrade_kit.errors import ConfigError
from degrade_kit.files import sha256
from degrade_kit.flipnet import blip
from degrade_kit.image import encode_png
from degrade_kit.pipelines.models.captions import captions_text, check_captions, first_alone, training_captions
from degrade_kit.progress import Progress

IMAGES = [encode_png(np.full((16, 16, 3), 40 * number, np.uint8)) for number in range(4)]


def write_captions(path: Path, images: list[bytes]) -> str:
    lines = [
        json.dumps({"sha256": sha256(image), "model": "any", "caption": f"face {number}"})
        for number, image in enumerate(images)
    ]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return str(path)


def captions_of(captions: str, out: Path, *, progress: list[Progress] | None = None) -> list[str]:
    return training_captions(
        IMAGES.__getitem__,
        len(IMAGES),
        captions=captions,
        out_dir=out,
        device="cpu",
        download=False,
        what="haze",
        progress=(lambda step: None) if progress is None else progress.append,
    )


def test_captions_that_were_made_ahead_are_found_by_the_images_files(tmp_path: Path) -> None:
    ahead = write_captions(tmp_path / "ahead.jsonl", IMAGES)
    check_captions(ahead, tmp_path, download=False)
    assert captions_of(ahead, tmp_path) == ["face 0", "face 1", "face 2", "face 3"]
    assert "of " + ahead in captions_text(ahead, tmp_path, 4)
    with pytest.raises(ConfigError, match=r"none of 1 of 4 images of haze; `degrade-kit caption` makes those"):
        captions_of(write_captions(tmp_path / "some.jsonl", IMAGES[:3]), tmp_path)


def test_a_model_captions_on_the_trainings_device_with_progress_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[tuple[str, str | None, bool]] = []

    def load(model: str, device: str | None, *, download: bool) -> object:
        loads.append((model, device, download))
        return lambda images: [f"level {image[0, 0, 0]}" for image in images]

    monkeypatch.setattr(blip, "_load", load)
    told: list[Progress] = []
    first = captions_of("some/blip", tmp_path, progress=told)
    assert first == captions_of("some/blip", tmp_path) == ["level 0", "level 40", "level 80", "level 120"]
    assert loads == [("some/blip", "cpu", False)]
    assert (told[-1].done, told[-1].total) == (4, 4)
    assert "which has 4" in captions_text("some/blip", tmp_path, 9)


def test_a_model_that_is_not_here_is_said_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nobody/nothing is not in the local cache: .*--download.*--captions"):
        check_captions("nobody/nothing", tmp_path, download=False)
    with pytest.raises(ConfigError, match=r"no folder \./nowhere"):
        check_captions("./nowhere", tmp_path, download=False)
    check_captions("nobody/nothing", tmp_path, download=True)
    (tmp_path / blip.CAPTIONS).touch()  # of a run that was stopped: what is missing is told then
    check_captions("nobody/nothing", tmp_path, download=False)


@pytest.mark.parametrize(("rank", "order"), [(0, ["work", "wait"]), (1, ["wait", "work"])])
def test_the_first_process_works_alone_and_the_others_find_it_done(
    rank: int, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_alone(lambda: "alone") == "alone"
    done: list[str] = []
    for name, value in {"is_initialized": True, "get_world_size": 2, "get_rank": rank, "new_group": "group"}.items():
        monkeypatch.setattr(torch.distributed, name, lambda *_, value=value, **__: value)
    monkeypatch.setattr(torch.distributed, "barrier", lambda group: done.append("wait"))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda group: None)

    def work() -> str:
        done.append("work")
        return "found"

    assert first_alone(work) == "found"
    assert done == order
