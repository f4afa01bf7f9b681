"""Who is in an image, as the names of files tell: the variants of a face, the photographs of a person.

What shows one face must not be in training and test of a classifier at once, nor count as if it were independent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from degrade_kit.wording import counted_noun

_LEAST, _MOST_SHARE = 10, 0.2
"""Names tell who is in a set where they give at least so many groups, and none has more than this share of all images:
`photo_0001`, `photo_0002` and so on number the images, not the people."""
_NUMBERS = re.compile(r"(?:[_\- .#]+[a-z]?\d+)+$")


class Groups(NamedTuple):
    """Which images of a set show the same."""

    names: tuple[str, ...]
    """What each image shows."""
    told: bool
    """Whether the names of the files tell; else each file counts as a person of its own."""

    def describe(self) -> str:
        """Say how a set is split."""
        images = counted_noun(len(self.names), "image")
        if self.told:
            return f"{images} of {len(set(self.names)):,} people or faces, as the names of the files tell"
        return f"{images}, each taken for another person: the names of the files tell no more"


def read_groups(names: Sequence[str]) -> Groups:
    """Read from names of files, or of HQ images, what each image shows.

    A number behind a name counts the images of a person, `Ana_Palacio_0003.jpg`, the variants of a face, `00012_1.png`,
    or the faces of a photograph, `crowd_f003_s113.png`; so does a folder of one person.

    Args:
        names: Paths within the set; of a variant, the name of its HQ image.

    >>> read_groups([f"{face:05}_{variant}.png" for face in range(20) for variant in range(2)]).names[:3]
    ('00000', '00000', '00001')
    >>> read_groups([f"photo_{number}.png" for number in range(40)]).told
    False
    """
    plain = tuple(name.replace("\\", "/") for name in names)
    stems = [name.rpartition(".")[0] if re.search(r"\.[A-Za-z]{2,5}$", name) else name for name in plain]
    for found in (
        [_NUMBERS.sub("", stem) for stem in stems],
        [stem.rpartition("/")[0] for stem in stems],
    ):
        counts = Counter(found)
        shared = 1 < max(counts.values(), default=0) <= max(_MOST_SHARE * len(found), 1)
        if shared and len(counts) >= _LEAST and "" not in counts:
            return Groups(tuple(found), True)
    return Groups(plain, False)
