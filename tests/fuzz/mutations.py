"""What may be wrong with a structured file: a value of it is another, is gone or is deep, or its bytes are damaged."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import strategies as st

Path = tuple[str | int, ...]
"""Where a value stands in a document."""

GONE = "<gone>"
TWICE = "<twice>"
"""In place of a value: its field is there twice."""
_RAW = {
    "<deep list>": "[" * 3000,
    "<closed deep list>": "[" * 200 + "]" * 200,
    "<deep object>": '{"a": ' * 3000,
    "<long number>": "9" * 5000,
    "<number of 30 digits>": "9" * 30,
    "<beyond floats>": "1.0e+999",
}
"""Texts that stand in a file as they are."""

WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    7,
    1.5,
    -2.5,
    2**31,
    10**12,
    2**63,
    1e30,
    1e308,
    math.nan,
    math.inf,
    "",
    "x",
    "1",
    "../../x",
    "/dev/zero",
    "a\0b",
    "\ud800",
    "caf\udce9",
    "\u2028|<b>`$(",
    "x" * 3000,
    [],
    [[]],
    [1, 2, 3],
    ["x", None],
    {},
    {"x": 1},
    {"op": "resize", "scale": 1e-9},
    *_RAW,
    GONE,
    TWICE,
)
"""What a value may be in place of what it is."""


@dataclass(frozen=True)
class Change:
    """One value of a document is another."""

    path: Path
    value: Any

    def apply(self, data: bytes, document: Any, dump: Callable[[Any], str]) -> bytes:  # noqa: ANN401 (parsed JSON)
        """The file with the change."""
        del data
        document = copy.deepcopy(document)
        if not self.path:
            return _raw(dump(None if self.value in (GONE, TWICE) else self.value)).encode("utf-8", "surrogatepass")
        *above, last = self.path
        inside = document
        for key in above:
            inside = inside[key]
        if self.value == GONE:
            del inside[last]
        elif self.value == TWICE:
            return _twice(dump, document, inside, last)
        else:
            inside[last] = self.value
        return _raw(dump(document)).encode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Damage:
    """Bytes of a file are cut off, or others than they were."""

    at: float
    """Place, as a share of its length."""
    put: bytes | None
    """What stands there; None where the file ends."""

    def apply(self, data: bytes, document: Any = None, dump: Any = None) -> bytes:  # noqa: ANN401 (parsed JSON)
        """The file with the damage."""
        del document, dump
        place = int(self.at * len(data))
        return data[:place] if self.put is None else data[:place] + self.put + data[place + len(self.put) :]


Mutation = Change | Damage
_PUT = (b"\0", b"\xff", b"\xed\xa0\x80", b"{", b"]", b'"', b"\n", b"9" * 40, b"\x80\x02.", b": ", b"\xef\xbb\xbf")


def damages() -> st.SearchStrategy[Damage]:
    """Draw damaged bytes."""
    return st.builds(Damage, st.floats(0, 1), st.sampled_from([None, *_PUT]) | st.binary(min_size=1, max_size=8))


def changes(document: Any) -> st.SearchStrategy[Change]:  # noqa: ANN401 (parsed JSON)
    """Draw a changed value of a document."""
    return st.builds(Change, st.sampled_from(list(_paths(document))), st.sampled_from(WRONG))


def mutations(document: Any) -> st.SearchStrategy[Mutation]:  # noqa: ANN401 (parsed JSON)
    """Draw what may be wrong with the file of a document: mostly a changed value."""
    return st.one_of(changes(document), changes(document), changes(document), damages())


def to_json(document: Any) -> str:  # noqa: ANN401 (parsed JSON)
    """As JSON, escaped where it must be."""
    return json.dumps(document)


def to_yaml(document: Any) -> str:  # noqa: ANN401 (parsed YAML)
    """As YAML."""
    return yaml.safe_dump(document, sort_keys=False, width=1000)


def _paths(document: Any, path: Path = ()) -> Iterator[Path]:  # noqa: ANN401 (parsed JSON)
    yield path
    if isinstance(document, (dict, list)):
        entries = document.items() if isinstance(document, dict) else list(enumerate(document))[:3]
        for key, value in entries:
            yield from _paths(value, (*path, key))


def _raw(text: str) -> str:
    for name, raw in _RAW.items():
        for quoted in (f'"{name}"', f"'{name}'", name):
            text = text.replace(quoted, raw)
    return text


def _twice(dump: Callable[[Any], str], document: Any, inside: Any, last: str | int) -> bytes:  # noqa: ANN401
    """The file with a field that is there twice; of a list, with an entry that is."""
    if isinstance(inside, list):
        inside.append(inside[int(last)])
        return dump(document).encode()
    inside["<again>"] = inside[last]
    return dump(document).replace("<again>", str(last)).encode()
