"""Captions of training pairs: a captioning model's words about HQ, or words for the degradation that was measured.

The paper's text condition is BLIP's caption of the image. Where no captioner is at hand, `template_caption` says how LQ
differs from HQ, in a closed vocabulary, so that a text encoder with thirteen words can be trained on it from nothing.
"""

from __future__ import annotations

from typing import Final

from degrade_kit.flipnet.severity import Severity, measure
from degrade_kit.image import Pixels

CLEAN: Final = "clean"
"""The whole caption where nothing is measured."""
PHRASES: Final[dict[str, tuple[tuple[str, float], ...]]] = {
    # Brightness falls, all else rises, past each threshold; units as in `severity.Severity`.
    "brightness": (("slightly dark", 0.8), ("dark", 0.45), ("very dark", 0.15)),
    "veil": (("light haze", 0.12), ("dense haze", 0.3)),
    "blur": (("slight blur", 0.6), ("medium blur", 1.5), ("strong blur", 2.6)),
    "noise": (("slight noise", 1.5), ("medium noise", 4.0), ("strong noise", 9.0)),
    "blocks": (("slight compression", 0.8), ("strong compression", 2.2)),
}
"""Phrases of a caption, weakest first, with the threshold from which each holds; a caption has at most one of each row,
in this order.

The thresholds part the sample pairs and faces degraded by known numbers: blur is slight from a Gaussian sigma of about
0.7 px on, medium from 1.6, strong from 4; compression slight below about JPEG quality 75, strong below 40 (seen only
where the image was not resized after it: an enlarged JPEG reads as blur); haze light from a seventh of airlight, dense
from two fifths. Low light was measured on 292 pairs, whose brightness is 0.04 to 0.46, half of them below 0.15.
"""
WORDS: Final = tuple(
    dict.fromkeys([CLEAN, *(word for row in PHRASES.values() for phrase, _ in row for word in phrase.split())])
)
"""Every word that a template caption can hold; phrases are joined by a comma and a space."""

_OWN_ROW: Final = {"low-light": "brightness", "haze": "veil", "blur": "blur", "noise": "noise"}


def template_caption(hq: Pixels, lq: Pixels, kind: str) -> str:
    """Say how `lq` is degraded, such as "very dark, slight blur, slight noise".

    A function of the arguments alone; about 3 ms at 256 px.

    Args:
        hq: uint8 RGB, height x width x 3, at least 16 px on both sides.
        lq: As `hq`, of the same size, registered to it.
        kind: Kind of the pair. One of "haze", "low-light", "noise" and "blur" is named at its weakest level at
            least, since the data set vouches for it; any other kind adds nothing to what is measured.

    Raises:
        ValueError: If a shape or type is another.
    """
    return describe_degradation(measure(hq, lq), kind)


def source_caption(hq: Pixels, lq: Pixels, source: str) -> str:
    """Say how `lq` is degraded, and where such pictures are from, such as "slight blur, slight compression, press".

    Args:
        hq: As in `template_caption`.
        lq: As there.
        source: A word for the photographs, which their pairs are called by too.

    Raises:
        ValueError: As `template_caption`.
    """
    return f"{template_caption(hq, lq, source)}, {source}"


def describe_degradation(severity: Severity, kind: str = "") -> str:
    """Put measured strengths into words; see `template_caption`.

    >>> describe_degradation(Severity(brightness=0.1, veil=0.0, blur=0.9, noise=2.0, blocks=0.0))
    'very dark, slight blur, slight noise'
    >>> describe_degradation(Severity(brightness=1.0, veil=0.0, blur=0.0, noise=0.4, blocks=0.0), "noise")
    'slight noise'
    """
    phrases: list[str] = []
    for row, levels in PHRASES.items():
        value = float(getattr(severity, row))
        if row == "brightness":
            passed = [phrase for phrase, threshold in levels if value < threshold]
        else:
            passed = [phrase for phrase, threshold in levels if value >= threshold]
        if passed or _OWN_ROW.get(kind) == row:
            phrases.append(passed[-1] if passed else levels[0][0])
    return ", ".join(phrases) or CLEAN
