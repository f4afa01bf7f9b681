"""The preset whose images a FlipNet makes, at the size of faces in photographs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.degradation import degrade, finish, make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.degrader import Networks
from degrade_kit.flipnet.folder import PHOTOS, degrading_model, folder_digest
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.ops import Frame, Jpeg
from degrade_kit.presets import preset
from degrade_kit.recipe import recipe_from_mapping
from degrade_kit.record import Record
from degrade_kit.seeding import generator


def test_the_flipnet_of_real_photographs_has_seen_some_and_has_a_file_behind_it() -> None:
    recipe = preset("flipnet-real")
    assert recipe_from_mapping(recipe.to_mapping(), recipe.name) == recipe
    assert recipe.models == {folder_digest(PHOTOS): "photos"}
    assert recipe.native_format() == "jpg"
    drawn = [recipe.draw(generator(0, "a.png", variant)) for variant in range(60)]
    sides = [frame.side for record in drawn if isinstance(frame := record.steps[0], Frame)]
    assert len(sides) == 60
    prompts = {op.prompt for record in drawn for op in record.steps if isinstance(op, FlipNetImage)}
    assert {prompt.rpartition(", ")[2] for prompt in prompts} == {"press", "crowd", "web"}
    assert prompts < dict(degrading_model("photos")[1]).keys()
    assert 64 <= min(sides) < 80 < 180 < max(sides) <= 224
    assert {record.steps[-2].subsampling for record in drawn if isinstance(record.steps[-2], Jpeg)} == {
        "4:2:0",
        "4:4:4",
    }
    with pytest.raises(ConfigError, match="give the network"):
        degrade(drawn[0], np.zeros((32, 32, 3), np.uint8))


@pytest.mark.slow
def test_the_flipnet_of_real_photographs_makes_images(astronaut: npt.NDArray[np.uint8]) -> None:
    recipe = preset("flipnet-real")
    hq = np.ascontiguousarray(astronaut[16:304:2, 64:352:2])
    record = next(record for variant in range(99) if _side(record := recipe.draw(generator(1, "a", variant))) < 72)
    native = degrade(record, hq, Networks(recipe, device="cpu"))
    assert native.encoded is not None
    assert native.encoded.extension == "jpg"
    lq = finish(native.pixels, native.tail, (144, 144)).astype(float)
    plain = Record(record.seed, tuple(op for op in record.steps if op.name not in ("flipnet", "jpeg")))
    small = make_lq(plain, hq).astype(float)
    assert 1 < np.abs(lq - small).mean() < 80, "the network changes the photograph, and shows the same face"


def _side(record: Record) -> int:
    first = record.steps[0]
    assert isinstance(first, Frame)
    return first.side
