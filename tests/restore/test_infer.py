from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.checkpoint import Loaded
from degrade_kit.flipnet.config import FlipNetConfig, Mode
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.image import Pixels, to_float
from degrade_kit.restore.infer import COLOR_FIXES, ColorFix, Restorer, fix_colors, restorer_folder
from tests.degrade_kit.flipnet.models import tiny_flipnet


def images(seed: int, height: int = 24, width: int = 20) -> torch.Tensor:
    return torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(seed)) * 2 - 1


@given(st.sampled_from(COLOR_FIXES), st.integers(0, 100))
def test_the_colours_of_an_image_are_its_own(kind: ColorFix, seed: int) -> None:
    found = images(seed)
    assert torch.allclose(fix_colors(found, found, kind), found, atol=1e-5)


def test_adain_takes_mean_and_spread_of_each_channel() -> None:
    found = fix_colors(images(0), images(1) * 0.3 + 0.4, "adain")
    like = images(1) * 0.3 + 0.4
    assert torch.allclose(found.mean((2, 3)), like.mean((2, 3)), atol=1e-5)
    assert torch.allclose(found.std((2, 3)), like.std((2, 3)), atol=1e-4)


def test_wavelets_undo_a_cast_and_keep_the_detail() -> None:
    image = images(0)
    assert torch.allclose(fix_colors(image + 0.3, image, "wavelet"), image, atol=1e-5)
    assert torch.equal(fix_colors(image + 0.3, image, "none"), image + 0.3)


def test_a_network_that_degrades_is_refused() -> None:
    loaded = Loaded(net=tiny_flipnet(), prompts=(), sampling=SamplingConfig(), digest="x")
    with pytest.raises(ConfigError, match="trained to degrade"):
        Restorer(loaded, None, 32, device="cpu")


def test_a_folder_without_a_restorer_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no restorer; expected a run of `degrade-kit train-restore`"):
        restorer_folder(tmp_path)


def test_an_array_is_restored_at_the_size_of_the_training(astronaut: Pixels) -> None:
    net = tiny_flipnet(FlipNetConfig(lora_rank=4, mode=Mode.RESTORE))
    restorer = Restorer(
        Loaded(net=net, prompts=(), sampling=SamplingConfig(num_steps=2), digest="x"), None, 32, device="cpu"
    )
    lq = np.ascontiguousarray(astronaut[:80, :64])
    pixels, image = restorer.restore(lq, seed=3), restorer.restore(to_float(lq), seed=3)

    assert (pixels.shape, pixels.dtype) == ((40, 32, 3), np.uint8)
    np.testing.assert_array_equal(to_float(pixels), image)
    assert not np.array_equal(pixels, restorer.restore(lq, seed=4))
