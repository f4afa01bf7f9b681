"""Which images of sets are named beside each other."""

from __future__ import annotations

import numpy as np

from degrade_kit.analysis.comparison import ImageSet, Kind, least_covered


def line(name: str, kind: Kind, places: list[float]) -> ImageSet:
    labels = tuple(map(str, places))
    return ImageSet(name=name, kind=kind, points=np.array(places)[:, None], labels=labels, groups=labels)


def test_the_farthest_real_images_come_with_the_nearest_of_each_source_in_order() -> None:
    real = line("real", "real", [0.0, 1.0, 10.0])
    near, far = line("near", "synth", [0.5, 8.0, 7.0]), line("far", "synth", [-5.0])

    first, second = least_covered(real, [far, near], 2, neighbours=2)

    assert (first.place, second.place) == (2, 0)
    assert first.distance == 2.0
    assert first.neighbours == (("near", (1, 2)), ("far", (0,)))
    assert second.neighbours == (("near", (0, 2)), ("far", (0,)))


def test_nothing_is_least_covered_where_there_is_nothing_to_compare_with() -> None:
    real = line("real", "real", [0.0, 1.0])
    assert least_covered(real, [], 2) == []
    assert least_covered(line("real", "real", [0.0]), [real], 2) == []
