"""Option files of other tools, written here with their keys: what they say becomes steps, and the rest is named."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from degrade_kit.errors import ConfigError
from degrade_kit.foreign.hcl import parse_hcl
from degrade_kit.foreign.reader import import_recipe
from degrade_kit.foreign.values import Imported
from degrade_kit.presets import preset
from degrade_kit.video_ops import quantiser

KERNELS = """\
    kernel_list: ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
    kernel_prob: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    sinc_prob: 0.1
    blur_sigma: [0.2, 3]
    betag_range: [0.5, 4]
    betap_range: [1, 2]
    kernel_list2: ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
    kernel_prob2: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    sinc_prob2: 0.1
    blur_sigma2: [0.2, 1.5]
    betag_range2: [0.5, 4]
    betap_range2: [1, 2]
    final_sinc_prob: 0.8
"""
MILD = """\
resize_prob: [0.2, 0.7, 0.1]
resize_range: [0.3, 1.5]
gaussian_noise_prob: 0.5
noise_range: [1, 15]
poisson_scale_range: [0.05, 2.0]
gray_noise_prob: 0.4
jpeg_range: [60, 95]
second_blur_prob: 0.5
resize_prob2: [0.3, 0.4, 0.3]
resize_range2: [0.6, 1.2]
gaussian_noise_prob2: 0.5
noise_range2: [1, 12]
poisson_scale_range2: [0.05, 1.0]
gray_noise_prob2: 0.4
jpeg_range2: [60, 100]
"""
FACE = """\
name: train
scale: 1
network_g: {type: GFPGANv1, narrow: !!float 1e0}
datasets:
  train:
    use_hflip: true
    blur_kernel_size: 41
    kernel_list: ['iso', 'aniso']
    kernel_prob: [0.5, 0.5]
    blur_sigma: [0.1, 10]
    downsample_range: [0.8, 8]
    noise_range: [0, 20]
    jpeg_range: [60, 100]
    color_jitter_prob: 0.3
    color_jitter_shift: 20
    color_jitter_pt_prob: 0.3
    gray_prob: 0.01
    gt_gray: ~
  val:
    blur_sigma: [9, 9]
    downsample_range: [9, 9]
"""


NO_JITTER = ("color_jitter_prob: ~", "color_jitter_pt_prob: ~")


def read(text: str, name: str, tmp_path: Path) -> Imported:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return import_recipe(path)


def steps_of(found: Imported) -> list[dict[str, Any]]:
    return found.recipe.to_mapping()["steps"]


# ------------------------------------------------------------------------------------------------- BasicSR's keys


def test_options_of_gfpgan_are_the_preset(tmp_path: Path) -> None:
    found = read(FACE, "Train GFPGAN_v1.yml", tmp_path)
    assert found.recipe.digest() == preset("gfpgan").digest()
    assert found.recipe.name == "train-gfpgan-v1"
    assert found.left == ("use_hflip: True",)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["gray_prob: 0.01", "gt_gray: true", *NO_JITTER], "gfpgan-no-colorization"),
        (["blur_kernel_size: [19, 20]", "gray_prob: ~", *NO_JITTER], "restoreformer"),
    ],
)
def test_variants_of_the_face_options_are_their_presets(lines: list[str], name: str, tmp_path: Path) -> None:
    changed = {line.partition(":")[0]: line for line in lines}
    kept = [line for line in FACE.splitlines() if line.strip().partition(":")[0] not in changed]
    at = kept.index("  val:")
    text = "\n".join([*kept[:at], *(f"    {line}" for line in lines), *kept[at:]])
    assert read(text, "face.yaml", tmp_path).recipe.digest() == preset(name).digest()


def test_restoreformer_pp_shifts_and_splits(tmp_path: Path) -> None:
    more = "    shift_prob: 0.2\n    shift_max_num: 32\n    uneven_prob: 0.1\n    hazy_prob: 0.008\n"
    more += "    hazy_alpha: [0.75, 0.95]\n    blur_kernel_size: [19, 20]\n    gt_gray: true\n    gray_prob: 0.008\n"
    kept = [line for line in FACE.splitlines() if not any(key in line for key in ("color", "gray", "_size"))]
    text = "\n".join(kept).replace("  val:", more + "  val:")
    assert read(text, "plus.yaml", tmp_path).recipe.digest() == preset("restoreformer++").digest()


@pytest.mark.parametrize("scale", ["scale: 4", "sf: 4", ""])
def test_options_of_two_passes_are_the_preset(scale: str, tmp_path: Path) -> None:
    text = f"{scale}\n{MILD}kernel_info:\n    blur_kernel_size: 21\n    blur_kernel_size2: 21\n{KERNELS}"
    found = read(text, "params.yml", tmp_path)
    assert found.recipe.digest() == preset("seesr").digest()
    assert found.left == ()


def test_what_a_file_of_two_passes_leaves_out_is_as_published(tmp_path: Path) -> None:
    assert read("resize_range: [0.15, 1.5]\n", "short.yml", tmp_path).recipe.digest() == preset("real-esrgan").digest()


def test_colours_of_two_passes(tmp_path: Path) -> None:
    text = "resize_range: [0.15, 1.5]\ngray_prob: 0.1\ncolor_jitter_prob: 0.2\nhue: [-0.05, 0.05]\n"
    *_, full, gray, jitter = steps_of(read(text, "pasd.yml", tmp_path))
    assert next(iter(full)) == "resize"
    assert gray == {"gray": {"prob": 0.1}}
    assert jitter == {"color_jitter": {"hue": [-0.05, 0.05], "prob": 0.2}}


def test_stablesr_leaves_one_image_of_a_hundred(tmp_path: Path) -> None:
    kernels = KERNELS.replace("[0.2, 3]", "[0.2, 1.5]").replace("sigma2: [0.2, 1.5]", "sigma2: [0.2, 1.0]")
    kernels = kernels.replace("[0.5, 4]", "[0.5, 2.0]").replace("[1, 2]", "[1, 1.5]")
    indented = "".join(f"  {line}\n" for line in [*MILD.splitlines(), "no_degradation_prob: 0.01"])
    text = f"sf: 4\ndegradation:\n{indented}data:\n  train:\n{kernels}  validation:\n    blur_sigma: [7, 7]\n"
    assert read(text, "stablesr.yaml", tmp_path).recipe.digest() == preset("stablesr").digest()


def test_resshift_draws_smaller_kernels_and_one_pass_in_two(tmp_path: Path) -> None:
    text = f"second_order_prob: 0.5\n{MILD}data:\n    blur_kernel_size: 21\n    blur_kernel_size2: 15\n{KERNELS}"
    found = str(steps_of(read(text, "resshift.yaml", tmp_path)))
    assert "'support': [3, 5, 7, 9, 11, 13, 15, 17, 19]" in found
    assert "'support': [3, 5, 7, 9, 11, 13], 'prob': 0.8" in found
    assert "'prob': 0.5" in found


def test_trainner_redux_has_its_own_chances_and_filters(tmp_path: Path) -> None:
    modes = "['bilinear', 'bicubic', 'nearest-exact', 'lanczos']"
    text = (
        "scale: 4\nblur_prob: 0.0\nresize_prob: [0.2, 0.7, 0.1]\nresize_range: [0.4, 1.5]\ngaussian_noise_prob: 0.0\n"
        "noise_range: [0, 0]\npoisson_scale_range: [0, 0]\ngray_noise_prob: 0.0\njpeg_prob: 1.0\njpeg_range: [75, 95]\n"
        "blur_prob2: 0.0\nresize_prob2: [0.3, 0.4, 0.3]\nresize_range2: [0.6, 1.2]\ngaussian_noise_prob2: 0\n"
        "noise_range2: [0, 0]\npoisson_scale_range2: [0, 0]\ngray_noise_prob2: 0.0\njpeg_prob2: 1.0\n"
        "jpeg_range2: [75, 95]\nlq_usm: false\ndatasets:\n  train:\n    kernel_range: [5, 17]\n"
        "    blur_sigma: [0.2, 2]\n"
        "    final_sinc_prob: 0.0\n" + "".join(f"resize_mode_list{n}: {modes}\n" for n in ("", "2", "3"))
    )
    found = read(text, "otf.yml", tmp_path)
    assert found.recipe.digest() == preset("trainner-redux").digest()
    assert "resize_mode_list: filters nearest-exact, lanczos" in found.left
    assert not any("lq_usm" in line for line in found.left)
    sharpened = read(text.replace("lq_usm: false", "lq_usm: true\nlq_usm_radius_range: [3, 25]"), "otf.yml", tmp_path)
    assert steps_of(sharpened)[0] == {"sharpen": {"amount": [0.5, 0.5], "radius": pytest.approx([0.8, 4.1])}}
    assert steps_of(sharpened)[1:] == steps_of(found)
    assert any("lq_usm" in line for line in sharpened.left)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML needs Python 3.11")
def test_neosr_writes_toml(tmp_path: Path) -> None:
    lines = [f"{line.strip().replace(': ', ' = ', 1)}" for line in (MILD + KERNELS).splitlines()]
    text = "scale = 4\n[degradations]\n" + "\n".join(lines) + "\n[train]\nema = 0.999\n"
    assert read(text, "train_otf.toml", tmp_path).recipe.digest() == preset("seesr").digest()


# ------------------------------------------------------------------------------------------------------------- WTP


HCL = """\
input = "path/to/input" # where
degradation {
  type = "resize"
  alg_lq = ["box", "linear",
    "lanczos"]
  alg_hq = ["lagrange"]
  spread = [1, 2, 0.05]
  scale = 4
}
// a comment
degradation {
  type = "blur"
  filter = ["gauss", "lens", "motion", "box"]
  kernel = [0, 1]
  target_kernel = { gauss = [0.5, 2], lens = [1, 2] }
  motion_size = [0, 10]
  motion_angle = [-10, 30]
  probability = 0.5
}
degradation {
  type = "noise"
  type_noise = ["gauss", "perlin"]
  alpha = [0.1, 0.3, 0.05]
}
degradation {
  type = "halo"
  kernel = [0, 2]
  amount = [0, 1]
}
degradation {
  type = "compress"
  algorithm = ["jpeg", "webp", "h264", "mpeg2"]
  jpeg_sampling = ["4:4:4", "4:2:0", "4:4:0"]
  compress = [40, 100]
  target_compress = { h264 = [23, 32], mpeg2 = [2, 20] }
}
degradation { type = "lut" }
"""


def test_blocks_of_wtp_become_steps_and_the_rest_is_named(tmp_path: Path) -> None:
    found = read(HCL, "mine.hcl", tmp_path)
    resize, blur, noise, halo, compress, full = steps_of(found)
    assert resize == {"resize": {"scale": [4.0, 8.0], "filter": ["area", "linear"]}}
    kinds = [next(iter(option["steps"][0].items())) for option in blur["one_of"]["options"]]
    assert blur["one_of"]["prob"] == 0.5
    assert kinds == [
        ("blur", {"sigma": [0.5, 2.0], "support": "full"}),
        ("defocus", {"radius": [1.0, 2.0]}),
        ("motion_blur", {"length": [0.0, 10.0], "angle": [-0.5236, 0.1745]}),
        ("box_blur", {"side": [1.0, 3.0]}),
    ]
    gauss, perlin = noise["one_of"]["options"]
    assert gauss == {"weight": 1.0, "steps": [{"gaussian_noise": {"level": [6.375, 19.125]}}]}
    assert perlin == {"weight": 1.0, "steps": []}  # what is left takes its share of the images with it
    assert halo == {"sharpen": {"amount": [0.0, 1.0], "radius": [0.1, 2.0]}}
    codecs = [next(iter(option["steps"][0])) for option in compress["one_of"]["options"]]
    assert codecs == ["jpeg", "webp", "video", "video"]
    h264, mpeg2 = (option["steps"][0]["video"] for option in compress["one_of"]["options"][2:])
    assert h264 == {"crf": [23.0, 32.0], "before": [0.0, 0.0]}  # its codec is the default
    assert [quantiser("mpeg2", int(crf)) for crf in mpeg2["crf"]] == [2, 20]
    assert full == {"resize": {"scale": [1.0, 1.0], "filter": ["cubic"]}}
    for words in ("filters lanczos", "spread", "noise: perlin", "4:4:0", "degradation lut"):
        assert any(words in line for line in found.left), words


def test_colours_blocks_and_dithering_of_wtp(tmp_path: Path) -> None:
    text = """
    degradation { type = "color"
      high = [240, 255]
      low = [0, 15]
      gamma = [0.9, 1.1] }
    degradation { type = "saturation"
      rand = [0.5, 1.0] }
    degradation { type = "pixelate"
      size = [0, 4] }
    degradation { type = "dithering"
      dithering_type = ["floydsteinberg", "quantize", "blue"]
      color_ch = [2, 10] }
    """
    found = read(text, "colours.hcl", tmp_path)
    levels, jitter, blocks, dither, full = steps_of(found)
    assert levels == {"levels": {"low": [0.0, 15.0], "high": [240.0, 255.0], "gamma": [0.9, 1.1]}}
    assert jitter["color_jitter"]["saturation"] == [0.5, 1.0]
    assert jitter["color_jitter"]["brightness"] == [1.0, 1.0]
    assert blocks == {"pixelate": {"block": [1.0, 4.0]}}
    kinds = [option["steps"][0] for option in dither["one_of"]["options"]]
    assert kinds == [
        {"banding": {"levels": [2.0, 10.0]}},
        {"dither": {"levels": [2.0, 10.0], "method": {"floyd_steinberg": 1.0}}},
    ]
    assert next(iter(full)) == "resize"
    assert found.left == ("dithering: blue",)


def test_and_and_or_of_wtp(tmp_path: Path) -> None:
    part = '{ type = "halo"\n amount = [1, 1] }'
    other = '{ type = "compress"\n algorithm = ["jpeg"] }'
    found: dict[str, dict[str, Any]] = {}
    for kind in ("and", "or"):
        head = f'type = "{kind}"\n probability_one = 0.25\n probability_two = 0.4\n'
        text = f"degradation {{\n {head} one_degradation {part}\n two_degradation {other}\n}}"
        found[kind] = steps_of(read(text, "logic.hcl", tmp_path))[0]["one_of"]
    (both,) = found["and"]["options"]  # the second only behind the first
    assert (found["and"]["prob"], [next(iter(step)) for step in both["steps"]]) == (0.25, ["sharpen", "jpeg"])
    assert both["steps"][1]["jpeg"]["prob"] == 0.4
    chances = {
        next(iter(option["steps"][0]), "") if option["steps"] else "": option["weight"]
        for option in found["or"]["options"]
    }
    assert chances == pytest.approx({"sharpen": 0.25, "jpeg": 0.75 * 0.4, "": 0.75 * 0.6})


def test_noise_of_wtp_on_luma_colour_and_single_pixels(tmp_path: Path) -> None:
    text = """
    degradation { type = "noise"
      type_noise = ["uniform", "salt_and_pepper"]
      alpha = [0.1, 0.2, 0.05]
      y_noise = 0.5
      uv_noise = 0.5
      bias = [0, 0]
      probability_salt_or_pepper = [0, 0.02] }
    """
    found = read(text, "noise.hcl", tmp_path)
    uniform, impulses = (option["steps"][0] for option in steps_of(found)[0]["one_of"]["options"])
    luma, chroma, plain = uniform["one_of"]["options"]
    assert [part["weight"] for part in (luma, chroma, plain)] == [0.5, 0.25, 0.25]
    assert plain["steps"] == [{"uniform_noise": {"level": [25.5, 51.0]}}]
    deviation = 25.5 / math.sqrt(3) * 255 / 219
    assert luma["steps"][0]["correlated_noise"]["luma"] == pytest.approx([deviation, 2 * deviation], abs=1e-3)
    assert luma["steps"][0]["correlated_noise"]["chroma"] == [0.0, 0.0]
    assert chroma["steps"][0]["correlated_noise"]["luma"] == [0.0, 0.0]
    assert impulses == {"impulse_noise": {"share": [0.0, 0.02], "white": [0.5, 0.5]}}
    assert found.left == ("noise: salt_and_pepper sets channels apart; whole pixels here",)


def test_edges_channels_and_dots_of_wtp(tmp_path: Path) -> None:
    text = """
    degradation { type = "halo"
      type_halo = ["unsharp_gray"]
      kernel = [0, 2]
      threshold = [0, 0.5] }
    degradation { type = "shift"
      shift_type = ["cmyk", "yuv"]
      not_target = [[-3, 3], [-3, 3]] }
    degradation { type = "subsampling"
      sampling = ["4:4:4", "4:2:0", "4:2:1", "4:1:1"]
      down = ["box"]
      up = ["linear"] }
    degradation { type = "screentone"
      dot_size = [4, 7]
      angle = [-45, 45]
      color { type_halftone = ["cmyk", "gray", "rgb"] } }
    degradation { type = "canny"
      thread1 = [10, 150, 1]
      thread2 = [20, 100, 1]
      aperture_size = [3]
      scale = [0, 3, 0.25]
      white = 0.5
      lq_hq = true }
    degradation { type = "sin"
      shape = [100, 1000, 100]
      alpha = [0.1, 0.2]
      bias = [-1, 1]
      vertical = 0 }
    gray = true
    """
    found = read(text, "edges.hcl", tmp_path)
    halo, shift, chroma, dots, outline, wave, gray, _ = steps_of(found)
    assert halo == {"halo": {"amount": [1.0, 1.0], "radius": [0.1, 2.0], "threshold": [0.0, 0.5]}}
    assert shift == {"channel_shift": {"space": {"ycc": 1.0, "cmyk": 1.0}, "limit": 3.0}}
    assert chroma["chroma_subsampling"]["sampling"] == {"4:2:0": 2.0, "4:1:1": 1.0}
    assert chroma["chroma_subsampling"]["prob"] == 0.75
    assert [option["weight"] for option in dots["one_of"]["options"]] == [1.0, 1.0, 1.0]
    black = dots["one_of"]["options"][1]["steps"][0]["halftone"]
    assert (black["inks"], black["period"]) == ({"black": 1.0}, [5.6569, 9.8995])
    assert outline["outline"] == {
        **{"low": [10.0, 150.0], "above": [20.0, 100.0], "width": [1.0, 3.0], "opacity": [1.0, 1.0], "white_prob": 0.5},
    }
    assert gray == {"gray": {"target": True}}
    assert wave == {"interference": {"level": [25.5, 51.0], "period": [100.0, 1000.0], "angle": 45.0}}
    assert found.left[:2] == ("screentone: type_halftone rgb", "canny: lq_hq: True")
    assert len(found.left) == 3


def test_sizes_of_wtp_by_way_of_others(tmp_path: Path) -> None:
    text = """
    degradation { type = "resize"
      alg_lq = ["box", "down_up", "up_down", "down_down"]
      alg_hq = ["box"]
      scale = 2
      down_up = { down = [1, 3], alg_down = ["linear"], alg_up = ["cubic_catrom"] }
      up_down = { up = [1, 2], alg_up = ["linear"], alg_down = ["box"] } }
    """
    found = read(text, "sizes.hcl", tmp_path)
    plain, smaller, larger = (option["steps"] for option in steps_of(found)[0]["one_of"]["options"])
    assert plain == [{"resize": {"scale": [2.0, 2.0], "filter": ["area"]}}]
    assert smaller == [{"resize": {"scale": [2.0, 6.0]}}, {"resize": {"scale": [2.0, 2.0], "filter": ["cubic_aa"]}}]
    assert larger == [{"resize": {"factor": [1.0, 2.0]}}, {"resize": {"scale": [2.0, 2.0], "filter": ["area"]}}]
    assert found.left == ("resize: filters down_down",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1 + 2", r"mine\.hcl: expected .* of HCL, found `\+ 2` in line 1"),
        ('a = "x ${file(1)}"', "a plain value of HCL"),
        ("a = file(1)", "a plain value"),
        ("a {", "found `the end`"),
        ("\n\na = <<EOT\nx\nEOT", "in line 3"),
        ("a = [1 2]", "`,` or `]`"),
        ("a" + " {a" * 100, "inside each other"),
        ("a = " + "[" * 100, "inside each other"),
    ],
)
def test_more_than_plain_hcl_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_hcl(text, "mine.hcl")


# ---------------------------------------------------------------------------------------------------------- mmagic


PIPELINE = """\
import os
scale = 4
gt_crop_size = 256
raise SystemExit('this code must not run')
train_pipeline = [
    dict(type='LoadImageFromFile', key='gt'),
    dict(type='FixedCrop', keys=['gt'], crop_size=(gt_crop_size, gt_crop_size)),
    dict(type='UnsharpMasking', keys=['gt']),
    dict(type='RandomBlur', params=dict(
        kernel_size=[7, 9, 11, 13, 15, 17, 19, 21],
        kernel_list=['iso', 'aniso', 'sinc'], kernel_prob=[0.6, 0.3, 0.1],
        sigma_x=[0.2, 3], sigma_y=[0.2, 3], sigma_x_step=0.02, rotate_angle=[-3.1416, 3.1416]), keys=['lq']),
    dict(type='RandomResize', params=dict(
        resize_mode_prob=[0.2, 0.7, 0.1], resize_scale=[0.15, 1.5],
        resize_opt=['bilinear', 'area', 'bicubic'], resize_prob=[1 / 3.0, 1 / 3.0, 1 / 3.0])),
    dict(type='RandomNoise', params=dict(
        noise_type=['gaussian', 'poisson'], noise_prob=[0.5, 0.5], gaussian_sigma=[1, 30],
        gaussian_gray_noise_prob=0.4, poisson_scale=[0.05, 3], poisson_gray_noise_prob=0.4)),
    dict(type='RandomJPEGCompression', params=dict(quality=[30, 95])),
    dict(type='DegradationsWithShuffle', degradations=[
        dict(type='RandomVideoCompression', params=dict(
            codec=['libx264', 'h264', 'mpeg4'], codec_prob=[1 / 3., 1 / 3., 1 / 3.], bitrate=[1e4, 1e5])),
        [dict(type='RandomResize', params=dict(target_size=(gt_crop_size // scale, 64), resize_opt=['area'])),
         dict(type='RandomBlur', params=dict(
            prob=0.8, kernel_size=[7, 21], kernel_list=['sinc'], kernel_prob=[1], omega=[3.1416 / 3, 3.1416]))],
    ], keys=['lq']),
    os.environ,
]
"""


def test_a_pipeline_of_mmagic_is_read_and_not_run(tmp_path: Path) -> None:
    found = read(PIPELINE, "config.py", tmp_path)
    blur, resize, noise, jpeg, shuffle, _ = steps_of(found)
    gaussian, small, large = blur["one_of"]["options"]
    assert (gaussian["weight"], gaussian["steps"][0]["blur"]["kernels"]) == (0.9, {"iso": 0.6, "aniso": 0.3})
    assert small["steps"][0]["sinc_blur"]["support"] == [7, 9, 11]
    assert large["weight"] == pytest.approx(0.0625)
    assert [option["weight"] for option in resize["one_of"]["options"]] == [0.2, 0.7, 0.1]
    assert resize["one_of"]["options"][1]["steps"][0]["enlarge"]["factor"] == [0.15, 1.0]
    assert noise["one_of"]["options"][1]["steps"][0] == {"poisson_noise": {"scale": [0.05, 3.0], "gray_prob": 0.4}}
    assert jpeg == {"jpeg": {"quality": [30.0, 95.0]}}
    video, both = shuffle["shuffle"]["steps"]
    back = both["one_of"]["options"][0]["steps"]
    assert video["video"]["codec"] == {"h264": pytest.approx(2 / 3), "mpeg4": pytest.approx(1 / 3)}
    assert video["video"]["bitrate"] == [1e4 / 256**2, 1e5 / 256**2]
    assert back[0]["resize"]["scale"] == [4.0, 4.0]
    assert any("UnsharpMasking" in line for line in found.left)
    assert any("no plain dict" in line for line in found.left)


def test_sizes_of_mmagic_without_a_crop_follow_from_those_that_are_named(tmp_path: Path) -> None:
    sizes = ("dict(target_size=(512, 512), resize_opt=['area'])", "dict(target_size=(64, 64), resize_opt=['area'])")
    resizes = [f"dict(type='RandomResize', params={size}, keys=['img'])" for size in sizes]
    for shown in (resizes, resizes[1:]):
        text = f"scale = 8\ntrain_pipeline = [{', '.join(shown)}]\n"
        scales = [step["resize"]["scale"] for step in steps_of(read(text, "faces.py", tmp_path))]
        assert scales == [[1.0, 1.0], [8.0, 8.0], [1.0, 1.0]][-len(shown) - 1 :]


def test_a_base_of_mmagic_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"found none; it may be in its `_base_`, '\./other\.py'"):
        read("_base_ = './other.py'\nscale = 4\n", "config.py", tmp_path)


# -------------------------------------------------------------------------------------------------- albumentations


def saved(*transforms: dict[str, Any], p: float = 1.0) -> str:
    inside = [{**entry, "__class_fullname__": entry["name"]} for entry in transforms]
    for entry in inside:
        del entry["name"]
    root = {"__class_fullname__": "Compose", "p": p, "transforms": inside, "bbox_params": None}
    return json.dumps({"__version__": "2.0.8", "transform": root})


def test_a_saved_pipeline_of_albumentations_is_read(tmp_path: Path) -> None:
    text = saved(
        {"name": "HorizontalFlip", "p": 0.5},
        {"name": "GaussianBlur", "p": 1.0, "blur_limit": 0, "sigma_limit": [0.5, 3.0]},
        {"name": "Downscale", "p": 0.25, "scale_range": [0.25, 0.5], "interpolation_pair": {"upscale": 0}},
        {"name": "GaussNoise", "p": 1.0, "std_range": [0.1, 0.2], "mean_range": [0, 0], "per_channel": True},
        {"name": "albumentations.augmentations.ImageCompression", "p": 1, "quality_lower": 30, "quality_upper": 90},
        {"name": "ImageCompression", "p": 1.0, "quality_range": [50, 60], "compression_type": "webp"},
        {"name": "RandomFog", "p": 1.0},
        {"name": "ToGray", "p": 0.1},
    )
    found = read(text, "aug.json", tmp_path)
    blur, downscale, noise, jpeg, webp, gray, full = steps_of(found)
    assert blur == {"blur": {"sigma": [0.5, 3.0], "support": "full"}}
    assert downscale["one_of"]["prob"] == 0.25
    assert downscale["one_of"]["options"][0]["steps"][0] == {"resize": {"factor": [0.25, 0.5]}}
    assert noise == {"gaussian_noise": {"level": [25.5, 51.0]}}
    assert jpeg == {"jpeg": {"quality": [30.0, 90.0]}}
    assert webp == {"webp": {"quality": [50.0, 60.0]}}
    assert gray == {"gray": {"prob": 0.1}}
    assert full == {"resize": {"scale": [1.0, 1.0]}}
    assert "RandomFog: no such step is known" in found.left
    assert "Downscale: filter nearest" in found.left
    assert not any("Flip" in line for line in found.left)


def test_a_file_that_albumentations_2_wrote_is_read(tmp_path: Path) -> None:
    """As `A.save` of albumentations 2.0.8 writes each of these."""
    entries = [
        {"__class_fullname__": "MedianBlur", "p": 1.0, "blur_limit": [3, 9]},
        {"__class_fullname__": "Blur", "p": 1.0, "blur_limit": [3, 9]},
        {
            **{"__class_fullname__": "AdvancedBlur", "p": 1.0, "beta_limit": [0.5, 8.0], "blur_limit": [3, 7]},
            **{"noise_limit": [0.9, 1.1], "rotate_limit": [-90.0, 90.0]},
            **{"sigma_x_limit": [0.2, 1.0], "sigma_y_limit": [0.2, 1.0]},
        },
        {"__class_fullname__": "SaltAndPepper", "p": 1.0, "amount": [0.01, 0.06], "salt_vs_pepper": [0.4, 0.6]},
        {"__class_fullname__": "RandomGamma", "p": 1.0, "gamma_limit": [80.0, 120.0]},
        {"__class_fullname__": "ToSepia", "p": 1.0},
        {"__class_fullname__": "Posterize", "p": 1.0, "num_bits": [4, 4]},
        {
            **{"__class_fullname__": "UnsharpMask", "p": 1.0, "alpha": [0.2, 0.5], "blur_limit": [3, 7]},
            **{"sigma_limit": [0.0, 0.0], "threshold": 10},
        },
        {
            **{"__class_fullname__": "CoarseDropout", "p": 1.0, "fill": 0.0, "fill_mask": None},
            **{"hole_height_range": [0.1, 0.2], "hole_width_range": [0.1, 0.2], "num_holes_range": [1, 2]},
        },
        {"__class_fullname__": "GlassBlur", "p": 1.0, "iterations": 2, "max_delta": 4, "mode": "fast", "sigma": 0.7},
    ]
    data = {"__version__": "2.0.8", "transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": entries}}
    path = tmp_path / "aug.json"
    path.write_text(json.dumps(data))
    found = import_recipe(path)
    steps = found.recipe.to_mapping()["steps"]
    assert steps[:7] == [
        {"denoise": {"method": {"median": 1.0}, "window": [3.0, 9.0]}},
        {"box_blur": {"side": [3.0, 9.0]}},
        {
            "blur": {
                **{"kernels": {"generalized_aniso": 1.0}, "sigma": [0.2, 1.0], "support": "full"},
                **{"rotation": [-1.5708, 1.5708], "beta_generalized": [0.5, 8.0]},
            }
        },
        {"impulse_noise": {"share": [0.01, 0.06], "white": [0.4, 0.6]}},
        {"levels": {"low": [0.0, 0.0], "high": [255.0, 255.0]} | {"gamma": [0.8, 1.2]}},
        {"sepia": {"amount": [1.0, 1.0]}},
        {"banding": {"levels": [16.0, 16.0]}},
    ]
    assert [next(iter(step)) for step in steps[7:]] == ["sharpen", "occlusion", "resize"]
    assert found.left == (
        "UnsharpMask: threshold",
        "CoarseDropout: fill 0.0; turned patches of any colour here",
        "GlassBlur: no such step is known",
    )


def test_one_of_albumentations_is_one_of(tmp_path: Path) -> None:
    inside = [
        {"__class_fullname__": "MotionBlur", "p": 0.2, "blur_limit": [3, 7]},
        {"__class_fullname__": "GaussNoise", "p": 0.6, "var_limit": [100, 400]},
        {"__class_fullname__": "ColorJitter", "p": 0.2, "brightness": 0.2, "hue": [-0.1, 0.1]},
    ]
    (choice, _) = steps_of(read(saved({"name": "OneOf", "p": 1.0, "transforms": inside}), "aug.json", tmp_path))
    assert [option["weight"] for option in choice["one_of"]["options"]] == [0.2, 0.6, 0.2]
    motion, noise, jitter = (option["steps"][0] for option in choice["one_of"]["options"])
    assert motion == {"motion_blur": {"length": [3.0, 7.0]}}
    assert noise == {"gaussian_noise": {"level": [10.0, 20.0]}}
    assert jitter["color_jitter"]["brightness"] == [0.8, 1.2]


def test_colours_edges_and_pixels_of_albumentations(tmp_path: Path) -> None:
    text = saved(
        {"name": "RandomBrightnessContrast", "p": 0.5, "brightness_limit": [-0.2, 0.2], "contrast_limit": [-0.1, 0.3]},
        {"name": "RGBShift", "p": 1.0, **{f"{channel}_shift_limit": [-20.0, 20.0] for channel in "rgb"}},
        {
            "name": "HueSaturationValue",
            "p": 1.0,
            "hue_shift_limit": [-9, 9],
            "sat_shift_limit": 30,
            "val_shift_limit": 0,
        },
        {"name": "RingingOvershoot", "p": 1.0, "blur_limit": [7, 11], "cutoff": [0.8, 1.5]},
        {"name": "MultiplicativeNoise", "p": 1.0, "multiplier": [0.9, 1.1], "per_channel": False, "elementwise": False},
        {"name": "PixelDropout", "p": 1.0, "dropout_prob": 0.02, "per_channel": False, "drop_value": 0},
        {"name": "Sharpen", "p": 1.0, "alpha": [0.1, 0.2], "lightness": [1, 1], "method": "kernel"},
        {"name": "Sharpen", "p": 1.0, "alpha": [0.1, 0.2], "method": "gaussian", "sigma": 1.5},
        {
            "name": "Downscale",
            "p": 1.0,
            "scale_range": [0.5, 0.5],
            "interpolation_pair": {"downscale": 3, "upscale": 2},
        },
    )
    found = read(text, "aug.json", tmp_path)
    still = {"contrast": [1.0, 1.0], "saturation": [1.0, 1.0]}
    both, shift, hue, ringing, factor, pixels, kernel, mask, *sizes, _ = steps_of(found)
    (option,) = both["one_of"]["options"]
    assert option["steps"] == [
        {"color_jitter": {"brightness": [0.9, 1.3], **still, "hue": [0.0, 0.0]}},
        {"color_shift": {"limit": 51.0, "gray_prob": 1.0}},
    ]
    assert shift == {"color_shift": {}}  # its limit is 20 already
    assert hue["color_jitter"] == {"brightness": [1.0, 1.0], **still, "hue": [-0.05, 0.05]}
    assert ringing == {"sinc_blur": {"support": [7, 9, 11], "cutoff": [0.8, 1.5]}}
    assert factor["color_jitter"]["brightness"] == [0.9, 1.1]
    assert pixels == {"impulse_noise": {"share": [0.02, 0.02], "white": [0.0, 0.0]}}
    assert kernel["sharpen"]["amount"] == pytest.approx([0.9, 1.8])
    assert mask == {"sharpen": {"amount": [0.1, 0.2], "radius": [1.5, 1.5]}}
    assert sizes == [
        {"resize": {"factor": [0.5, 0.5], "filter": ["area"]}},
        {"resize": {"scale": [1.0, 1.0], "filter": ["cubic"]}},
    ]
    assert found.left == ("HueSaturationValue: sat_shift_limit [-30, 30]",)


def test_names_of_albumentationsx_are_known(tmp_path: Path) -> None:
    text = saved(
        {"name": "GaussianBlur", "p": 1.0, "blur_range": [0, 0], "sigma_range": [1.0, 2.0]},
        {"name": "MotionBlur", "p": 1.0, "blur_range": [5, 9], "angle_range": [0, 90], "allow_shifted": True},
        {"name": "Defocus", "p": 1.0, "radius_range": [2, 4], "alias_blur_range": [0.1, 0.5]},
        {"name": "SaltAndPepper", "p": 1.0, "amount_range": [0.01, 0.02], "salt_vs_pepper_range": [0.5, 0.5]},
        {"name": "RandomBrightnessContrast", "p": 1.0, "brightness_range": [0, 0], "contrast_range": [-0.1, 0.1]},
        {
            **{"name": "RandomBrightnessContrast", "p": 1.0, "brightness_range": [-0.2, 0.2], "contrast_range": [0, 0]},
            **{"brightness_by_max": False, "ensure_safe_output": False},
        },
    )
    found = read(text, "aug.json", tmp_path)
    assert steps_of(found)[:4] == [
        {"blur": {"sigma": [1.0, 2.0], "support": "full"}},
        {"motion_blur": {"length": [5.0, 9.0], "angle": [0.0, 1.5708]}},
        {"defocus": {"radius": [2.0, 4.0]}},
        {"impulse_noise": {"share": [0.01, 0.02], "white": [0.5, 0.5]}},
    ]
    assert steps_of(found)[4]["color_jitter"]["brightness"] == [0.9, 1.1]
    assert steps_of(found)[5] == {"color_shift": {"limit": 25.5, "gray_prob": 1.0}}
    (line,) = found.left
    assert "of middle gray here" in line


@pytest.mark.parametrize(
    ("name", "count", "kinds"),
    [
        ("SomeOf", 1, ["one_of"]),
        ("SomeOf", 3, ["blur", "gaussian_noise", "jpeg"]),
        ("RandomOrder", 3, ["shuffle"]),
        ("RandomOrder", 2, []),
    ],
)
def test_some_of_albumentations_is_one_or_all(name: str, count: int, kinds: list[str], tmp_path: Path) -> None:
    inside = [
        {"__class_fullname__": "GaussianBlur", "p": 1.0, "sigma_limit": [1, 2]},
        {"__class_fullname__": "GaussNoise", "p": 0.5, "std_range": [0.1, 0.1]},
        {"__class_fullname__": "ImageCompression", "p": 1.0, "quality_range": [40, 60]},
    ]
    text = saved(
        {"name": name, "p": 1.0, "n": count, "replace": False, "transforms": inside}, {"name": "ToSepia", "p": 1.0}
    )
    found = read(text, "aug.json", tmp_path)
    assert [next(iter(step)) for step in steps_of(found)] == [*kinds, "sepia", "resize"]
    assert found.left == (() if kinds else (f"{name}: 2 of 3; name one, or all",))


# ------------------------------------------------------------------------------------------------------ what is none


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "expected a file that ends in .yml, .yaml"),
        ("a.yml", "train: {lr: 1}", r"a\.yml: expected options of a degradation"),
        ("a.yml", "- 1", "expected keys with values"),
        ("a.yml", "!!python/object/apply:os.system ['true']", "not plain YAML"),
        ("a.yml", MILD.replace("[0.2, 0.7, 0.1]", "[0.2, 0.7]"), "resize_prob: expected a list of 3 numbers"),
        ("a.yml", MILD.replace("[0.3, 1.5]", "fast"), "resize_range: expected a number"),
        ("a.hcl", "input = 1", "expected blocks `degradation"),
        ("a.py", "def", "expected a configuration in Python"),
        ("a.py", "train_pipeline = [dict(type='LoadImageFromFile')]", "expected a degradation"),
        (
            "a.py",
            "train_pipeline = [dict(type='RandomResize', params=dict(target_size=(0, 0)))]",
            "sides of at least 1",
        ),
        (
            "a.py",
            "train_pipeline = [dict(type='RandomNoise', params=dict(noise_type=['gaussian'], noise_prob=[0]))]",
            "noise_prob: expected a positive one",
        ),
        ("a.json", saved({"name": "OneOf", "transforms": [{"p": "often"}]}), "OneOf: p: expected a number"),
        ("a.json", saved({"name": "OneOf", "transforms": ["ToGray"]}), "transforms: expected a list of transforms"),
        ("a.json", saved({"name": "ColorJitter", "hue": "red"}), "ColorJitter: hue: expected a number"),
        ("a.json", saved({"name": "MultiplicativeNoise", "multiplier": {}}), "multiplier: expected a number"),
        (
            "a.json",
            saved({"name": "Downscale", "interpolation_pair": {"downscale": []}}),
            "interpolation_pair: downscale: expected a number",
        ),
        ("a.json", "{}", "expected a pipeline of albumentations"),
        ("a.json", saved({"name": "NoOp"}), "expected a degradation"),
    ],
)
def test_what_holds_no_degradation_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read(text, name, tmp_path)
