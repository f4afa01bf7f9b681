"""One value of an LMDB database by its key, from the bytes of its file.

The library itself maps the file into memory and believes every number in it: a file that was cut ends the process by a
signal, and one that was made to harm reads anywhere. Here each page is read, and each number held against the page and
the file, so that the worst that comes of a file is an `ImageError`. Nothing is locked, mapped or kept open.

Only what BasicSR writes is read: the main database, keys in the order of their bytes, one value each, and numbers as
64-bit little-endian machines write them. The layout is that of `mdb.c` in OpenLDAP's LMDB 0.9, data format 1.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, Final, NamedTuple

from degrade_kit.errors import TOO_LARGE, TRUNCATED, UNREADABLE, ImageError

_MAGIC: Final = 0xBEEFC0DE
_PAGE_HEADER: Final = 16
"""Bytes: number 8, padding 2, flags 2, end of the table of nodes 2, begin of the nodes 2; or pages of a value 4."""
_NODE_HEADER: Final = 8
"""Bytes: low and high half of a size or page number 2 each, flags 2, size of the key 2."""
_BRANCH, _LEAF, _OVERFLOW, _META = 0x01, 0x02, 0x04, 0x08
_BIG_VALUE: Final = 0x01
_PLAIN_VALUE: Final = 0x00
_NO_PAGE: Final = 2**64 - 1
_MAX_DEPTH: Final = 32
"""Levels of a tree, as `CURSOR_STACK` has it."""
_PAGE_SIZES: Final = tuple(1 << power for power in range(9, 17))


class _Meta(NamedTuple):
    page_size: int
    flags: int
    root: int
    last_page: int
    transaction: int


def read_value(file: BinaryIO, key: bytes, max_bytes: int) -> bytes | None:
    """Read the value of a key.

    Args:
        file: A `data.mdb`, which may be seeked in.
        key: Of the value.
        max_bytes: Of the value; a larger one is refused unread.

    Returns:
        None where the database has no such key.

    Raises:
        ImageError: If the file is cut ("truncated"), no database of this kind, or damaged ("unreadable").
        OSError: If it cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    meta = _newest(file, size)
    if meta.flags:
        raise ImageError(UNREADABLE, f"an LMDB database of another order (flags {meta.flags:#x})")
    if (meta.last_page + 1) * meta.page_size > size:
        pages = f"{meta.last_page + 1} pages of {meta.page_size}"
        raise ImageError(TRUNCATED, f"data.mdb has {size} bytes; its first page says {pages}")
    number = meta.root
    for _ in range(_MAX_DEPTH):
        if number == _NO_PAGE:
            return None
        page = _page(file, number, meta)
        flags = int.from_bytes(page[10:12], "little")
        nodes = _nodes(page)
        if flags & (_BRANCH | _LEAF) == _LEAF:
            return _value(file, page, nodes, key, meta, max_bytes)
        if flags & (_BRANCH | _LEAF) != _BRANCH or not nodes:
            raise _damaged(f"page {number} is neither branch nor leaf")
        # The first node of a branch stands for all that is less than the second one's key.
        place = _last_not_above(page, nodes, key, first=1)
        low, high, top = struct.unpack_from("<HHH", page, nodes[max(place, 0)])
        number = low | high << 16 | top << 32
    raise _damaged("its tree is deeper than any")


def _newest(file: BinaryIO, size: int) -> _Meta:
    """The first two pages describe the database by turns; the newer one holds."""
    found = [_meta(file, 0)]
    if found[0] is not None:
        found.append(_meta(file, found[0].page_size))
    whole = [meta for meta in found if meta is not None]
    if not whole:
        cut = size < _PAGE_SIZES[0]
        raise ImageError(TRUNCATED if cut else UNREADABLE, f"data.mdb: no LMDB database in its {size} bytes")
    return max(whole, key=lambda meta: meta.transaction)


def _meta(file: BinaryIO, offset: int) -> _Meta | None:
    file.seek(offset)
    data = file.read(_PAGE_HEADER + 136)
    if len(data) < _PAGE_HEADER + 136 or not int.from_bytes(data[10:12], "little") & _META:
        return None
    magic, version = struct.unpack_from("<II", data, _PAGE_HEADER)
    page_size = int.from_bytes(data[_PAGE_HEADER + 24 : _PAGE_HEADER + 28], "little")
    if magic != _MAGIC or version & 0xFFFF != 1 or page_size not in _PAGE_SIZES:
        return None
    # Of the two descriptions, 48 bytes each, the second is the main database's; its root is the last of it.
    flags, root = struct.unpack_from("<4xH34xQ", data, _PAGE_HEADER + 72)
    last_page, transaction = struct.unpack_from("<QQ", data, _PAGE_HEADER + 120)
    return _Meta(page_size, flags, root, last_page, transaction)


def _page(file: BinaryIO, number: int, meta: _Meta) -> bytes:
    if not 2 <= number <= meta.last_page:
        raise _damaged(f"no page {number} among {meta.last_page + 1}")
    file.seek(number * meta.page_size)
    page = file.read(meta.page_size)
    if len(page) != meta.page_size:
        raise ImageError(TRUNCATED, f"data.mdb ends within page {number}")
    return page


def _nodes(page: bytes) -> tuple[int, ...]:
    """Where the nodes of a page begin, in the order of their keys."""
    end = int.from_bytes(page[12:14], "little")
    if not _PAGE_HEADER <= end <= len(page) or end % 2:
        raise _damaged("a page whose table does not fit into it")
    nodes = struct.unpack_from(f"<{(end - _PAGE_HEADER) // 2}H", page, _PAGE_HEADER)
    if nodes and not (end <= min(nodes) and max(nodes) + _NODE_HEADER <= len(page)):
        raise _damaged("a page whose nodes lie outside of it")
    return nodes


def _last_not_above(page: bytes, nodes: tuple[int, ...], key: bytes, first: int) -> int:
    """Place of the last node whose key is not above `key`; `first - 1` where all are."""
    low, high = first, len(nodes)
    while low < high:
        middle = (low + high) // 2
        if _key(page, nodes[middle]) <= key:
            low = middle + 1
        else:
            high = middle
    return low - 1


def _key(page: bytes, node: int) -> bytes:
    size = int.from_bytes(page[node + 6 : node + 8], "little")
    return page[node + _NODE_HEADER : node + _NODE_HEADER + size]


def _value(
    file: BinaryIO, page: bytes, nodes: tuple[int, ...], key: bytes, meta: _Meta, max_bytes: int
) -> bytes | None:
    place = _last_not_above(page, nodes, key, first=0)
    if place < 0 or _key(page, nodes[place]) != key:
        return None
    node = nodes[place]
    low, high, flags = struct.unpack_from("<HHH", page, node)
    size, start = low | high << 16, node + _NODE_HEADER + len(key)
    if flags not in (_PLAIN_VALUE, _BIG_VALUE):
        raise _damaged(f"a value of a kind that is not read (flags {flags:#x})")
    if size > max_bytes:
        raise ImageError(TOO_LARGE, f"{size} bytes; at most {max_bytes} are read")
    if flags == _PLAIN_VALUE:
        value = page[start : start + size]
    else:  # in pages of its own, of which the first has a header
        first = int.from_bytes(page[start : start + 8], "little")
        if not int.from_bytes(_page(file, first, meta)[10:12], "little") & _OVERFLOW:
            raise _damaged(f"page {first} holds no value")
        file.seek(first * meta.page_size + _PAGE_HEADER)
        value = file.read(size)
    if len(value) != size:
        raise _damaged(f"{len(value)} of the {size} bytes of a value")
    return value


def _damaged(detail: str) -> ImageError:
    return ImageError(UNREADABLE, f"data.mdb is damaged: {detail}")
