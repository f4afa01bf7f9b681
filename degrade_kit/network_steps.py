"""The step of a recipe that a neural network does, as `flipnet:`; what it draws is in `degrade_kit.network_ops`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, cast

from degrade_kit.checks import (
    SOME_WEIGHT,
    choice,
    hexadecimal,
    number,
    one_or_several,
    optional,
    probability,
    telling,
    text,
    whole,
)
from degrade_kit.errors import ConfigError
from degrade_kit.network_ops import DESCRIPTION_LIMIT, FlipNetImage
from degrade_kit.step_base import BaseStep, Drawn, Rng, draw_weighted

OWN: Final = "own"
"""Stands, as a prompt, for those that the model was trained to answer to, as often as its folder says."""
CAPTIONS: Final = "captions"
"""Stands, as a prompt, for the caption of the HQ image."""


def _prompt(value: Any, key: str) -> str | dict[str, float]:  # noqa: ANN401 (user input)
    """Check of a prompt, or of several with their weights; nothing at all is the null prompt."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, (list, tuple)):
        value = dict.fromkeys((text("" if one is None else one, key) for one in cast("Sequence[Any]", value)), 1.0)
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f"{key}: expected text, several texts with their weights, {CAPTIONS} or {OWN}, got {value!r}")
    weights: dict[str, float] = {}
    for prompt, weight in cast("Mapping[Any, Any]", value).items():
        weights[text("" if prompt is None else prompt, key)] = number(0, 1e9)(weight, f"{key}.{prompt}")
    if not sum(weights.values()):
        raise ConfigError(f"{key}: expected a positive weight for at least one prompt, got {value!r:.200}")
    return weights


def _like(value: Any, key: str) -> str | tuple[tuple[float, ...], ...]:  # noqa: ANN401 (user input)
    """Check of where exemplars are, or of their descriptions, as a saved recipe has them."""
    if isinstance(value, os.PathLike):
        value = os.fspath(cast("os.PathLike[str]", value))
    if value is None or isinstance(value, str):
        return value or ()
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(entry, (list, tuple)) for entry in cast("Any", value)
    ):
        raise ConfigError(f"{key}: expected a photograph, a folder of them, or their descriptions, got {value!r:.200}")
    check = number(-DESCRIPTION_LIMIT, DESCRIPTION_LIMIT)
    rows = cast("Sequence[Sequence[Any]]", value)
    return tuple(tuple(check(entry, key) for entry in row) for row in rows)


telling(
    _like,
    {
        "anyOf": [
            {"type": ["string", "null"]},
            {"type": "array", "items": {"type": "array", "items": {"type": "number"}, "minItems": 1}},
        ]
    },
)

telling(
    _prompt,
    {
        "anyOf": [
            *one_or_several({"type": ["string", "null"]})["anyOf"],
            SOME_WEIGHT,
        ]
    },
)


def known_model(location: str, digest: str = "") -> tuple[str, Any, Any]:
    """Read what the folder of a FlipNet that degrades says, as `degrade_kit.flipnet.folder.degrading_model` does.

    Args:
        location: A folder, or the name of one that ships.
        digest: What it must be; empty is not checked.

    Returns:
        Its digest, its prompts and its settings.

    Raises:
        ConfigError: If there is none, it restores, or it is another.
    """
    from degrade_kit.flipnet.folder import degrading_model

    try:
        found = degrading_model(location)
    except ConfigError as error:
        known = f"; it was the FlipNet {digest}" if digest else ""
        raise ConfigError(f"flipnet.model: {error}{known}") from error
    if digest not in ("", found[0]):
        raise ConfigError(f"flipnet.model: {location}: expected the FlipNet {digest}, found {found[0]}")
    return found


@dataclass(frozen=True, kw_only=True)
class RandomFlipNet(BaseStep):
    """A FlipNet degrades the image at the size that it has here; the model's own settings hold where none are given.

    What is left open is filled in from the model's folder when the step is made, so that a saved recipe says all.
    """

    name: ClassVar[str] = "flipnet"
    model: str = field(default="photos", metadata={"check": text})
    """Folder of a FlipNet in degradation mode, or the name of one that ships: `photos` for what photographs have,
    `small` for darkness and haze. Where it is changes no pixels."""
    digest: str = field(default="", metadata={"check": hexadecimal})
    """Digest of the model; filled in, and checked where it is given."""
    prompt: str | dict[str, float] = field(default=OWN, metadata={"check": _prompt})
    """A text, several with how often each is drawn, `captions` for that of the HQ image, `own` for the model's list;
    empty is the null prompt."""
    like: str | tuple[tuple[float, ...], ...] = field(default=(), metadata={"check": _like})
    """A photograph that the image is degraded like, or a folder, of which one is drawn for each image; described when
    the recipe is read, which then holds the descriptions. With it `own` prompts are none."""
    negative: str | None = field(default=None, metadata={"check": optional(text)})
    """What guidance leads away from."""
    guidance: float | None = field(default=None, metadata={"check": optional(number(0, 100))})
    """Classifier-free guidance; 1 is none."""
    steps: int | None = field(default=None, metadata={"check": optional(whole(1, 1000))})
    """Steps of the solver."""
    solver: Literal["ddim", "dpm++", "lcm"] | None = field(
        default=None, metadata={"check": optional(choice(("ddim", "dpm++", "lcm")))}
    )
    phi: float | None = field(default=None, metadata={"check": optional(number(0, 100))})
    """Weight of what is seen of the image; 0 ignores it."""
    prob: float = field(default=1.0, metadata={"check": probability})

    def __post_init__(self) -> None:
        super().__post_init__()
        digest, prompts, sampling = known_model(self.model, self.digest)
        own = "" if self.like else dict(prompts) or ""
        found = {
            "digest": digest,
            "like": self._described(),
            "prompt": own if self.prompt == OWN else self.prompt,
            "negative": sampling.negative_prompt if self.negative is None else self.negative,
            "guidance": sampling.guidance if self.guidance is None else self.guidance,
            "steps": sampling.num_steps if self.steps is None else self.steps,
            "solver": sampling.solver if self.solver is None else self.solver,
            "phi": sampling.phi if self.phi is None else self.phi,
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def _described(self) -> tuple[tuple[float, ...], ...]:
        """The descriptions of the exemplars, each of as many numbers as the model takes."""
        if not self.like:
            return ()
        from degrade_kit.flipnet.description import describe_place, read_space
        from degrade_kit.flipnet.folder import model_folder

        try:
            space = read_space(model_folder(self.model))
            found = describe_place(space, self.like) if isinstance(self.like, str) else self.like
        except ConfigError as error:
            raise ConfigError(f"flipnet.like: {error}") from error
        if any(len(row) != space.size for row in found):
            raise ConfigError(f"flipnet.like: expected descriptions of {space.size} numbers, got {found!r:.80}")
        return found

    def _draw(self, rng: Rng, drawn: Drawn) -> None:
        if self.prompt == CAPTIONS:
            if drawn.caption is None:
                raise ConfigError(
                    "flipnet.prompt: captions: this image has none; `degrade-kit caption` writes a file of them, and "
                    "--captions names it"
                )
            prompt = drawn.caption
        else:
            prompt = self.prompt if isinstance(self.prompt, str) else draw_weighted(rng, self.prompt)
        described = cast("tuple[tuple[float, ...], ...]", self.like)
        settings: dict[str, Any] = {name: getattr(self, name) for name in ("solver", "guidance", "phi")}
        drawn.steps.append(
            FlipNetImage(
                model=self.digest,
                prompt=prompt,
                negative_prompt=cast("str", self.negative),
                num_steps=cast("int", self.steps),
                description=described[int(rng.random() * len(described))] if described else (),
                **settings,
            )
        )
