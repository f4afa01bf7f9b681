from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from degrade_kit.errors import RunError
from degrade_kit.flipnet.batch import to_images
from degrade_kit.flipnet.checkpoint import Loaded
from degrade_kit.flipnet.config import FlipNetConfig, Mode
from degrade_kit.flipnet.degrader import Degrader
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.precision import shorten_frozen
from degrade_kit.flipnet.sampling import SamplingConfig, autocast, latent_size, sample
from degrade_kit.image import Pixels
from degrade_kit.restore.infer import Restorer
from tests.degrade_kit.flipnet.models import tiny_flipnet

SETTINGS = SamplingConfig(num_steps=1)
MESSAGE = "images that are not finite, [1-4] of [1-4]: float16 is too narrow .* Give --dtype bfloat16 or float32"


def overflowing(mode: Mode, *, upcast: bool | None = None) -> FlipNet:
    """A network whose decoder is as Stable Diffusion XL's: large inside, normalized behind."""
    net = tiny_flipnet(FlipNetConfig(lora_rank=4, mode=mode))
    with torch.no_grad():
        net.vae.decoder.conv_in.weight.mul_(1e6)
        net.vae.decoder.conv_in.bias.mul_(1e6)
    if upcast is not None:
        stated = {key: value for key, value in net.vae.config.items() if key != "_use_default_values"}
        net.vae = type(net.vae).from_config({**stated, "force_upcast": upcast}).eval()
        net.vae.load_state_dict(overflowing(mode).vae.state_dict())
    return net


def made_by(net: FlipNet, dtype: str, face: Pixels) -> Pixels:
    loaded = Loaded(net=net, prompts=(), sampling=SETTINGS, digest="x")
    if net.config.mode is Mode.DEGRADE:
        [made] = Degrader(loaded, device="cpu", dtype=dtype).degrade(face, seeds=[1])
    else:
        made = Restorer(loaded, None, 16, device="cpu", dtype=dtype).restore(face, seed=1)
    assert made.dtype == np.uint8
    return made


@pytest.fixture(scope="module")
def face(astronaut: Pixels) -> Pixels:
    return np.ascontiguousarray(astronaut[100:116, 200:216])


@pytest.mark.slow
@pytest.mark.parametrize("mode", Mode)
def test_a_decoder_that_overflows_in_float16_is_an_error_and_no_black_image(mode: Mode, face: Pixels) -> None:
    net = overflowing(mode)
    assert made_by(net, "float32", face).std() > 1
    with pytest.raises(RunError, match=MESSAGE):
        made_by(net, "float16", face)


@pytest.mark.slow
def test_force_upcast_keeps_the_decoder_in_full_precision(face: Pixels) -> None:
    wanted = made_by(overflowing(Mode.DEGRADE), "float32", face)
    found = made_by(overflowing(Mode.DEGRADE, upcast=True), "float16", face)
    assert np.abs(found.astype(int) - wanted).mean() < 2
    with pytest.raises(RunError, match=MESSAGE):
        made_by(overflowing(Mode.DEGRADE, upcast=False), "float16", face)


def test_an_infinite_image_is_not_clipped_to_white(face: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny_flipnet(FlipNetConfig(lora_rank=4, mode=Mode.DEGRADE))
    decode = net.decode_latents
    monkeypatch.setattr(net, "decode_latents", lambda latents: torch.full_like(decode(latents), torch.inf))
    with pytest.raises(RunError, match=MESSAGE):
        made_by(net, "float32", face)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_no_pixel_is_made_of_what_is_no_number(value: float) -> None:
    """Every image of sampling, validation and the autoencoders becomes bytes here."""
    images = torch.zeros(2, 3, 4, 4)
    assert [image.max() for image in to_images(images)] == [128, 128]
    images[1, 2, 3, 3] = value
    with pytest.raises(RunError, match="images that are not finite, 1 of 2"):
        to_images(images)


def test_a_validation_of_autoencoders_that_overflow_writes_no_sheet(tmp_path: Path, face: Pixels) -> None:
    from degrade_kit.flipnet.mixture import PairSample
    from degrade_kit.pipelines.models.restore_validation import AutoencoderValidator
    from degrade_kit.restore.autoencoder import AutoencoderConfig, AutoencoderLoss, Autoencoders, build_autoencoder
    from degrade_kit.restore.losses import GradientPyramid

    config = AutoencoderConfig(widths=(8, 8), layers=1, critic_width=4)
    autoencoders = Autoencoders(build_autoencoder(config), build_autoencoder(config), 4)
    with torch.no_grad():
        autoencoders.lq.decoder.conv_out.bias.fill_(torch.inf)
    loss = AutoencoderLoss(autoencoders, GradientPyramid(), config, associate=False)
    samples = [PairSample(hq=face, lq=face, caption="", kind="face")]
    with pytest.raises(RunError, match="images that are not finite"):
        AutoencoderValidator(samples, tmp_path, loss)(autoencoders, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_short_weights_of_what_does_not_train_change_no_number_and_take_half() -> None:
    net = tiny_flipnet(FlipNetConfig(lora_rank=4))
    trained = {id(parameter) for parameter in net.set_trainable()}
    source = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 16, 24, generator=source) * 2 - 1
    noise = torch.randn(4, *latent_size(net, 16, 24), generator=source)

    def made() -> torch.Tensor:
        with autocast(torch.device("cpu"), torch.bfloat16):
            return sample(net, images, noise, ["haze", "", "clean", "low light"], SamplingConfig(num_steps=2))

    def size() -> int:
        return sum(parameter.nbytes for parameter in net.unet.parameters() if id(parameter) not in trained)

    before, full = made(), size()
    shorten_frozen(net)
    assert torch.equal(made(), before)
    assert size() < 0.55 * full
    for parameter in net.parameters():
        assert id(parameter) not in trained or parameter.dtype is torch.float32
