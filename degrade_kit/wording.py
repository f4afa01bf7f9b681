"""Counts and lists in the words of messages and reports, and texts of others in HTML and Markdown.

Names of files, sets, recipes and prompts may hold anything: wherever one gets into a page, it goes through here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

SHOWN = 5
"""Names that a message lists, at most: enough to see what they have in common."""


def counted_noun(count: int, noun: str) -> str:
    """A count with its noun in the number that fits.

    Args:
        count: How many.
        noun: In the singular; its plural is regular.

    >>> counted_noun(1, "variant"), counted_noun(2000, "variant"), counted_noun(0, "process")
    ('1 variant', '2,000 variants', '0 processes')
    """
    return f"{count:,} {noun if count == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The regular plural of a noun.

    >>> plural("image"), plural("process")
    ('images', 'processes')
    """
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def first_few(texts: Sequence[str], separator: str = ", ") -> str:
    """The first five of many texts, and dots where there are more.

    >>> first_few(["a", "b"]), first_few(list("abcdefg"), "; ")
    ('a, b', 'a; b; c; d; e; ...')
    """
    return separator.join([*texts[:SHOWN], *(["..."] if len(texts) > SHOWN else [])])


def human_bytes(count: float) -> str:
    """Decimal bytes for people.

    >>> human_bytes(1234567)
    '1.2 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def clean_text(text: str) -> str:
    r"""Spell out what UTF-8 cannot hold: names of files that are not text come with lone surrogates.

    >>> clean_text("caf\udce9.png")
    'caf\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def html_text(text: str) -> str:
    """Escape text so that HTML shows it as it is, between tags and in an attribute.

    >>> html_text('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(clean_text(text))


def markdown_text(text: str, *, stars: bool = False) -> str:
    r"""Escape text so that Markdown shows it as it is, on one line, also in the cell of a table.

    Args:
        text: Anything.
        stars: Whether to leave `*` and `_`, which words such as `train_gfpgan.yml` hold; the worst that they do is to
            set a part of the text in italics.

    >>> print(markdown_text("a_b | <script>\n# [me](javascript:x)"), markdown_text("a_b", stars=True))
    a\_b \| \<script\> \# \[me\](javascript:x) a_b
    """
    signs = r"[\\`<>\[\]|]" if stars else r"[\\`<>\[\]|*_{}#]"
    text = re.sub(signs, r"\\\g<0>", " ".join(clean_text(text).split()))
    # What begins a heading, a list, a fence or a rule.
    text = re.sub(r"^(?=(?:[+-]|#{1,6})(?:\s|$)|[=~-]{2})", r"\\", text)
    return re.sub(r"^([0-9]{1,9})(?=[.)](?:\s|$))", r"\1\\", text)


def markdown_code(text: str, language: str = "") -> str:
    """Text as a block of code, behind a fence that nothing in it can end.

    >>> print(markdown_code("a: b", "yaml"))
    ```yaml
    a: b
    ```
    """
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`{3,}", text))])
    return f"{fence}{language}\n{clean_text(text)}\n{fence}"
