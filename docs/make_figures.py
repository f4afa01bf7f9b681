"""Draw docs/images/fitted.jpg: what recipes that `fit-recipe` wrote do to the portraits of the demo.

    python docs/make_figures.py --recipe lfw.yaml --recipe web.yaml --out docs/images

The portraits are in the public domain; the photographs that recipes are fitted to may not be shown everywhere.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from degrade_kit.demo import write_demo_faces
from degrade_kit.image import decode_image, encode_jpeg


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", required=True, help="recipe of `fit-recipe`; several times")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figure")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    presets = [word for recipe in ("flipnet-paper", *options.recipe) for word in ("--preset", recipe)]
    with tempfile.TemporaryDirectory() as name:
        faces, sheet = Path(name) / "faces", Path(name) / "sheet.png"
        write_demo_faces(faces, 512)
        command = [
            sys.executable,
            "-m",
            "degrade_kit.pipelines.cli",
            "preview",
            "--hq",
            str(faces),
            *presets,
            "--images",
            "2",
        ]
        subprocess.run([*command, "--variants", "5", "--out", str(sheet)], check=True)
        pixels = decode_image(sheet.read_bytes()).pixels
    (options.out / "fitted.jpg").write_bytes(encode_jpeg(pixels, 88))


if __name__ == "__main__":
    main()
