"""`degrade-kit train-restore`: from one data set of pairs to a face restorer, in three stages.

RUN/reconstruction      the two autoencoders: model/{hq,lq}, checkpoints, samples, metrics.jsonl, config.yaml
RUN/association         the same, their latents drawn together
RUN/restoration         the restorer: model and best, with the face embedding in them, and the like
"""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
import torch
from torch import Tensor

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.base_small import SmallBase
from degrade_kit.flipnet.checkpoint import folder_digest
from degrade_kit.flipnet.config import FlipNetConfig, Mode, read_fields
from degrade_kit.flipnet.degrader import start_noise
from degrade_kit.flipnet.mixture import PairSample
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.flipnet.training import (
    STRIDE,
    Batch,
    LoopConfig,
    TrainConfig,
    collate,
    pair_generators,
    to_images,
)
from degrade_kit.image import Pixels, encode_png
from degrade_kit.order import epoch_order
from degrade_kit.recipe import parse_yaml
from degrade_kit.seeding import generator
from degrade_kit.streaming import Pair, PairMapDataset, PairOptions
from pipelines.executor import Interrupt
from pipelines.plan import resolve_recipe
from pipelines.run_folder import FREE, claim_folder, plain
from pipelines.sheet import Tile, contact_sheet
from pipelines.train_degrade import CONFIGS, new_net
from restore.autoencoder import (
    AutoencoderConfig,
    AutoencoderLoss,
    Autoencoders,
    build_autoencoder,
    diagonal,
    encode_mean,
    load_autoencoder,
    load_autoencoders,
)
from restore.embeddings import FaceEmbedding, LatentSource, identity_source
from restore.infer import restore_images
from restore.losses import GRADIENT_PYRAMID, perceptual_loss
from restore.train import RestorationConfig, RestorationLoss, train_autoencoders, train_restorer

log = logging.getLogger(__name__)

Stage = Literal["reconstruction", "association", "restoration"]
STAGES: Final[tuple[Stage, ...]] = ("reconstruction", "association", "restoration")

LPIPS_LAYERS: Final = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
"""Of VGG19, for the autoencoders."""

Report = Callable[[dict[str, float | int]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What is made of the shards."""

    onthefly: str = "flipnet-paper"
    """Preset or recipe file that makes LQ images anew from the shards' HQ images; empty uses the stored ones alone. A
    file is looked for beside the configuration."""
    onthefly_prob: float = 0.5
    """Share of the pairs that it makes."""
    flip: bool = True
    """Whether half of the pairs are mirrored left to right."""
    held_out: float = 0.02
    """Share of the samples that is kept for validation, where no other data set is given for it."""
    captions: str = ""
    """Hub id or folder of a BLIP model that captions the HQ images, kept in the run's `captions.jsonl`; empty trains
    with the null prompt alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out: expected a share within [0, 1), got {self.held_out}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """A training run: a file of these sections."""

    base_model: str = ""
    """Hub id or folder of the base model; empty for a new one, of the sizes in `base`."""
    revision: str | None = None
    """Of a hub id."""
    base: SmallBase = field(default_factory=SmallBase)
    network: FlipNetConfig = field(default_factory=lambda: FlipNetConfig(mode=Mode.RESTORE))
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    reconstruction: LoopConfig = field(default_factory=LoopConfig)
    association: LoopConfig = field(default_factory=LoopConfig)
    restoration: TrainConfig = field(default_factory=TrainConfig)
    losses: RestorationConfig = field(default_factory=RestorationConfig)
    """Of the restoration stage, and its face embedding."""
    data: DataConfig = field(default_factory=DataConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Of validation, and saved with the model."""
    validation_images: int = 16
    """Held-out pairs that are restored for the numbers and the sheet."""

    def loop(self, stage: Stage) -> LoopConfig:
        """Of a stage."""
        return getattr(self, stage)


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreRun:
    """Where a run finds and leaves its files, and where it computes."""

    config: RunConfig
    shards: str
    out_dir: Path
    stages: tuple[Stage, ...] = STAGES
    validation: str | None = None
    """Another data set, of other people, for validation."""
    autoencoders: Path | None = None
    """Folder of autoencoders in place of the run's own."""
    vgg: Path | None = None
    """Weights of VGG19."""
    identity: Path | None = None
    """Weights of an identity network."""
    device: str | None = None
    data_workers: int = 0
    cache_dir: str | None = None
    """Where shards of a URL are kept."""
    download: bool = False
    trackers: tuple[str, ...] = ()
    threads: int = 0
    """Of PyTorch on a CPU; its own choice where 0. Equal numbers give equal weights."""


def load_run_config(name: str, overrides: Mapping[str, Any]) -> RunConfig:
    """A configuration file, or `small` or `sd21`, with some fields replaced.

    Args:
        name: The file, or one of the names.
        overrides: `base_model`, `revision` or `embedding`; all others go to the loop of every stage.

    Raises:
        ConfigError: If it cannot be read, or a key or value is wrong.
    """
    path = CONFIGS / f"train-restore-{name}.yaml" if name in ("small", "sd21") else Path(name)
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read configuration {path}: {error}; expected a file, `small` or `sd21`") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name}: expected `key: value` pairs, got {data!r}")
    merged: dict[str, Any] = {**cast("dict[str, Any]", data)}
    for key, value in overrides.items():
        if key in ("base_model", "revision"):
            merged[key] = value
        elif key == "embedding":
            merged["losses"] = {**merged.get("losses", {}), key: value}
        else:
            merged |= {stage: {**merged.get(stage, {}), key: value} for stage in STAGES}
    network = FlipNetConfig.from_mapping({"mode": "restore", **merged.pop("network", {})}, f"{path.name}: network")
    if network.mode is not Mode.RESTORE:
        raise ConfigError(f"{path.name}: network: mode: expected restore, got {network.mode.value}")
    config = dataclasses.replace(read_fields(RunConfig, merged, path.name), network=network)
    recipe = config.data.onthefly
    if recipe.endswith((".yaml", ".yml")):
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, onthefly=str(path.parent / recipe)))
    return config


class ShardPairs:
    """Some samples of a data set as the pairs of a run: see `degrade_kit.flipnet.training.PairStream`.

    Each epoch takes every sample once, in an order of its own. A step moves on by the pairs of the largest step there
    is, so that a pair's number alone says where it is; smaller steps leave out some samples of their epoch.

    Args:
        pairs: The data set.
        items: Numbers of the samples.
        loop: How many pairs a step has; its seed decides order, crops and all that is drawn.
        captions: Of all samples of the data set; empty ones where None.
    """

    def __init__(
        self, pairs: PairMapDataset, items: Sequence[int], loop: LoopConfig, captions: Sequence[str] | None = None
    ) -> None:
        self._pairs, self._items, self._seed = pairs, list(items), loop.seed
        self._stride = max(loop.crop_batches or (loop.batch_size,))
        self._captions = captions
        self._order: tuple[int, Any] | None = None

    def sample(self, number: int, size: int) -> PairSample:
        """See `PairStream`.

        Raises:
            ConfigError: If an image is smaller than the crop.
        """
        step, offset = divmod(number, STRIDE)
        epoch, place = divmod(step * self._stride + offset, len(self._items))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, epoch_order([len(self._items)], self._seed, epoch)
        item = self._items[int(self._order[1][place])]
        top, left = generator(self._seed, "crop", number).random(2)
        return cropped(
            self._pairs.at(epoch, item), size, top, left, "" if self._captions is None else self._captions[item]
        )


def cropped(pair: Pair, size: int, top: float, left: float, caption: str = "") -> PairSample:
    """A square of both images of a pair, whose place is given as shares of the places that it may have."""
    height, width = pair["hq"].shape[-2:]
    if min(height, width) < size:
        raise ConfigError(
            f"sample {pair['key']} has {height} x {width} pixels, fewer than a crop of {size}; give crop_sizes that "
            "fit, or shards made with a larger --size"
        )
    y, x = int(top * (height - size + 1)), int(left * (width - size + 1))
    hq, lq = (
        np.ascontiguousarray(pair[name][:, y : y + size, x : x + size].permute(1, 2, 0).numpy())
        for name in ("hq", "lq")
    )
    return PairSample(hq, lq, caption, "stored" if pair["variant"] >= 0 else "on the fly")


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreData:
    """The pairs of a run, ready to be drawn from."""

    pairs: PairMapDataset
    training: tuple[int, ...]
    """Numbers of samples."""
    held_out_pairs: PairMapDataset
    held_out: tuple[int, ...]

    def stream(self, loop: LoopConfig, captions: Sequence[str] | None = None) -> ShardPairs:
        """The training pairs of a stage."""
        return ShardPairs(self.pairs, self.training, loop, captions)

    def validation(self, size: int, count: int) -> list[PairSample]:
        """Held-out pairs, the same ones every time, cut from the middle."""
        chosen = self.held_out[:count]
        return [cropped(self.held_out_pairs.at(0, item), size, 0.5, 0.5) for item in chosen]


def read_data(run: RestoreRun) -> RestoreData:
    """Open the shards, and part what is held out.

    Raises:
        ConfigError: If there is nothing to train on.
        ShardError: If the data set is not whole.
    """
    config, seed = run.config.data, run.config.restoration.seed
    recipe = resolve_recipe(config.onthefly) if config.onthefly else None
    options = PairOptions(onthefly=recipe, onthefly_prob=config.onthefly_prob, flip=config.flip, seed=seed)
    pairs = PairMapDataset(run.shards, options, cache_dir=run.cache_dir)
    order = generator(seed, "held out", 0).permutation(len(pairs)).tolist()
    plain_options = dataclasses.replace(options, flip=False, seed=seed + 1)
    if run.validation is not None:
        others = PairMapDataset(run.validation, plain_options, cache_dir=run.cache_dir)
        kept = generator(seed, "held out", 1).permutation(len(others)).tolist()
        training, held_out = sorted(order), kept
    else:
        others = PairMapDataset(run.shards, plain_options, cache_dir=run.cache_dir)
        count = round(len(pairs) * config.held_out)
        training, held_out = sorted(order[count:]), order[:count]
    if not training:
        raise ConfigError(f"{run.shards}: no samples to train on; lower held_out, {config.held_out}")
    return RestoreData(pairs=pairs, training=tuple(training), held_out_pairs=others, held_out=tuple(held_out))


def train_restore(
    run: RestoreRun, *, report: Report = lambda metrics: None, should_stop: Callable[[], bool] = bool
) -> Path:
    """Train the stages of a run, or go on training; returns the folder of the last stage's model.

    Raises:
        ConfigError: If data, weights or configuration are wrong, or a folder holds a run of another one.
        RunError: If training cannot go on, or a file cannot be written.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    stages = chosen_stages(run)
    if len({run.config.loop(stage).mixed_precision for stage in stages}) > 1:
        raise ConfigError("mixed_precision: stages that are trained in one go need the same one")
    data = read_data(run)
    for stage in stages:
        folder = run.out_dir / stage
        _claim(run, stage, data)
        options: dict[str, Any] = {
            "report": functools.partial(_log_metrics, folder / "metrics.jsonl", report, stage),
            "should_stop": should_stop,
            "num_workers": run.data_workers,
            "device": run.device,
            "trackers": run.trackers,
            "end": stage == stages[-1],
        }
        if stage == "restoration":
            _train_restoration(run, data, folder, options)
        else:
            _train_autoencoders(run, data, stage, folder, options)
        if should_stop():
            break
    return run.out_dir / stages[-1] / "model"


def chosen_stages(run: RestoreRun) -> tuple[Stage, ...]:
    """Without those of the autoencoders where all are asked for and no stage needs them."""
    if run.stages == STAGES and (run.config.losses.embedding != "bfr" or run.autoencoders is not None):
        return ("restoration",)
    return run.stages


def _log_metrics(path: Path, report: Report, stage: Stage, metrics: dict[str, float | int]) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(metrics) + "\n")
    report({**metrics, "stage": STAGES.index(stage)})


def _train_autoencoders(
    run: RestoreRun, data: RestoreData, stage: Stage, folder: Path, options: dict[str, Any]
) -> None:
    config, loop = run.config.autoencoder, run.config.loop(stage)
    associate = stage == "association"
    if associate:
        autoencoders = load_autoencoders(_reconstructed(run))
    else:
        torch.manual_seed(loop.seed)  # of new weights alone
        hq, lq = (build_autoencoder(config, download=run.download) for _ in range(2))
        lq.load_state_dict(hq.state_dict())
        autoencoders = Autoencoders(hq, lq, config.critic_width)
    perceptual = perceptual_loss(run.vgg, LPIPS_LAYERS, normalize=True)
    train_autoencoders(
        autoencoders,
        perceptual,
        data.stream(loop),
        config,
        loop,
        folder,
        associate=associate,
        validate=AutoencoderValidator(
            run, data, stage, AutoencoderLoss(autoencoders, perceptual, config, associate=False)
        ),
        **options,
    )


def _train_restoration(run: RestoreRun, data: RestoreData, folder: Path, options: dict[str, Any]) -> None:
    config, loop = run.config, run.config.restoration
    captions = _captions(run, data)
    stream = data.stream(loop, captions)
    net, base = new_net(
        config.network,
        loop,
        stream,
        base_model=config.base_model,
        revision=config.revision,
        sizes=config.base,
        download=run.download,
        samples=400,
    )
    train_restorer(
        net,
        build_embedding(run, int(net.unet.config.cross_attention_dim)),
        perceptual_loss(run.vgg, config.losses.vgg_layers),
        stream,
        config.losses,
        loop,
        folder,
        base,
        sampling=config.sampling,
        validate=RestorationValidator(run, data),
        **options,
    )


def build_embedding(run: RestoreRun, width: int) -> FaceEmbedding | None:
    """The face embedding of a run, its adapter new.

    Raises:
        ConfigError: If its autoencoders or its identity network are not there.
    """
    losses = run.config.losses
    if losses.embedding == "none":
        return None
    torch.manual_seed(run.config.restoration.seed + 1)  # of the adapter alone
    if losses.embedding == "arcface":
        return FaceEmbedding(identity_source(run.identity), width)
    return FaceEmbedding(LatentSource(load_autoencoder(_associated(run) / "lq"), losses.face_patch), width)


def _reconstructed(run: RestoreRun) -> Path:
    """The autoencoders that the association begins with."""
    return _stage_model(run, "reconstruction", "")


def _associated(run: RestoreRun) -> Path:
    """The autoencoders whose LQ encoder is the face embedding."""
    return _stage_model(run, "association", ", or --embedding none")


def _stage_model(run: RestoreRun, stage: Stage, otherwise: str) -> Path:
    folder = run.autoencoders or run.out_dir / stage / "model"
    if not (folder / "lq").is_dir():
        raise ConfigError(
            f"{folder}: no autoencoders there; run --stage {stage} first, or give --autoencoders RUN/{stage}/model"
            f"{otherwise}"
        )
    return folder


def _captions(run: RestoreRun, data: RestoreData) -> list[str] | None:
    if not run.config.data.captions:
        return None
    from degrade_kit.flipnet.blip import blip_captions

    reader = data.pairs.reader
    return blip_captions(
        lambda index: reader.read(index, None).hq,
        len(data.pairs),
        model=run.config.data.captions,
        cache=run.out_dir / "captions.jsonl",
    )


class AutoencoderValidator:
    """Measures the autoencoders on held-out pairs: reconstruction, and the diagonal of the similarity matrix."""

    def __init__(self, run: RestoreRun, data: RestoreData, stage: Stage, loss: AutoencoderLoss) -> None:
        self._folder, self._loss = run.out_dir / stage / "samples", loss
        size = max(run.config.loop(stage).crop_sizes)
        self._samples = data.validation(size, run.config.validation_images)

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
    """

    def __init__(self, run: RestoreRun, data: RestoreData) -> None:
        self._config, self._folder = run.config, run.out_dir / "restoration" / "samples"
        self._samples = data.validation(max(run.config.restoration.crop_sizes), run.config.validation_images)

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
                    net, loss.embedding, batch.lq, noise.to(batch.lq.device), self._config.sampling,
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
        return {
            "val_loss": float(np.mean(losses)),
            "val_psnr": float(np.mean([psnr(made, pair.hq) for pair, made in pairs])),
            "val_psnr_lq": float(np.mean([psnr(pair.lq, pair.hq) for pair in self._samples])),
        }


_VALIDATION_BATCH = 4


def _batches(samples: Sequence[PairSample], device: torch.device) -> list[Batch]:
    batches = [collate(samples[i : i + _VALIDATION_BATCH]) for i in range(0, len(samples), _VALIDATION_BATCH)]
    return [dataclasses.replace(batch, hq=batch.hq.to(device), lq=batch.lq.to(device)) for batch in batches]


def psnr(one: Pixels, other: Pixels) -> float:
    """Of two images over all channels, dB; 100 for equal ones.

    >>> round(psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)), 6)
    0.0
    """
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return 100.0 if error == 0 else 10 * math.log10(255**2 / error)


def _write_sheet(rows: Sequence[Sequence[Tile]], folder: Path, step: int) -> None:
    """Two samples in a row."""
    folder.mkdir(parents=True, exist_ok=True)
    paired = [[tile for row in rows[i : i + 2] for tile in row] for i in range(0, len(rows), 2)]
    (folder / f"step-{step:08d}.png").write_bytes(encode_png(contact_sheet(paired, tile=128)))


def _claim(run: RestoreRun, stage: Stage, data: RestoreData) -> None:
    """Make the stage's folder, or make sure that it is of this very run."""
    config = run.config
    resolved: dict[str, Any] = {
        "stage": stage,
        "shards": run.shards,
        "digest": data.pairs.reader.digest,
        "validation": run.validation or "",
        "samples": len(data.training),
        "perceptual": GRADIENT_PYRAMID if run.vgg is None else f"vgg19 {run.vgg}",
        "data": plain(config.data),
        "loop": plain(config.loop(stage)),
        "validation_images": config.validation_images,
    }
    if stage == "restoration":
        resolved |= {name: plain(getattr(config, name)) for name in ("base_model", "revision", "base", "network")}
        resolved |= {"losses": plain(config.losses), "sampling": plain(config.sampling)}
        if config.losses.embedding == "bfr":
            resolved["autoencoders"] = folder_digest(_associated(run))
        elif config.losses.embedding == "arcface":
            resolved["identity"] = str(run.identity)
    else:
        resolved["autoencoder"] = plain(config.autoencoder)
        if stage == "association":
            resolved["start"] = folder_digest(_reconstructed(run))
    claim_folder(run.out_dir / stage, resolved, _comparable)


def _comparable(resolved: Any) -> Any:  # noqa: ANN401 (parsed YAML)
    """Without what a run may be continued with another value of."""
    if not isinstance(resolved, dict) or "loop" not in resolved:
        return resolved
    resolved = cast("dict[str, Any]", resolved)
    kept = {key: value for key, value in resolved.items() if key not in ("shards", "validation_images", "sampling")}
    return {**kept, "loop": {key: value for key, value in resolved["loop"].items() if key not in FREE}}


def train_here(run: RestoreRun, report: Report = lambda metrics: None) -> Path:
    """As `train_restore`, until it is finished or Ctrl-C or SIGTERM asks for the last checkpoint.

    Raises:
        Interrupted: After the checkpoint.
    """
    with Interrupt("the step in work is finished and a checkpoint written") as interrupt:
        model = train_restore(run, report=report, should_stop=lambda: interrupt.requested)
        interrupt.check()
    return model


def plan_text(run: RestoreRun) -> str:
    """What a run would do."""
    data, config = read_data(run), run.config
    lines = [
        f"pairs: {len(data.training):,} samples with {data.pairs.reader.num_variants} stored LQ images each; "
        + (
            f"{config.data.onthefly_prob:.0%} of the pairs made on the fly by {config.data.onthefly}"
            if config.data.onthefly
            else "none made on the fly"
        ),
        f"held out: {len(data.held_out):,} samples{f' of {run.validation}' if run.validation else ''}",
        f"perceptual loss: {GRADIENT_PYRAMID if run.vgg is None else f'VGG19 of {run.vgg}'}"
        + (", a stand-in without weights; --vgg-weights gives the paper's" if run.vgg is None else ""),
    ]
    for stage in chosen_stages(run):
        loop = config.loop(stage)
        lines.append(
            f"{stage}: {loop.num_steps:,} steps of {list(loop.crop_batches) or loop.batch_size} pairs at "
            f"{list(loop.crop_sizes)} pixels; learning rate {loop.learning_rate:g}, {loop.mixed_precision} mixed "
            "precision"
        )
    if "restoration" in chosen_stages(run):
        trained = (
            "all of it" if config.restoration.train_base else f"LoRA of rank {config.network.lora_rank} and BoostHub"
        )
        lines.append(
            f"base model: {config.base_model or 'a new one'}; trains {trained}; embedding {config.losses.embedding}"
        )
    lines.append(f"writes {run.out_dir}/STAGE: model, checkpoints, samples, metrics.jsonl")
    return "\n".join(lines)
