"""Presets without those that repeat another's numbers: what a costly test goes through."""

from __future__ import annotations

from degrade_kit.presets import PRESETS, equal_presets

DISTINCT_PRESETS = [names[0] for names in equal_presets() if names[0] in PRESETS]
"""The first name of each published recipe, in the order of `PRESETS`."""

PLAIN_PRESETS = [name for name in DISTINCT_PRESETS if "'video'" not in str(PRESETS[name].to_mapping())]
"""Those whose codecs come with the base: a video costs as much as a hundred files, and its pixels vary."""
