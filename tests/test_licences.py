"""The licence of the weights that ship goes wherever they go, and a page says what the licences of others are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from degrade_kit.analysis.weights import WEIGHTS
from degrade_kit.flipnet.licence import licence_notice
from degrade_kit.pipelines.card import card_text
from degrade_kit.statistics import Statistics

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
SHIPPED_LICENSES = [f"degrade_kit/flipnet/{name}/LICENSE" for name in ("small", "photos", "photos-teacher")]
NOTICES = {
    name: (
        f"The weights of {called} are for non-commercial research use only: CC BY-NC 4.0, as far as the authors of "
        "degrade-kit have rights in them, and in any case under the terms of the photographs that they were trained on."
    )
    for name, called in (
        ("small", "the small FlipNet"),
        ("photos", "the FlipNet `photos`"),
        ("photos-teacher", "the FlipNet `photos-teacher`"),
    )
}
NOTICE = NOTICES["small"]
ASKED_FOR = (
    "FFHQ CelebA-HQ LFW WIDER LOL SIDD RealBlur Dense-Haze PolyU VGG19 ArcFace LPIPS Inception BLIP astronaut Hopper"
)


def test_the_metadata_names_both_licences_and_all_of_their_files() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"] == "Apache-2.0 AND CC-BY-NC-4.0"
    assert project["license-files"] == ["LICENSE", *SHIPPED_LICENSES]
    assert all((ROOT / name).is_file() for name in project["license-files"])


def test_the_readme_names_both_licences() -> None:
    section = (ROOT / "README.md").read_text("utf-8").split("\n## Licence\n")[1]
    assert "[Apache-2.0](LICENSE)" in section
    assert [name for name in SHIPPED_LICENSES if f"]({name})" not in section] == []
    assert "non-commercial research" in section


@pytest.mark.parametrize(("name", "notice"), NOTICES.items())
def test_the_licence_of_a_flipnet_that_ships_begins_with_its_notice(name: str, notice: str) -> None:
    pytest.importorskip("diffusers")
    from degrade_kit.flipnet.folder import SHIPPED
    from degrade_kit.pipelines.makers.networks import flipnet_recipe, flipnet_step, licences

    assert list(SHIPPED) == list(NOTICES)
    assert licence_notice(SHIPPED[name]) == notice
    assert licences(flipnet_recipe(flipnet_step(name))) == [notice]


def test_a_model_without_a_licence_file_has_no_notice(tmp_path: Path) -> None:
    assert licence_notice(tmp_path) == ""
    assert licence_notice(tmp_path / "nowhere") == ""


SOURCES_TEXT = """## Licence

The HQ images and everything derived from them are under the terms of their sources: add those terms here before you
share this data set. FFHQ, for one, allows non-commercial use only, and each photograph has its own licence.
"""
WEIGHTS_TEXT = f"""
LQ images by FlipNet were made with weights that have a licence of their own. {NOTICE}
"""


@pytest.mark.parametrize(
    ("licence", "expected"), [("", SOURCES_TEXT), (NOTICE, SOURCES_TEXT + WEIGHTS_TEXT)], ids=["none", "small"]
)
def test_the_card_of_a_data_set_ends_in_the_licence_of_faces_and_weights(licence: str, expected: str) -> None:
    manifest = {
        "mode": "flipnet",
        "flipnet": "0123456789ab",
        "digest": "0" * 64,
        "seed": 0,
        "extensions": ["hq.png", "json", "lq0.png"],
        "shards": [],
        "lq_size": "native",
        "recipe": "gfpgan",
        "versions": {"degrade_kit": "1"},
        **dict.fromkeys(("num_samples", "num_sources", "num_failures", "num_skipped", "variants", "bytes"), 1),
    }
    flipnet = {"digest": "0123456789ab", "licence": licence, "prompts": [], "sampling": {}, "versions": {}}
    card = card_text(manifest, Statistics(), {"flipnet": flipnet})
    assert "## Licence" + card.split("## Licence")[1] == expected


def test_a_page_lists_the_licence_of_every_data_set_and_weight() -> None:
    page = (ROOT / "docs" / "licences.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert [name for name in ASKED_FOR.split() if not any(name in row for row in rows)] == []
    assert [name for name in WEIGHTS if f"`{name}`" not in page] == []
    assert [row for row in rows if "" in [cell.strip() for cell in row.split("|")[2:-1]]] == []
