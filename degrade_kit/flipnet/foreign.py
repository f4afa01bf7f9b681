"""The packages that ship no types, partial ones or wrong ones, each as `Any`; imported when it is asked for."""

from __future__ import annotations

from typing import Any, cast


def diffusers() -> Any:  # noqa: ANN401 (the package)
    """Import the package diffusers, untyped."""
    import diffusers as package

    return cast("Any", package)


def peft_utils() -> Any:  # noqa: ANN401 (the package)
    """Import the module peft.utils, untyped."""
    import peft.utils as package

    return cast("Any", package)


def safetensors_torch() -> Any:  # noqa: ANN401 (the package)
    """Import the module safetensors.torch, untyped."""
    import safetensors.torch as package

    return cast("Any", package)


def transformers() -> Any:  # noqa: ANN401 (the package)
    """Import the package transformers, untyped."""
    import transformers as package

    return cast("Any", package)
