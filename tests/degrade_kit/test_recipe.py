from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from degrade_kit.degradation import apply, degrade
from degrade_kit.errors import ConfigError
from degrade_kit.files import parse_yaml
from degrade_kit.linear import FILTERS
from degrade_kit.ops import Blur
from degrade_kit.presets import PRESETS
from degrade_kit.recipe import Recipe, load_recipe, recipe_from_mapping
from degrade_kit.seeding import generator
from degrade_kit.steps import (
    KERNEL_KINDS,
    OneOf,
    Option,
    RandomBlur,
    RandomColorJitter,
    RandomColorShift,
    RandomCovarianceNoise,
    RandomDecimate,
    RandomGaussianNoise,
    RandomGray,
    RandomHaze,
    RandomJpeg,
    RandomMotionBlur,
    RandomPoissonNoise,
    RandomResize,
    RandomShift,
    RandomSincBlur,
    RandomWebP,
    Shuffle,
    Step,
    Uneven,
)

FULL = RandomResize(scale=(1, 1))
SHRINK = RandomResize(scale=(4, 4))
JPEG = RandomJpeg(quality=(60, 60))
WEBP = RandomWebP(quality=(60, 60))
GRAY = RandomGray()
NOISE = RandomGaussianNoise(level=(5, 5))

MINE = """
name: mine
source: my own guess
steps:
  - blur: {kernels: {iso: 0.7, aniso: 0.3}, sigma: [0.2, 6], support: full}
  - resize: {scale: 4}
  - gaussian_noise:
      level: [0, 20]
  - one_of:
      options:
        - {weight: 1, steps: [jpeg: {quality: [20, 90]}]}
        - {weight: 2, steps: []}
  - resize: {scale: 1}
  - gray
"""


def read(text: str, tmp_path: Path) -> Recipe:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def from_steps(steps: object) -> Recipe:
    return recipe_from_mapping({"name": "mine", "steps": steps}, "mine.yaml")


def recipe(*steps: Step) -> Recipe:
    return Recipe(name="mine", steps=steps)


# -------------------------------------------------------------------------------------------------------- reading files


def test_a_file_is_read_as_it_says(tmp_path: Path) -> None:
    assert read(MINE, tmp_path) == Recipe(
        name="mine",
        source="my own guess",
        steps=(
            RandomBlur(kernels={"iso": 0.7, "aniso": 0.3}, sigma=(0.2, 6), support="full"),
            RandomResize(scale=(4, 4)),
            RandomGaussianNoise(level=(0, 20)),
            OneOf(options=(Option(weight=1, steps=(RandomJpeg(quality=(20, 90)),)), Option(weight=2, steps=()))),
            FULL,
            RandomGray(),
        ),
    )


def test_text_beyond_ascii_is_read(tmp_path: Path) -> None:
    found = read("name: gr\u00fcn\nnotes: \u00fc\u4e2d\nsteps: [gray]\n", tmp_path)
    assert (found.name, found.notes) == ("gr\u00fcn", "\u00fc\u4e2d")


def test_a_byte_order_mark_is_no_part_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINE.encode())
    assert load_recipe(path).name == "mine"


def test_a_file_that_is_not_there_or_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read recipe .*gone\.yaml: .*No such file"):
        load_recipe(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match="cannot read recipe"):
        load_recipe(tmp_path)
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ConfigError, match=r"mine\.yaml: not plain YAML: .*utf-8"):
        load_recipe(tmp_path / "mine.yaml")


BILLION_LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nname: x\nsteps: *c\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BILLION_LAUGHS, r"mine\.yaml: .*line 2: YAML aliases \(\*name\) are not allowed"),
        ("base: &b {sigma: 1}\nname: x\nsteps: [{blur: {<<: *b}}]\n", "YAML aliases"),
        ("name: !!python/name:os.system x\nsteps: [gray]\n", r"mine\.yaml: not plain YAML: .*python/name"),
        ("!!python/object/apply:os.system ['true']\n", "not plain YAML: .*python/object/apply"),
        ("name: !mine x\nsteps: [gray]\n", "not plain YAML: .*!mine"),
        ("name: [x\n", "not plain YAML"),
        ("name: x\n\tsteps: []\n", "not plain YAML"),
        ("name: x\n---\nname: y\n", "not plain YAML"),
        ("name: x\n? [a]\n: b\n", "not plain YAML"),
        ("name: \x01\n", "not plain YAML"),
        ("[" * 900 + "]" * 900, "not plain YAML"),
        ("", r"mine\.yaml: expected `key: value` pairs, got None"),
        ("# nothing\n", "expected `key: value` pairs"),
        ("gray\n", "expected `key: value` pairs, got 'gray'"),
        ("- gray\n", "expected `key: value` pairs"),
    ],
)
def test_what_is_no_plain_yaml_mapping_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read(text, tmp_path)


@pytest.mark.parametrize("value", ["2024-13-45", "9" * 5000])
def test_a_value_that_yaml_cannot_build_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not plain YAML"):
        read(f"name: x\nsteps: [gray]\nnotes: {value}\n", tmp_path)


def test_nothing_is_run_by_reading(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(ConfigError):
        read(
            f"name: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [{target}]]\n",
            tmp_path,
        )
    assert not target.exists()


WRONG_RECIPES: list[tuple[Any, str]] = [
    ({"steps": ["gray"]}, r"mine\.yaml: `name` is missing"),
    ({"name": "x"}, r"mine\.yaml: `steps` is missing"),
    ({"name": "x", "step": ["gray"]}, r"mine\.yaml: unknown key `step`; did you mean `steps`\?"),
    ({"nmae": "x", "steps": ["gray"]}, "unknown key `nmae`; did you mean `name`"),
    ({"name": "x", "steps": ["gray"], "qqq": 1}, "unknown key `qqq`; known are name, source, notes, lq_scale, steps"),
    ({"name": "x", "steps": ["gray"], 3: 1}, "unknown key `3`"),
    ({"name": "x", "steps": []}, "recipe x: expected at least one step"),
    ({"name": "x", "steps": None}, r"mine\.yaml: steps: expected a list of steps, got None"),
    ({"name": "x", "steps": "gray"}, "steps: expected a list of steps, got 'gray'"),
    ({"name": "x", "steps": {"gray": None}}, "steps: expected a list of steps"),
    (None, "expected `key: value` pairs, got None"),
    ([], "expected `key: value` pairs"),
]
"""What is no recipe, and what is said of it."""


@pytest.mark.parametrize(("data", "message"), WRONG_RECIPES)
def test_a_recipe_has_a_name_and_steps_and_nothing_unknown(data: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_from_mapping(data, "mine.yaml")


WRONG_STEPS: list[tuple[Any, str]] = [
    (["grey"], r"mine\.yaml: steps\[0\]: unknown step `grey`; did you mean `gray`\?"),
    (["gray", {"blurr": {"sigma": 1}}], r"steps\[1\]: unknown step `blurr`; did you mean `blur`\?"),
    ([{"gausian_noise": {"level": 1}}], "did you mean `gaussian_noise`"),
    ([{"zzzzzz": None}], "unknown step `zzzzzz`; known are blur, sinc_blur"),
    ([{7: None}], "unknown step `7`"),
    ([{"blur": {"sigma": 1}, "jpeg": {"quality": 3}}], r"steps\[0\]: expected one step as `name: \{\.\.\.\}`"),
    ([{}], "expected one step as"),
    ([None], "expected one step as"),
    ([["gray"]], "expected one step as"),
    ([3], "expected one step as"),
    ([{"blur": 3}], r"steps\[0\]\.blur: expected `key: value` pairs, got 3"),
    ([{"blur": [1]}], r"steps\[0\]\.blur: expected `key: value` pairs"),
    ([{"blur": {"sigmma": 1}}], r"steps\[0\]\.blur: unknown key `sigmma`; did you mean `sigma`\?"),
    ([{"jpeg": {"quality": 50, "prop": 1}}], r"steps\[0\]\.jpeg: unknown key `prop`; did you mean `prob`\?"),
    ([{"jpeg": {"quality": 50, 1: 1}}], "unknown key `1`"),
    (["jpeg"], r"steps\[0\]\.jpeg: `quality` is missing"),
    ([{"jpeg": None}], r"steps\[0\]\.jpeg: `quality` is missing"),
    ([{"decimate": {"factor": 2}}], r"steps\[0\]\.decimate: `sigma` is missing"),
    ([{"blur": {"sigma": [3, 1]}}], r"mine\.yaml: steps\[0\]\.blur\.sigma: expected .* min <= max, got \[3, 1\]"),
    ([{"blur": {"sigma": 201}}], r"steps\[0\]\.blur\.sigma: expected .* within \[0, 200\], got 201"),
    ([{"jpeg": {"quality": True}}], r"steps\[0\]\.jpeg\.quality: expected"),
    (
        [{"shuffle": {"steps": ["gray", {"jpeg": {"quality": 0}}]}}],
        r"steps\[0\]\.shuffle\.steps\[1\]\.jpeg\.quality:",
    ),
    ([{"shuffle": {"steps": "gray"}}], r"steps\[0\]\.shuffle\.steps: expected a list of steps"),
    ([{"shuffle": {"steps": []}}], r"steps\[0\]\.shuffle\.steps: expected at least one step"),
    ([{"one_of": {"options": [{"steps": []}]}}], r"one_of\.options\[0\]: `weight` is missing"),
    ([{"one_of": {"options": [{"weight": 1}]}}], r"one_of\.options\[0\]: `steps` is missing"),
    (
        [{"one_of": {"options": [{"weight": 1, "step": []}]}}],
        r"options\[0\]: unknown key `step`; did you mean `steps`",
    ),
    ([{"one_of": {"options": [{"weight": -1, "steps": []}]}}], r"one_of\.options\[0\]\.weight: expected a number"),
    ([{"one_of": {"options": [{"weight": 1, "steps": ["x"]}]}}], r"options\[0\]\.steps\[0\]: unknown step `x`"),
    ([{"one_of": {"options": {"weight": 1, "steps": []}}}], r"one_of\.options: expected a list"),
    (
        [{"jpeg": {"quality": 50, "tables": [["standard"]]}}],
        r"steps\[0\]\.jpeg\.tables: expected text, got \['standard'\]",
    ),
    ([{"jpeg": {"quality": 50, "tables": "photoshop-fine"}}], r"jpeg\.tables: unknown tables 'photoshop-fine'"),
    ([{"flipnet": {"prompt": [{"haze": 1}]}}], r"steps\[0\]\.flipnet\.prompt: expected text, got \{'haze': 1\}"),
    ([{"flipnet": {"prompt": {"haze": 0}}}], r"flipnet\.prompt: expected a positive weight"),
    ([{"flipnet": {"prompt": {"haze": "much"}}}], r"flipnet\.prompt\.haze: expected a number"),
    ([{"bank": {"file": "webphoto"}}], "bank webphoto: expected a file that ends in"),
    ([{"one_of": {"options": [3]}}], r"one_of\.options\[0\]: expected `key: value` pairs"),
]
"""Steps of which one is wrong, and what is said of it."""


@pytest.mark.parametrize(("steps", "message"), WRONG_STEPS)
def test_a_wrong_step_is_named_with_its_place_and_what_is_known(steps: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_steps(steps)


WRONG_TOGETHER: list[tuple[Any, str]] = [
    ([{"blur": {}}], r"steps\[0\]\.blur: expected exactly one"),
    ([{"resize": {}}], r"steps\[0\]\.resize: expected exactly one"),
    ([{"shuffle": {"steps": ["gray"], "in_order": [1]}}], r"steps\[0\]\.shuffle\.in_order: expected positions"),
]
"""Fields that do not go together."""


@pytest.mark.parametrize(("steps", "message"), WRONG_TOGETHER)
def test_a_place_is_named_once(steps: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_steps(steps)


@pytest.mark.parametrize("name", [None, "", [1], {"a": 1}])
def test_a_name_is_text(name: object) -> None:
    with pytest.raises(ConfigError, match="name"):
        recipe_from_mapping({"name": name, "steps": ["gray"]}, "mine.yaml")


# ---------------------------------------------------------------------------------------------- ending at the full size


@pytest.mark.parametrize(
    "steps",
    [
        (GRAY,),
        (JPEG, NOISE),
        (SHRINK, FULL),
        (SHRINK, FULL, JPEG),
        (RandomResize(factor=(0.1, 0.5)), RandomResize(factor=(1, 1))),
        (RandomDecimate(factor=2, sigma=(1, 1)), FULL),
        (OneOf(options=(Option(weight=1, steps=(SHRINK, FULL)), Option(weight=1, steps=()))),),
        (SHRINK, OneOf(options=(Option(weight=1, steps=(FULL,)), Option(weight=1, steps=(JPEG, FULL))))),
        (OneOf(options=(Option(weight=0, steps=(SHRINK,)), Option(weight=1, steps=()))),),
        (Shuffle(steps=(JPEG, NOISE)),),
        (Uneven(steps=(SHRINK, FULL), square_prob=0.5),),
        (SHRINK, Shuffle(steps=(JPEG, NOISE)), FULL),
    ],
)
def test_recipes_that_end_at_the_full_size_are_taken(steps: tuple[Step, ...]) -> None:
    drawn = recipe(*steps).draw(np.random.default_rng(0))
    hq = np.zeros((40, 36, 3), np.float32)
    assert apply(drawn, hq).shape == hq.shape


NOT_FULL: list[tuple[Step, ...]] = [
    (SHRINK,),
    (SHRINK, JPEG),
    (FULL, SHRINK),
    (RandomDecimate(factor=2, sigma=(1, 1)),),
    (SHRINK, RandomResize(scale=(1, 1.5))),
    (SHRINK, RandomResize(scale=(1, 1), prob=0.9)),
    (RandomResize(scale=(4, 4), prob=0.1),),
    (OneOf(options=(Option(weight=1, steps=(SHRINK,)), Option(weight=1, steps=()))),),
    (SHRINK, OneOf(options=(Option(weight=1, steps=(FULL,)), Option(weight=1, steps=())))),
    (Shuffle(steps=(SHRINK, FULL)),),
    (Uneven(steps=(SHRINK,), square_prob=0.5),),
]


@pytest.mark.parametrize("steps", NOT_FULL)
def test_recipes_that_may_end_at_another_size_are_refused(steps: tuple[Step, ...]) -> None:
    with pytest.raises(ConfigError, match=r"recipe mine: its last resize must go back to the full size.*scale: 1"):
        recipe(*steps)


@pytest.mark.parametrize(
    "steps",
    [
        (SHRINK, OneOf(options=(Option(weight=1, steps=(FULL,)),), prob=0.5)),
        (SHRINK, Uneven(steps=(FULL,), square_prob=0.0, prob=0.5)),
    ],
)
def test_a_last_resize_that_may_be_left_out_is_refused(steps: tuple[Step, ...]) -> None:
    with pytest.raises(ConfigError, match="must go back to the full size"):
        recipe(*steps)


def test_uneven_squares_that_end_at_another_size_are_refused() -> None:
    """The square and the rest would have two sizes."""
    with pytest.raises(ConfigError, match="full size"):
        recipe(Uneven(steps=(RandomResize(scale=(2, 8)),), square_prob=0.5), FULL)
    with pytest.raises(ConfigError, match="full size"):
        recipe(SHRINK, Shuffle(steps=(Uneven(steps=(FULL, SHRINK), square_prob=0.5),)), FULL)


def test_uneven_squares_may_stay_at_the_size_that_they_meet() -> None:
    drawn = recipe(SHRINK, Uneven(steps=(JPEG,), square_prob=1.0), FULL).draw(np.random.default_rng(0))
    assert apply(drawn, np.zeros((40, 36, 3), np.float32)).shape == (40, 36, 3)


def test_a_blur_behind_uneven_squares_knows_their_size() -> None:
    """The square and the rest are back at the full size, so `full_size_pixels` divides by nothing."""
    blur = RandomBlur(sigma=(4, 4), full_size_pixels=True)
    drawn = recipe(SHRINK, Uneven(steps=(JPEG, FULL), square_prob=1.0), blur).draw(np.random.default_rng(0))
    assert drawn.steps[-1] == Blur(sigma_x=4.0, sigma_y=4.0)


# ------------------------------------------------------------------------------------------------------------- mapping

_probabilities = st.sampled_from([1.0, 0.5, 0.013])


def _ranges(low: float, high: float) -> st.SearchStrategy[tuple[float, float]]:
    ends = st.floats(low, high)
    return st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair)))


_supports = st.one_of(
    st.sampled_from([1, 7, 41]), st.lists(st.sampled_from([3, 5, 9]), min_size=2, max_size=3).map(tuple)
)
_kinds = st.dictionaries(st.sampled_from(KERNEL_KINDS), st.floats(0.1, 5), min_size=1)
_leaves: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        RandomBlur,
        kernels=_kinds,
        sigma=_ranges(0, 200),
        support=_supports | st.just("full"),
        rotation=_ranges(-7, 7),
        beta_generalized=_ranges(0.01, 20),
        full_size_pixels=st.booleans(),
        prob=_probabilities,
    ),
    st.builds(RandomBlur, variance=_ranges(0, 40000), prob=_probabilities),
    st.builds(RandomSincBlur, support=_supports, cutoff=_ranges(0.01, 3.1416), prob=_probabilities),
    st.builds(RandomMotionBlur, length=_ranges(0, 200), angle=_ranges(-7, 7), prob=_probabilities),
    st.builds(RandomGaussianNoise, level=_ranges(1, 255), gray_prob=_probabilities, prob=_probabilities),
    st.builds(RandomGaussianNoise, level=st.just((2.0, 25.0)), whole=st.just(True)),
    st.builds(RandomCovarianceNoise, level=st.floats(0, 255), prob=_probabilities),
    st.builds(RandomPoissonNoise, scale=_ranges(0, 20), gray_prob=_probabilities, prob=_probabilities),
    st.builds(RandomJpeg, quality=st.sampled_from([(1.0, 100.0), (30.0, 30.0)]), prob=_probabilities),
    st.builds(RandomWebP, quality=st.just((30.0, 95.0)), prob=_probabilities),
    st.builds(RandomColorShift, limit=st.floats(0, 255), prob=_probabilities),
    st.builds(RandomColorJitter, brightness=_ranges(0, 10), hue=_ranges(-0.5, 0.5), prob=_probabilities),
    st.builds(RandomGray, target=st.booleans(), prob=_probabilities),
    st.builds(RandomHaze, alpha=_ranges(0, 1), prob=_probabilities),
    st.builds(RandomShift, limit=st.integers(0, 256), prob=_probabilities),
    st.builds(RandomDecimate, factor=st.integers(1, 8), sigma=_ranges(0, 100), prob=_probabilities),
    st.builds(
        RandomResize,
        scale=_ranges(0.1, 512),
        filter=st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3).map(tuple),
        clip=st.booleans(),
        prob=_probabilities,
    ),
    st.builds(RandomResize, factor=_ranges(1 / 512, 10)),
)


def _nested(inner: st.SearchStrategy[Step]) -> st.SearchStrategy[Step]:
    some, any_number = (st.lists(inner, min_size=least, max_size=3).map(tuple) for least in (1, 0))
    options = st.builds(Option, weight=st.floats(0.1, 9), steps=any_number)
    return st.one_of(
        st.builds(Shuffle, steps=some, in_order=st.sampled_from([(), (0,)]), prob=_probabilities),
        st.builds(OneOf, options=st.lists(options, min_size=1, max_size=3).map(tuple), prob=_probabilities),
        # What uneven holds must end at the full size.
        st.builds(
            Uneven,
            steps=some.map(lambda steps: (*steps, FULL)),
            square_prob=_probabilities,
            side=_ranges(0.01, 1),
            prob=_probabilities,
        ),
    )


# Not control characters: PyYAML writes some of them in a way that it reads as spaces.
_prose = st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"]), max_size=20)
recipes = st.builds(
    Recipe,
    name=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8),
    source=_prose,
    notes=_prose,
    steps=st.lists(st.recursive(_leaves, _nested, max_leaves=4), max_size=4).map(lambda steps: (*steps, FULL)),
)


@pytest.mark.slow
@given(written=recipes)
def test_recipes_come_back_from_their_mapping(written: Recipe) -> None:
    mapping = written.to_mapping()
    again = recipe_from_mapping(mapping, "again")
    assert again == written
    assert again.to_mapping() == mapping
    assert again.digest() == written.digest()


@pytest.mark.slow
@given(written=recipes)
def test_recipes_come_back_from_yaml_and_draw_the_same(written: Recipe) -> None:
    text = yaml.safe_dump(written.to_mapping(), sort_keys=False, allow_unicode=True)
    again = recipe_from_mapping(parse_yaml(text, "again"), "again")
    assert again == written
    for seed in range(3):
        assert again.draw(np.random.default_rng(seed)) == written.draw(np.random.default_rng(seed))


@pytest.mark.slow
@given(written=recipes)
def test_mappings_are_plain(written: Recipe) -> None:
    assert json.loads(json.dumps(written.to_mapping())) == written.to_mapping()


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_come_back_from_yaml(name: str) -> None:
    text = yaml.safe_dump(PRESETS[name].to_mapping(), sort_keys=False)
    assert recipe_from_mapping(parse_yaml(text, name), name) == PRESETS[name]


def test_defaults_are_left_out() -> None:
    assert recipe(RandomBlur(sigma=(1, 2)), GRAY).to_mapping() == {
        "name": "mine",
        "steps": [{"blur": {"sigma": [1.0, 2.0]}}, {"gray": {}}],
    }


def test_the_digest_stands_for_the_steps_alone() -> None:
    one = Recipe(name="a", source="x", notes="y", steps=(JPEG,))
    assert one.digest() == Recipe(name="b", steps=(JPEG,)).digest()
    assert len(one.digest()) == 12
    assert int(one.digest(), 16) >= 0
    others: list[tuple[Step, ...]] = [(WEBP,), (JPEG, GRAY), (GRAY, JPEG), (RandomJpeg(quality=(60, 61)),)]
    assert len({recipe(*steps).digest() for steps in [(JPEG,), *others]}) == 5


def test_equal_digests_draw_equal_records() -> None:
    one = recipe(RandomBlur(kernels={"iso": 0.5, "aniso": 0.5}, sigma=(1, 9)))
    other = recipe(RandomBlur(kernels={"aniso": 0.5, "iso": 0.5}, sigma=(1, 9)))
    same_draws = all(
        one.draw(np.random.default_rng(seed)) == other.draw(np.random.default_rng(seed)) for seed in range(20)
    )
    assert (one.digest() == other.digest()) == same_draws


def test_a_mapping_does_not_open_the_recipe_to_changes() -> None:
    """Changing what `to_mapping` gave must not change the recipe itself."""
    made = recipe(RandomBlur(kernels={"iso": 1, "aniso": 1}, sigma=(1, 2)))
    before = made.draw(np.random.default_rng(0))
    mapping: Any = made.to_mapping()
    mapping["steps"][0]["blur"]["sigma"][0] = 0.0
    mapping["steps"].append({"gray": {}})
    assert made.draw(np.random.default_rng(0)) == before


# -------------------------------------------------------------------------------------------------------------- drawing


@pytest.mark.slow
@given(written=recipes, seed=st.integers(0, 2**32))
def test_the_same_generator_draws_the_same_record(written: Recipe, seed: int) -> None:
    first, second = (written.draw(generator(seed, "a/b.png", 1)) for _ in range(2))
    assert first == second
    assert repr(first) == repr(second)
    assert 0 <= first.seed < 2**48


def test_records_of_one_recipe_have_their_own_noise_seeds() -> None:
    rng = np.random.default_rng(0)
    seeds = [recipe(NOISE).draw(rng).seed for _ in range(200)]
    assert len(set(seeds)) == 200
    assert max(seeds) > 2**47
    assert len({seed % 2 for seed in seeds}) == 2


def test_a_step_that_is_added_at_the_end_leaves_those_before_it() -> None:
    short, long = recipe(RandomBlur(sigma=(1, 9)), JPEG), recipe(RandomBlur(sigma=(1, 9)), JPEG, NOISE)
    for seed in range(5):
        assert long.draw(np.random.default_rng(seed)).steps[:2] == short.draw(np.random.default_rng(seed)).steps


# -------------------------------------------------------------------------------------------------------- native format


def formats(made: Recipe) -> set[str | None]:
    hq = np.full((24, 24, 3), 77, np.uint8)
    ends = [degrade(made.draw(np.random.default_rng(seed)), hq).encoded for seed in range(40)]
    return {None if end is None else end.extension for end in ends}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((SHRINK, JPEG, FULL), "jpg"),
        ((SHRINK, WEBP, FULL, GRAY), "webp"),
        ((JPEG,), "jpg"),
        ((SHRINK, FULL, JPEG), "jpg"),
        ((SHRINK, JPEG, RandomResize(scale=(1, 1), filter=("linear", "cubic"))), "jpg"),
        ((SHRINK, RandomJpeg(quality=(1, 9), prob=0.5), FULL), None),
        ((SHRINK, JPEG, NOISE, FULL), None),
        ((SHRINK, JPEG, FULL, NOISE), None),
        ((SHRINK, JPEG, RandomResize(scale=(1, 1), filter=("cubic_aa",))), None),
        ((SHRINK, JPEG, RandomResize(scale=(1, 1), filter=("linear", "cubic_aa"))), None),
        ((SHRINK, JPEG, RandomResize(scale=(1, 1), filter=("cubic",), clip=True)), None),
        ((JPEG, RandomResize(scale=(1, 1), prob=0.5)), "jpg"),
        ((OneOf(options=(Option(weight=1, steps=(JPEG,)), Option(weight=1, steps=(NOISE, JPEG)))),), "jpg"),
        ((OneOf(options=(Option(weight=1, steps=(JPEG,)), Option(weight=1, steps=(WEBP,)))),), None),
        ((OneOf(options=(Option(weight=1, steps=(JPEG,)), Option(weight=1, steps=()))),), None),
        ((OneOf(options=(Option(weight=1, steps=(JPEG,)), Option(weight=0, steps=(WEBP,)))),), "jpg"),
        ((Shuffle(steps=(JPEG, NOISE)),), None),
        ((Uneven(steps=(JPEG,), square_prob=0.5),), None),
        ((GRAY,), None),
    ],
)
def test_the_native_format_is_promised_only_where_every_record_keeps_it(
    steps: tuple[Step, ...], expected: str | None
) -> None:
    made = recipe(*steps)
    promised = made.native_format()
    if promised is not None:
        assert formats(made) == {promised}
        assert promised == expected
    else:
        # Some promises could be made and are not; that costs a few bytes, no pixel.
        assert expected is None or steps[-1] == RandomResize(scale=(1, 1), prob=0.5)


@pytest.mark.parametrize(
    "steps",
    [
        (JPEG, GRAY),
        (SHRINK, FULL, JPEG, RandomColorShift()),
        (SHRINK, OneOf(options=(Option(weight=1, steps=(JPEG,)),), prob=0.5), FULL),
    ],
)
def test_a_promised_native_format_is_kept(steps: tuple[Step, ...]) -> None:
    made = recipe(*steps)
    assert made.native_format() is None or formats(made) == {made.native_format()}
