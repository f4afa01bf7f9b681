"""Steps of recipes that compress: drawn qualities, chroma subsampling, places of the blocks, posts, and video."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

from degrade_kit import ops
from degrade_kit.checks import (
    Range,
    flag,
    hexadecimal,
    named_or_file,
    names,
    number,
    numbers_of,
    optional,
    probability,
    span,
    whole_span,
)
from degrade_kit.codec_ops import GRID, SUBSAMPLINGS, Subsampling
from degrade_kit.errors import ConfigError
from degrade_kit.jpeg_tables import STANDARD, jpeg_tables
from degrade_kit.linear import FILTERS, Filter
from degrade_kit.step_base import BaseStep, Drawn, Rng, draw_weighted, draw_whole, merged, normal, uniform
from degrade_kit.upscale_ops import UPSCALERS, upscaler_digest, upscaler_libraries
from degrade_kit.video_ops import CRF, MAX_BEFORE, VIDEO_CODECS, VideoCodec, video_libraries

Codec = Literal["jpeg", "webp", "avif"]
CODECS: tuple[Codec, ...] = ("jpeg", "webp", "avif")


def _subsampling() -> dict[Subsampling, float]:
    return {"4:2:0": 1.0}


@dataclass(frozen=True, kw_only=True)
class RandomJpeg(BaseStep):
    """JPEG compression of a drawn quality."""

    name: ClassVar[str] = "jpeg"
    quality: Range = field(metadata={"check": whole_span(1, 100)})
    """Range of the quality; whole numbers, both ends included."""
    subsampling: dict[Subsampling, float] = field(
        default_factory=_subsampling, metadata={"check": numbers_of(tuple(SUBSAMPLINGS))}
    )
    """Size of chroma: 4:2:0 (most files), 4:2:2 or 4:4:4, with weights."""
    any_grid: bool = field(default=False, metadata={"check": flag})
    """Let the blocks lie anywhere on the face, as in a photograph that was cut; then no file is kept."""
    tables: dict[str, float] = field(default_factory=lambda: {STANDARD: 1.0}, metadata={"check": jpeg_tables})
    """Quantisation tables with weights: `standard`, Photoshop's, or those that `degrade-kit align` found in
    photographs, `{from: FILE}`. All but the standard's come with their own subsampling, and `quality` scales them: 50
    leaves them as they are."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        quality = draw_whole(rng, self.quality)
        # No number is spent on what is certain, so that a recipe of before draws the same.
        chosen = draw_weighted(rng, self.subsampling) if len(self.subsampling) > 1 else next(iter(self.subsampling))
        right, down = (draw_whole(rng, (0, GRID - 1)) if self.any_grid else 0 for _ in range(2))
        tables = draw_weighted(rng, self.tables) if len(self.tables) > 1 else next(iter(self.tables))
        if tables == STANDARD:
            tables = ""
        else:
            sampling, _, tables = tables.partition(" ")
            chosen = cast("Subsampling", sampling)
        drawn.steps.append(ops.Jpeg(quality=quality, subsampling=chosen, right=right, down=down, tables=tables))


@dataclass(frozen=True, kw_only=True)
class RandomWebP(BaseStep):
    """Lossy WebP compression of a drawn quality."""

    name: ClassVar[str] = "webp"
    quality: Range = field(metadata={"check": whole_span(1, 100)})
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        drawn.steps.append(ops.WebP(quality=draw_whole(rng, self.quality)))


@dataclass(frozen=True, kw_only=True)
class _VideoFrame(BaseStep):
    """One frame of a video codec as a picture: what AVIF and HEIC are."""

    quality: Range = field(metadata={"check": whole_span(1, 100)})
    subsampling: dict[Subsampling, float] = field(
        default_factory=_subsampling, metadata={"check": numbers_of(tuple(SUBSAMPLINGS))}
    )
    prob: float = field(default=1.0, metadata={"check": probability})
    _op: ClassVar[type[ops.Avif] | type[ops.Heic]]

    def libraries(self) -> dict[str, str]:
        """List the codec's library with its version."""
        return self._op.libraries()

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        quality, subsampling = draw_whole(rng, self.quality), draw_weighted(rng, self.subsampling)
        drawn.steps.append(self._op(quality=quality, subsampling=subsampling))


@dataclass(frozen=True, kw_only=True)
class RandomAvif(_VideoFrame):
    """AVIF compression of a drawn quality, as browsers and platforms use it now. Needs Pillow 11.3."""

    name: ClassVar[str] = "avif"
    _op = ops.Avif


@dataclass(frozen=True, kw_only=True)
class RandomHeic(_VideoFrame):
    """HEIC compression of a drawn quality, as phones store photographs. Needs the extra `heic`."""

    name: ClassVar[str] = "heic"
    _op = ops.Heic


@dataclass(frozen=True, kw_only=True)
class Enlarge(BaseStep):
    """Resampling by a factor of the current size, as viewers, screens and aligners enlarge; it need not reach HQ's."""

    name: ClassVar[str] = "enlarge"
    factor: Range = field(metadata={"check": span(0.1, 8)})
    """Range of the factor, drawn uniformly; below 1 shrinks."""
    filter: tuple[Filter, ...] = field(default=("linear", "cubic"), metadata={"check": names(FILTERS)})
    prob: float = field(default=1.0, metadata={"check": probability})

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        factor = uniform(rng, self.factor)
        drawn.steps.append(ops.Rescale(factor=factor, filter=self.filter[draw_whole(rng, (0, len(self.filter) - 1))]))
        drawn.scale /= factor


@dataclass(frozen=True, kw_only=True)
class Repost(BaseStep):
    """A picture that goes round: resized and compressed anew each time that somebody posts it."""

    name: ClassVar[str] = "repost"
    times: Range = field(default=(1.0, 4.0), metadata={"check": whole_span(1, 8)})
    """Range of how often; whole numbers, both ends included."""
    factor: Range = field(default=(0.75, 1.5), metadata={"check": span(0.25, 4)})
    """Range of the factor by which it is resized before each post."""
    quality: Range = field(default=(50.0, 92.0), metadata={"check": whole_span(1, 100)})
    codec: dict[Codec, float] = field(default_factory=lambda: {"jpeg": 1.0}, metadata={"check": numbers_of(CODECS)})
    """Codecs with weights: jpeg, webp, avif."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def libraries(self) -> dict[str, str]:
        """List the library of AVIF with its version, if it is drawn."""
        return ops.Avif.libraries() if self.codec.get("avif") else {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor[1] ** self.times[1] > 8:
            raise ConfigError(f"repost: {self.times[1]:g} times by {self.factor[1]:g} is more than 8-fold")

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        for _ in range(draw_whole(rng, self.times)):
            factor = uniform(rng, self.factor)
            drawn.steps.append(ops.Rescale(factor=factor, filter="area" if factor < 1 else "cubic"))
            drawn.scale /= factor
            quality = draw_whole(rng, self.quality)
            codec = draw_weighted(rng, self.codec)
            if codec == "jpeg":
                drawn.steps.append(ops.Jpeg(quality=quality))
            else:
                drawn.steps.append(ops.WebP(quality=quality) if codec == "webp" else ops.Avif(quality=quality))


@dataclass(frozen=True, kw_only=True)
class RandomVideo(BaseStep):
    """A frame of a video: a short clip in which the picture moves is encoded, and one of its frames kept.

    Needs the extra `video`. Sources of the idea: Chan et al., "Investigating tradeoffs in real-world video
    super-resolution" (CVPR 2022), which draws codec and bit rate; Wang et al., "VCISR" (WACV 2024), for single images.
    """

    name: ClassVar[str] = "video"
    alternatives = ("crf", "bitrate")
    codec: dict[VideoCodec, float] = field(
        default_factory=lambda: {"h264": 1.0}, metadata={"check": numbers_of(VIDEO_CODECS)}
    )
    """Codecs with weights: h264, h265, mpeg2, mpeg4, vp9, av1."""
    crf: Range | None = field(default=None, metadata={"check": optional(whole_span(*CRF))})
    """Range of the quality on H.264's scale: 18 is fine, 23 usual, 40 coarse; whole numbers, both ends included."""
    bitrate: Range | None = field(default=None, metadata={"check": optional(span(0.001, 24))})
    """Instead of `crf`: range of the bits for each pixel and frame, drawn log-uniformly; 5 Mbit/s for 1920 x 1080
    pixels, 25 times a second, are 0.1. It takes six times as long."""
    before: Range = field(default=(0.0, 4.0), metadata={"check": whole_span(0, MAX_BEFORE)})
    """Range of the frames between the key frame and the one that is kept; 0 keeps the key frame."""
    motion: Range = field(default=(0.0, 2.0), metadata={"check": span(0, 32)})
    """Range of the movement from frame to frame, in pixels of the image as it is then; in any direction."""
    zoom: float = field(default=0.005, metadata={"check": number(0, 0.1)})
    """Standard deviation of the logarithm of the growth from frame to frame."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.crf is None) == (self.bitrate is None):
            raise ConfigError("video: expected exactly one of `crf` and `bitrate`")

    def libraries(self) -> dict[str, str]:
        """List PyAV and its codecs' library with their versions."""
        return merged(video_libraries(codec) for codec, weight in self.codec.items() if weight)

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        codec = draw_weighted(rng, self.codec)
        crf, bitrate = 0, 0.0
        if self.crf is not None:
            crf = draw_whole(rng, self.crf)
        elif self.bitrate is not None:
            low, high = (math.log(end) for end in self.bitrate)
            bitrate = math.exp(uniform(rng, (low, high)))
        before = draw_whole(rng, self.before)
        angle, speed = uniform(rng, (-math.pi, math.pi)), uniform(rng, self.motion)
        drawn.steps.append(
            ops.Video(
                codec=codec,
                crf=crf,
                bitrate=bitrate,
                before=before,
                right=speed * math.cos(angle),
                down=speed * math.sin(angle),
                zoom=math.exp(min(max(self.zoom * normal(rng), -0.2), 0.2)),
            )
        )


@dataclass(frozen=True, kw_only=True)
class RandomAiUpscale(BaseStep):
    """An upscaler of learned networks: people enlarge small photographs with one, and post the outcome.

    Needs the extra `upscale`, or an ONNX file. Slow: seconds for 128 x 128 pixels with `realesrgan-x4plus`.
    """

    name: ClassVar[str] = "ai_upscale"
    model: str = field(default="realesrgan-x4plus", metadata={"check": named_or_file(tuple(UPSCALERS), ".onnx")})
    """`realesrgan-x4plus` for photographs; `realesr-animevideov3-x4`, small and smooth; or an ONNX file."""
    factor: Range = field(default=(2.0, 4.0), metadata={"check": span(0.5, 8)})
    """Range of the size of the outcome over that of the image as it is then, drawn uniformly."""
    strength: Range = field(default=(1.0, 1.0), metadata={"check": span(0, 1)})
    """Range of the share of the network's image; the rest is enlarged by a cubic filter."""
    digest: str = field(default="", metadata={"check": hexadecimal})
    """Hash of the network's files; filled in, and checked where it is given."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def __post_init__(self) -> None:
        super().__post_init__()
        found = upscaler_digest(self.model)
        if self.digest not in ("", found):
            raise ConfigError(f"ai_upscale: {self.model}: expected the network {self.digest}, found {found}")
        object.__setattr__(self, "digest", found)

    def libraries(self) -> dict[str, str]:
        """List the packages that run the network, with their versions."""
        return upscaler_libraries(self.model)

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        factor, strength = uniform(rng, self.factor), uniform(rng, self.strength)
        drawn.steps.append(ops.AiUpscale(model=self.model, digest=self.digest, factor=factor, strength=strength))
        drawn.scale /= factor
