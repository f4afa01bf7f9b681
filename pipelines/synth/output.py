"""Where a run writes to: whose it is, whether it has room, and what makes a data set of its shards."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from degrade_kit.errors import RunError
from degrade_kit.files import SCRATCH, plain_yaml, utf8, write_new
from degrade_kit.hq import versions
from degrade_kit.pipelines.card import write_card
from degrade_kit.pipelines.claim import Claim, check_apart
from degrade_kit.pipelines.makers.config import comparable
from degrade_kit.pipelines.synth.estimate import estimate
from degrade_kit.pipelines.synth.plan import Plan
from degrade_kit.shards import (
    CONFIG,
    FAILURES,
    HIDDEN,
    MANIFEST,
    ORIGIN,
    Sidecar,
    has_tar,
    manifest_bytes,
    read_sidecar,
    shard_name,
    sidecar_path,
    stored_statistics,
)
from degrade_kit.sources import display_name
from degrade_kit.statistics import Statistics
from degrade_kit.store import LocalStore, Store, check_writable, free_bytes
from degrade_kit.wording import counted_noun


def clear(store: Store, *, overwrite: bool) -> None:
    """Rid an output that passed `check_claim` of what dead runs left, and of what this one replaces."""
    if isinstance(store, LocalStore):
        store.sweep()
    if overwrite and store.size(CONFIG) is not None:
        _remove_ours(store, store.names())


def check_claim(store: Store, plan: Plan, *, overwrite: bool) -> None:
    """Make sure that the output is empty, of this very configuration, or may be replaced; write nothing.

    Raises:
        ConfigError: If it is inside the faces.
        RunError: If it is not, or cannot be written to.
    """
    inputs = [("--hq", plan.config.hq), *(("--lq", place) for place in plan.config.lq)]
    if overwrite and store.size(CONFIG) is not None:
        check_apart(store.url, inputs, "--shards")
        check_writable(store)
        return
    if store.size(ORIGIN) is not None:
        raise RunError(f"{store.url} was written by `export` or `join`, not by `synth`; give another --shards")
    Claim(
        what="a data set",
        file=CONFIG,
        resolved=plan.resolved,
        comparable=comparable,
        option="--shards",
        otherwise="--overwrite to replace it",
        inputs=inputs,
    ).check(store)


def claim(store: Store, plan: Plan) -> None:
    """Write the configuration to an output that passed `check_claim`.

    Raises:
        RunError: If a run of another configuration was faster.
    """
    if store.size(CONFIG) is None:
        text = plain_yaml(plan.resolved)
        if isinstance(store, LocalStore):
            write_new(store.root / CONFIG, text)
        else:
            store.write(CONFIG, utf8(text))
    check_claim(store, plan, overwrite=False)


def is_done(store: Store, plan: Plan, index: int) -> bool:
    """Whether a shard is there, complete.

    Raises:
        RunError: If it is there with another configuration.
    """
    sidecar = read_sidecar(store, shard_name(index))
    if sidecar is None:
        return False
    if sidecar.config_sha256 != plan.fingerprint:
        raise RunError(
            f"{store.url}/{sidecar_path(sidecar.shard)} belongs to another run; give --overwrite or another --shards"
        )
    return has_tar(store, sidecar)


def check_space(store: Store, plan: Plan, todo: Sequence[int]) -> None:
    """Stop before any work if the shards will not fit."""
    if not isinstance(store, LocalStore) or not todo:
        return
    free, _ = free_bytes(store)
    samples = sum(last - first for first, last in (plan.extent(index) for index in todo))
    uncompressed = samples * (1 + plan.config.variants) * 3 * plan.config.image.size**2
    if 0 < uncompressed < free:
        return  # no need to make samples to know
    needed = estimate(plan).bytes * samples
    if needed > free:
        raise RunError(
            f"{store.url}: {megabytes(free)} are free there, and {counted_noun(len(todo), 'shard')} to make would take "
            f"about {megabytes(needed)}; make room, or give another --shards"
        )


def explain(error: OSError, store: Store, plan: Plan) -> str:
    """Explain an error of the output; with the numbers if it is full."""
    text = f"cannot write to {store.url}: {error.strerror or error}"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return text
    todo = [index for index in range(plan.num_shards) if not is_done(store, plan, index)]
    samples = sum(last - first for first, last in (plan.extent(index) for index in todo))
    free, folder = free_bytes(store)
    return (
        f"{text}: {megabytes(free)} are free in {folder}, and {counted_noun(len(todo), 'missing shard')} would take "
        f"about {megabytes(estimate(plan).bytes * samples)}. Make room and run the same command again; "
        f"{counted_noun(plan.num_shards - len(todo), 'finished shard')} will be kept"
    )


def finalize(plan: Plan, store: Store, sidecars: list[Sidecar]) -> str:
    """Write the files of the whole data set, the manifest last; returns its digest."""
    skipped = [
        {"source": display_name(name), "reason": reason, "detail": display_name(detail)}
        for name, reason, detail in plan.sources.skipped
    ]
    lines = skipped + [asdict(failure) for sidecar in sidecars for failure in sidecar.failures]
    store.write(FAILURES, utf8("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)))
    extra: dict[str, Any] = {
        "recipe": plan.config.recipe.name,
        "recipe_digest": plan.config.recipe.digest(),
        "variants": plan.config.variants,
        "seed": plan.config.seed,
        "lq_size": plan.config.lq_size,
        "size": plan.config.image.size,
        "config_sha256": plan.fingerprint,
        "num_sources": len(plan.sources.names) + len(plan.sources.skipped),
        "versions": versions(plan.config.recipe),
    }
    if models := plan.config.recipe.models:
        extra["flipnet"] = ", ".join(models)
    if left_out := plan.sources.summary():
        extra["left_out"] = left_out
    manifest = manifest_bytes(sidecars, {**extra, "num_skipped": len(plan.sources.skipped)})
    statistics = Statistics()
    for sidecar in sidecars:
        statistics.merge(stored_statistics(sidecar, store))
    write_card(store, json.loads(manifest), statistics, plan.resolved)
    store.write(MANIFEST, manifest)
    return json.loads(manifest)["digest"]


def _remove_ours(store: Store, names: Sequence[str]) -> None:
    """Delete what a run writes, the manifest first, so that an interrupted removal leaves no whole-looking set."""
    ours = [name for name in names if _is_ours(name)]
    for name in sorted(ours, key=lambda name: (name != MANIFEST, name == CONFIG, name)):
        store.delete(name)


def _is_ours(name: str) -> bool:
    if name in (MANIFEST, "README.md", "preview.png"):
        return True
    if name.startswith(f"{HIDDEN}/"):
        return not name.startswith(f"{SCRATCH}/")  # who holds the output, and what others have in work
    stem, _, extension = name.partition(".")
    return extension == "tar" and stem.startswith("shard-") and stem[6:].isdigit()


def megabytes(count: float) -> str:
    """Bytes for people, in megabytes."""
    return f"{count / 1e6:,.1f} MB"
