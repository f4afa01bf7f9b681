"""Names of files tell which images show the same, where they do."""

from __future__ import annotations

import pytest

from degrade_kit.analysis.groups import read_groups


@pytest.mark.parametrize(
    ("files", "first", "told"),
    [
        ([f"Ana_{letter}_{n:04}.jpg" for letter in "abcdefghijkl" for n in (1, 2)], "Ana_a", True),
        ([f"Ana_{letter}_0001_00.png" for letter in "abcdefghijkl"], "Ana_a_0001_00.png", False),
        ([f"{face:05}_{n}.png" for face in range(30) for n in range(3)], "00000", True),
        ([f"photo_{n:04}.jpg" for n in range(50)], "photo_0000.jpg", False),
        ([f"{n}_jpg_f{face:03}_s08{n % 7}.png" for n in range(20) for face in range(3)], "0_jpg", True),
        ([f"{kind}_{n:04}.jpg" for kind in ("web", "film", "crowd") for n in range(20)], "web_0000.jpg", False),
        ([f"{person}/{n}.jpg" for person in "abcdefghijklm" for n in range(4)], "a", True),
        ([f"{n:05}.png" for n in range(40)], "00000.png", False),
        ([f"{'ab'[n % 2]}/{n}.jpg" for n in range(40)], "a/0.jpg", False),
        ([], "", False),
    ],
)
def test_names_tell_who_it_is_where_they_do(files: list[str], first: str, told: bool) -> None:
    groups = read_groups(files)
    assert groups.told is told
    assert groups.names[:1] == ((first,) if files else ())
    assert ("as the names" in groups.describe()) is told
