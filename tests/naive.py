"""The oracle: every operation of a record done plainly, one after the other, with OpenCV and NumPy.

Nothing here is fast, and nothing is shared with `degrade_kit.linear` and `degrade_kit.canvas`: kernels are full
squares built from the papers' formulas and applied with `cv2.filter2D`, resizes are `cv2.resize`. Noise fields alone
come from `degrade_kit.noise`, so that both sides see the same ones. An image is float32, (height, width, 3), 0..255.
"""

from __future__ import annotations

import io
import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from scipy import special

from degrade_kit import kernels, ops
from degrade_kit.colour_ops import DIFFUSIONS
from degrade_kit.noise import bit_stream, normals, poisson_noise
from degrade_kit.op_tools import Seat
from degrade_kit.record import Record

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Square = npt.NDArray[np.float64]

INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
GRAY = np.array([0.299, 0.587, 0.114], np.float32)
TORCHVISION_GRAY = np.array([0.2989, 0.587, 0.114], np.float32)


def lq(record: Record, hq: Pixels) -> Pixels:
    """The LQ image of a record at the size of `hq`.

    A shard holds an 8-bit image in front of the last upsampling, so there is one rounding there and one at the end.
    """
    steps = list(record.steps)
    tail: list[ops.Op] = []
    while steps and steps[-1].name in ("color_shift", "color_jitter", "gray"):
        tail.insert(0, steps.pop())
    last = steps[-1] if steps else None
    resized = isinstance(last, ops.Resize) and last.scale == 1 and last.filter in INTERPOLATIONS
    if resized or isinstance(last, ops.Unframe):
        tail.insert(0, steps.pop())
    else:
        steps, tail = list(record.steps), []
    native = rounded(run(steps, hq.astype(np.float32), record.seed, size=hq.shape[:2]))
    return rounded(run(tail, native.astype(np.float32), record.seed, size=hq.shape[:2]))


def rounded(image: Floats) -> Pixels:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def run(
    steps: list[ops.Op] | tuple[ops.Op, ...],
    image: Floats,
    seed: int,
    *,
    size: tuple[int, ...] | None = None,
    position: tuple[int, ...] = (),
) -> Floats:
    """Do all `steps` in order; `size` is the HQ image's height and width, by default those of `image`."""
    full = image.shape[:2] if size is None else size
    for index, op in enumerate(steps):
        image = np.ascontiguousarray(step(op, image, seed, (*position, index), full), np.float32)
    return image


def step(op: ops.Op, image: Floats, seed: int, position: tuple[int, ...], full: tuple[int, ...]) -> npt.NDArray[Any]:
    """Do one operation."""
    height, width = image.shape[:2]
    bits, seat = bit_stream(seed, position), Seat(seed, position)
    match op:
        case ops.Blur() | ops.SincBlur() | ops.MotionBlur():
            return cv2.filter2D(image, -1, kernel_of(op))
        case ops.Resize():
            target = [max(1, int(side // op.scale)) for side in full]
            if op.filter == "cubic_aa":
                return matlab_imresize(image, target[0], target[1])
            return cv2.resize(image, (target[1], target[0]), interpolation=INTERPOLATIONS[op.filter])
        case ops.Decimate():
            # BSRGAN convolves, which turns the kernel around; filter2D does not.
            kernel = bsrgan_shifted(gaussian(op.size, op.sigma, op.sigma, 0.0), op.factor)[::-1, ::-1]
            return cv2.filter2D(image, -1, kernel)[:: op.factor, :: op.factor]
        case ops.Clip():
            return np.clip(image, 0, 255)
        case ops.GaussianNoise():
            field = normals((1 if op.gray else 3, height, width), bits)
            return np.clip(image + field.transpose(1, 2, 0) * np.float32(op.level), 0, 255)
        case ops.CovarianceNoise():
            values, vectors = np.linalg.eigh(np.reshape(op.covariance, (3, 3)))
            root = vectors @ np.diag(np.sqrt(np.maximum(values, 0)))
            field = normals((3, height, width), bits).transpose(1, 2, 0)
            return np.clip(image + field @ root.T, 0, 255)
        case ops.PoissonNoise():
            within = np.clip(image, 0, 255)
            met = (within @ GRAY)[None] if op.gray else within.transpose(2, 0, 1)
            field = poisson_noise(met, bits).transpose(1, 2, 0) * np.float32(op.scale)
            return np.clip(within + field, 0, 255)
        case ops.ResizeSide():
            return shaped(image, op.side / min(height, width), op.filter)
        case ops.Rescale():
            return shaped(image, op.factor, op.filter)
        case ops.Frame():
            return framed(op, image, full)
        case ops.Unframe():
            return unframed(op, image, full)
        case ops.Jpeg():
            factor = {"4:2:0": 0x221111, "4:2:2": 0x211111, "4:4:4": 0x111111}[op.subsampling]
            moved = np.pad(image, ((op.down, 0), (op.right, 0), (0, 0)), mode="symmetric")
            options = [cv2.IMWRITE_JPEG_QUALITY, op.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
            return recoded(moved, ".jpg", options)[op.down :, op.right :]
        case ops.Avif() | ops.Heic():
            return through_pillow(op, image)
        case ops.Tone():
            return toned(op, image)
        case ops.Defocus():
            return cv2.filter2D(image, -1, disk(op.radius))
        case ops.CameraShake():
            return cv2.filter2D(image, -1, kernels.path(op.length, op.curl, np.random.Generator(bits)))
        case ops.Isp():
            return taken(op, image, bits)
        case ops.Denoise():
            return denoised(op, rounded(image)).astype(np.float32)
        case ops.Sharpen():
            blurred = cv2.GaussianBlur(image, (0, 0), op.radius)
            return np.clip(image + op.amount * (image - blurred), 0, 255)
        case ops.WebP():
            return recoded(image, ".webp", [cv2.IMWRITE_WEBP_QUALITY, op.quality])
        case ops.ColorShift():
            return np.clip(image + np.array([op.red, op.green, op.blue], np.float32), 0, 255)
        case ops.ColorJitter():
            return jitter(op, image)
        case ops.Gray():
            return np.repeat((image @ GRAY)[..., None], 3, axis=2)
        case ops.Haze():
            return image * op.alpha + 255 * (1 - op.alpha)
        case ops.Shift():
            # RestoreFormer++ pads by the limit on all sides and cuts a window out.
            limit = max(abs(op.right), abs(op.down))
            padded = np.pad(image, ((limit, limit), (limit, limit), (0, 0)), mode="symmetric")
            return padded[limit - op.down :, limit - op.right :][:height, :width]
        case ops.Uneven():
            inside = run(op.inside, image, seed, size=full, position=(*position, 0))
            outside = run(op.outside, image, seed, size=full, position=(*position, 1))
            side = max(1, round(op.side * min(height, width)))
            top, left = round(op.top * (height - side)), round(op.left * (width - side))
            mask = np.zeros((height, width, 1), np.float32)
            mask[top : top + side, left : left + side] = 1
            return inside * mask + outside * (1 - mask)
        case ops.LowLight():
            value = np.clip(image, 0, 255).astype(np.float64)
            dark = np.maximum((value @ GRAY)[..., None] / 255, 1e-12)
            return value / dark * op.beta * (op.alpha * dark) ** op.gamma
        case ops.Rain():
            rainy = image + 255 * op.cover(height, width, seat)[..., None]
            return np.clip(rainy * (1 - op.veil) + 255 * 0.75 * op.veil, 0, 255)
        case ops.Snow():
            return blended(image * (1 - op.veil) + 229.5 * op.veil, (248, 248, 248), op.cover(height, width, seat))
        case ops.DepthHaze():
            light = 255 * np.clip(op.light + op.warmth * np.array([0.5, 0, -0.5]), 0, 1)
            return blended(image, light, op.cover(height, width, seat))
        case ops.Glare():
            tint = np.array([1 + 0.3 * op.warmth, 1, 1 - 0.5 * op.warmth])
            return encoded(linear(image) + tint * op.cover(height, width, seat)[..., None])
        case ops.Scratches() | ops.Dust():
            for colour, cover in op.layers(height, width, seat):
                image = blended(image, colour, cover)
            return image
        case ops.Creases():
            broken, shade = op.parts(height, width, seat)
            return np.clip(blended(image * (1 + 0.45 * op.depth * shade[..., None]), (238, 234, 224), broken), 0, 255)
        case ops.Fade():
            black = 10 ** (-2 / 2.2)
            dyes = 1 - np.array([op.cyan, op.magenta, op.yellow])
            paper = 1 - op.stain * np.array([0.05, 0.3, 1])
            print_ = black + (1 - black) * np.clip(image / 255, 0, 1).astype(np.float64)
            return np.clip((print_**dyes - black) / (1 - black) * paper * 255, 0, 255)
        case ops.Sepia():
            brown = image @ np.array([[0.393, 0.349, 0.272], [0.769, 0.686, 0.534], [0.189, 0.168, 0.131]])
            return np.clip(brown * op.amount + image * (1 - op.amount), 0, 255)
        case ops.FilmGrain():
            share = np.clip(image / 255, 0, 1)
            grain = op.field(height, width, seat).transpose(1, 2, 0)
            return np.clip(image + 2 * op.level * np.sqrt(share * (1 - share)) * grain, 0, 255)
        case ops.Halftone():
            return printed(op, np.clip(image / 255, 0, 1).astype(np.float64))
        case ops.ScreenCapture():
            return photographed(op, image, bits)
        case ops.Aberration():
            out = image.copy()
            middle = np.array([width - 1, height - 1]) / 2
            for channel, reach in ((0, op.red), (2, op.blue)):
                matrix = np.array([[1 + reach, 0, -reach * middle[0]], [0, 1 + reach, -reach * middle[1]]])
                plane = np.ascontiguousarray(image[..., channel])
                out[..., channel] = cv2.warpAffine(plane, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
            return out
        case ops.ImpulseNoise():
            draws = np.random.Generator(bits).random((height, width))[..., None]
            return np.where(draws < op.share, np.where(draws < op.share * op.white, 255, 0), image)
        case ops.Pixelate():
            size = (max(1, round(width / op.block)), max(1, round(height / op.block)))
            few = cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], 3)
            blocks = cv2.resize(few, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
            return blocks.reshape(image.shape)
        case ops.Interference():
            rows, columns = np.indices((height, width))
            along = columns * math.sin(op.angle) + rows * math.cos(op.angle)
            return np.clip(image + op.level * np.sin(2 * math.pi / op.period * along + op.phase)[..., None], 0, 255)
        case ops.Banding():
            return np.rint(np.clip(image, 0, 255) / 255 * (op.levels - 1)) / (op.levels - 1) * 255
        case ops.Palette():
            few = rounded(image)
            chosen = PillowImage.fromarray(few // 8 * 8 + few // 32).quantize(
                op.colours, PillowImage.Quantize.MEDIANCUT
            )
            made = PillowImage.fromarray(few).quantize(palette=chosen, dither=PillowImage.Dither(3 * op.dither))
            return np.asarray(made.convert("RGB"), np.float32)
        case ops.Interlace():
            matrix = np.array([[1, 0, op.right], [0, 1, op.down]])
            moved = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
            moved = moved.reshape(image.shape)
            odd = (np.arange(height) % 2 == 1)[:, None, None]
            return np.where(odd, moved, image) if op.fields == "weave" else (image + moved) / 2
        case ops.Watermark():
            return blended(image, (op.level,) * 3, op.cover(height, width, seat))
        case ops.UniformNoise():
            shape = (height, width) if op.gray else (3, height, width)
            raw = np.asarray(bits.random_raw((math.prod(shape) + 3) // 4), "<u8").view("<u2")[: math.prod(shape)]
            noise = ((raw + 0.5) / 32768 - 1).reshape(-1, height, width).transpose(1, 2, 0)
            return np.clip(image + op.level * noise, 0, 255)
        case ops.SpeckleNoise():
            factors = 1 + normals((1 if op.gray else 3, height, width), bits, op.level).transpose(1, 2, 0)
            return np.clip(np.clip(image, 0, 255) * factors, 0, 255)
        case ops.PerlinNoise():
            return np.clip(image + op.level * clouds(op, height, width, bits), 0, 255)
        case ops.CorrelatedNoise():
            grain: Any = np.pad(kernels.motion(2 * math.ceil(op.length / 2) + 1, op.length, op.angle), 12)
            if op.size > 0.2:  # cut at three deviations
                shape = kernels.gaussian(2 * math.ceil(3 * op.size) + 1, op.size, op.size)
                grain = cv2.filter2D(grain, -1, shape, borderType=cv2.BORDER_CONSTANT)
            field = normals((3, height, width), bits).transpose(1, 2, 0)
            radius = grain.shape[0] // 2
            while radius and not grain[0].any() and not grain[:, 0].any() and not grain[-1].any():
                grain, radius = grain[1:-1, 1:-1], radius - 1
            field = cv2.filter2D(field, -1, grain / math.sqrt((grain**2).sum()))
            y, cb, cr = (field * (op.luma, op.chroma, op.chroma)).transpose(2, 0, 1)
            return np.clip(
                image + np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 2), 0, 255
            )
        case ops.BoxBlur():
            return boxed(op, image)
        case ops.Halo():
            gray = image @ GRAY
            more = gray - np.asarray(cv2.GaussianBlur(gray, (0, 0), op.radius)).reshape(gray.shape)
            return np.clip(image + op.amount * np.maximum(more - op.threshold, 0)[..., None], 0, 255)
        case ops.Outline():
            edges = cv2.Canny(rounded(image @ GRAY), op.low, op.high, L2gradient=True)
            lines = cv2.dilate(edges, np.ones((op.width, op.width), np.uint8)) > 0
            return np.where(lines[..., None], image * (1 - op.opacity) + op.level * op.opacity, image)
        case ops.Levels():
            return op.low + (op.high - op.low) * (np.clip(image, 0, 255) / 255) ** op.gamma
        case ops.ChannelShift():
            return np.clip(registered(op, image.astype(np.float64)), 0, 255)
        case ops.ChromaSubsampling():
            y = image @ GRAY
            size = (math.ceil(width / op.across), math.ceil(height / op.down))
            way = cv2.INTER_LINEAR if op.enlarging == "linear" else cv2.INTER_NEAREST_EXACT
            cb, cr = (
                cv2.resize(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), (width, height), interpolation=way)
                for plane in ((image[..., 2] - y) / 1.772, (image[..., 0] - y) / 1.402)
            )
            cb, cr = cb.reshape(height, width), cr.reshape(height, width)
            return np.clip(np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 2), 0, 255)
        case ops.Dither():
            return dithered(op, np.clip(image, 0, 255) / 255 * (op.levels - 1)) * 255 / (op.levels - 1)
        case ops.UnevenLight() | ops.Vignette():
            return encoded(linear(image) * (1 - op.cover(height, width, seat))[..., None])
        case ops.Reflection():
            tint = np.array([1 + 0.3 * op.warmth, 1, 1 - 0.4 * op.warmth])
            return encoded(linear(image) + tint * op.cover(height, width, seat)[..., None])
        case ops.LensDistortion():
            rows, columns = np.indices((height, width), np.float64)
            x, y = columns - (width - 1) / 2, rows - (height - 1) / 2
            factor = 1 + op.bend * (x**2 + y**2) / ((height**2 + width**2) / 4)
            factor /= 1 + op.bend * (1 if op.bend > 0 else min(height, width) ** 2 / (height**2 + width**2))
            places = (
                (x * factor + (width - 1) / 2).astype(np.float32),
                (y * factor + (height - 1) / 2).astype(np.float32),
            )
            return cv2.remap(image, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(image.shape)
        case ops.Occlusion():
            patches, colours = op._patches(seat, height, width)
            for points, colour in zip(patches, colours, strict=True):
                image = blended(image, colour, op._drawn(points[None], height, width))
            return image
        case ops.FlipNetImage():
            raise AssertionError("a model makes it")
        case ops.Video() | ops.AiUpscale():
            raise AssertionError("libraries alone make it, by the same calls")


def blended(image: npt.NDArray[Any], colour: npt.ArrayLike, cover: Floats) -> npt.NDArray[Any]:
    return image * (1 - cover[..., None]) + np.asarray(colour) * cover[..., None]


def clouds(op: ops.PerlinNoise, height: int, width: int, bits: np.random.SFC64) -> Square:
    """Gradient noise pixel by pixel: four corners' slopes, weighted by Perlin's curve."""
    rng = np.random.Generator(bits)
    heights = [op.persistence**octave for octave in range(op.octaves)]
    total = np.zeros((height, width, 1 if op.gray else 3))
    for channel in range(total.shape[2]):
        for octave, value in enumerate(heights):
            period = max(min(height, width) * op.period / 2**octave, 1.0)
            cells = [int((side - 0.5) / period) + 2 for side in (height, width)]
            angles = rng.random(cells) * 2 * math.pi
            for row in range(height):
                for column in range(width):
                    y, x = (row + 0.5) / period, (column + 0.5) / period
                    above, left = int(y), int(x)
                    mixed = 0.0
                    for down in (0, 1):
                        for right in (0, 1):
                            angle = angles[above + down, left + right]
                            slope = math.cos(angle) * (x - left - right) + math.sin(angle) * (y - above - down)
                            weight = 1.0
                            for place, far in ((x - left, right), (y - above, down)):
                                faded = 6 * place**5 - 15 * place**4 + 10 * place**3
                                weight *= faded if far else 1 - faded
                            mixed += weight * slope
                    total[row, column, channel] += value * mixed
    return total / (0.215 * math.sqrt(sum(value**2 for value in heights)))


def boxed(op: ops.BoxBlur, image: Floats) -> npt.NDArray[Any]:
    """The mean over a square that covers the outermost pixels in part."""
    reach = math.ceil((op.side - 1) / 2)
    places = np.arange(-reach, reach + 1)
    part = np.minimum(places + 0.5, op.side / 2) - np.maximum(places - 0.5, -op.side / 2)
    square = np.outer(part, part) / op.side**2
    blurred = cv2.filter2D(image, -1, square).reshape(image.shape)
    if not op.busy:
        return blurred
    gray = (image @ GRAY).astype(np.float64)
    variance = cv2.filter2D(gray**2, -1, square) - cv2.filter2D(gray, -1, square) ** 2
    return np.where((variance > op.busy * variance.mean()).reshape(gray.shape)[..., None], blurred, image)


def registered(op: ops.ChannelShift, image: Square) -> Square:
    def moved(planes: Square) -> Square:
        out = np.empty_like(planes)
        for channel, (right, down) in enumerate(zip(op.right, op.down, strict=True)):
            matrix = np.array([[1, 0, right], [0, 1, down]])
            plane = planes[..., channel].astype(np.float32)
            out[..., channel] = cv2.warpAffine(plane, matrix, plane.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        return out

    image = np.clip(image, 0, 255)
    if op.space == "rgb":
        return moved(image)
    if op.space == "cmyk":
        cyan = 255 - image
        black = cyan.min(axis=2, keepdims=True)
        return 255 - black - moved(cyan - black)
    y = image @ GRAY
    y, cb, cr = moved(np.stack([y, (image[..., 2] - y) / 1.772, (image[..., 0] - y) / 1.402], 2)).transpose(2, 0, 1)
    return np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], 2)


def dithered(op: ops.Dither, values: npt.NDArray[Any]) -> Square:
    """Pixel by pixel, in the order of the sources."""
    most = op.levels - 1
    height, width = values.shape[:2]
    left, few = values.astype(np.float32), np.zeros(values.shape)
    if op.method == "ordered":
        for row in range(height):
            for column in range(width):
                # Bits of column and of column xor row, in turns, from the lowest up.
                crossed, rank = row % 8 ^ column % 8, 0
                for bit in range(3):
                    rank = rank * 4 + 2 * (crossed >> bit & 1) + (row >> bit & 1)
                few[row, column] = np.clip(np.floor(values[row, column] + (rank + 0.5) / 64), 0, most)
        return few
    if op.method == "riemersma":
        fading = (1 / 16) ** (np.arange(16) / 15)
        for top in range(0, height, 32):
            for start in range(0, width, 32):
                block = np.pad(values, ((0, 32), (0, 32), (0, 0)), mode="edge")[top : top + 32, start : start + 32]
                errors: list[Any] = []
                for place in range(1024):
                    x, y = hilbert(place)
                    wanted = block[y, x] + sum((w * e for w, e in zip(fading, errors, strict=False)), np.zeros(3))
                    chosen = np.clip(np.rint(wanted), 0, most)
                    errors = [block[y, x] - chosen, *errors][:16]
                    if top + y < height and start + x < width:
                        few[top + y, start + x] = chosen
        return few
    taps, divisor = DIFFUSIONS[op.method]
    for row in range(height):
        for column in range(width):
            few[row, column] = np.clip(np.rint(left[row, column]), 0, most)
            error = left[row, column] - few[row, column]
            for down, right, weight in taps:
                if row + down < height and 0 <= column + right < width:
                    left[row + down, column + right] += np.float32(weight / divisor) * error
    return few


def hilbert(place: int) -> tuple[int, int]:
    """Where Hilbert's curve in a square of 32 is at a step; Warren, Hacker's Delight, 16.1."""
    x = y = 0
    side = 1
    while side < 32:
        right, down = place // 2 & 1, (place ^ place // 2) & 1
        if not down:
            if right:
                x, y = side - 1 - x, side - 1 - y
            x, y = y, x
        x, y = x + side * right, y + side * down
        place //= 4
        side *= 2
    return x, y


def linear(image: Floats) -> Square:
    value = np.clip(image / 255, 0, 1).astype(np.float64)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def encoded(light: Square) -> Square:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255


def printed(op: ops.Halftone, image: Square) -> Square:
    """Each ink's screen pixel by pixel: turned coordinates, two cosines, the share of the cell that lies below them."""
    inks = {"c": (0, 0.62, 0.87, 15), "m": (0.88, 0, 0.49, 75), "y": (1, 0.93, 0, 0), "k": (0.13, 0.12, 0.12, 45)}
    white = np.array([0.97, 0.96, 0.93])
    if op.inks == "black":
        tones = {"k": 1 - image @ GRAY}
    else:
        absorbed = np.array([1 - np.array(inks[ink][:3]) / white for ink in "cmy"])
        c, m, y = np.clip(np.linalg.solve(absorbed.T, (1 - image).reshape(-1, 3).T), 0, 1).reshape(3, *image.shape[:2])
        k = np.minimum(np.minimum(c, m), y) ** 2 / 2
        tones = {"c": c - k, "m": m - k, "y": y - k, "k": k}
    wave = np.cos(2 * math.pi * (np.arange(256) + 0.5) / 256)
    cell = np.sort((wave + wave[:, None]).ravel())
    rows, columns = np.indices(image.shape[:2])
    out = np.tile(255 * white, (*image.shape[:2], 1))
    for ink, tone in tones.items():
        red, green, blue, degrees = inks[ink]
        turn = op.angle + math.radians(degrees)
        along = (columns * math.cos(turn) - rows * math.sin(turn)) * 2 * math.pi / op.period
        across = (columns * math.sin(turn) + rows * math.cos(turn)) * 2 * math.pi / op.period
        below = np.searchsorted(cell, np.cos(along) + np.cos(across)) / cell.size
        edge = min(2.2 / op.period, 1)
        spread = tone + 4 * op.gain * tone * (1 - tone)
        covered = np.clip(((1 + edge) * spread - edge / 2 - below) / edge + 0.5, 0, 1)
        out *= 1 - (1 - np.array([red, green, blue])) * covered[..., None]
    return np.asarray(cv2.GaussianBlur(out, (0, 0), op.blur), float).reshape(image.shape) if op.blur else out


def photographed(op: ops.ScreenCapture, image: Floats, bits: np.random.SFC64) -> Square:
    """The screen's light by its waves one by one, then a sensor's mosaic, its noise, and the colours again."""
    light = linear(image)
    height, width = image.shape[:2]
    rows, columns = np.indices((height, width), np.float64)
    x, y, half = columns - (width - 1) / 2, rows - (height - 1) / 2, max(height, width) / 2
    grown = 1 + (op.tilt_right * x + op.tilt_down * y) / (2 * half) + op.bend * (x**2 + y**2) / (6 * half**2)
    across = (math.cos(op.angle) * x + math.sin(op.angle) * y) / op.pitch * grown
    down = (math.cos(op.angle) * y - math.sin(op.angle) * x) / op.pitch * grown

    def waves(phase: Square, lit: float) -> Square:
        found = np.ones_like(phase)
        for number in (1, 2, 3):
            lens = math.exp(-2 * (math.pi * number / op.pitch / 3) ** 2) * np.sinc(0.7 * number / op.pitch)
            found += op.contrast * 2 * np.sinc(number * lit) * lens * np.cos(2 * math.pi * number * phase)
        return np.maximum(found, 0)

    screen = np.stack([waves(across - (colour - 1) / 3, 1 / 3) for colour in range(3)], axis=2)
    light = light * screen * waves(down, 0.85)[..., None] * (1 - op.glow) + op.glow * np.array([0.9, 1, 1.15])
    first, second = rows % 2 == 0, columns % 2 == 0
    raw = np.select([first & second, first != second], [light[..., 0], light[..., 1]], light[..., 2])
    raw = raw + normals((1, *raw.shape), bits, op.noise)[0]
    padded = np.pad(raw, 4, mode="reflect") if min(raw.shape) > 4 else cv2.copyMakeBorder(raw, 4, 4, 4, 4, 4)
    whole = np.clip(padded * 52000 + 6500.5, 0, 65535).astype(np.uint16)
    return encoded((cv2.cvtColor(whole, cv2.COLOR_BayerBG2RGB)[4:-4, 4:-4] - 6500.0) / 52000)


def shaped(image: Floats, factor: float, name: str) -> Floats:
    """Resized by a factor."""
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    if name == "cubic_aa":
        return matlab_imresize(image, height, width)
    return np.asarray(cv2.resize(image, (width, height), interpolation=INTERPOLATIONS[name]), np.float32)


def in_photo(op: ops.Frame | ops.Unframe, full: tuple[int, ...]) -> tuple[Square, tuple[int, int]]:
    """The map from the image to its photograph, as a product of plain ones, and the photograph's size."""
    scale = op.side / min(full)
    corners = np.array([[x, y] for x in (-0.5, 0.5) for y in (-0.5, 0.5)]) * (full[1] * scale, full[0] * scale)
    turn = np.array([[math.cos(op.angle), math.sin(op.angle)], [-math.sin(op.angle), math.cos(op.angle)]])
    reach = 2 * (np.abs(corners @ turn.T).max(axis=0) + np.abs([op.right, op.down]))
    width, height = (8 * math.ceil(extent / 8 - 1e-9) for extent in reach)

    def move(x: float, y: float) -> Square:
        return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], float)

    turned = np.eye(3)
    turned[:2, :2] = turn * scale
    back = move((width - 1) / 2 + op.right, (height - 1) / 2 + op.down)
    return back @ turned @ move(-(full[1] - 1) / 2, -(full[0] - 1) / 2), (height, width)


def in_pixels(rows: float, columns: float) -> Square:
    """From pixels of one size to pixels that are so many times as small; both have whole numbers at their centres."""
    return np.array([[columns, 0, (columns - 1) / 2], [0, rows, (rows - 1) / 2], [0, 0, 1]], float)


def framed(op: ops.Frame, image: Floats, full: tuple[int, ...]) -> Floats:
    matrix, (height, width) = in_photo(op, full)
    shrink = 2 * op.side / min(image.shape[:2])
    if shrink < 1:
        image = shaped(image, shrink, "area")
    matrix = in_pixels(2, 2) @ matrix @ in_pixels(full[0] / image.shape[0], full[1] / image.shape[1])
    size = (2 * width, 2 * height)
    large = cv2.warpAffine(image, matrix[:2], size, flags=cv2.INTER_CUBIC, borderMode=mirror(image))
    return large.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))


def unframed(op: ops.Unframe, image: Floats, full: tuple[int, ...]) -> Floats:
    matrix, (height, width) = in_photo(op, full)
    matrix = np.linalg.inv(in_pixels(image.shape[0] / height, image.shape[1] / width) @ matrix)
    flags = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}[op.filter]
    size = (full[1], full[0])
    return np.asarray(cv2.warpAffine(image, matrix[:2], size, flags=flags, borderMode=mirror(image)), np.float32)


def mirror(image: Floats) -> int:
    """A single row or column cannot be mirrored without itself."""
    return cv2.BORDER_REFLECT_101 if min(image.shape[:2]) > 1 else cv2.BORDER_REPLICATE


def through_pillow(op: ops.Avif | ops.Heic, image: Floats) -> Floats:
    file = io.BytesIO()
    options = {"subsampling": op.subsampling, "speed": 10, "max_threads": 1}
    PillowImage.fromarray(rounded(image)).save(file, "AVIF", quality=op.quality, **options)
    return np.asarray(PillowImage.open(file).convert("RGB"), np.float32)


def toned(op: ops.Tone, image: Floats) -> Floats:
    """Exposure in light of a gamma of 2.2, gamma, contrast about the middle, white balance, saturation about luma."""
    light = np.clip(image / 255, 0, 1).astype(np.float64) ** 2.2 * 2**op.exposure
    value = (light ** (1 / 2.2)) ** op.gamma
    value = ((value - 0.5) * op.contrast + 0.5) * np.array([op.red, 1, op.blue])
    gray = (value @ GRAY)[..., None]
    return np.float32(255) * np.clip(gray + (value - gray) * op.saturation, 0, 1).astype(np.float32)


def disk(radius: float) -> Square:
    size = 2 * math.ceil(radius) + 1
    kernel = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            distance = math.hypot(row - size // 2, column - size // 2)
            kernel[row, column] = min(max(radius + 0.5 - distance, 0), 1)
    return kernel / kernel.sum()


def taken(op: ops.Isp, image: Floats, bits: np.random.SFC64) -> Floats:
    """Through a sensor, with the formulas of sRGB; OpenCV's demosaicing on whole numbers is the only table."""
    gains = np.array([op.red, 1, op.blue])
    value = np.clip(image / 255, 0, 1).astype(np.float64)
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) / gains
    rows, columns = np.indices(light.shape[:2]) % 2
    raw = np.select([(rows == 0) & (columns == 0), rows != columns], [light[..., 0], light[..., 1]], light[..., 2])
    raw = raw + normals((1, *raw.shape), bits)[0] * np.sqrt(op.shot * raw + op.read)
    padded = np.pad(raw, 4, mode="reflect") if min(raw.shape) > 4 else cv2.copyMakeBorder(raw, 4, 4, 4, 4, 4)
    whole = np.clip(padded * 52000 + 6500.5, 0, 65535).astype(np.uint16)
    codes = {"linear": cv2.COLOR_BayerBG2RGB, "edge": cv2.COLOR_BayerBG2RGB_EA}
    colours = (cv2.cvtColor(whole, codes[op.demosaic])[4:-4, 4:-4] - 6500.0) / 52000 * gains
    colours = np.clip(colours, 0, 1)
    return (np.where(colours <= 0.0031308, colours * 12.92, 1.055 * colours ** (1 / 2.4) - 0.055) * 255).astype(
        np.float32
    )


def denoised(op: ops.Denoise, image: Pixels) -> Pixels:
    if op.method == "bilateral":
        return np.asarray(cv2.bilateralFilter(image, 2 * round(1.5 * op.radius) + 1, op.strength, op.radius), np.uint8)
    if op.method == "median":
        return np.asarray(cv2.medianBlur(image, int(op.strength)), np.uint8) if op.strength > 1 else image
    return np.asarray(cv2.fastNlMeansDenoisingColored(image, None, op.strength, op.strength, 5, 13), np.uint8)


def kernel_of(op: ops.Blur | ops.SincBlur | ops.MotionBlur) -> Square:
    """The full kernel, from the formulas of basicsr where they are its own."""
    if isinstance(op, ops.SincBlur):
        return sinc(op.size, op.cutoff)
    if isinstance(op, ops.MotionBlur):
        return motion(op.size, op.length, op.angle)
    if op.kernel in ("iso", "aniso"):
        return gaussian(op.size, op.sigma_x, op.sigma_y, op.rotation)
    distance = squared_distance(op.size, op.sigma_x, op.sigma_y, op.rotation)
    plateau = op.kernel.startswith("plateau")
    kernel = 1 / (distance**op.beta + 1) if plateau else np.exp(-0.5 * distance**op.beta)
    return kernel / kernel.sum()


def gaussian(size: int, sigma_x: float, sigma_y: float, rotation: float) -> Square:
    kernel = np.exp(-0.5 * squared_distance(size, sigma_x, sigma_y, rotation))
    return kernel / kernel.sum()


def squared_distance(size: int, sigma_x: float, sigma_y: float, rotation: float) -> Square:
    """Mahalanobis distance from the centre, squared, by way of the inverse covariance."""
    turn = np.array([[math.cos(rotation), -math.sin(rotation)], [math.sin(rotation), math.cos(rotation)]])
    # A Gaussian that is narrower than this is a single element, and a smaller covariance has no useful inverse.
    variances = np.maximum([sigma_x, sigma_y], 1e-3) ** 2
    inverse = turn @ np.diag(1 / variances) @ turn.T
    offsets = np.stack(np.meshgrid(*[np.arange(size) - (size - 1) / 2] * 2), axis=-1)
    return np.einsum("yxi,ij,yxj->yx", offsets, inverse, offsets)


def sinc(size: int, cutoff: float) -> Square:
    """Basicsr's `circular_lowpass_kernel`, with SciPy's Bessel function."""
    offsets = np.arange(size) - (size - 1) / 2
    radius = np.hypot(offsets[:, None], offsets)
    centre = size // 2
    radius[centre, centre] = 1
    kernel = cutoff * special.j1(cutoff * radius) / (2 * np.pi * radius)
    kernel[centre, centre] = cutoff**2 / (4 * np.pi)
    return kernel / kernel.sum()


def motion(size: int, length: float, angle: float) -> Square:
    """16 points to the pixel along the path, each shared out to the pixels around it by its distance from them."""
    kernel = np.zeros((size + 2, size + 2))
    count = 16 * math.ceil(length) + 1
    for index in range(count):
        along = (index / (count - 1) - 0.5 if count > 1 else 0.0) * max(length - 1, 0)
        x, y = (size + 1) / 2 + along * math.cos(angle), (size + 1) / 2 + along * math.sin(angle)
        left, top = math.floor(x), math.floor(y)
        for row, share_y in ((top, top + 1 - y), (top + 1, y - top)):
            for column, share_x in ((left, left + 1 - x), (left + 1, x - left)):
                kernel[row, column] += share_y * share_x
    return kernel[1:-1, 1:-1] / kernel[1:-1, 1:-1].sum()


def bsrgan_shifted(kernel: Square, factor: int) -> Square:
    """BSRGAN's `shift_pixel` to the upper left: bilinear, positions outside clipped to the edge; then normalised."""
    size = kernel.shape[0]
    position = np.clip(np.arange(size) + 0.5 * (factor - 1), 0, size - 1)
    low = np.floor(position).astype(int)
    high, share = np.minimum(low + 1, size - 1), position - low
    rows = kernel[low] * (1 - share)[:, None] + kernel[high] * share[:, None]
    moved = rows[:, low] * (1 - share) + rows[:, high] * share
    return moved / moved.sum()


def matlab_imresize(image: Floats, height: int, width: int) -> Floats:
    """MATLAB's `imresize(image, [height width])`, bicubic with antialiasing, as its manual defines it."""
    rows, columns = matlab_weights(image.shape[0], height), matlab_weights(image.shape[1], width)
    return np.einsum("ay,yxc,bx->abc", rows, image, columns, optimize=True).astype(np.float32)


def matlab_weights(size: int, size_out: int) -> Square:
    """Contribution of every input pixel to every output pixel; the border mirrors with the edge pixel repeated."""
    scale = size_out / size
    narrow = min(scale, 1.0)
    matrix = np.zeros((size_out, size))
    for out in range(size_out):
        # MATLAB counts pixels from 1.
        centre = (out + 1) / scale + 0.5 * (1 - 1 / scale)
        for pixel in range(math.floor(centre - 2 / narrow) - 1, math.ceil(centre + 2 / narrow) + 2):
            mirrored = (pixel - 1) % (2 * size)
            mirrored = mirrored if mirrored < size else 2 * size - 1 - mirrored
            matrix[out, mirrored] += narrow * keys(narrow * (centre - pixel))
        matrix[out] /= matrix[out].sum()
    return matrix


def keys(x: float) -> float:
    """Keys' cubic with a = -1/2."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def recoded(image: Floats, extension: str, options: list[int]) -> Floats:
    """Through a lossy file and back."""
    done, data = cv2.imencode(extension, rounded(image)[..., ::-1], options)
    assert done
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1].astype(np.float32)


def jitter(op: ops.ColorJitter, image: Floats) -> Floats:
    """Torchvision's `adjust_brightness`, `_contrast`, `_saturation` and `_hue` of float tensors, on 0..1 as there."""
    unit = image / np.float32(255)
    for part in op.order:
        factor = float(getattr(op, part))
        if part == "hue":
            unit = adjust_hue(unit, factor)
            continue
        gray = (unit @ TORCHVISION_GRAY)[..., None]
        others = {"brightness": np.zeros_like(gray), "contrast": gray.mean(keepdims=True), "saturation": gray}
        unit = np.clip(factor * unit + (1 - factor) * others[part], 0, 1).astype(np.float32)  # torchvision's `_blend`
    return unit * np.float32(255)


def adjust_hue(image: Floats, turn: float) -> Floats:
    """RGB to HSV, hue in 0..1 and a whole turn there, back to RGB: Smith's hexcone, one sector after the other."""
    red, green, blue = (image[..., channel].astype(np.float64) for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    saturation = chroma / np.where(value == 0, 1, value)
    spread = np.where(chroma == 0, 1, chroma)
    hue = np.select(
        [chroma == 0, value == red, value == green],
        [0, (green - blue) / spread, 2 + (blue - red) / spread],
        4 + (red - green) / spread,
    )
    hue = (hue / 6 + turn) % 1 * 6
    sector = np.floor(hue)
    part = hue - sector
    p, q, t = (value * (1 - saturation * share) for share in (1, part, 1 - part))
    sectors = [[value, t, p], [q, value, p], [p, value, t], [p, q, value], [t, p, value], [value, p, q]]
    out = np.zeros((*hue.shape, 3))
    for index, colour in enumerate(sectors):
        out = np.where((sector % 6 == index)[..., None], np.stack(colour, axis=-1), out)
    return out.astype(np.float32)
