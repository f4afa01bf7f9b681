"""Captions of HQ images, made ahead: what a recipe's FlipNet is prompted with where its prompt is `captions`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from degrade_kit.errors import ConfigError, ImageError
from degrade_kit.files import sha256
from degrade_kit.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Captions:
    """The captions of a file."""

    path: str
    by_sha256: Mapping[str, str]
    """Captions by the SHA-256 of their images' files."""

    def of(self, data: bytes) -> str:
        """Find the caption of an image by its file.

        Raises:
            ImageError: If it has none.
        """
        digest = sha256(data)
        if digest not in self.by_sha256:
            raise ImageError("no caption", f"{self.path} has none of it; `degrade-kit caption` makes those missing")
        return self.by_sha256[digest]

    def to_mapping(self) -> dict[str, Any]:
        """Write what is saved of them: where they are, and the hash of them all."""
        return {"file": self.path, "sha256": sha256(json.dumps(self.by_sha256, sort_keys=True))}


def open_captions(path: str | os.PathLike[str] | None, recipe: Recipe) -> Captions | None:
    """Read the captions that a recipe needs; None where it needs none.

    Raises:
        ConfigError: If it needs some and there is no file, it needs none and there is one, or the file is damaged.
    """
    if not recipe.captioned:
        if path is not None:
            raise ConfigError(
                f"captions: the recipe {recipe.name} has no use for {os.fspath(path)}; `prompt: captions` of its step "
                "`flipnet` has"
            )
        return None
    if path is None:
        raise ConfigError(
            f"the recipe {recipe.name} prompts its FlipNet with captions: make them with `degrade-kit caption`, and "
            "name the file (--captions)"
        )
    from degrade_kit.flipnet.blip import read_captions

    return Captions(os.fspath(path), read_captions(path))
