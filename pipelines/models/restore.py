"""`degrade-kit restore`: faces from a folder, a file or shards, restored into a folder by actors that hold the model.

    OUT/NAME.png                      one for each input, under its own name; or OUT/phi-X/NAME.png for several phi
    OUT/.degrade_kit/sheet.png        the first of them beside their inputs
    OUT/.degrade_kit/attention.png    the same with where the face embedding was read, if asked for
    OUT/.degrade_kit/restore.yaml     how they were made
    OUT/.degrade_kit/inputs.json      hashes of the files that they were made of
    OUT/.degrade_kit/failures.jsonl   inputs that could not be used

An image is written under a scratch name and renamed: one that is there is whole, and a rerun passes over it. Images are
made in the same batches whatever is there already, so that a rerun makes the same pixels. A result of another input
than the one that has its name now ends the run: it is passed off as a result of neither.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from degrade_kit.checks import by_name, checked
from degrade_kit.errors import ConfigError, DegradeKitError, ImageError, RunError
from degrade_kit.files import read_json, sha256
from degrade_kit.flipnet.blip import read_captions
from degrade_kit.flipnet.config import SamplingConfig
from degrade_kit.flipnet.folder import check_model, folder_digest, read_config
from degrade_kit.image import Pixels, decode_image, encode_png, scaled
from degrade_kit.pipelines.claim import Claim, check_apart, plain
from degrade_kit.pipelines.devices import check_device
from degrade_kit.pipelines.effort import Effort, model_effort, resolve_workers
from degrade_kit.pipelines.executor import ExecutorConfig, Stateful, run_tasks
from degrade_kit.pipelines.images import (
    FileImages,
    Images,
    ShardImages,
    check_output,
    open_inputs,
    output_named,
    stems,
    warn_left_out,
)
from degrade_kit.pipelines.sheet import Tile, contact_sheet
from degrade_kit.progress import OnProgress, Progress, silent
from degrade_kit.restore.folder import SOURCE_CONFIG, restorer_folder, trained_size
from degrade_kit.seeding import generator
from degrade_kit.shards import HIDDEN
from degrade_kit.sources import display_name
from degrade_kit.store import LocalStore

if TYPE_CHECKING:
    from degrade_kit.restore.infer import ColorFix, Restorer

SETTINGS: Final = f"{HIDDEN}/restore.yaml"
INPUTS: Final = f"{HIDDEN}/inputs.json"
SUMMARY: Final = f"{HIDDEN}/summary.json"
SHEET_FACES = 24
MIN_SIDE = 16
"""Least side of an input, pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreJob:
    """What to restore, and how."""

    model: str
    input: str
    out_dir: Path
    phis: tuple[float, ...] = ()
    """Enhance weights; the model's own where empty, a folder for each where there are several."""
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """Fields of `SamplingConfig` in place of the model's; None leaves one alone."""
    prompt: str = ""
    captions: Path | None = None
    """File of captions, in place of a prompt for all; found by the image's file, in shards by that of the HQ source."""
    seed: int = 0
    batch_size: int = 4
    size: int | None = None
    """Shorter side to which inputs are scaled, pixels: 0 keeps their own, None takes the model's."""
    color_fix: ColorFix = "none"
    variant: int = 0
    """Which LQ image of a sample, where the input is shards."""
    attention: bool = False
    """Whether to show where the first images read the face embedding."""
    base_model: str | None = None
    device: str | None = None
    dtype: str = "float32"
    download: bool = False
    cache_dir: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RestorePlan:
    """A job with everything that was open resolved."""

    job: RestoreJob
    digest: str
    size: int
    sampling: tuple[SamplingConfig, ...]
    """One for each folder of results."""
    folders: tuple[Path, ...]

    def path(self, folder: int, name: str) -> Path:
        """Return the path of a result.

        Raises:
            ShardError: If the name leads out of the folder.
        """
        return LocalStore(self.folders[folder]).path(f"{name}.png")


def list_inputs(job: RestoreJob) -> tuple[Images, list[str]]:
    """The inputs of a job, and the names of their results without an ending, which are unique.

    Raises:
        ConfigError: If there are no images, or the results of two would have one name.
        ShardError: If they are a data set that is not whole.
    """
    inputs = open_inputs(job.input, variant=job.variant, cache_dir=job.cache_dir, min_side=MIN_SIDE)
    return inputs, list(stems(inputs.names, "", "--input")[0])


def plan_restoration(job: RestoreJob) -> RestorePlan:
    """Settle what the model's folder says.

    Raises:
        ConfigError: If there is no such model, a number is out of its range, there is no attention to show, or the
            results would be among the inputs.
    """
    check_apart(job.out_dir, [("--input", job.input)])
    folder = check_model(restorer_folder(job.model), job.base_model, download=job.download)
    if job.attention and not (folder / SOURCE_CONFIG).exists():
        raise ConfigError(f"--attention: {folder} was trained without a face embedding, so there is none to show")
    _, _, _, own = read_config(folder)
    changed = dataclasses.replace(own, **{key: value for key, value in job.overrides.items() if value is not None})
    phis = job.phis or (changed.phi,)
    if len(set(phis)) != len(phis):
        raise ConfigError(f"--phi: expected different numbers, got {', '.join(f'{phi:g}' for phi in phis)}")
    folders = [job.out_dir / f"phi-{phi:g}" for phi in phis] if len(phis) > 1 else [job.out_dir]
    return RestorePlan(
        job=job,
        digest=folder_digest(folder),
        size=trained_size(folder) if job.size is None else job.size,
        sampling=tuple(dataclasses.replace(changed, phi=phi) for phi in phis),
        folders=tuple(folders),
    )


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a run did."""

    made: int
    kept: int
    """That were there already."""
    failures: tuple[tuple[str, str], ...]
    """Names of inputs, and what was wrong."""
    sheet: Path | None
    left_out: Mapping[str, int]
    """What the listing of the inputs did not take, by cause."""
    attention: tuple[Path, float] | None
    """A sheet of where the face embedding was read, and the mean share of cross-attention that it took."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Inputs that are restored together."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """What became of them."""

    made: int
    failures: tuple[tuple[str, str], ...]


def restore(plan: RestorePlan, executor: ExecutorConfig, *, progress: OnProgress = silent) -> RestoreReport:
    """Restore all inputs that have no result yet.

    Args:
        plan: What to do.
        executor: Where.
        progress: Told of the inputs that are done.

    Raises:
        RunError: If the output holds something else, a result cannot be written, or a worker failed.
    """
    job = plan.job
    inputs, names, todo = check_restoration(plan, executor)
    executor = resolve_workers(executor, lambda: restore_effort(plan, todo))
    with _claim(plan, inputs).taken(LocalStore(job.out_dir), named=names):
        return _restore(plan, inputs, names, todo, executor, progress)


def _restore(
    plan: RestorePlan,
    inputs: Images,
    names: list[str],
    todo: list[Chunk],
    executor: ExecutorConfig,
    progress: OnProgress,
) -> RestoreReport:
    """Restore what is to do, in a folder that is this run's."""
    job = plan.job
    _write(plan, job.out_dir / INPUTS, json.dumps(_hashes(inputs, names), indent=1).encode())
    count = len(names)
    waiting = sum(len(chunk.indices) for chunk in todo)
    kept = count - waiting
    done, made = kept, 0
    failures: list[tuple[str, str]] = []
    skipped = [(name, f"{why}: {how}") for name, why, how in _unlisted(inputs)]
    progress(Progress(noun="image", done=done, total=count, kept=kept))
    work = Stateful[Chunk, ChunkReport](functools.partial(restore_worker, plan, max(1, executor.threads)))
    for outcome in run_tasks(work, todo, executor):
        if outcome.result is None:
            raise RunError(outcome.error)
        made += outcome.result.made
        failures += outcome.result.failures
        done += len(outcome.task.indices)
        progress(Progress(noun="image", done=done, total=count, kept=kept))
    sheet = _write_sheet(plan, inputs, names)
    results = count * len(plan.folders)
    kept = results - made - len(failures) * len(plan.folders)
    failures = sorted([*skipped, *failures])
    lines = "".join(json.dumps({"source": display_name(name), "detail": why}) + "\n" for name, why in failures)
    _write(plan, job.out_dir / HIDDEN / "failures.jsonl", lines.encode())
    attention = _write_attention(plan, inputs, names) if job.attention else None
    left_out = inputs.sources.summary() if isinstance(inputs, FileImages) else {}
    told = {"images": count, "folders": len(plan.folders), "failures": len(failures), "left_out": left_out}
    _write(plan, job.out_dir / SUMMARY, json.dumps(told, indent=1).encode())
    return RestoreReport(made, kept, tuple(failures), sheet, left_out, attention)


def _unlisted(inputs: Images) -> tuple[tuple[str, str, str], ...]:
    """Name, reason and detail of inputs that could not be listed."""
    return inputs.sources.skipped if isinstance(inputs, FileImages) else ()


def check_restoration(plan: RestorePlan, executor: ExecutorConfig) -> tuple[Images, list[str], list[Chunk]]:
    """Find all that would stop `restore` before its work, and write nothing.

    Returns:
        The inputs, the names of their results, and what is to do.

    Raises:
        ConfigError: If there are no inputs, or the device is not here.
        RunError: If the output holds something else, results of other inputs among it, or cannot be written to.
        ShardError: If the input is a data set that is not whole.
    """
    job = plan.job
    inputs, names = list_inputs(job)
    if isinstance(inputs, FileImages):
        warn_left_out(job.input, inputs.sources.summary())
    _claim(plan, inputs).check(LocalStore(job.out_dir))
    _check_kept(plan, _hashes(inputs, names))
    check_device(job.device, executor)
    count = len(names)
    chunks = [Chunk(tuple(range(i, min(i + job.batch_size, count)))) for i in range(0, count, job.batch_size)]
    return inputs, names, [chunk for chunk in chunks if any(_missing(plan, names[index]) for index in chunk.indices)]


def _claim(plan: RestorePlan, inputs: Images) -> Claim:
    return Claim(
        what="restored images",
        file=SETTINGS,
        resolved=_resolved(plan, inputs),
        comparable=lambda found: {key: value for key, value in found.items() if key != "input"},
        inputs=[("--input", plan.job.input)],
    )


def _hashes(inputs: Images, names: Sequence[str]) -> dict[str, str]:
    """Hash of each input's file by its result's name; those of a data set have one in the configuration together."""
    if not isinstance(inputs, FileImages):
        return {}
    found: dict[str, str] = {}
    for place, name in enumerate(names):
        with contextlib.suppress(ImageError):  # counted where it is restored
            found[name] = sha256(inputs.sources.read(place))
    return found


def _check_kept(plan: RestorePlan, hashes: Mapping[str, str]) -> None:
    """Make sure that the results which are there are of the inputs that are there.

    Raises:
        RunError: If one is not.
    """
    before = _read_hashes(plan.job.out_dir / INPUTS)
    for name in sorted(before.keys() | hashes.keys()):
        if before.get(name) == hashes.get(name):
            continue
        for folder in range(len(plan.folders)):
            path = plan.path(folder, name)
            if os.path.exists(path):
                raise RunError(
                    f"{display_name(str(path))} was not made of an image that is in {plan.job.input} now: the one of "
                    "that name is another one, or gone; give another --out, or remove the result"
                )


def _read_hashes(path: Path) -> dict[str, str]:
    """What an earlier run was given; nothing where it wrote nothing, or a kill cut it short."""
    try:
        return checked(read_json(path), by_name(str), str(path))
    except ConfigError:
        return {}


def restore_effort(plan: RestorePlan, todo: Sequence[Chunk]) -> Effort:
    """Say what it takes to restore some inputs, by the known cost of a small model on one core."""
    steps = sum(sampling.num_steps for sampling in plan.sampling)
    images = sum(len(chunk.indices) for chunk in todo)
    return model_effort(images, side=plan.size, steps=steps, tasks=len(todo))


def restore_worker(plan: RestorePlan, threads: int) -> Callable[[Chunk], ChunkReport]:
    """Load the model, and return what restores with it: the setup of an actor."""
    import torch

    from degrade_kit.restore.infer import Restorer

    torch.set_num_threads(threads)
    job = plan.job
    restorer = Restorer.load(
        job.model, base_model=job.base_model, download=job.download, device=job.device, dtype=job.dtype
    )
    if restorer.digest != plan.digest:
        raise ConfigError(f"{job.model}: expected the restorer {plan.digest}, found {restorer.digest}")
    prompts = Prompts(job.prompt, None if job.captions is None else read_captions(job.captions))
    return functools.partial(_restore_chunk, plan, restorer, prompts, *list_inputs(job))


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of inputs: one for all, or the caption of each."""

    prompt: str
    captions: Mapping[str, str] | None = None

    def of(self, inputs: Images, place: int) -> str:
        """Find the prompt of an input.

        Raises:
            ImageError: If it has no caption.
        """
        if self.captions is None:
            return self.prompt
        if isinstance(inputs, ShardImages):
            digest = str(inputs.reader.read(place, None).info.get("source_sha256", ""))
        else:
            assert isinstance(inputs, FileImages)
            digest = sha256(inputs.sources.read(place))
        if digest not in self.captions:
            raise ImageError("no caption", "the file of --captions has none of it; `degrade-kit caption` makes it")
        return self.captions[digest]


def _restore_chunk(
    plan: RestorePlan, restorer: Restorer, prompts: Prompts, inputs: Images, names: Sequence[str], chunk: Chunk
) -> ChunkReport:
    failures: list[tuple[str, str]] = []
    groups: dict[tuple[int, ...], list[tuple[str, str, Pixels]]] = {}
    for index in chunk.indices:
        name = names[index]
        try:
            check_output(f"{name}.png")
            prompt = prompts.of(inputs, index)
            pixels = scaled(inputs.read(index), plan.size)
        except ImageError as error:
            failures.append((name, str(error)))
            continue
        groups.setdefault(pixels.shape, []).append((name, prompt, pixels))
    made = 0
    for group in groups.values():
        seeds = [noise_seed(plan.job.seed, name) for name, _, _ in group]
        for folder, sampling in enumerate(plan.sampling):
            missing = [name for name, _, _ in group if not os.path.exists(plan.path(folder, name))]
            if not missing:
                continue
            restored = restorer.run(
                [pixels for _, _, pixels in group],
                seeds,
                sampling,
                prompts=[prompt for _, prompt, _ in group],
                color_fix=plan.job.color_fix,
            )
            for (name, _, _), pixels in zip(group, restored, strict=True):
                if name not in missing:
                    continue
                try:
                    _write(plan, plan.path(folder, name), encode_png(pixels))
                except ImageError as error:
                    if all(name != known for known, _ in failures):  # in another folder, of another phi
                        failures.append((name, str(error)))
                else:
                    made += 1
    return ChunkReport(made, tuple(failures))


def noise_seed(seed: int, name: str) -> int:
    """Derive the seed of the noise that a restoration begins with from the run's seed and the image's own name."""
    rng = generator(seed, name, 0)
    return int(rng.integers(2**48))


def _missing(plan: RestorePlan, name: str) -> bool:
    return any(not os.path.exists(plan.path(folder, name)) for folder in range(len(plan.folders)))


def _resolved(plan: RestorePlan, inputs: Images) -> dict[str, Any]:
    """What decides the pixels of a result; several phi may become more, each with a folder of its own."""
    job = plan.job
    sampling = plain(plan.sampling[0])
    told: dict[str, str] = {}
    if job.captions is not None:
        told["captions"] = sha256(json.dumps(read_captions(job.captions), sort_keys=True))
    if len(plan.folders) > 1:
        sampling["phi"] = "of the folder"
    return {
        "restorer": plan.digest,
        "input": job.input,
        "data_set": inputs.reader.digest if isinstance(inputs, ShardImages) else "",
        "variant": job.variant,
        "sampling": sampling,
        "prompt": job.prompt,
        **told,
        "seed": job.seed,
        "batch_size": job.batch_size,
        "size": plan.size,
        "color_fix": job.color_fix,
        "dtype": job.dtype,
    }


def _rows(plan: RestorePlan, inputs: Images, names: Sequence[str]) -> Iterator[list[Tile]]:
    for index, name in enumerate(names[:SHEET_FACES]):
        if _missing(plan, name):
            continue
        try:
            row = [Tile(scaled(inputs.read(index), plan.size), ("input", display_name(name)))]
            for folder, sampling in enumerate(plan.sampling):
                pixels = decode_image(plan.path(folder, name).read_bytes(), min_side=1).pixels
                row.append(Tile(pixels, ("restored", f"phi {sampling.phi:g}")))
        except (OSError, DegradeKitError):
            continue  # reported as a failure, or gone in the meantime
        yield row


def _write_sheet(plan: RestorePlan, inputs: Images, names: Sequence[str]) -> Path | None:
    rows = list(_rows(plan, inputs, names))
    if not rows:
        return None
    each = max(1, 6 // len(rows[0]))
    lines = [[tile for row in rows[i : i + each] for tile in row] for i in range(0, len(rows), each)]
    path = plan.job.out_dir / HIDDEN / "sheet.png"
    title = f"Inputs and what {Path(plan.job.model).name} made of them; seed {plan.job.seed}"
    _write(plan, path, encode_png(contact_sheet(lines, title=title, details=True)))
    return path


def _write_attention(plan: RestorePlan, inputs: Images, names: Sequence[str]) -> tuple[Path, float] | None:
    """The first inputs, what was made of them, where the face embedding was read, and which parts of it: Fig. 4.

    The first map goes from black, nowhere, to white, where the face tokens take all of the cross-attention. The second
    shows the tokens where they are in the face, from black to white for the one that is read the most.
    """
    from degrade_kit.restore.infer import Restorer

    job, sampling = plan.job, plan.sampling[0]
    restorer = Restorer.load(
        job.model, base_model=job.base_model, download=job.download, device=job.device, dtype=job.dtype
    )
    prompts = Prompts(job.prompt, None if job.captions is None else read_captions(job.captions))
    rows: list[list[Tile]] = []
    shares: list[float] = []
    for index in range(min(SHEET_FACES, len(names))):
        name = names[index]
        try:
            restored = decode_image(plan.path(0, name).read_bytes(), min_side=1).pixels
            lq, prompt = scaled(inputs.read(index), plan.size), prompts.of(inputs, index)
        except (OSError, DegradeKitError):
            continue  # reported as a failure, or gone in the meantime
        [(found, tokens)] = restorer.attention([lq], [noise_seed(job.seed, name)], sampling, prompts=[prompt])
        shares.append(float(found.mean()))
        where = Tile(_gray(found, lq), (f"face tokens: {shares[-1]:.0%}",))
        which = Tile(_gray(tokens / tokens.max(), lq), (f"most for one: {float(tokens.max()):.1%}",))
        rows.append([Tile(lq, (display_name(name),)), Tile(restored, ("restored",)), where, which])
    if not rows:
        return None
    path = job.out_dir / HIDDEN / "attention.png"
    lines = [[tile for row in rows[i : i + 2] for tile in row] for i in range(0, len(rows), 2)]
    title = (
        "Input, restored, where the face embedding is read (white: all attention), and which tokens of it (white: most)"
    )
    _write(plan, path, encode_png(contact_sheet(lines, tile=192, title=title)))
    return path, float(np.mean(shares))


def _gray(shares: npt.NDArray[np.float32], like: Pixels) -> Pixels:
    """Shares in [0, 1] as an image of another one's size."""
    large = cv2.resize(shares, like.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.repeat(np.rint(np.asarray(large) * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def _write(plan: RestorePlan, path: Path, data: bytes) -> None:
    """Write a file below the output's folder, whose store has one place to sweep for all folders in it."""
    try:
        with output_named():
            LocalStore(plan.job.out_dir).write(path.relative_to(plan.job.out_dir).as_posix(), data)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; finished images are kept") from error
