from __future__ import annotations

from pathlib import Path

import pytest

from degrade_kit.errors import ConfigError
from degrade_kit.pipelines.images import explain_unpaired, is_shards, open_inputs, pair_by_stem


def test_a_place_is_a_data_set_by_its_manifest_alone(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/manifest.json").write_text("{}")
    assert is_shards(str(tmp_path / "shards"))
    assert is_shards(f"file://{tmp_path}/shards")
    assert not is_shards(str(tmp_path))
    assert not is_shards(str(tmp_path / "missing"))
    assert not is_shards("memory://no/data set")
    assert not is_shards("http://x/y")
    assert not is_shards("x" * 300)
    with pytest.raises(ConfigError, match="nosuch"):
        is_shards("nosuch://a/b")


def test_a_url_without_a_manifest_is_opened_as_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="memory://no/images"):
        open_inputs("memory://no/images", variant=0, cache_dir=None, min_side=16)


@pytest.mark.parametrize(
    ("restored", "said"),
    [
        (["a.png"], "1 of 2 references have no restored image: b"),
        (["a.png", "b.png", "c.png"], "1 of 3 restored images have no reference: c"),
        (["a_00.png", "b_00.png"], "Give --suffix _00"),
        ([f"{number}.png" for number in range(7)], "no reference: 0, 1, 2, 3, 4, ..."),
    ],
)
def test_what_does_not_pair_up_is_told(restored: list[str], said: str) -> None:
    reference = ["a.jpg", "b.jpg"]
    assert said in explain_unpaired(pair_by_stem(restored, reference), len(reference), len(restored))


def test_two_images_of_one_stem_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"restored: a\.jpg and a\.png have one name but for their ending"):
        pair_by_stem(["a.jpg", "a.png"], ["a.png"])
