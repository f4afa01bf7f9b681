"""`degrade-kit inspect`: what a data set holds, from its manifest and sidecars alone.

Severities of data sets that were made before they were counted are those of the records of the first samples.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from degrade_kit.pipelines.card import histogram_text, origins
from degrade_kit.reader import side_of
from degrade_kit.record_severity import severity
from degrade_kit.shards import open_shards, read_failures
from degrade_kit.store import LocalStore

_FIRST = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What was found in a data set."""

    manifest: Mapping[str, Any]
    origins: dict[str, str]
    """What made the LQ images; see `degrade_kit.pipelines.card.origins`."""
    sizes: dict[str, tuple[int, int]]
    """Number of files and bytes by extension."""
    failures: dict[str, int]
    counters: dict[str, int]
    histograms: str
    statistics: dict[str, Any]
    first_key: str

    def to_plain(self) -> dict[str, Any]:
        """Convert to plain values that JSON holds."""
        return {
            "manifest": dict(self.manifest),
            "sizes": {extension: {"files": count, "bytes": size} for extension, (count, size) in self.sizes.items()},
            "failures": self.failures,
            "hq_images": self.counters,
            "statistics": self.statistics,
        }


def inspect_shards(url: str) -> Inspection:
    """Read the manifest and all sidecars.

    Raises:
        ShardError: If there is no finished data set.
    """
    shards = open_shards(url)
    files, sizes, counters = Counter[str](), Counter[str](), Counter[str]()
    first_key = ""
    for sidecar in shards.sidecars():
        counters.update(sidecar.counters)
        for key, _, *member_sizes in sidecar.index:
            first_key = first_key or key
            for extension, size in zip(sidecar.extensions, member_sizes, strict=True):
                files[extension] += 1
                sizes[extension] += size
    failures = Counter(failure["reason"] for failure in read_failures(shards.store))
    statistics = shards.statistics()
    if not statistics.severity.count and isinstance(shards.store, LocalStore):
        for sample in itertools.islice(shards.samples(), _FIRST):
            for variant in range(shards.manifest["variants"]):
                statistics.add_severity(severity(sample.record(variant), side_of(sample.info)))
    return Inspection(
        manifest=shards.manifest,
        origins=origins(shards.manifest, statistics),
        sizes={extension: (files[extension], sizes[extension]) for extension in files},
        failures=dict(failures.most_common()),
        counters=dict(sorted(counters.items())),
        histograms=histogram_text(statistics),
        statistics=statistics.to_plain(),
        first_key=first_key,
    )
