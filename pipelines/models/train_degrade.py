"""`degrade-kit train-degrade`: from folders of real pairs and faces to a FlipNet that degrades."""

# Tensor.unflatten, torch.from_numpy and others have parts without a type in torch's own stubs.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from degrade_kit.errors import ConfigError, ImageError, RunError
from degrade_kit.files import file_sha256, read_json, write_whole
from degrade_kit.flipnet.acceptance import accept_prompts, says_a_measure
from degrade_kit.flipnet.base_small import SmallBase, check_base_choice, continued_net, new_net
from degrade_kit.flipnet.batch import collate, pair_generators, to_images
from degrade_kit.flipnet.checkpoint import BOOSTHUB_FILE, BaseReference, Prompts
from degrade_kit.flipnet.config import FREE_FIELDS, FlipNetConfig, Mode, of_base, read_fields, section
from degrade_kit.flipnet.crops import DEFAULT_POLICY, POLICIES, CropPolicy
from degrade_kit.flipnet.degrader import Degrader, start_noise
from degrade_kit.flipnet.description import SHIPPED_SPACE, SPACE_FILE, DescriptionSpace, read_space
from degrade_kit.flipnet.folder import (
    BASE_DIR,
    check_base,
    check_model,
    check_teaches,
    folder_digest,
    model_folder,
    read_config,
    write_prompts,
)
from degrade_kit.flipnet.licence import copy_licence
from degrade_kit.flipnet.loop import Report
from degrade_kit.flipnet.measures import energy_distance, features_of
from degrade_kit.flipnet.memory import Training
from degrade_kit.flipnet.mixture import FACE, FacePairs, ImageCache, Mixture, PairSample, PairSource, RealPairs
from degrade_kit.flipnet.network import FlipNet
from degrade_kit.flipnet.pairs import Pair, draw_subset, matches, read_pairs
from degrade_kit.flipnet.registration import check_pairs
from degrade_kit.flipnet.sampling import SamplingConfig, sample
from degrade_kit.flipnet.training import DiffusionLoss, TrainConfig, train
from degrade_kit.hq import HqConfig, prepare_pixels
from degrade_kit.image import Pixels, encode_png
from degrade_kit.pipelines.claim import FREE, Claim, Inputs, check_apart, plain, without
from degrade_kit.pipelines.devices import check_device
from degrade_kit.pipelines.images import list_images, warn_left_out
from degrade_kit.pipelines.machine import default_threads
from degrade_kit.pipelines.models.captions import captions_text, check_captions, training_captions
from degrade_kit.pipelines.models.loading import (
    cache_bytes,
    fitted,
    memory_text,
    process_count,
    resolved_data_workers,
    training_of,
)
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.pipelines.signals import Interrupt
from degrade_kit.presets import resolve_recipe
from degrade_kit.progress import OnProgress, silent
from degrade_kit.seeding import generator
from degrade_kit.sources import Sources, display_name
from degrade_kit.store import LocalStore
from degrade_kit.wording import counted_noun

log = logging.getLogger(__name__)

DATA: Final = "data.json"
"""File of a run's folder that says what it learns from, and what was left out."""
PAIR_LIST: Final = "pairs.jsonl"
"""File of a run's folder that names each pair, with hashes of its files."""
PROMPT_TABLE: Final = "prompts.json"
"""File of a run's folder that says of each caption whether the finished model makes what it asks for."""
_LEAST_SHOWN: Final = 12
"""Images that a prompt is judged by, at least: of fewer faces several each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What to learn from, beside the folders."""

    presets: tuple[str, ...] = ("flipnet-paper",)
    """Recipes of the faces, equally often; a file is looked for beside the configuration."""
    face_sizes: tuple[int, ...] = (512,)
    """Sides, in pixels, to which faces are prepared, equally often."""
    face_limit: int = 4000
    """Faces drawn from their source; 0 takes all."""
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Pairs drawn, by the word in `--pairs`; the paper's numbers where absent."""
    tiles: Mapping[str, int] = field(default_factory=dict[str, int])
    """Side of the tiles, pixels, that larger images are parted into, by the word in `--pairs`; 0 parts none, and those
    of `degrade_kit.flipnet.pairs.PAPER_TILES` where absent."""
    validation: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Patterns of names, such as `*/0199_*`, of pairs that are kept for validation, by the word in `--pairs`, or of
    faces, by `face`; beside the official test splits, and whatever `held_out` is."""
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """Share of each kind, `face` among them, and of those alone that are there; every pair and face alike where
    empty."""
    face_share: float = 0.0
    """Share of the samples that are faces, where there are faces and pairs and no `weights`; 0 counts each of them as
    likely as a pair."""
    native: Mapping[str, float] = field(default_factory=dict[str, float])
    """Share of crops at native resolution by kind, in place of the built-in policy's; `*` is any other kind."""
    small_images: Literal["enlarge", "mirror"] = "enlarge"
    """What becomes of images that are smaller than a native crop: see `degrade_kit.flipnet.crops.CropPolicy.mirror`."""
    grid: int = 8
    """Native crops of pairs begin at multiples of this many pixels: 8 keeps the blocks of JPEG files where they are, so
    that a network learns them; with 1 it cannot, and leaves them to the codec of a recipe."""
    source_words: bool = False
    """Whether captions end in the kind of their pairs, a word for where the photographs are from."""
    exemplars: bool = False
    """Whether the network learns to degrade like a photograph that it is shown as a description: of another part of
    the LQ image, or of another face that was degraded alike."""
    face_sides: tuple[int, ...] = ()
    """Least and largest side of the faces in the photographs, pixels, for the model to know where it is to act; empty
    where they are as large as HQ."""
    crops: int = 1
    """Crops in a row of one image."""
    held_out: float = 0.125
    """Share of the training pairs and faces that is kept for validation, beside the official test splits."""
    survey: int = 2000
    """Samples that are looked at before the first step: a new network is scaled by them, and they tell how often each
    caption occurs."""
    cache_gigabytes: float = 4.0
    """Memory for decoded images, of each data worker."""
    captions: str = "template"
    """`template` describes the measured degradation; else a file of captions that `degrade-kit caption` wrote of the HQ
    images, which ends in .jsonl; or a hub id or folder of a BLIP model, whose captions are kept in the run's
    `captions.jsonl`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """A training run: a file of these sections."""

    start: str = ""
    """FlipNet to train further: `small` or `photos-teacher`, which ship, or a folder. Its base model and network are
    taken, but for the fields of `network` that weights do not fix and the run says; its head's linear filter is fitted
    to the pairs anew. Empty for a new FlipNet."""
    base_model: str = ""
    """Hub id or folder of the base model, or a name of `degrade_kit.flipnet.config.BASES`; empty for a new one, of the
    sizes in `base`."""
    revision: str | None = None
    """Revision of a hub id."""
    base: SmallBase = field(default_factory=SmallBase)
    network: FlipNetConfig = field(default_factory=FlipNetConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Sampling of validation, which is saved with the model."""
    validation_images: int = 24
    """Held-out pairs that LQ images are made for."""
    validation_size: int = 128
    """Side of their crops, pixels."""
    kept_prompts: float = 0.0
    """Share of the held-out faces, or pairs where there are none, on which each phrase of a caption must be measured on
    what the finished model makes, for the caption to be among its prompts; 0 takes every caption unmeasured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DegradeRun:
    """Where a run finds and leaves its files, and where it computes."""

    config: RunConfig
    pairs: tuple[tuple[str, str], ...]
    faces: str | None
    out_dir: Path
    registration: bool = True
    device: str | None = None
    data_workers: int | None = None
    """Processes that prepare pairs; as many as `default_data_workers` says where None. They change no pair."""
    download: bool = False
    trackers: tuple[str, ...] = ()
    threads: int = 0
    """Threads of PyTorch on a CPU; its own choice where 0. Equal counts give equal weights."""


def degrade_run_config(sections: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> RunConfig:
    """A configuration of its sections, with some fields of `train` and the top level replaced.

    Args:
        sections: What a configuration file holds.
        overrides: `start`, `base_model`, `revision` or `captions`; all others go to `train`.
        where: Where the sections come from, for messages.

    Raises:
        ConfigError: If a key or value is wrong.
    """
    merged = {**sections}
    for key, value in overrides.items():
        if key in ("start", "base_model", "revision"):
            merged[key] = value
        elif key == "captions":
            merged["data"] = {**section(merged, "data", where), key: str(value)}
        else:
            merged["train"] = {**section(merged, "train", where), key: value}
    given = section(merged, "network", where)
    merged = of_base({key: value for key, value in merged.items() if key != "network"})
    config = read_fields(RunConfig, merged, where)
    if config.start:
        theirs, _, _, sampled = read_config(model_folder(config.start))
        check_teaches(config.start, sampled)
        network = FlipNetConfig.from_mapping({**dataclasses.asdict(theirs), **given}, f"{where}: network")
        if config.base_model or _of_weights(network) != _of_weights(theirs):
            raise ConfigError(
                f"{where}: start: {config.start}: its own network and base model are trained further; leave out "
                f"{'base_model' if config.base_model else 'network'}, or start"
            )
    else:
        network, theirs = FlipNetConfig.from_mapping(given, f"{where}: network"), FlipNetConfig()
    if config.data.exemplars:
        network = dataclasses.replace(network, description=_space(config).size)
    elif network.description != theirs.description:
        raise ConfigError(f"{where}: network: description: set `data: {{exemplars: true}}`, which sets it")
    if config.data.face_sides:
        network = dataclasses.replace(network, face_sides=config.data.face_sides)
    return dataclasses.replace(config, network=network)


def _of_weights(network: FlipNetConfig) -> dict[str, Any]:
    """The part of a network that a run which begins with its weights cannot change."""
    free = (*FREE_FIELDS, "description")  # to which a run may add columns
    return {name: value for name, value in dataclasses.asdict(network).items() if name not in free}


def _space(config: RunConfig) -> DescriptionSpace:
    """How a run describes exemplars: as the model that it begins with, or as is shipped."""
    folder = model_folder(config.start) if config.start else None
    return read_space(folder if folder is not None and (folder / SPACE_FILE).is_file() else SHIPPED_SPACE.parent)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairData:
    """The pairs of a run, ready to be drawn from."""

    training: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    faces: Sources | None
    held_out_faces: Sources | None
    refused: tuple[str, ...]
    """What was found wrong with pairs that are left out."""
    left_out: Mapping[str, Mapping[str, int]]
    """What the listing of each place did not take, by cause; by the words of `--pairs`, and `hq`."""
    unmatched: tuple[str, ...] = ()
    """Patterns of `validation` that fit nothing, with the word they are for."""

    def counts(self) -> dict[str, int]:
        """Training pairs by kind."""
        found = Counter(pair.kind for pair in self.training)
        if self.faces is not None:
            found[FACE] = len(self.faces)
        return dict(found)


def read_data(run: DegradeRun) -> PairData:
    """List, check and part the pairs.

    Raises:
        ConfigError: If there is nothing to train on, or a folder is not what its word says.
    """
    config = run.config.data
    training: list[Pair] = []
    held_out: list[Pair] = []
    refused: list[str] = []
    unmatched: list[str] = []
    left_out: dict[str, Counter[str]] = {}
    for source, folder in run.pairs:
        patterns = config.validation.get(source, ())
        found = read_pairs(
            source,
            folder,
            limit=config.limits.get(source),
            tile=config.tiles.get(source),
            kept_out=patterns,
            seed=run.config.train.seed,
        )
        unmatched += _unmatched(source, patterns, [pair.name for pair in found.pairs])
        causes = {**found.skipped_by_reason(), **dict(found.never_data)}
        warn_left_out(folder, causes)
        left_out.setdefault(source, Counter()).update(causes)
        kept, bad = check_pairs(found.pairs, registration=run.registration)
        refused += [f"{entry.pair.name}: {entry.reason}: {entry.detail}" for entry in bad]
        train_split = [pair for pair in kept if pair.split == "train"]
        of_file = {pair.lq_path: pair for pair in reversed(train_split)}  # tiles of an image stay on one side
        count = round(len(of_file) * config.held_out)
        drawn = draw_subset(of_file.values(), count, run.config.train.seed + 1) if count else ()
        chosen = {pair.lq_path for pair in drawn}
        training += [pair for pair in train_split if pair.lq_path not in chosen]
        held_out += [
            dataclasses.replace(pair, split="train") for pair in kept if pair.split != "train" or pair.lq_path in chosen
        ]
    faces = held_out_faces = None
    if run.faces is not None:
        sources = list_images(run.faces)
        left_out["hq"] = Counter(sources.summary())
        order = sorted(
            range(len(sources)),
            key=lambda i: generator(run.config.train.seed, f"held out {sources.names[i]}", 0).random(),
        )
        patterns = config.validation.get(FACE, ())
        unmatched += _unmatched(FACE, patterns, sources.names)
        count = round(len(sources) * config.held_out)
        kept_out = {i for i in order if matches(sources.names[i], patterns)} | set(order[:count])
        names = [{sources.names[i] for i in order if (i in kept_out) == held} for held in (False, True)]
        faces, held_out_faces = (sources.only(part) if part else None for part in names)
    if not training and faces is None:
        raise ConfigError("no pairs to train on: give --pairs KIND=DIR, --hq FACES, or both")
    return PairData(
        training=tuple(training),
        held_out=tuple(held_out),
        faces=faces,
        held_out_faces=held_out_faces,
        refused=tuple(refused),
        unmatched=tuple(unmatched),
        left_out=left_out,
    )


def _unmatched(source: str, patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    return [f"{source} {pattern}" for pattern in patterns if not any(matches(name, [pattern]) for name in names)]


@dataclass(frozen=True, kw_only=True, slots=True)
class DegradePlan:
    """A run that nothing stands in the way of."""

    data: PairData
    weights: Mapping[str, float] | None
    """Share of each kind that is there; every pair and face alike where None."""
    unused: tuple[str, ...]
    """Kinds that the configuration has a weight for and that are not there."""


def plan_degrade_training(run: DegradeRun) -> DegradePlan:
    """Find all that would stop a run before its work, and write nothing.

    Raises:
        ConfigError: If the data, the base model or the configuration is wrong, or the device is not here.
        RunError: If `out_dir` holds something else or a run of another configuration, or cannot be written to.
    """
    config = run.config
    check_apart(run.out_dir, _inputs(run))
    check_device(run.device)
    if config.start:
        check_model(config.start, download=run.download)
        if config.network.mode is not Mode.DEGRADE:
            raise ConfigError(f"start: {config.start}: a FlipNet that restores; expected one that degrades")
        if config.base.lapped and not config.train.train_base:
            raise ConfigError("base: lapped: a network learns anew in other blocks; set train_base, or leave it out")
        if config.train.describer_alone and not config.data.exemplars:
            raise ConfigError("describer_alone: there is nothing to learn; set `data: {exemplars: true}`")
    elif config.train.describer_alone:
        raise ConfigError("describer_alone: expected a finished FlipNet to begin with; set start")
    else:
        check_base_choice(config.base_model, train_base=config.train.train_base)
    if config.base_model:
        check_base(config.base_model, revision=config.revision, download=run.download)
    if config.data.captions != "template":
        check_captions(config.data.captions, run.out_dir, download=run.download)
    data = read_data(run)
    weights, unused = kind_weights(config.data.weights, data.counts())
    if config.data.face_share and weights is None:
        weights = face_weights(data.counts(), config.data.face_share)
    largest, least = max(*config.train.crop_sizes, config.validation_size), min(config.data.face_sizes)
    if data.faces is not None and largest > least:
        raise ConfigError(
            f"data: face_sizes: faces of {least} pixels hold no crop of {largest}; lower crop_sizes and "
            "validation_size, or prepare larger faces"
        )
    _claim(run, data).check(LocalStore(run.out_dir))
    return DegradePlan(data=data, weights=weights, unused=unused)


def face_weights(counts: Mapping[str, int], share: float) -> Mapping[str, float] | None:
    """Give faces a share of the samples, and the pairs the rest, each as likely; None where one of both is lacking.

    >>> face_weights({"press": 30, "web": 10, "face": 500}, 0.6)
    {'press': 0.3, 'web': 0.1, 'face': 0.6}

    Raises:
        ConfigError: If it is no share.
    """
    if not 0 < share < 1:
        raise ConfigError(f"data: face_share: expected a share within [0, 1), got {share}")
    pairs = {kind: count for kind, count in counts.items() if kind != FACE}
    if not pairs or FACE not in counts:
        return None
    total = sum(pairs.values())
    return {**{kind: (1 - share) * count / total for kind, count in pairs.items()}, FACE: share}


def kind_weights(
    weights: Mapping[str, float], kinds: Iterable[str]
) -> tuple[Mapping[str, float] | None, tuple[str, ...]]:
    """Take the weights of the kinds that are there, so that one configuration serves whatever data one has.

    Args:
        weights: By kind, from the configuration; empty for none.
        kinds: Kinds of the training pairs, `face` among them where there are faces.

    Returns:
        The weights of these kinds, None for no weights at all; and the kinds that have one and are not there.

    Raises:
        ConfigError: If one of the kinds has no weight.
    """
    if not weights:
        return None, ()
    there = list(kinds)
    lacking = [kind for kind in there if kind not in weights]
    if lacking:
        raise ConfigError(
            f"data: weights: expected one for each kind of --pairs and for face; {', '.join(lacking)} has none, only "
            f"{', '.join(weights)} have. Add it to a configuration of your own, or leave its weights out"
        )
    return {kind: weights[kind] for kind in there}, tuple(kind for kind in weights if kind not in there)


NOTHING_NAMED: Final = "validation: nothing fits the pattern of %s, so it keeps nothing out of training"


def pair_sources(
    run: DegradeRun, data: PairData, cache: ImageCache, *, held_out: bool = False, progress: OnProgress = silent
) -> list[PairSource]:
    """Everything that pairs are drawn from; `progress` is told of the images that are captioned."""
    config = run.config.data
    pairs, faces = (data.held_out, data.held_out_faces) if held_out else (data.training, data.faces)
    kinds = sorted({pair.kind for pair in pairs})
    sources: list[PairSource] = []
    describe = _space(run.config).describe if config.exemplars else None
    for kind in kinds:
        chosen = [pair for pair in pairs if pair.kind == kind]
        policy = dataclasses.replace(
            POLICIES.get(kind, DEFAULT_POLICY), mirror=config.small_images == "mirror", grid=config.grid
        )
        native = config.native.get(kind, config.native.get("*"))
        if native is not None:
            policy = dataclasses.replace(policy, native=native)
        what = f"{kind}, held out" if held_out else kind
        files = list(dict.fromkeys(pair.hq_path for pair in chosen))  # one caption for all tiles of an image
        captions = _captions(run, lambda index, files=files: files[index].read_bytes(), len(files), what, progress)
        if captions is not None:
            of_file = dict(zip(files, captions, strict=True))
            captions = [of_file[pair.hq_path] for pair in chosen]
        sources.append(
            RealPairs(
                chosen,
                captions=captions,
                policy=policy,
                cache=cache,
                source_words=config.source_words,
                describe=describe,
            )
        )
    if faces is not None:
        for name in config.presets:
            for side in config.face_sizes:
                make = functools.partial(
                    FacePairs,
                    faces,
                    resolve_recipe(name),
                    face_size=side,
                    limit=config.face_limit,
                    seed=run.config.train.seed,
                    policy=CropPolicy(native=config.native.get(FACE, 1.0), grid=config.grid),
                    cache=cache,
                    describe=describe,
                )
                drawn = make()
                what = "faces, held out" if held_out else "faces"
                captions = _captions(run, drawn.read, len(drawn), what, progress)
                sources.append(make(captions=captions))
    return sources


def build_net(run: DegradeRun, stream: Mixture) -> tuple[FlipNet, BaseReference]:
    """The network of a run, new, and where its base model is."""
    config = run.config
    space = _space(config) if config.data.exemplars else None
    if config.start:
        net, base = continued_net(
            config.start,
            stream,
            seed=config.train.seed,
            words=sorted({source.kind for source in stream.sources} - {FACE}) if config.data.source_words else (),
            crop_size=min(config.train.crop_sizes),
            samples=config.data.survey,
            download=run.download,
            lapped=config.base.lapped,
            space=space,
            finished=config.train.describer_alone,
        )
        if config.train.train_base:  # which is then saved with it
            base = BaseReference(location=BASE_DIR)
        net.config = config.network
        return net, base
    return new_net(
        config.network,
        stream,
        seed=config.train.seed,
        train_base=config.train.train_base,
        crop_size=min(config.train.crop_sizes),
        base_model=config.base_model,
        revision=config.revision,
        sizes=config.base,
        download=run.download,
        samples=config.data.survey,
        space=space,
    )


def caption_prompts(stream: Mixture, size: int, count: int, *, faces: bool = True) -> Prompts:
    """How often each caption of the training data occurs, those of less than a thousandth left out.

    Args:
        stream: The samples.
        size: Side of their crops, pixels.
        count: How many are looked at.
        faces: Whether those of faces that are degraded on the fly count too, where there are pairs.
    """
    samples = (stream.sample(2**41 + number, size) for number in range(count))
    pairs = any(source.kind != FACE for source in stream.sources)
    found = Counter(sample.caption for sample in samples if faces or not pairs or sample.kind != FACE)
    total = found.total()
    return tuple((text, hits / total) for text, hits in found.most_common() if hits > total / 1000)


def train_degrade(
    run: DegradeRun,
    *,
    report: Report = lambda metrics: None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: OnProgress = silent,
) -> Path:
    """Train, or go on training, and return the folder of the finished model.

    Args:
        run: What to do.
        report: Told of the numbers of each step.
        should_stop: Asked after each step.
        progress: Told of the images that are captioned before the first step.

    Raises:
        ConfigError: If the data, the base model or the configuration is wrong.
        RunError: If `out_dir` holds something else, training cannot go on, or a file cannot be written.
    """
    if threads := run.threads or default_threads():
        torch.set_num_threads(threads)
    plan = plan_degrade_training(run)
    for line in plan.data.refused:
        log.warning("left out %s", line)
    for line in plan.data.unmatched:
        log.warning(NOTHING_NAMED, line)
    with _claim(run, plan.data).taken_by_one(run.out_dir):
        _train(run, plan, report, should_stop, progress)
    return run.out_dir / "model"


def _train(
    run: DegradeRun, plan: DegradePlan, report: Report, should_stop: Callable[[], bool], progress: OnProgress
) -> None:
    """Train in a folder that is this run's."""
    data = plan.data
    if not int(os.environ.get("RANK", "0")):  # of the processes of one training, the first
        _write_data(run.out_dir, data)
    train_config = run.config.train
    train_config = fitted(train_config, _memory(run), run.device, processes=process_count())
    data_workers = resolved_data_workers(run.data_workers, run.device, train_config)
    cache = ImageCache(cache_bytes(run.config.data.cache_gigabytes, data_workers))
    stream = Mixture(
        pair_sources(run, data, cache, progress=progress),
        seed=train_config.seed,
        weights=plan.weights,
        crops=run.config.data.crops,
    )
    net, base = build_net(run, stream)
    prompts: Prompts = ()
    if train_config.describer_alone:
        prompts = read_config(model_folder(run.config.start))[2]
    elif run.config.data.captions == "template":
        # Beside photographs with a word, or exemplars, faces teach what words mean; those drawn are the photographs'.
        faces = not (run.config.data.exemplars or run.config.data.source_words)
        prompts = caption_prompts(stream, max(train_config.crop_sizes), run.config.data.survey, faces=faces)
    validator = Validator(run, data, cache, progress)
    state = train(
        net,
        stream,
        train_config,
        run.out_dir,
        base,
        prompts=prompts,
        sampling=run.config.sampling,
        more=_licence_of(run.config.start),
        validate=validator,
        report=report,
        should_stop=should_stop,
        num_workers=data_workers,
        device=run.device,
        trackers=run.trackers,
    )
    if run.config.kept_prompts and state.step >= train_config.num_steps and not int(os.environ.get("RANK", "0")):
        keep_prompts(run, prompts, _held_out_faces(run, data) or validator.hq)


def _held_out_faces(run: DegradeRun, data: PairData) -> list[Pixels]:
    """Some of the faces that were held out, whole; those that cannot be used are told and left out."""
    found: list[Pixels] = []
    sources, config = data.held_out_faces, HqConfig(size=run.config.validation_size)
    for index in range(0 if sources is None else min(len(sources), run.config.validation_images)):
        assert sources is not None
        try:
            found.append(prepare_pixels(sources.read(index), config))
        except ImageError as error:
            log.warning("left out %s: %s", display_name(sources.names[index]), error)
    return found


def keep_prompts(run: DegradeRun, prompts: Prompts, faces: Sequence[Pixels]) -> None:
    """Leave out of the finished model's prompts what it does not make, and write down what was measured.

    A rerun reads what was written, as long as weights, sampling and the share that is asked for are those.

    Raises:
        RunError: If that cannot be written.
    """
    folder, table = run.out_dir / "model", run.out_dir / PROMPT_TABLE
    measured = tuple(entry for entry in prompts if says_a_measure(entry[0]))
    if not measured or not faces:
        log.warning("kept_prompts: nothing is held out, or no caption says a measure; every caption is kept")
        return
    of_what = {
        "weights": file_sha256(folder / BOOSTHUB_FILE),
        "sampling": dataclasses.asdict(read_config(folder)[3]),
        "least": run.config.kept_prompts,
    }
    told: dict[str, Any] = read_json(table) if table.is_file() else {}
    if {key: told.get(key) for key in of_what} != of_what:
        shown = [*faces] * -(-_LEAST_SHOWN // len(faces))
        rows = accept_prompts(Degrader.load(str(folder), device=run.device), shown, [text for text, _ in measured])
        told = {
            **of_what,
            "images": len(shown),
            "size": run.config.validation_size,
            "prompts": [{**dataclasses.asdict(row), "kept": row.holds(run.config.kept_prompts)} for row in rows],
        }
        try:
            write_whole(table, json.dumps(told, indent=1) + "\n")
        except OSError as error:
            raise RunError(f"cannot write {table}: {error.strerror or error}") from error
    failing = {row["prompt"] for row in told["prompts"] if not row["kept"]}
    kept = tuple(entry for entry in prompts if entry[0] not in failing)
    if not kept:
        log.warning("kept_prompts: of no caption what it asks for was measured; every caption is kept")
        return
    write_prompts(folder, kept)
    log.info("prompts: %s of %s kept; see %s", len(kept), len(prompts), table)


class Validator:
    """Measures a network on held-out pairs: the loss, LQ images made for their HQ, and a sheet of both.

    Every random number is fixed, so that two networks differ by their weights alone.
    """

    def __init__(self, run: DegradeRun, data: PairData, cache: ImageCache, progress: OnProgress = silent) -> None:
        self._run = run
        size = run.config.validation_size
        self._samples: list[PairSample] = []
        sources = pair_sources(run, data, cache, held_out=True, progress=progress)
        if sources:
            kinds = sorted({source.kind for source in sources})
            weights = dict.fromkeys(kinds, 1.0)
            mixture = Mixture(sources, seed=run.config.train.seed + 1, weights=weights)
            self._samples = [mixture.sample(number, size) for number in range(run.config.validation_images)]

    @property
    def hq(self) -> list[Pixels]:
        """The HQ side of the held-out pairs, uint8 RGB."""
        return [sample.hq for sample in self._samples]

    def __call__(self, net: FlipNet, step: int) -> dict[str, float]:
        """Numbers by name; empty where nothing was held out."""
        if not self._samples:
            return {}
        device = net.unet.device
        with torch.no_grad():
            loss_module = DiffusionLoss(net, self._run.config.train).to(device)
            losses: list[float] = []
            for start in range(0, len(self._samples), 4):
                batch = collate(self._samples[start : start + 4]).to(device)
                count = len(batch.captions)
                losses += [float(loss_module(batch, pair_generators(0, draw, start, count))) for draw in range(4)]
        made: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
        for start in range(0, len(self._samples), 8):
            batch = collate(self._samples[start : start + 8])
            height, width = batch.hq.shape[-2:]
            noise = torch.stack([start_noise(net, start + i, height, width) for i in range(len(batch.captions))])
            condition = self._run.config.network.mode.flip(batch.hq, batch.lq)[1]
            made += to_images(
                sample(
                    net,
                    condition.to(device),
                    noise.to(device),
                    batch.captions,
                    self._run.config.sampling,
                    descriptions=batch.descriptions,
                )
            )
        true = features_of([(pair.hq, pair.lq) for pair in self._samples])
        found = features_of([(pair.hq, lq) for pair, lq in zip(self._samples, made, strict=True)])
        self._write_sheet(made, step)
        return {"val_loss": float(np.mean(losses)), "val_distance": energy_distance(found, true)}

    def _write_sheet(self, made: Sequence[Any], step: int) -> None:
        rows: list[list[Tile]] = []
        for start in range(0, min(len(made), 24), 4):
            row: list[Tile] = []
            for pair, lq in zip(self._samples[start : start + 4], made[start : start + 4], strict=True):
                row += [
                    Tile(pair.hq, ("HQ", pair.kind)),
                    Tile(pair.lq, ("real LQ",)),
                    Tile(lq, ("made", pair.caption)),
                ]
            rows.append(row)
        sheet = contact_sheet(rows, tile=128, title=f"Held-out pairs after step {step:,}")
        write_whole(self._run.out_dir / "samples" / f"step-{step:08d}.png", encode_png(sheet))


def _licence_of(start: str) -> Callable[[Path], None]:
    """What writes the licence of the FlipNet that a run began with beside its weights."""
    folder = model_folder(start) if start else None
    return lambda target: copy_licence(folder, target) if folder is not None else None


def _captions(
    run: DegradeRun, read: Callable[[int], bytes], count: int, what: str, progress: OnProgress
) -> list[str] | None:
    """Captions of these HQ images; None for templates, which follow each crop."""
    if run.config.data.captions == "template":
        return None
    return training_captions(
        read,
        count,
        captions=run.config.data.captions,
        out_dir=run.out_dir,
        device=run.device,
        download=run.download,
        what=what,
        progress=lambda step: progress(dataclasses.replace(step, of=f"captions of {what}")),
    )


def _resolved(run: DegradeRun, data: PairData) -> dict[str, Any]:
    """What a run writes down of itself."""
    return {
        "config": plain(run.config),
        "pairs": [list(entry) for entry in run.pairs],
        "faces": run.faces or "",
        "counts": data.counts(),
        **({"start": folder_digest(model_folder(run.config.start))} if run.config.start else {}),
        "recipes": [f"{recipe.name}@{recipe.digest()}" for recipe in map(resolve_recipe, run.config.data.presets)],
    }


def _write_data(out_dir: Path, data: PairData) -> None:
    """Write down what a run learns from, and what of the places that it was given it does not.

    Raises:
        RunError: If that fails.
    """
    file_hash = functools.cache(file_sha256)  # the tiles of an image share it
    listed = [
        {
            "kind": pair.kind,
            "split": split,
            "name": display_name(pair.name),
            **({} if pair.tile is None else {"tile": list(dataclasses.astuple(pair.tile))}),
            "hq_sha256": file_hash(pair.hq_path),
            "lq_sha256": file_hash(pair.lq_path),
        }
        for split, pairs in (("train", data.training), ("test", data.held_out))
        for pair in pairs
    ]
    told = {
        "training": data.counts(),
        "held_out": {"pairs": len(data.held_out), "faces": len(data.held_out_faces or ())},
        "refused": list(map(display_name, data.refused)),
        "left_out": data.left_out,
    }
    try:
        write_whole(out_dir / PAIR_LIST, "".join(f"{json.dumps(row)}\n" for row in listed))
        write_whole(out_dir / DATA, json.dumps(told, indent=1) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {out_dir / DATA}: {error.strerror or error}") from error


def _claim(run: DegradeRun, data: PairData) -> Claim:
    resolved = _resolved(run, data)
    return Claim(what="a run", file="config.yaml", resolved=resolved, comparable=_comparable, inputs=_inputs(run))


def _inputs(run: DegradeRun) -> Inputs:
    return [*(("--pairs", root) for _, root in run.pairs), ("--hq", run.faces)]


def _comparable(resolved: dict[str, Any]) -> dict[str, Any]:
    """Without what a run may be continued with another value of."""
    if "config" not in resolved:
        return resolved
    config = without(resolved["config"], ("validation_images", "validation_size", "sampling", "kept_prompts"))
    if isinstance(config, dict):
        # What a recipe's file says counts, not where it lies.
        config |= {"train": without(config.get("train"), FREE), "data": without(config.get("data"), ("presets",))}
    return {**resolved, "config": config}


def train_here(run: DegradeRun, report: Report = lambda metrics: None, progress: OnProgress = silent) -> Path:
    """Do the work of `train_degrade` until it is finished or Ctrl-C or SIGTERM asks for the last checkpoint.

    Raises:
        Interrupted: After the checkpoint.
    """
    with Interrupt("the step in work is finished and a checkpoint written", terminates=True) as interrupt:
        model = train_degrade(run, report=report, should_stop=lambda: interrupt.requested, progress=progress)
        interrupt.check()
    return model


def _captioned(run: DegradeRun, data: PairData) -> int:
    """How many HQ images a run needs captions of."""
    limit = run.config.data.face_limit
    faces = [len(part) for part in (data.faces, data.held_out_faces) if part is not None]
    files = {pair.hq_path for pair in (*data.training, *data.held_out)}
    return len(files) + sum(min(count, limit) if limit else count for count in faces)


def _base_text(config: RunConfig) -> str:
    return (
        f"that of the FlipNet {config.start}, which is trained further"
        if config.start
        else config.base_model or "a new one"
    )


def _memory(run: DegradeRun) -> Training:
    """What the training of a run takes of a device's memory."""
    config = run.config
    return training_of(
        config.train,
        start=config.start,
        base_model=config.base_model,
        revision=config.revision,
        small=config.base,
        lora_rank=0 if config.train.train_base else config.network.lora_rank,
        draws=config.train.noise_draws,
    )


def plan_text(run: DegradeRun, processes: int = 1) -> str:
    """Say what a run would do, in so many processes.

    Raises:
        ConfigError: If it cannot be done, or not in the memory that is here.
    """
    plan = plan_degrade_training(run)
    data, config, captions = plan.data, run.config.train, run.config.data.captions
    total = sum((plan.weights or {}).values())
    shares = ", ".join(f"{kind} {weight / total:.0%}" for kind, weight in (plan.weights or {}).items())
    lines = [
        f"pairs to train on: {', '.join(f'{count:,} {kind}' for kind, count in data.counts().items())}",
        f"of the samples: {shares}" if shares else "every pair and face is as likely as any other",
        *(
            [f"note: the configuration's weights of {', '.join(plan.unused)} are left out: there are no such pairs"]
            if plan.unused
            else []
        ),
        *(f"note: {NOTHING_NAMED % line}" for line in data.unmatched),
        f"held out: {counted_noun(len(data.held_out), 'pair')}, "
        f"{counted_noun(len(data.held_out_faces or ()), 'face')}; left out: {len(data.refused):,} that cannot be used",
        *([captions_text(captions, run.out_dir, _captioned(run, data))] if captions != "template" else []),
        f"base model: {_base_text(run.config)}; "
        + (
            "all of it trains"
            if config.train_base
            else "what it makes of exemplars trains alone"
            if config.describer_alone
            else f"LoRA of rank {run.config.network.lora_rank} and BoostHub train"
        ),
        f"{config.num_steps:,} steps of {config.batch_size if not config.crop_batches else list(config.crop_batches)} "
        f"pairs at {list(config.crop_sizes)} pixels; learning rate {config.learning_rate:g}, {config.mixed_precision} "
        "mixed precision",
        memory_text(config, _memory(run), run.device, processes=processes),
        f"writes {run.out_dir}: model, best, checkpoints, samples, metrics.jsonl, {DATA}",
    ]
    return "\n".join(lines)
