from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from degrade_kit.errors import ConfigError
from degrade_kit.flipnet.config import FlipNetConfig, Mode, read_fields, require_packages


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    text: str
    count: int = 0
    share: float = 0.0
    flag: bool = False
    choice: Literal["a", "b"] = "a"
    several: tuple[int, ...] = ()
    two: tuple[int, str] = (0, "")
    shares: Mapping[str, float] = field(default_factory=dict[str, float])
    maybe: str | None = None
    inner: Inner = field(default_factory=Inner)
    mode: Mode = Mode.DEGRADE
    anything: Any = None


def test_every_kind_of_value_is_read() -> None:
    data = {
        "text": "x",
        "count": 3,
        "share": 1,
        "flag": True,
        "choice": "b",
        "several": [1, 2, 3],
        "two": [4, "y"],
        "shares": {"haze": 1, 2: 0.5},
        "maybe": "z",
        "inner": {"depth": 2},
        "mode": Mode.RESTORE,
        "anything": [None, "w"],
    }
    found = read_fields(Sample, data, "file")
    assert found == Sample(
        text="x",
        count=3,
        share=1.0,
        flag=True,
        choice="b",
        several=(1, 2, 3),
        two=(4, "y"),
        shares={"haze": 1.0, "2": 0.5},
        maybe="z",
        inner=Inner(depth=2),
        mode=Mode.RESTORE,
        anything=[None, "w"],
    )
    assert isinstance(found.share, float)
    assert read_fields(Sample, {"text": "", "maybe": None}, "file") == Sample(text="")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"text": 1}, "file: text: expected str, got 1"),
        ({"count": 1.0}, "file: count: expected int, got 1.0"),
        ({"count": True}, "file: count: expected int, got True"),
        ({"share": True}, "file: share: expected float, got True"),
        ({"share": float("nan")}, "file: share: expected float, got nan"),
        ({"flag": 1}, "file: flag: expected bool, got 1"),
        ({"choice": "c"}, "file: choice: expected one of a, b, got 'c'"),
        ({"several": 1}, "file: several: expected tuple"),
        ({"several": [1, "2"]}, "file: several: expected int, got '2'"),
        ({"two": [1]}, "file: two: expected tuple"),
        ({"shares": [1]}, "file: shares: expected .*Mapping"),
        ({"shares": {"haze": "much"}}, "file: shares: expected float, got 'much'"),
        ({"maybe": 3}, "file: maybe: expected str, got 3"),
        ({"inner": 3}, "file: inner: expected Inner, got 3"),
        ({"inner": {"dpeth": 3}}, "file: inner: unknown key `dpeth`; .*depth"),
        ({"mode": "restore"}, "file: mode: expected Mode, got 'restore'"),
        ({"cuont": 3}, "file: unknown key `cuont`; .*count"),
        ({}, "file: missing .*'text'"),
        ([], "file: expected `key: value` pairs"),
        (None, "file: expected `key: value` pairs, got None"),
    ],
)
def test_a_value_of_another_type_is_told_with_its_place(data: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ConfigError, match=message):
        read_fields(Sample, data, "file")


def test_a_value_out_of_range_is_told_with_its_place() -> None:
    with pytest.raises(ConfigError, match="file: boost_window: expected 0 or an odd number, got 4"):
        read_fields(FlipNetConfig, {"boost_window": 4}, "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_rank": -1}, "lora_rank: expected 0 or more"),
        ({"head": "wide"}, "head: expected plain or gated"),
        ({"condition_text": "other"}, "condition_text: expected same or null"),
        ({"noise_offset": -0.1}, "noise_offset: expected 0 or more"),
        ({"start_gain": 0.3}, r"start_gain: expected a number within \[0, noise_gain\], got 0.3"),
        ({"start_evenness": 1.1}, r"start_evenness: expected a share within \[0, 1\], got 1.1"),
        ({"start_evenness": 0.5}, "start_evenness: name the channels in noise_offset_channels"),
        ({"noise_gain": -0.1}, "noise_gain: expected 0 or more"),
        ({"face_sides": (64,)}, r"face_sides: expected \[least, largest\] within 8 and 2048 pixels, got \[64\]"),
        ({"face_sides": (224, 64)}, r"face_sides: expected \[least, largest\]"),
    ],
)
def test_a_wrong_part_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FlipNetConfig(**change)


def test_a_configuration_comes_back_from_json() -> None:
    config = FlipNetConfig(mode=Mode.RESTORE, head="gated", head_blurs=(1.5, 4), noise_offset_channels=(0, 64))
    assert FlipNetConfig.from_mapping(json.loads(config.to_json()), "file") == config


def test_the_mode_decides_which_image_is_made() -> None:
    assert Mode.RESTORE.flip("hq", "lq") == ("hq", "lq")
    assert Mode.DEGRADE.flip("hq", "lq") == ("lq", "hq")


def test_missing_packages_are_told_with_what_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    require_packages()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("peft", "torch") else found(name))
    with pytest.raises(ConfigError, match=r"FlipNet needs peft, torch: pip install 'degrade-kit\[flipnet\]'"):
        require_packages()
