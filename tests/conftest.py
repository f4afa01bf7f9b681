"""What all tests share: photographs, one thread, and a hypothesis profile that draws the same examples each time."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before PyTorch is imported: on the small networks of the tests its threads cost more than they give, and results do
# not depend on their number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pytest
import skimage
from hypothesis import settings
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True, max_examples=40)
settings.load_profile("ci")
# For `make check` and `make test-all`, by pytest's --hypothesis-profile.
settings.register_profile("quick", settings.get_profile("ci"), max_examples=10)
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=200)
# Timings and memory of a test must not depend on the machine's cores; results do not depend on the number of threads.
cv2.setNumThreads(1)

# Both are photographs in the public domain.
ASTRONAUT = Path(skimage.__file__).parent / "data" / "astronaut.png"
GRACE_HOPPER = Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def _load(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="session")
def astronaut() -> npt.NDArray[np.uint8]:
    """A photograph with a face, 512 x 512 x 3, RGB; read-only, since all tests share it."""
    pixels = _load(ASTRONAUT)
    assert pixels.shape == (512, 512, 3)
    pixels.setflags(write=False)
    return pixels


@pytest.fixture(scope="session")
def faces_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six small photographs of faces, PNG and JPEG, 48 to 256 pixels, square and not, one level nested.

    All tests share it: a test that changes files works on a copy.
    """
    root = tmp_path_factory.mktemp("faces")
    crops: dict[str, tuple[Path, tuple[int, int, int, int], tuple[int, int]]] = {
        "astronaut.png": (ASTRONAUT, (96, 0, 352, 256), (256, 256)),
        "astronaut_left.png": (ASTRONAUT, (96, 0, 288, 256), (96, 128)),
        "astronaut_small.jpg": (ASTRONAUT, (144, 16, 304, 176), (64, 64)),
        "nested/hopper.png": (GRACE_HOPPER, (120, 40, 380, 300), (128, 128)),
        "nested/hopper_wide.jpg": (GRACE_HOPPER, (60, 40, 460, 300), (200, 130)),
        "nested/hopper_tiny.png": (GRACE_HOPPER, (150, 60, 350, 260), (48, 48)),
    }
    for name, (source, box, size) in crops.items():
        target = root / name
        target.parent.mkdir(exist_ok=True)
        with Image.open(source) as image:
            cut = image.convert("RGB").resize(size, Image.Resampling.LANCZOS, box=box)
        if target.suffix == ".jpg":
            cut.save(target, quality=95)
        else:
            cut.save(target)
    return root


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of sample data beside the checkout, which the repository does not ship; the test skips without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the sample data that the repository does not ship; looked in {folder}")
    return folder


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """Let a test train at another precision than those before it; a process of users' trains once."""
    _forget_precision()
    yield
    _forget_precision()


def _forget_precision() -> None:
    state: Any = sys.modules.get("accelerate.state")
    if state is not None:  # else nothing has been trained
        state.AcceleratorState._reset_state(reset_partial_state=True)


STARTS_MUCH = {"ray_run", "stateful_run", "cluster", "finished", "analysis"}
"""Fixtures that start Ray, or train or analyze for real: a test that asks for one is slow, whichever comes first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a slow fixture makes slow."""
    for item in items:
        if isinstance(item, pytest.Function) and STARTS_MUCH & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A headless Chromium that reaches no host; tests that need it are left out where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the browser `chromium`")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP * 0.0.0.0"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()
