"""A picture in two dimensions, wherever it is drawn."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from degrade_kit.analysis import projection
from degrade_kit.analysis.projection import project

POINTS = np.random.default_rng(0).normal(size=(12, 5))


def test_pca_is_what_it_is_asked_for() -> None:
    found = project(POINTS, "pca", 0)
    assert (found.kind, found.note) == ("pca", "")
    assert found.points.shape == (12, 2)
    one, two = (found.points - found.points.mean(0)).T
    assert abs(one @ two) < 1e-9


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("cannot cache function 'rdist': no locator available for file 'umap/layouts.py'\nand more"),
        ImportError("cannot cache function 'rdist': no locator available for file 'umap/layouts.py'"),
        OSError(122, "Disk quota exceeded"),
    ],
)
def test_pca_takes_the_place_of_a_umap_that_cannot_run_and_says_so(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(points: object, seed: int) -> None:
        raise error

    monkeypatch.setattr(projection, "_umap", broken)
    found = project(POINTS, "umap", 0)
    assert found.kind == "pca"
    assert found.note == f"PCA in place of UMAP, which cannot run here: {str(error).splitlines()[0]}"
    assert np.array_equal(found.points, project(POINTS, "pca", 0).points)


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process, with packages that nobody may write to."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(projection, "_writable", lambda folder: "__pycache__" not in folder.parts and _may(folder))


def _may(folder: Path) -> bool:
    return not str(folder).startswith("/nonexistent")


@pytest.mark.usefixtures("no_numba")
@pytest.mark.parametrize("home", ["/nonexistent", "/nonexistent/cache"])
def test_numba_gets_a_folder_where_it_has_none(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home)
    projection._let_numba_cache()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.is_dir()
    assert not home.startswith(str(folder))
    projection._let_numba_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder)
    folder.rmdir()
    monkeypatch.delenv("NUMBA_CACHE_DIR")


@pytest.mark.usefixtures("no_numba")
def test_numba_keeps_a_folder_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    projection._let_numba_cache()
    assert "NUMBA_CACHE_DIR" not in os.environ


@pytest.mark.usefixtures("no_numba")
def test_no_folder_is_called_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing says what the home is, `~` stays, and numba would make that folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    projection._let_numba_cache()
    assert Path(os.environ["NUMBA_CACHE_DIR"]).is_absolute()
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("NUMBA_CACHE_DIR")
