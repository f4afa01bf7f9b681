"""Do the features see degradation and not faces? On real aligned faces, held out from the whitening."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from degrade_kit.analysis.distances import Features, distances
from degrade_kit.analysis.features import degradation_features
from degrade_kit.analysis.probes import probe_records
from degrade_kit.analysis.whitening import Scaler, Whitening
from degrade_kit.degradation import degrade, finish
from degrade_kit.image import Pixels, decode_image
from degrade_kit.ops import Blur, GaussianNoise, Haze, Jpeg, Op, Resize
from degrade_kit.presets import preset
from degrade_kit.record import Record

FACES = Path(__file__).parents[3] / "shared/data/faces"
SIDE = 256
FITTED = 14

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FACES.is_dir(), reason="needs the shared photographs of faces"),
]

Kind = Callable[[np.random.Generator], list[Op]]


def motion(image: Pixels, rng: np.random.Generator) -> Pixels:
    size = int(rng.integers(9, 25)) | 1
    kernel = np.zeros((size, size), np.float32)
    kernel[size // 2] = 1 / size
    turn = cv2.getRotationMatrix2D((size // 2, size // 2), float(rng.uniform(0, 180)), 1)
    kernel = cv2.warpAffine(kernel, turn, (size, size))
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.uint8)


def low_light(image: Pixels, rng: np.random.Generator) -> Pixels:
    dark = (image / 255.0) ** rng.uniform(1.5, 2.5) * 255 * rng.uniform(0.1, 0.4)
    return np.clip(dark + rng.normal(0, rng.uniform(1, 5), image.shape), 0, 255).round().astype(np.uint8)


def applied(image: Pixels, steps: list[Op], seed: int) -> Pixels:
    record = Record(seed, tuple(steps))
    native = degrade(record, image)
    return finish(native.pixels, native.tail, (image.shape[0], image.shape[1]))


def kinds() -> dict[str, Callable[[Pixels, np.random.Generator], Pixels]]:
    def steps(make: Kind) -> Callable[[Pixels, np.random.Generator], Pixels]:
        return lambda image, rng: applied(image, make(rng), int(rng.integers(2**31)))

    def recipe(name: str) -> Callable[[Pixels, np.random.Generator], Pixels]:
        def run(image: Pixels, rng: np.random.Generator) -> Pixels:
            record = preset(name).draw(rng)
            native = degrade(record, image)
            return finish(native.pixels, native.tail, (image.shape[0], image.shape[1]))

        return run

    def blur(rng: np.random.Generator) -> list[Op]:
        sigma = float(rng.uniform(1.5, 5))
        return [Blur(sigma_x=sigma, sigma_y=sigma, size=41)]

    return {
        "clean": lambda image, rng: image,
        "blur": steps(blur),
        "motion": motion,
        "noise": steps(lambda rng: [GaussianNoise(level=float(rng.uniform(8, 30)))]),
        "jpeg": steps(lambda rng: [Jpeg(quality=int(rng.integers(10, 50)))]),
        "low-resolution": steps(
            lambda rng: [Resize(scale=float(rng.uniform(3, 8)), filter="area"), Resize(scale=1.0, filter="cubic")]
        ),
        "small-jpeg": steps(
            lambda rng: [
                Resize(scale=float(rng.uniform(2, 5)), filter="area"),
                Jpeg(quality=int(rng.integers(25, 75))),
                Resize(scale=1.0, filter="cubic"),
            ]
        ),
        "low-light": low_light,
        "haze": steps(lambda rng: [Haze(alpha=float(rng.uniform(0.3, 0.7)))]),
        "small-noise": steps(
            lambda rng: [
                Resize(scale=float(rng.uniform(2, 5)), filter="area"),
                GaussianNoise(level=float(rng.uniform(8, 25))),
                Resize(scale=1.0, filter="cubic"),
            ]
        ),
        "gfpgan": recipe("gfpgan"),
        "real-esrgan": recipe("real-esrgan"),
    }


@pytest.fixture(scope="module")
def faces() -> list[Pixels]:
    """63 aligned faces: those of 1024 and 512 pixels, and some of 256."""
    paths = [path for size in ("1024", "512", "256") for path in sorted((FACES / f"hq_{size}").rglob("*.*g"))]
    images = [decode_image(path.read_bytes()).pixels for path in paths[:63]]
    return [np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8) for image in images]


@pytest.fixture(scope="module")
def whitening(faces: list[Pixels]) -> Whitening:
    """Fitted as the command fits it, on the first faces."""
    records = probe_records(72)
    features = np.stack(
        [
            np.stack([degradation_features(applied_record(record, face)) for face in faces[:FITTED]])
            for record in records
        ]
    )
    return Whitening.fit(features)


def applied_record(record: Record, image: Pixels) -> Pixels:
    native = degrade(record, image)
    return finish(native.pixels, native.tail, (image.shape[0], image.shape[1]))


@pytest.fixture(scope="module")
def measured(faces: list[Pixels]) -> tuple[Features, np.ndarray, np.ndarray]:
    """Features, kind and face of every held-out image."""
    features: list[Features] = []
    labels: list[int] = []
    identities: list[int] = []
    for number, face in enumerate(faces[FITTED:]):
        for label, (name, make) in enumerate(kinds().items()):
            rng = np.random.default_rng([number, label, len(name)])
            features.append(degradation_features(np.ascontiguousarray(make(face, rng))))
            labels.append(label)
            identities.append(number)
    return np.stack(features), np.array(labels), np.array(identities)


def vote(points: Features, answers: np.ndarray, banned: np.ndarray) -> np.ndarray:
    """Of each point, the commonest answer among its five nearest that are not banned."""
    gaps = distances(points, points)
    gaps[banned[:, None] == banned[None]] = np.inf
    order = np.argsort(gaps, axis=1, kind="stable")[:, :5]
    return np.array([np.bincount(answers[row]).argmax() for row in order])


@pytest.mark.long
def test_whitened_neighbours_share_the_degradation_and_not_the_face(
    whitening: Whitening, measured: tuple[Features, np.ndarray, np.ndarray]
) -> None:
    features, labels, identities = measured
    space = whitening(features)
    found = vote(space, labels, identities)
    accuracy = float((found == labels).mean())
    leak = float((vote(space, identities, np.arange(len(labels))) == identities).mean())
    confused = np.zeros((len(kinds()), len(kinds())), int)
    np.add.at(confused, (labels, found), 1)
    assert accuracy >= 0.93, f"{accuracy:.3f}\n{list(kinds())}\n{confused}"
    assert leak <= 0.05, leak
    raw = Scaler.fit(features)(features)
    assert leak < float((vote(raw, identities, np.arange(len(labels))) == identities).mean())


SEVERITIES: dict[str, Callable[[float], list[Op]]] = {
    "blur": lambda level: [Blur(sigma_x=0.8 * level, sigma_y=0.8 * level, size=41)],
    "noise": lambda level: [GaussianNoise(level=5 * level)],
    "jpeg": lambda level: [Jpeg(quality=round(80 / level))],
    "low-resolution": lambda level: [Resize(scale=1 + level, filter="area"), Resize(scale=1.0, filter="cubic")],
    "haze": lambda level: [Haze(alpha=1 - 0.13 * level)],
}


@pytest.mark.long
@pytest.mark.parametrize("kind", [*SEVERITIES, "low-light"])
def test_the_distance_from_clean_grows_with_severity(kind: str, faces: list[Pixels], whitening: Whitening) -> None:
    levels = range(1, 7)
    steps: list[Features] = []
    for number, face in enumerate(faces[FITTED : FITTED + 12]):
        clean = whitening(degradation_features(face)[None])

        def degraded(level: int, face: Pixels = face, number: int = number) -> Pixels:
            if kind == "low-light":
                return np.asarray(np.round(face * (1 - 0.15 * level)), np.uint8)
            return applied(face, SEVERITIES[kind](level), number)

        features = np.stack([degradation_features(degraded(level)) for level in levels])
        steps.append(distances(clean, whitening(features))[0])
    correlation = float(np.asarray(spearmanr(levels, np.mean(steps, axis=0)))[0])
    assert correlation >= 0.97, np.mean(steps, axis=0)
