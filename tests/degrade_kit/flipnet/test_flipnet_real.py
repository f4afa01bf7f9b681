"""The preset whose images a FlipNet makes, at the size of faces in photographs."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from degrade_kit.degradation import degrade, finish, make_lq
from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.degrader import Degrader, Networks
from degrade_kit.flipnet.folder import PHOTOS, folder_digest
from degrade_kit.flipnet.severity import Severity, measure
from degrade_kit.network_ops import FlipNetImage
from degrade_kit.ops import Denoise, Frame, Jpeg, Unframe
from degrade_kit.presets import preset
from degrade_kit.recipe import recipe_from_mapping
from degrade_kit.record import Record
from degrade_kit.seeding import generator


def test_the_flipnet_of_real_photographs_has_seen_some_and_has_a_file_behind_it() -> None:
    recipe = preset("flipnet-real")
    assert recipe_from_mapping(recipe.to_mapping(), recipe.name) == recipe
    assert recipe.models == {folder_digest(PHOTOS): "photos"}
    assert recipe.native_format() == "jpg"
    drawn = [recipe.draw(generator(0, "a.png", variant)) for variant in range(300)]
    sides = [frame.side for record in drawn if isinstance(frame := record.steps[0], Frame)]
    assert len(sides) == 300
    shown = [op for record in drawn for op in record.steps if isinstance(op, FlipNetImage)]
    assert all(len(op.description) == 11 and not op.prompt for op in shown)
    assert len({op.description for op in shown}) > 80, "each of 135 photographs is as likely"
    assert 47 <= min(sides) < 60 < 200 < max(sides) <= 228
    assert 70 < sum(side < 120 for side in sides) < 130, "a third are faces in crowds"
    files = [op for record in drawn if isinstance(op := record.steps[-2], Jpeg)]
    assert len(files) == 300
    assert {file.subsampling for file in files} == {"4:2:0", "4:4:4"}
    press, web = (sum(file.quality == quality for file in files) for quality in (90, 95))
    assert min(press, web) > 70, "files of the press have a quality of 90, those of the web of 95"
    assert min(file.quality for file in files) < 65, "those of crowds tell nothing, and have any"
    upright = [frame.angle == 0 for record in drawn if isinstance(frame := record.steps[0], Frame)]
    assert 70 < sum(upright) < 130, "faces of the web were cut out as they stood"
    assert upright == [isinstance(record.steps[1], Denoise) for record in drawn], "and retouched"
    assert {file.quality for file, stands in zip(files, upright, strict=True) if stands} == {95}
    back = [op.filter for record in drawn for op in record.steps if isinstance(op, Unframe)]
    assert 20 < back.count("linear") < 80, "how crops of crowds were enlarged is not known"
    assert not any(stands and name == "linear" for stands, name in zip(upright, back, strict=True))
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


@pytest.mark.slow
def test_the_flipnet_of_photographs_follows_an_exemplar(astronaut: npt.NDArray[np.uint8]) -> None:
    face, other = (
        np.asarray(cv2.resize(part, (96, 96), interpolation=cv2.INTER_AREA), np.uint8)
        for part in (astronaut[16:304, 64:352], astronaut[160:480, 160:480])
    )
    degrader = Degrader.load("photos", device="cpu")

    def made(*steps: dict[str, dict[str, float]]) -> Severity:
        recipe = recipe_from_mapping({"name": "known", "steps": list(steps)}, "known")
        exemplar = make_lq(recipe.draw(generator(0, "a", 0)), other)
        (lq,) = degrader.degrade(face, like=exemplar, seeds=[3])
        return measure(face, lq)

    sharp, blurred = made({"blur": {"sigma": 0.2}}), made({"blur": {"sigma": 1.8}})
    noisy = made({"gaussian_noise": {"level": 10}})
    assert blurred.blur > sharp.blur + 0.3
    assert noisy.noise > max(sharp.noise, blurred.noise) + 0.5


def _side(record: Record) -> int:
    first = record.steps[0]
    assert isinstance(first, Frame)
    return first.side
