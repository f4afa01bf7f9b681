"""Whether a FlipNet's prompts do what they say: what is measured on its LQ images, beside what was asked for.

    rows = accept_prompts(Degrader.load("small"), faces)
    [row.prompt for row in rows if row.exact < 0.8]

A prompt is a caption of training pairs: phrases of `degrade_kit.flipnet.captions`, and for photographs a word for where
they are from, which nothing measures and which is left out of the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from degrade_kit.flipnet.captions import CLEAN, PHRASES
from degrade_kit.flipnet.folder import Prompts
from degrade_kit.flipnet.measures import colour_stains
from degrade_kit.flipnet.severity import Severity, measure
from degrade_kit.image import Pixels
from degrade_kit.record import Record

Levels = Mapping[str, int]
"""How many thresholds are passed, for each row of `PHRASES`; 0 is none."""


class Prompted(Protocol):
    """Makes LQ images by prompts, as `degrade_kit.flipnet.degrader.Degrader` does."""

    @property
    def prompts(self) -> Prompts:
        """Its own prompts, and how often each is drawn."""
        ...

    def record(self, prompt: str, seed: int) -> Record:
        """Write the record of one image."""
        ...

    def run(self, hq: Sequence[Pixels], records: Sequence[Sequence[Record]]) -> list[list[Pixels]]:
        """Make the images of some faces."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptRow:
    """What came of one prompt."""

    prompt: str
    images: int
    exact: float
    """Share of the images of which all that is measured is what was asked for."""
    rows: Mapping[str, float]
    """Share of the images on which a row's level is the one that was asked for, for each row of `PHRASES`."""
    medians: Mapping[str, float]
    """Median of each measure, in the units of `degrade_kit.flipnet.severity.Severity`."""
    stains: float
    """Median of `degrade_kit.flipnet.measures.colour_stains`, levels of 255."""

    @property
    def kept(self) -> float:
        """The least share over the phrases that were asked for; of `clean`, that of the images without any."""
        asked = [self.rows[row] for row, level in asked_levels(self.prompt).items() if level]
        return min(asked, default=self.exact)

    def holds(self, least: float) -> bool:
        """Whether each phrase that was asked for is measured on at least this share of the images."""
        asked = [row for row, level in asked_levels(self.prompt).items() if level] or list(self.rows)
        return all(self.rows[row] >= least for row in asked)


def asked_levels(prompt: str) -> Levels:
    """Read a prompt as levels.

    >>> asked_levels("slight blur, strong noise, press")
    {'brightness': 0, 'veil': 0, 'blur': 1, 'noise': 3, 'blocks': 0}
    """
    parts = [part.strip() for part in prompt.split(",")]
    return {
        row: max((number for number, (phrase, _) in enumerate(levels, 1) if phrase in parts), default=0)
        for row, levels in PHRASES.items()
    }


def says_a_measure(prompt: str) -> bool:
    """Whether a prompt holds a phrase, or `clean`, so that there is something to measure."""
    return CLEAN in [part.strip() for part in prompt.split(",")] or any(asked_levels(prompt).values())


def measured_levels(severity: Severity) -> Levels:
    """Put measured strengths as levels, as captions do.

    >>> measured_levels(Severity(brightness=0.1, veil=0.0, blur=0.9, noise=2.0, blocks=0.0))
    {'brightness': 3, 'veil': 0, 'blur': 1, 'noise': 1, 'blocks': 0}
    """
    found: dict[str, int] = {}
    for row, levels in PHRASES.items():
        value = float(getattr(severity, row))
        found[row] = sum(value < limit if row == "brightness" else value >= limit for _, limit in levels)
    return found


def accept_prompts(
    degrader: Prompted, faces: Sequence[Pixels], prompts: Sequence[str] | None = None, *, seed: int = 0
) -> list[PromptRow]:
    """Make one image of each face for each prompt, and measure all of them.

    Args:
        degrader: The FlipNet.
        faces: HQ images, uint8 RGB, at the size at which the network is to act.
        prompts: Which; the model's own that say a measure, the most frequent first, where None.
        seed: Of the noise; each face and prompt has its own.

    Raises:
        ValueError: If there is no face.
    """
    if not faces:
        raise ValueError("faces: expected at least one")
    chosen = [text for text, _ in degrader.prompts if says_a_measure(text)] if prompts is None else list(prompts)
    records = [
        [degrader.record(prompt, seed + len(faces) * place + number) for place, prompt in enumerate(chosen)]
        for number in range(len(faces))
    ]
    made = degrader.run(faces, records)
    rows: list[PromptRow] = []
    for place, prompt in enumerate(chosen):
        found = [measure(face, lq[place]) for face, lq in zip(faces, made, strict=True)]
        asked, levels = asked_levels(prompt), [measured_levels(severity) for severity in found]
        rows.append(
            PromptRow(
                prompt=prompt,
                images=len(faces),
                exact=float(np.mean([level == asked for level in levels])),
                rows={row: float(np.mean([level[row] == asked[row] for level in levels])) for row in PHRASES},
                medians={row: float(np.median([getattr(severity, row) for severity in found])) for row in PHRASES},
                stains=float(np.median([colour_stains(face, lq[place]) for face, lq in zip(faces, made, strict=True)])),
            )
        )
    return rows


def rising_shares(
    degrader: Prompted, faces: Sequence[Pixels], *, word: str = "", seed: int = 0
) -> dict[tuple[str, str], float]:
    """Ask each face for adjacent strengths with equal noise; give the share of faces on which the measure rises.

    Args:
        degrader: The FlipNet.
        faces: As `accept_prompts`.
        word: A word for the photographs, behind each phrase; none where empty.
        seed: Of the noise.

    Returns:
        By the two phrases, of those that occur in the model's own prompts with this word.
    """
    own = {part.strip() for text, _ in degrader.prompts for part in text.split(",") if _ends_in(text, word)}
    found: dict[tuple[str, str], float] = {}
    for row, levels in PHRASES.items():
        phrases = [phrase for phrase, _ in levels if phrase in own]
        texts = [f"{phrase}, {word}" if word else phrase for phrase in phrases]
        records = [[degrader.record(text, seed + number) for text in texts] for number in range(len(faces))]
        values = [
            [float(getattr(measure(face, image), row)) for image in made]
            for face, made in zip(faces, degrader.run(faces, records), strict=True)
        ]
        sign = -1 if row == "brightness" else 1
        for place in range(len(phrases) - 1):
            rises = [sign * (value[place + 1] - value[place]) > 0 for value in values]
            found[phrases[place], phrases[place + 1]] = float(np.mean(rises))
    return found


def _ends_in(prompt: str, word: str) -> bool:
    return not word or prompt.rpartition(", ")[2] == word
