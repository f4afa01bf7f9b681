"""Contact sheets: what can be seen and read on them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from degrade_kit.ops import Blur, ColorShift, Decimate, Gray, Jpeg, Op, Resize, Uneven
from degrade_kit.pipelines.sheet import Tile, caption, contact_sheet
from degrade_kit.record import Record

Pixels = npt.NDArray[np.uint8]


def described(*ops: Op) -> str:
    [text] = caption(Record(0, ops))
    return text


def has(sheet: Pixels, part: Pixels) -> bool:
    """Whether a part is on the sheet as it is."""
    height, width = part.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(sheet[:, :, 0], (1, width))[:, :, 0]
    places = np.argwhere((windows[: len(sheet) - height + 1] == part[0, :, 0]).all(2))
    return any(np.array_equal(sheet[top : top + height, left : left + width], part) for top, left in places)


def test_a_picture_that_had_to_shrink_has_its_eyes_pixel_by_pixel_below() -> None:
    large = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    eyes = large[185:297, 152:360]

    assert has(contact_sheet([[Tile(large, ("LQ",))]], details=True), eyes)
    assert not has(contact_sheet([[Tile(large, ("LQ",))]]), eyes)


def test_a_picture_that_fits_is_shown_once_and_pixel_by_pixel() -> None:
    small = np.random.default_rng(0).integers(0, 255, (208, 208, 3), np.uint8)
    with_details, without = (contact_sheet([[Tile(small, ("LQ",))]], details=details) for details in (True, False))

    assert np.array_equal(with_details, without)
    assert has(without, small)


def test_a_detail_of_a_flat_or_narrow_picture_stays_inside_of_it() -> None:
    for shape in ((40, 900, 3), (900, 40, 3), (209, 209, 3)):
        pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        assert contact_sheet([[Tile(pixels, ())]], details=True).shape[1] == 208 + 12


def test_no_text_reaches_into_the_next_tile() -> None:
    white = np.full((16, 16, 3), 255, np.uint8)
    long = "a_name_of_a_file_without_any_space_that_is_longer_than_a_tile_is_wide.png, and, words, after, it"
    sheet = contact_sheet([[Tile(white, (long,)), Tile(white, ())]])

    assert (sheet[:, :214] < 128).any()
    assert (sheet[:, 214:] == 255).all()


def test_title_notes_and_headings_are_drawn_above_what_they_are_of() -> None:
    black = np.zeros((208, 208, 3), np.uint8)
    bare = contact_sheet([[Tile(black, ())]] * 2)
    titled = contact_sheet([[Tile(black, ())]] * 2, title="gfpgan", notes=("note",), headings=("one", "two"))

    def runs(sheet: Pixels) -> int:
        """Blocks of ink, from the top to the bottom."""
        return int((np.diff((sheet.min((1, 2)) < 128).astype(int)) == 1).sum())

    assert runs(bare) == 2
    assert runs(titled) == 6


def test_sizes_in_captions_are_factors_to_the_size_before() -> None:
    assert described(Resize(scale=8.0), Resize(scale=4.0), Resize(scale=1.0)) == "down 8.0x, up 2.0x"
    assert described(Decimate(factor=4, sigma=1.0), Resize(scale=8.0), Resize(scale=1.0)) == "down 4.0x, down 2.0x"
    assert described(Resize(scale=0.5), Resize(scale=1.0)) == "up 2.0x"


def test_a_return_to_the_full_size_is_named_only_where_the_image_shrinks_again() -> None:
    assert described(Resize(scale=8.0), Resize(scale=1.0), Jpeg(quality=50)) == "down 8.0x, JPEG 50"
    twice = (Resize(scale=8.0), Resize(scale=1.0), Resize(scale=4.0), Resize(scale=1.0))
    assert described(*twice) == "down 8.0x, up 8.0x, down 4.0x"


def test_captions_write_units_and_one_number_where_two_are_equal() -> None:
    assert described(Blur(sigma_x=3.14, sigma_y=3.12)) == "blur 3.1 px"
    assert described(Blur(kernel="aniso", sigma_x=3.0, sigma_y=1.0)) == "blur 3.0 x 1.0 px"
    assert described(ColorShift(red=14.2, green=-8.0, blue=0.2), Gray()) == "RGB +14 -8 +0, gray"


def test_a_caption_says_what_was_done_to_both_parts_of_an_uneven_image() -> None:
    op = Uneven(side=0.5, left=0.0, top=0.0, inside=(Jpeg(quality=30),), outside=(Jpeg(quality=90), Gray()))
    assert described(op) == "a square: JPEG 30; the rest: JPEG 90, gray"
