"""What the build makes of README.md: a description that a package index, which has none of our files, can show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_RELATIVE = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?!https?://|#)(?P<path>[^)\s]+)\)")


def absolute_links(page: str, source: str | None) -> str:
    """Make the relative links and images of a Markdown page absolute.

    Args:
        page: Its text. What stands in fenced code is left as it is.
        source: Address of the repository on a host with GitHub's paths. Without one, a link becomes its text and
            an image its description.
    """

    def replace(link: re.Match[str]) -> str:
        image, text, path = link.group("image", "text", "path")
        if source is None:
            return f"*{text}*" if image else text
        return f"{image}[{text}]({source.rstrip('/')}/{'raw' if image else 'blob'}/HEAD/{path})"

    parts = _CODE.split(page)
    parts[::2] = [_RELATIVE.sub(replace, part) for part in parts[::2]]
    return "".join(parts)


class Description(MetadataHookInterface):
    """Set the project's `readme`, with links below the `Source` of `[project.urls]`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the field to the metadata that pyproject.toml states."""
        page = Path(self.root, "README.md").read_text("utf-8")
        urls: dict[str, str] = metadata.get("urls", {})
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute_links(page, urls.get("Source"))}
