"""What a restorer is measured against: a plain regression network of its size, trained as long on the same pairs.

    python -m benchmarks.restoration --shards shards --config small --input testset/lq --out baselines
    degrade-kit evaluate --restored baselines/regression --reference testset/hq --hq sharp --out eval/regression

The regression network is the restorer's U-Net, with BoostHub and its head. It takes the LQ image in place of the noisy
one and learns the mean squared error alone, over the pairs that `train-restore` sees in the same order: what a mean
of all possible faces looks like, which PSNR rewards most. OUT/regression and OUT/blur get restored images; `blur` is
the Gaussian, of the LQ image, whose width has the highest PSNR on training pairs.
"""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import print_machine
from degrade_kit.analysis.metrics import psnr
from degrade_kit.analysis.protocols import DEFAULT, PROTOCOLS
from degrade_kit.flipnet.base_small import new_net
from degrade_kit.flipnet.batch import Batch, PairStream, from_images, to_images
from degrade_kit.flipnet.checkpoint import load, save
from degrade_kit.flipnet.loop import Trainee, state_of, train_loop
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.images import open_files
from degrade_kit.pipelines.models.train_restore import RestoreRun, load_restore_config, open_data
from degrade_kit.restore.train import RestorationConfig

SIGMAS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
"""Of the blur, pixels."""


class Regression(nn.Module):
    """A FlipNet that makes the HQ image in one step, from the LQ image and no noise."""

    def __init__(self, net: FlipNet) -> None:
        super().__init__()
        self.net = net

    def restore(self, lq: Tensor) -> Tensor:
        """HQ images of LQ ones, both (B, 3, H, W) in [-1, 1]."""
        net = self.net
        condition = net.encode_images(lq)
        steps = torch.full(
            (len(lq),), len(net.alphas_cumprod) - 1, device=lq.device
        )  # at which nothing is left of a noisy image
        tokens = net.encode_prompts([""] * len(lq))
        copies = net.copies(condition, lq)
        made, _, _ = net.predict_joint(
            condition, steps, condition, torch.zeros_like(steps), tokens, condition_tokens=tokens, copies=copies
        )
        return net.decode_latents(made)

    def forward(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        """Mean squared error of the pixels."""
        del generators
        return (self.restore(batch.lq) - batch.hq).square().mean()


def train_regression(run: RestoreRun, stream: PairStream) -> FlipNet:
    """Train, or go on training, in the run's folder; returns the network with its averaged weights."""
    config, loop = run.config, run.config.restoration
    net, base = new_net(
        config.network,
        stream,
        seed=loop.seed,
        train_base=loop.train_base,
        crop_size=min(loop.crop_sizes),
        base_model="",
        revision=None,
        sizes=config.base,
        download=False,
        samples=400,
    )
    loss = Regression(net)

    def trainee() -> Trainee:
        net.set_trainable(base=True)
        return Trainee(
            state=state_of(loss, loop),
            loss=loss,
            save=lambda folder: save(net, folder, base, half=True),
            validate=lambda step: {},
        )

    def report(metrics: dict[str, float | int]) -> None:
        if metrics["step"] % 100 == 0:
            print(f"step {metrics['step']:,} of {loop.num_steps:,}  loss {metrics['loss']:.5f}", flush=True)

    train_loop(loss, trainee, stream, loop, run.out_dir, report=report)
    return load(run.out_dir / "model").net


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Of a Gaussian of `sigma` pixels; 0 keeps the image."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8) if sigma else pixels


def best_sigma(stream: PairStream, size: int, count: int = 500) -> float:
    """The blur that brings LQ images nearest to HQ, by mean PSNR."""
    pairs = [stream.sample(2**42 + number, size) for number in range(count)]
    rgb = PROTOCOLS[DEFAULT]
    found = {sigma: np.mean([psnr(blurred(pair.lq, sigma), pair.hq, rgb) for pair in pairs]) for sigma in SIGMAS}
    for sigma, mean in found.items():
        print(f"blur of {sigma:.2f} pixels: PSNR {mean:.2f} dB on {count} training pairs")
    return max(SIGMAS, key=lambda sigma: found[sigma])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", required=True, help="data set that the restorer trained on")
    parser.add_argument("--config", default="small", help="its configuration")
    parser.add_argument("--input", required=True, help="folder of LQ images to restore")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=0, help="training steps; 0 is the configuration's")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print_machine()
    overrides = {"num_steps": options.steps} if options.steps else {}
    config = load_restore_config(options.config, overrides)
    # No embedding, no noise: nothing of the restorer's own training.
    config = dataclasses.replace(config, losses=RestorationConfig(embedding="none"))
    run = RestoreRun(config=config, shards=options.shards, out_dir=options.out / "run", threads=options.threads)
    torch.set_num_threads(options.threads)
    stream = open_data(run).stream(config.restoration)
    sigma = best_sigma(stream, max(config.restoration.crop_sizes))
    net = train_regression(run, stream)
    print(f"{sum(parameter.numel() for parameter in net.unet.parameters()):,} parameters")
    inputs = open_files(options.input, "LQ images")
    for place, name in enumerate(inputs.names):
        lq = np.ascontiguousarray(inputs.read(place))
        with torch.no_grad():
            made = to_images(Regression(net).restore(from_images(torch.from_numpy(lq)[None])))[0]
        for kind, pixels in (("regression", made), ("blur", blurred(lq, sigma))):
            path = options.out / kind / Path(name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(pixels))
    print(f"{len(inputs.names)} images in {options.out}/regression and {options.out}/blur")


if __name__ == "__main__":
    main()
