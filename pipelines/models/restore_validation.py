"""What training of a restorer shows while it runs: numbers and sheets of held-out pairs."""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from degrade_kit.analysis.metrics import psnr
from degrade_kit.analysis.protocols import DEFAULT, PROTOCOLS
from degrade_kit.files import write_whole
from degrade_kit.flipnet.batch import Batch, collate, pair_generators, to_images
from degrade_kit.flipnet.degrader import start_noise
from degrade_kit.flipnet.mixture import PairSample
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.restore.autoencoder import AutoencoderLoss, Autoencoders, diagonal, encode_mean
from degrade_kit.restore.infer import restore_images
from degrade_kit.restore.train import RestorationLoss


class AutoencoderValidator:
    """Measures the autoencoders on held-out pairs: reconstruction, and the diagonal of the similarity matrix.

    Args:
        samples: The pairs.
        folder: Gets a sheet each time.
        loss: Whose reconstruction is measured.
    """

    def __init__(self, samples: Sequence[PairSample], folder: Path, loss: AutoencoderLoss) -> None:
        self._samples, self._folder, self._loss = samples, folder, loss

    @torch.no_grad()
    def __call__(self, autoencoders: Autoencoders, step: int) -> dict[str, float]:
        """Numbers by name; empty where nothing was held out."""
        losses: list[float] = []
        diagonals: list[tuple[float, float]] = []
        rows: list[list[Tile]] = []
        for batch in _batches(self._samples, autoencoders.log_scale.device):
            latents = [encode_mean(part, images) for part, images in _sides(autoencoders, batch)]
            found = [
                getattr(autoencoders, side).decode(z).sample for side, z in zip(("hq", "lq"), latents, strict=True)
            ]
            losses += [
                float(self._loss.reconstruction(*both)) for both in zip((batch.hq, batch.lq), found, strict=True)
            ]
            diagonals.append(diagonal(latents[0], latents[1], autoencoders.scale()))
            columns = [to_images(images) for images in (batch.hq, found[0], batch.lq, found[1])]
            rows += [
                [Tile(pixels, (name,)) for pixels, name in zip(row, ("HQ", "decoded", "LQ", "decoded"), strict=True)]
                for row in zip(*columns, strict=True)
            ]
        if not losses:
            return {}
        _write_sheet(rows, self._folder, step)
        share, hits = (float(np.mean(column)) for column in zip(*diagonals, strict=True))
        return {"val_loss": float(np.mean(losses)), "val_diagonal": share, "val_diagonal_hits": hits}


def _sides(autoencoders: Autoencoders, batch: Batch) -> list[tuple[Any, Tensor]]:
    return [(autoencoders.hq, batch.hq), (autoencoders.lq, batch.lq)]


class RestorationValidator:
    """Measures a restorer on held-out pairs: the loss, the PSNR of restored and of LQ images, and a sheet.

    Every random number is fixed, so that two networks differ by their weights alone.

    Args:
        samples: The pairs.
        folder: Gets a sheet each time.
        sampling: How they are restored.
    """

    def __init__(self, samples: Sequence[PairSample], folder: Path, sampling: SamplingConfig) -> None:
        self._samples, self._folder, self._sampling = samples, folder, sampling

    @torch.no_grad()
    def __call__(self, loss: RestorationLoss, step: int) -> dict[str, float]:
        """Numbers by name; empty where nothing was held out."""
        net = loss.diffusion.net
        losses: list[float] = []
        restored: list[Pixels] = []
        for start, batch in enumerate(_batches(self._samples, net.unet.device)):
            first, count = start * _VALIDATION_BATCH, len(batch.captions)
            height, width = batch.lq.shape[-2:]
            losses += [float(loss(batch, pair_generators(0, draw, first, count))) for draw in range(4)]
            noise = torch.stack([start_noise(net, first + i, height, width) for i in range(count)])
            restored += to_images(
                restore_images(
                    net, loss.embedding, batch.lq, noise.to(batch.lq.device), self._sampling,
                    prompts=batch.captions,
                )
            )  # fmt: skip
        if not losses:
            return {}
        pairs = list(zip(self._samples, restored, strict=True))
        _write_sheet(
            [
                [Tile(pair.lq, ("LQ", pair.kind)), Tile(made, ("restored",)), Tile(pair.hq, ("HQ",))]
                for pair, made in pairs
            ],
            self._folder,
            step,
        )
        found = {
            "val_loss": float(np.mean(losses)),
            "val_psnr": _mean_psnr((made, pair.hq) for pair, made in pairs),
            "val_psnr_lq": _mean_psnr((pair.lq, pair.hq) for pair in self._samples),
        }
        return {name: value for name, value in found.items() if value is not None}


_VALIDATION_BATCH = 4


def _batches(samples: Sequence[PairSample], device: torch.device) -> list[Batch]:
    batches = [collate(samples[i : i + _VALIDATION_BATCH]) for i in range(0, len(samples), _VALIDATION_BATCH)]
    return [batch.to(device) for batch in batches]


def _mean_psnr(pairs: Iterable[tuple[Pixels, Pixels]]) -> float | None:
    """Average over the images that differ from their reference, as `evaluate` does; None where none does."""
    values = (psnr(one, other, PROTOCOLS[DEFAULT]) for one, other in pairs)
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else None


def _write_sheet(rows: Sequence[Sequence[Tile]], folder: Path, step: int) -> None:
    """Two samples in a row."""
    paired = [[tile for row in rows[i : i + 2] for tile in row] for i in range(0, len(rows), 2)]
    sheet = contact_sheet(paired, tile=128, title=f"Held-out pairs after step {step:,}")
    write_whole(folder / f"step-{step:08d}.png", encode_png(sheet))
