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
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import torch

from degrade_kit.analysis.networks import load_iresnet
from degrade_kit.analysis.weights import locate
from degrade_kit.errors import ConfigError
from degrade_kit.files import file_sha256, sweep_scratch
from degrade_kit.flipnet.base_small import SmallBase, check_base_choice, new_net
from degrade_kit.flipnet.blip import read_captions
from degrade_kit.flipnet.config import FlipNetConfig, Mode, base_place, of_base, read_fields, section
from degrade_kit.flipnet.folder import check_base, folder_digest
from degrade_kit.flipnet.loop import LoopConfig, is_finished
from degrade_kit.flipnet.memory import Training
from degrade_kit.flipnet.mixture import PairSample
from degrade_kit.flipnet.sampling import SamplingConfig
from degrade_kit.flipnet.training import TrainConfig
from degrade_kit.pipelines.claim import FREE, Claim, Inputs, check_apart, plain, read_run_config, without
from degrade_kit.pipelines.devices import check_device
from degrade_kit.pipelines.machine import default_threads
from degrade_kit.pipelines.models.captions import MADE_AHEAD, captions_text, check_captions, training_captions
from degrade_kit.pipelines.models.loading import (
    fitted,
    memory_text,
    process_count,
    resolved_data_workers,
    training_of,
)
from degrade_kit.pipelines.models.restore_data import RestoreData, RestoreDataConfig, check_side, read_restore_data
from degrade_kit.pipelines.models.restore_validation import AutoencoderValidator, RestorationValidator
from degrade_kit.pipelines.signals import Interrupt
from degrade_kit.progress import OnProgress, silent
from degrade_kit.reader import caption_of
from degrade_kit.restore.autoencoder import (
    AutoencoderConfig,
    AutoencoderLoss,
    Autoencoders,
    build_autoencoder,
    load_autoencoder,
    load_autoencoders,
)
from degrade_kit.restore.embeddings import FaceEmbedding, IdentitySource, LatentSource
from degrade_kit.restore.losses import GradientPyramid, PerceptualKind, VggLoss, perceptual_loss
from degrade_kit.restore.train import RestorationConfig, train_autoencoders, train_restorer
from degrade_kit.store import LocalStore
from degrade_kit.streaming import PairMapDataset
from degrade_kit.wording import counted_noun

log = logging.getLogger(__name__)

Stage = Literal["reconstruction", "association", "restoration"]
STAGES: Final[tuple[Stage, ...]] = ("reconstruction", "association", "restoration")

LPIPS_LAYERS: Final = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
"""Layers of VGG19 for the autoencoders."""

Report = Callable[[dict[str, float | int]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreRunConfig:
    """A training run: a file of these sections."""

    base_model: str = ""
    """Hub id or folder of the base model, or a name of `degrade_kit.flipnet.config.BASES`; empty for a new one, of the
    sizes in `base`."""
    revision: str | None = None
    """Revision of a hub id."""
    base: SmallBase = field(default_factory=SmallBase)
    network: FlipNetConfig = field(default_factory=lambda: FlipNetConfig(mode=Mode.RESTORE))
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    reconstruction: LoopConfig = field(default_factory=LoopConfig)
    association: LoopConfig = field(default_factory=LoopConfig)
    restoration: TrainConfig = field(default_factory=TrainConfig)
    losses: RestorationConfig = field(default_factory=RestorationConfig)
    """Losses of the restoration stage, and its face embedding."""
    perceptual: PerceptualKind = "vgg19"
    """Perceptual loss of all stages: the paper's, or a stand-in without weights."""
    data: RestoreDataConfig = field(default_factory=RestoreDataConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Sampling of validation, which is saved with the model."""
    validation_images: int = 16
    """Held-out pairs that are restored for the numbers and the sheet."""

    def loop(self, stage: Stage) -> LoopConfig:
        """Return the settings of a stage's loop."""
        return getattr(self, stage)


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreRun:
    """Where a run finds and leaves its files, and where it computes."""

    config: RestoreRunConfig
    shards: str
    out_dir: Path
    stages: tuple[Stage, ...] = STAGES
    validation: str | None = None
    """Another data set, of other people, for validation."""
    autoencoders: Path | None = None
    """Folder of autoencoders in place of the run's own."""
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Files of others' making by their names in `degrade_kit.analysis.weights`; what is not here is looked for."""
    device: str | None = None
    data_workers: int | None = None
    """Processes that prepare pairs; as many as `default_data_workers` says where None. They change no pair."""
    cache_dir: Path | None = None
    """Where shards of a URL are kept."""
    download: bool = False
    trackers: tuple[str, ...] = ()
    threads: int = 0
    """Threads of PyTorch on a CPU; its own choice where 0. Equal counts give equal weights."""


def load_restore_config(name: str, overrides: Mapping[str, Any]) -> RestoreRunConfig:
    """Read a configuration file, or `small` or `sd21`, with some fields replaced; see `restore_run_config`.

    Raises:
        ConfigError: If it cannot be read, or a key or value is wrong.
    """
    path, sections = read_run_config(name, "train-restore")
    return restore_run_config(sections, overrides, path.name)


def restore_run_config(sections: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> RestoreRunConfig:
    """Make a configuration of its sections, with some fields replaced.

    Args:
        sections: What a configuration file holds.
        overrides: `base_model`, `revision`, `perceptual`, `embedding`, `onthefly_prob`, `crop` or `captions`; all
            others go to the loop of every stage.
        where: Where the sections come from, for messages.

    Raises:
        ConfigError: If a key or value is wrong.
    """
    merged = {**sections}
    for key, value in overrides.items():
        if key in ("base_model", "revision", "perceptual"):
            merged[key] = value
        elif key in ("embedding", "onthefly_prob", "crop", "captions"):
            changed = "losses" if key == "embedding" else "data"
            merged[changed] = {**section(merged, changed, where), key: str(value) if key == "captions" else value}
        else:
            merged |= {stage: {**section(merged, stage, where), key: value} for stage in STAGES}
    network = FlipNetConfig.from_mapping({"mode": "restore", **section(merged, "network", where)}, f"{where}: network")
    merged.pop("network", None)
    if network.mode is not Mode.RESTORE:
        raise ConfigError(f"{where}: network: mode: expected restore, got {network.mode.value}")
    return dataclasses.replace(read_fields(RestoreRunConfig, of_base(merged), where), network=network)


def open_data(run: RestoreRun) -> RestoreData:
    """The pairs of a run; see `read_restore_data`."""
    config = run.config
    seed = config.restoration.seed
    return read_restore_data(run.shards, config.data, seed, validation=run.validation, cache_dir=run.cache_dir)


def _held_out(run: RestoreRun, data: RestoreData, stage: Stage, progress: OnProgress = silent) -> list[PairSample]:
    chosen = data.held_out[: run.config.validation_images]
    captions = _captions(run, data.held_out_pairs, chosen, progress) if stage == "restoration" else None
    return data.validation(max(run.config.loop(stage).crop_sizes), chosen, captions)


def _captions(run: RestoreRun, pairs: PairMapDataset, samples: Sequence[int], progress: OnProgress) -> list[str] | None:
    """Captions of some samples' HQ images, from a file or a captioning model; None where the run has none."""
    wanted, reader = run.config.data.captions, pairs.reader
    if not wanted:
        return None
    if wanted.endswith(MADE_AHEAD):
        known = read_captions(wanted)
        return [caption_of(reader.read(sample, None), known) or "" for sample in samples]
    return training_captions(
        lambda index: reader.read(samples[index], None).hq,
        len(samples),
        captions=wanted,
        out_dir=run.out_dir,
        device=run.device,
        download=run.download,
        what=reader.url,
        progress=lambda step: progress(dataclasses.replace(step, of=f"captions of {reader.url}")),
    )


def train_restore(
    run: RestoreRun,
    *,
    report: Report = lambda metrics: None,
    should_stop: Callable[[], bool] = bool,
    progress: OnProgress = silent,
) -> Path:
    """Train the stages of a run, or go on training; returns the folder of the last stage's model.

    Args:
        run: What to do.
        report: Told of the numbers of each step.
        should_stop: Asked after each step.
        progress: Told of the images that are captioned before the restoration.

    Raises:
        ConfigError: If data, weights or configuration are wrong.
        RunError: If a folder holds something else, training cannot go on, or a file cannot be written.
    """
    run = locate_weights(run)
    if threads := run.threads or default_threads():
        torch.set_num_threads(threads)
    for stage in STAGES:
        sweep_scratch(run.out_dir / stage)  # puts a model back that a killed run had set aside
    stages, data = chosen_stages(run), check_restore_training(run)
    if not data.held_out:
        log.warning(NOTHING_HELD_OUT, run.config.data.held_out, len(data.training))
    for stage in stages:
        folder = run.out_dir / stage
        options: dict[str, Any] = {
            "report": functools.partial(_report_stage, report, stage),
            "should_stop": should_stop,
            "num_workers": resolved_data_workers(run.data_workers, run.device, run.config.loop(stage)),
            "device": run.device,
            "trackers": run.trackers,
            "end": stage == stages[-1],
        }
        with _claim(run, stage, data).taken_by_one(folder):
            if stage == "restoration":
                _train_restoration(run, data, folder, options, progress)
            else:
                _train_autoencoders(run, data, stage, folder, options)
        if should_stop():
            break
    return run.out_dir / stages[-1] / "model"


def check_restore_training(run: RestoreRun) -> RestoreData:
    """Find all that would stop a run before its work, and write nothing; returns its pairs.

    Raises:
        ConfigError: If data, weights or configuration are wrong, or the device is not here.
        RunError: If a folder holds a run of another configuration, or cannot be written to.
        ShardError: If a data set is not whole.
    """
    config, stages = run.config, chosen_stages(run)
    check_apart(run.out_dir, _inputs(run))
    check_device(run.device)
    if len({config.loop(stage).mixed_precision for stage in stages}) > 1:
        raise ConfigError("mixed_precision: stages that are trained in one go need the same one")
    if "restoration" in stages:
        check_base_choice(config.base_model, train_base=config.restoration.train_base)
        if config.data.captions:
            check_captions(config.data.captions, run.out_dir, download=run.download)
    if config.base_model and ("restoration" in stages or base_place(config.autoencoder.base)[0] == config.base_model):
        check_base(config.base_model, revision=config.revision, download=run.download)
    data = open_data(run)
    for stage in stages:
        check_side(data, config.loop(stage), config.data.crop)
        # What is there of a new stage; what it is made of may not be there yet.
        new = Claim(what="a run", file="config.yaml", resolved={}, comparable=lambda found: None, inputs=_inputs(run))
        new.check(LocalStore(run.out_dir / stage))
        if stage == "association" and "reconstruction" not in stages:
            _reconstructed(run)
        if stage == "restoration" and config.losses.embedding == "bfr" and "association" not in stages:
            _associated(run)
        if (run.out_dir / stage / "config.yaml").exists():  # so what it began with is there, too
            _claim(run, stage, data).check(LocalStore(run.out_dir / stage))
    return data


NOTHING_HELD_OUT: Final = (
    "nothing is held out for validation: held_out %g of %d samples is less than one; give --validation, or a larger "
    "held_out in the configuration"
)


def chosen_stages(run: RestoreRun) -> tuple[Stage, ...]:
    """Without those of the autoencoders where all are asked for and no stage needs them."""
    if run.stages == STAGES and (run.config.losses.embedding != "bfr" or run.autoencoders is not None):
        return ("restoration",)
    return run.stages


def locate_weights(run: RestoreRun) -> RestoreRun:
    """Find the files of others' making that the run needs, before anything is computed.

    Raises:
        ConfigError: If one is not there: what is missing, where to put it, and what would do without it.
    """
    needed: dict[str, tuple[str, str]] = {}
    if run.config.perceptual == "vgg19":
        needed["vgg19"] = (
            "the perceptual loss vgg19",
            "--perceptual gradient-pyramid to train with a stand-in that needs no weights",
        )
    if "restoration" in chosen_stages(run) and run.config.losses.embedding == "arcface":
        needed["arcface-iresnet"] = ("--embedding arcface", "--embedding bfr or none")
    if unused := run.weights.keys() - needed.keys():
        raise ConfigError(
            f"--weights {min(unused)}: not used with --perceptual {run.config.perceptual}, --embedding "
            f"{run.config.losses.embedding} and stage {', '.join(chosen_stages(run))}"
        )
    located: dict[str, Path] = {}
    for name, (what, otherwise) in needed.items():
        found = locate(name, run.weights)
        if found.path is None:
            raise ConfigError(f"{what} {found.missing()}, or {otherwise}")
        located[name] = found.path.resolve()
    return dataclasses.replace(run, weights=located)


def _perceptual_loss(run: RestoreRun, layers: tuple[str, ...], *, normalize: bool = False) -> VggLoss | GradientPyramid:
    return perceptual_loss(run.config.perceptual, run.weights.get("vgg19"), layers, normalize=normalize)


def _report_stage(report: Report, stage: Stage, metrics: dict[str, float | int]) -> None:
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
    perceptual = _perceptual_loss(run, LPIPS_LAYERS, normalize=True)
    train_autoencoders(
        autoencoders,
        perceptual,
        data.stream(loop),
        config,
        loop,
        folder,
        associate=associate,
        validate=AutoencoderValidator(
            _held_out(run, data, stage),
            folder / "samples",
            AutoencoderLoss(autoencoders, perceptual, config, associate=False),
        ),
        **options,
    )


def _train_restoration(
    run: RestoreRun, data: RestoreData, folder: Path, options: dict[str, Any], progress: OnProgress
) -> None:
    config = run.config
    loop = fitted(config.restoration, _memory(run), run.device, processes=process_count())
    stream = data.stream(loop, _captions(run, data.pairs, range(len(data.pairs)), progress))
    held_out = _held_out(run, data, "restoration", progress)
    net, base = new_net(
        config.network,
        stream,
        seed=loop.seed,
        train_base=loop.train_base,
        crop_size=min(loop.crop_sizes),
        base_model=config.base_model,
        revision=config.revision,
        sizes=config.base,
        download=run.download,
        samples=400,
    )
    train_restorer(
        net,
        build_embedding(run, int(net.unet.config.cross_attention_dim)),
        _perceptual_loss(run, config.losses.vgg_layers),
        stream,
        config.losses,
        loop,
        folder,
        base,
        sampling=config.sampling,
        validate=RestorationValidator(held_out, folder / "samples", config.sampling),
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
        return FaceEmbedding(IdentitySource(load_iresnet(run.weights["arcface-iresnet"])), width)
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
    if run.autoencoders is None and stage not in chosen_stages(run) and not is_finished(run.out_dir / stage):
        raise ConfigError(
            f"{folder}: the stage {stage} did not reach its last step; run --stage {stage} again to finish it, or give "
            f"--autoencoders {folder} to begin with it as it is{otherwise}"
        )
    return folder


def _resolved(run: RestoreRun, stage: Stage, data: RestoreData) -> dict[str, Any]:
    """What a stage writes down of itself."""
    config = run.config
    resolved: dict[str, Any] = {
        "stage": stage,
        "shards": run.shards,
        "digest": data.pairs.reader.digest,
        "validation": run.validation or "",
        "samples": len(data.training),
        "perceptual": config.perceptual,
        "weights": {name: file_sha256(path) for name, path in sorted(run.weights.items())},
        "data": plain(config.data),
        "loop": plain(config.loop(stage)),
        "validation_images": config.validation_images,
    }
    if stage == "restoration":
        resolved |= {name: plain(getattr(config, name)) for name in ("base_model", "revision", "base", "network")}
        resolved |= {"losses": plain(config.losses), "sampling": plain(config.sampling)}
        if config.losses.embedding == "bfr":
            resolved["autoencoders"] = folder_digest(_associated(run))
    else:
        resolved["autoencoder"] = plain(config.autoencoder)
        if stage == "association":
            resolved["start"] = folder_digest(_reconstructed(run))
    return resolved


def _claim(run: RestoreRun, stage: Stage, data: RestoreData) -> Claim:
    return Claim(
        what="a run",
        file="config.yaml",
        resolved=_resolved(run, stage, data),
        comparable=_comparable,
        inputs=_inputs(run),
    )


def _inputs(run: RestoreRun) -> Inputs:
    return [("--shards", run.shards), ("--validation", run.validation)]


def _comparable(resolved: dict[str, Any]) -> dict[str, Any]:
    """Without what a run may be continued with another value of."""
    if "loop" not in resolved:
        return resolved
    kept = {key: value for key, value in resolved.items() if key not in ("shards", "validation_images", "sampling")}
    return {**kept, "loop": without(resolved["loop"], FREE)}


def train_restore_here(run: RestoreRun, report: Report = lambda metrics: None, progress: OnProgress = silent) -> Path:
    """Do the work of `train_restore` until it is finished or Ctrl-C or SIGTERM asks for the last checkpoint.

    Raises:
        Interrupted: After the checkpoint.
    """
    with Interrupt("the step in work is finished and a checkpoint written", terminates=True) as interrupt:
        model = train_restore(run, report=report, should_stop=lambda: interrupt.requested, progress=progress)
        interrupt.check()
    return model


_PERCEPTUAL: Final[dict[PerceptualKind, str]] = {
    "vgg19": "vgg19, {vgg19}",
    "gradient-pyramid": "gradient-pyramid, a stand-in without weights; --perceptual vgg19 is the paper's",
}


def _memory(run: RestoreRun) -> Training:
    """What the restoration stage of a run takes of a device's memory."""
    config = run.config
    return training_of(
        config.restoration,
        start="",
        base_model=config.base_model,
        revision=config.revision,
        small=config.base,
        lora_rank=0 if config.restoration.train_base else config.network.lora_rank,
        draws=config.restoration.noise_draws,
        decodes=bool(config.losses.image_weight or config.losses.perceptual_weight),
        perceptual=config.perceptual == "vgg19",
    )


def restore_plan_text(run: RestoreRun, processes: int = 1) -> str:
    """Say what a run would do, in so many processes.

    Raises:
        ConfigError: If data or weights are missing, as in `train_restore`.
    """
    run = locate_weights(run)
    data, config = check_restore_training(run), run.config
    lines = [
        f"pairs: {counted_noun(len(data.training), 'sample')} with "
        f"{counted_noun(data.pairs.reader.num_variants, 'stored LQ image')} each; "
        + (
            f"{config.data.onthefly_prob:.0%} of the pairs made on the fly by {config.data.onthefly}"
            if config.data.onthefly
            else "none made on the fly"
        ),
        f"held out: {counted_noun(len(data.held_out), 'sample')}{f' of {run.validation}' if run.validation else ''}",
        *([] if data.held_out else [f"warning: {NOTHING_HELD_OUT % (config.data.held_out, len(data.training))}"]),
        f"perceptual loss: {_PERCEPTUAL[config.perceptual].format_map(run.weights)}",
    ]
    for stage in chosen_stages(run):
        loop = config.loop(stage)
        lines.append(
            f"{stage}: {loop.num_steps:,} steps of {list(loop.crop_batches) or loop.batch_size} pairs at "
            f"{list(loop.crop_sizes)} pixels; learning rate {loop.learning_rate:g}, {loop.mixed_precision} mixed "
            "precision"
        )
    if "restoration" in chosen_stages(run):
        if config.data.captions:
            wanted = len(data.pairs) + min(config.validation_images, len(data.held_out))
            lines.append(captions_text(config.data.captions, run.out_dir, wanted))
        trained = (
            "all of it" if config.restoration.train_base else f"LoRA of rank {config.network.lora_rank} and BoostHub"
        )
        lines.append(memory_text(config.restoration, _memory(run), run.device, processes=processes))
        lines.append(
            f"base model: {config.base_model or 'a new one'}; trains {trained}; embedding {config.losses.embedding}"
        )
    lines.append(f"writes {run.out_dir}/STAGE: model, checkpoints, samples, metrics.jsonl")
    return "\n".join(lines)
