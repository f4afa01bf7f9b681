"""Files of others: plain values of bounded size, or one short error at once."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from degrade_kit.checks import COUNT, by_name, checked, each, fields, number, optional
from degrade_kit.errors import ConfigError, ShardError
from degrade_kit.files import (
    MAX_DEPTH,
    MAX_FILE_BYTES,
    decode_json,
    file_sha256,
    open_regular,
    parse_json,
    parse_json_lines,
    parse_yaml,
    plain_yaml,
    read_json,
    read_regular,
    read_yaml,
    recipe_yaml,
    utf8,
)
from tests.limits import time_limit

# ------------------------------------------------------------------------------------------------- regular files alone


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as one:
        one.bind(str(path))


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (make_pipe, "found a pipe"),
        (Path.mkdir, "found a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "found a device"),
        (make_socket, "."),
        (lambda path: path.symlink_to(path), "."),
    ],
)
@pytest.mark.parametrize("read", [read_regular, open_regular, file_sha256])
def test_what_is_no_regular_file_is_refused_at_once(
    read: Callable[[Path], object],
    make: Callable[[Path], object],
    found: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # the address of a socket must be short
    path = Path("file")
    make(path)
    with time_limit(2), pytest.raises(OSError, match=found):
        read(path)
    for reader in (read_json, read_yaml):
        with time_limit(2), pytest.raises(ConfigError, match=f"file: cannot be read: .*{found}"):
            reader(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"[" + b" " * 100 + b"]")
    assert read_regular(path, 102) == path.read_bytes()
    assert read_json(path, max_bytes=102) == []
    with pytest.raises(OSError, match="at most 101 bytes"):
        read_regular(path, 101)
    with pytest.raises(ConfigError, match="at most 101 bytes"):
        read_json(path, max_bytes=101)


# ---------------------------------------------------------------------------------------------------------------- JSON


def test_json_gives_what_it_says() -> None:
    text = '\ufeff{"a": [1, -2.5e3, true, null, "ü\\ud83d\\ude00"], "b": {"a": 18446744073709551615}}'
    assert parse_json(text.encode(), "x") == {"a": [1, -2500.0, True, None, "ü😀"], "b": {"a": 2**64 - 1}}
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(deepest, "x") == eval(deepest)
    assert parse_json(utf8('{"name": "caf\udce9.png"}'), "x") == {"name": "caf\udce9.png"}  # bytes of a file's name
    assert parse_yaml(plain_yaml({"name": "caf\udce9.png"}), "x") == {"name": "caf\udce9.png"}
    many = [[] for _ in range(1000)]
    assert parse_json(str(many), "x") == many


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[1] 2", "Extra data"),
        (b'"\xff"', "utf-8"),
        (b'"\xed\xa0\x80"', "utf-8"),
        (b'"a\0b"', "Invalid control character"),
        (b'["a\\u0000b"]', r"the character '\\x00'"),
        (b'{"\\ud800": 1}', r"the character '\\ud800'"),
        (b'{"a": "\\udc00"}', r"the character '\\udc00'"),
        (b'{"a": 1, "b": 2, "a": 3}', "the field 'a' is there twice"),
        (b"[NaN]", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[1e999]", "1e999 is beyond all numbers"),
        (b"9" * 21, "21 digits"),
        (b"9" * 5000, "5000 digits"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deeper than 64 levels"),
        (b"[[]," * 500 + b"[]" + b"]" * 500, "deeper than 64 levels"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "deeper than 64 levels"),
        (b"[" * 100_000, "deeper than 64 levels"),
        (b'{"a":' * 100_000, "deeper than 64 levels"),
    ],
)
def test_damaged_json_is_one_error_that_names_the_file(text: bytes, problem: str) -> None:
    with time_limit(2), pytest.raises(ShardError, match=f"^damaged: the file: not JSON: .*{problem}"):
        parse_json(text, "the file", ShardError)


def test_numbers_that_are_none_are_read_where_they_may_be() -> None:
    assert str(decode_json('{"loss": [NaN, Infinity, 1]}', finite=False)) == "{'loss': [nan, inf, 1]}"
    with pytest.raises(ValueError, match="twice"):
        decode_json('{"a": NaN, "a": NaN}', finite=False)


def test_json_of_too_many_values_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(ConfigError, match="more values than the 1,000"):
        parse_json("[" + "[]," * 1000 + "[]]", "x", max_bytes=16_000)
    with pytest.raises(ConfigError, match="16,001 bytes; the most is 16,000"):
        parse_json(" " * 16_001, "x", max_bytes=16_000)


def test_each_line_is_an_object_and_a_damaged_one_is_named() -> None:
    data = b'{"a": 1}\r\n\n{"a": "\xe2\x80\xa8"}\n'
    assert list(parse_json_lines(data, "x")) == [(1, {"a": 1}), (3, {"a": "\u2028"})]
    with pytest.raises(ShardError, match=r"damaged: x, line 2: expected a JSON object, got \[1\]"):
        list(parse_json_lines(b"{}\n[1]\n", "x", ShardError))
    with pytest.raises(ConfigError, match="damaged: x, line 2: not JSON"):
        list(parse_json_lines(b"{}\n{\n", "x"))


# ---------------------------------------------------------------------------------------------------------------- YAML


def test_yaml_gives_what_it_says() -> None:
    text = "a: [1, -2.5, true, null, ü, '1', 0x10]\nb:\n- {c: 2}\n- d: |\n    two\n    lines\n"
    expected = {"a": [1, -2.5, True, None, "ü", "1", 16], "b": [{"c": 2}, {"d": "two\nlines\n"}]}
    assert parse_yaml(text, "x") == parse_yaml(text.encode(), "x") == expected
    assert parse_yaml(plain_yaml(expected), "x") == expected
    assert parse_yaml(recipe_yaml(expected), "x") == expected
    assert parse_yaml("", "x") is None


def test_a_recipe_is_written_for_people_and_stays_what_it_is() -> None:
    text = recipe_yaml({"name": "a", "steps": [{"jpeg": {"quality": [60.0, 95.5]}}, {"gray": {}}]})
    assert text == "name: a\nsteps:\n- jpeg:\n    quality: [60, 95.5]\n- gray: {}\n"
    for value in (1e300, 1e-9, 0.1 + 0.2, -0.0, 2.0**60):
        assert parse_yaml(recipe_yaml({"x": [value]}), "x") == {"x": [value]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key `a` is there twice"),
        ("x:\n  a: 1\n  a: 1\n", "line 3: the key `a` is there twice"),
        ("{1: x, 2: y, 1: z}", "line 1: the key `1` is there twice"),
        ("a: &b 1\nc: *b\n", "line 2: YAML aliases"),
        ("a: 2026-11-29\n", "line 1: expected a list, a mapping, text or a number, got a timestamp"),
        ("a: !!binary aGk=\n", "got a binary"),
        ("a: !!set {b}\n", "got a set"),
        ("a: !!python/object/apply:os.system [true]\n", "got a python/object/apply:os.system"),
        ("a: !mine 1\n", "got a !mine"),
        ("a: .inf\n", "line 1: expected a finite number, got .inf"),
        ("a: .nan\n", "expected a finite number"),
        ("a: 1.0e+999\n", "expected a finite number"),
        ("a: 18446744073709551616\n", "line 1: a whole number beyond 64 bits"),
        (f"a: {'9' * 5000}\n", "beyond 64 bits"),
        (f"a: 0x{'f' * 5000}\n", "beyond 64 bits"),
        (f"a: 1{':59' * 30_000}\n", "beyond 64 bits"),
        ('a: "\\0"\n', r"line 1: text with the character '\\x00'"),
        ('a: "\\ud800"\n', r"text with the character '\\ud800'"),
        ("a: \0", "special characters"),
        ("a: [", "expected the node content"),
        ("? [a]\n: b\n", "unhashable key"),
        ("a: 1\n--- \nb: 2\n", "single document"),
        (b"a: \xff", "utf-8"),
        ("[" * 65 + "]" * 65, "line 1: deeper than 64 levels"),
        ("- " * 100, "line 1: deeper than 64 levels"),
        ("a: \n" + "".join(" " * depth + "a:\n" for depth in range(1, 100)), "line 6[0-9]: deeper than 64 levels"),
    ],
)
def test_yaml_of_anything_else_is_one_error_that_names_file_and_line(text: str | bytes, problem: str) -> None:
    with time_limit(2), pytest.raises(ConfigError, match=f"(?s)^the file: not plain YAML: .*{problem}"):
        parse_yaml(text, "the file")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 25_000, "- " * 50_000, "? " * 50_000, "[" * 63 + "a, " * 3000]
)
def test_yaml_without_an_end_is_refused_in_a_tenth_of_a_second(text: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError):
        parse_yaml(text, "x")
    # The last is not deep, and takes what so many values take.
    assert time.process_time() - began < (1.0 if text.endswith("a, ") else 0.1)


def test_yaml_that_is_too_large_is_not_parsed() -> None:
    with time_limit(2), pytest.raises(ConfigError, match="the most is 4,194,304"):
        parse_yaml("a: 1\n" * 1_000_000, "x")


# -------------------------------------------------------------------------------------------------------------- fields

KINDS = fields(
    {
        "name": str,
        "count": COUNT,
        "share": number(0, 1),
        "inner": fields({"flag": bool}),
        "list": each(range(3)),
        "table": by_name(COUNT),
        "note": optional(each(str)),
    }
)
RIGHT: dict[str, Any] = {
    "name": "x", "count": 3, "share": 0.5, "inner": {"flag": True}, "list": [0, 2], "table": {"a": 1}, "note": None,
    "more": None,
}  # fmt: skip


def test_fields_as_they_should_be_are_what_was_read() -> None:
    assert checked(RIGHT, KINDS, "x") == RIGHT
    assert checked({**RIGHT, "note": ["a"]}, KINDS, "x")["note"] == ["a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "field name: expected text, got 1"),
        ({"count": True}, "field count: expected a whole number within [0, 281474976710655], got True"),
        ({"count": 1.0}, "field count: expected a whole number within [0, 281474976710655], got 1.0"),
        ({"count": -1}, "field count: expected a whole number within [0, 281474976710655], got -1"),
        ({"count": 10**18}, f"field count: expected a whole number within [0, 281474976710655], got {10**18}"),
        ({"share": "x"}, "field share: expected a number within [0, 1], got 'x'"),
        ({"inner": []}, "field inner: expected an object with fields, got []"),
        ({"inner": {}}, "field inner.flag: expected true or false, found no such field"),
        ({"inner": {"flag": 1}}, "field inner.flag: expected true or false, got 1"),
        ({"list": {}}, "field list: expected a list, got {}"),
        ({"list": [1, 3]}, "field list[1]: expected a whole number within [0, 2], got 3"),
        ({"table": [1]}, "field table: expected an object with fields, got [1]"),
        ({"table": {"a": None}}, "field table.a: expected a whole number within [0, 281474976710655], got None"),
        ({"note": [1]}, "field note[0]: expected text, got 1"),
    ],
)
def test_another_field_is_an_error_that_names_file_and_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ShardError) as caught:
        checked({**RIGHT, **change}, KINDS, "the file", ShardError)
    assert str(caught.value) == f"damaged: the file: {message}"


@pytest.mark.parametrize("name", ["name", "count", "share", "inner", "list", "table", "note"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"damaged: x: field {name}: expected "):
        checked({key: value for key, value in RIGHT.items() if key != name}, KINDS, "x")


def test_a_message_is_short_whatever_was_found() -> None:
    with pytest.raises(ConfigError) as caught:
        checked({**RIGHT, "name": ["x" * 10_000] * 100}, KINDS, "x")
    assert len(str(caught.value)) < 200


def test_a_small_file_takes_no_room_for_a_large_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"small")
    tracemalloc.start()
    try:
        assert read_regular(tmp_path / "a") == b"small"
        assert tracemalloc.get_traced_memory()[1] < MAX_FILE_BYTES // 8
    finally:
        tracemalloc.stop()
    (tmp_path / "b").write_bytes(data := bytes(range(256)) * (1 << 17))
    assert read_regular(tmp_path / "b") == data
    with pytest.raises(OSError, match="expected at most 33,554,431 bytes"):
        read_regular(tmp_path / "b", len(data) - 1)
