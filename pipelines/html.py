"""HTML pages that work from disk, ask the network for nothing, and show names of others as text."""

from __future__ import annotations

import base64
from typing import Final

import cv2
import numpy as np

from degrade_kit.image import Pixels, encode_jpeg
from degrade_kit.wording import html_text

_STYLE: Final = """
body { font: 14px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 24px auto; max-width: 1100px;
  padding: 0 16px }
h1 { font-size: 22px } h2 { font-size: 17px; margin-top: 28px } small { color: #666; overflow-wrap: anywhere }
pre { background: #f5f5f5; padding: 12px; overflow: auto; white-space: pre-wrap }
td { vertical-align: top; padding: 4px 12px 10px 0 } th { text-align: left; font-weight: 600; padding: 4px 12px 4px 0 }
img { background: #ddd }
"""


def page(title: str, body: str, *, style: str = "", script: str = "", files: bool = False) -> str:
    """Lay out a page.

    Args:
        title: Text.
        body: HTML, in which all names are escaped.
        style: CSS beside the common one.
        script: JavaScript that runs when the body is there.
        files: Whether images may be files beside the page, too.

    Returns:
        The page. Its policy is a second lock: even a mistake in the body could not load anything.
    """
    images = "data: file: 'self'" if files else "data:"
    policy = f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>{html_text(title)}</title>
<style>{_STYLE}{style}</style>
</head>
<body>
{body}
{f"<script>{script}</script>" if script else ""}
</body>
</html>
"""


def data_uri(pixels: Pixels, side: int, quality: int = 90) -> str:
    """Write an image into an address, as JPEG, with at most this many pixels on its longer side."""
    height, width = pixels.shape[:2]
    ratio = side / max(height, width)
    if ratio < 1:
        size = max(1, round(width * ratio)), max(1, round(height * ratio))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(pixels, quality)).decode('ascii')}"
