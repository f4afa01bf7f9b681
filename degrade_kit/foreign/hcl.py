"""The part of HCL that WTP Dataset Destroyer's files need: attributes, blocks, lists, objects, text, numbers, flags.

No expressions, templates, functions or heredocs: whatever is more than a value is refused, so nothing can be run.
"""

from __future__ import annotations

import re
from typing import Any, Final

from degrade_kit.errors import ConfigError
from degrade_kit.files import MAX_DEPTH

_TOKEN: Final = re.compile(
    r"(?P<skip>[ \t\r\n]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)"
    r'|(?P<text>"[^"\\\n]*")'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>[=:,{}\[\]])",
    re.DOTALL,
)
_WORDS: Final = {"true": True, "false": False, "null": None}


def parse_hcl(text: str, where: str) -> dict[str, Any]:
    """Parse a file; a block that is there several times, like an attribute that is not, becomes a list of mappings.

    Raises:
        ConfigError: If it is anything else, naming the line.
    """
    return _Parser(text, where).body(top=True, depth=0)


class _Parser:
    def __init__(self, text: str, where: str) -> None:
        self.text, self.where, self.at = text, where, 0
        self.kind, self.token = "", ""
        self.next()

    def next(self) -> None:
        """Go to the next token."""
        while True:
            if self.at == len(self.text):
                self.kind, self.token = "end", "the end"
                return
            found = _TOKEN.match(self.text, self.at)
            if found is None:
                raise self.error(f"`{self.text[self.at : self.at + 10]!s}`")
            self.at = found.end()
            if found.lastgroup != "skip":
                self.kind, self.token = str(found.lastgroup), found.group()
                return

    def error(self, found: str, wanted: str = "attributes, blocks and plain values") -> ConfigError:
        line = self.text.count("\n", 0, self.at) + 1
        return ConfigError(f"{self.where}: expected {wanted} of HCL, found {found} in line {line}")

    def take(self, sign: str) -> bool:
        """Go on if this sign is next."""
        if self.token != sign or self.kind != "sign":
            return False
        self.next()
        return True

    def body(self, *, top: bool, depth: int) -> dict[str, Any]:
        """Attributes and blocks, up to the end or a closing brace."""
        if depth > MAX_DEPTH:
            raise self.error("too many blocks inside each other")
        found: dict[str, Any] = {}
        while not (self.kind == "end" if top else self.take("}")):
            if self.kind not in ("name", "text"):
                raise self.error(f"`{self.token}`", "a name")
            name = self.token.strip('"')
            self.next()
            if self.take("=") or (not top and self.take(":")):
                found[name] = self.value(depth + 1)
                self.take(",")
            elif self.take("{"):
                found.setdefault(name, []).append(self.body(top=False, depth=depth + 1))
            else:
                raise self.error(f"`{self.token}`", f"`=` or a block behind {name}")
        return found

    def value(self, depth: int) -> Any:  # noqa: ANN401 (a foreign value)
        """A value behind `=`, or in a list."""
        if depth > MAX_DEPTH:
            raise self.error("too many lists inside each other")
        kind, token = self.kind, self.token
        if self.take("["):
            entries: list[Any] = []
            while not self.take("]"):
                entries.append(self.value(depth + 1))
                if not self.take(",") and self.token != "]":
                    raise self.error(f"`{self.token}`", "`,` or `]`")
            return entries
        if self.take("{"):
            return self.body(top=False, depth=depth + 1)
        if kind == "text" and "${" not in token:
            self.next()
            return token[1:-1]
        if kind == "number":
            self.next()
            return float(token) if re.search(r"[.eE]", token) else int(token)
        if kind == "name" and token in _WORDS:
            self.next()
            return _WORDS[token]
        raise self.error(f"`{token}`", "a plain value")
