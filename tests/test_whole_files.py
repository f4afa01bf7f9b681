"""Whatever stands under a final name is whole: nothing writes there but `degrade_kit.files`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("degrade_kit", "analysis", "restore", "pipelines")
    for path in (ROOT / package).rglob("*.py")
    if not any(parent.is_symlink() for parent in path.parents)
)
METHODS = {
    *("open", "write_text", "write_bytes", "savefig", "imwrite", "save", "savez", "savez_compressed", "save_file"),
    *(
        "save_pretrained",
        "save_config",
        "ParquetWriter",
        "copyfile",
        "copytree",
        "NamedTemporaryFile",
        "mkstemp",
        "mkdtemp",
    ),
}
"""Methods, and functions of modules, that write to a path."""
FUNCTIONS = METHODS - {"save"}
"""Those that have such a name without what they belong to; `save` is one of ours, which writes whole folders."""
ALLOWED = {
    "degrade_kit/files.py": "the place where it is done",
    "degrade_kit/store.py": "`download` copies to a path that its caller has made up; the others publish scratch",
    "degrade_kit/shards.py": "a tar is written to the scratch path of its store",
    "degrade_kit/reader.py": "an empty file that is locked",
    "degrade_kit/plain_shards.py": "an array file in memory",
    "degrade_kit/codec_ops.py": "a lossy file in memory",
    "degrade_kit/flipnet/blip.py": "captions are a journal: lines of whole captions, each synced",
    "degrade_kit/flipnet/loop.py": "the numbers of a training are a journal; what a kill tears, the next run cuts off. "
    "`Trainee.save` writes whole folders",
    "degrade_kit/flipnet/checkpoint.py": "parts of a FlipNet go to folders that `save` publishes",
    "degrade_kit/flipnet/licence.py": "likewise",
    "degrade_kit/flipnet/weights.py": "one file of a folder that its callers publish",
    "restore/embeddings.py": "parts of a restorer, in a folder that its caller publishes",
    "restore/train.py": "likewise",
    "analysis/networks.py": "a file in a temporary folder, for another library to read",
    "pipelines/feature_cache.py": "an open scratch file",
    "pipelines/evaluation/testset.py": "a hidden journal of what is done",
    "pipelines/inputs/align.py": "likewise",
    "pipelines/inputs/photo_pairs.py": "likewise",
    "pipelines/inputs/restorers.py": "files in a temporary folder, for a program to read",
    "pipelines/synth/shard.py": "notes of which image is in work, in a temporary folder",
}
"""Files with writes of their own, and why each is right. Add none without such a reason."""


def writes(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every call that writes to a path which is not called scratch."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(name) if name in FUNCTIONS:
                where = [*node.args[:1]]
            case ast.Attribute(value, name) if name in METHODS:
                where = [value, *node.args[:1]]
            case _:
                continue
        if name == "open" and not _opens_to_write(node):
            continue
        if not any("scratch" in ast.unparse(part) for part in where):
            yield node.lineno, ast.unparse(node)


def _opens_to_write(node: ast.Call) -> bool:
    """Whether a call of `open` has a mode that writes; `os.open` by its flags."""
    if "O_CREAT" in ast.unparse(node) or "O_WRONLY" in ast.unparse(node):
        return True
    modes = [*node.args[:2], *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    return any(
        isinstance(mode, ast.Constant)
        and isinstance(mode.value, str)
        and len(mode.value) < 4
        and set(mode.value) & set("wax+")
        for mode in modes
    )


@pytest.mark.parametrize("path", [path for path in SOURCES if path not in ALLOWED])
def test_nothing_writes_under_a_final_name(path: str) -> None:
    found = [f"line {line}: {text}" for line, text in writes((ROOT / path).read_text("utf-8"))]
    assert not found, f"write by degrade_kit.files in place of {found}"


@pytest.mark.parametrize("path", ALLOWED)
def test_a_file_that_may_write_does(path: str) -> None:
    assert list(writes((ROOT / path).read_text("utf-8"))), f"take {path} out of the list: it writes nothing by itself"


@pytest.mark.parametrize(
    "call",
    [
        *(
            "open(path, 'w')",
            "path.open('ab')",
            "path.open(mode='x')",
            "path.write_text(text)",
            "cv2.imwrite(name, image)",
        ),
        *("image.save(out / 'sheet.png')", "figure.savefig(out)", "os.open(path, os.O_WRONLY | os.O_CREAT)"),
    ],
)
def test_a_direct_write_is_found(call: str) -> None:
    assert len(list(writes(call))) == 1


@pytest.mark.parametrize(
    "call", ["open(path)", "path.open('rb')", "scratch.write_text(text)", "array.copy()", "figure.savefig(scratch)"]
)
def test_reading_and_scratch_are_not(call: str) -> None:
    assert list(writes(call)) == []
