"""What a recipe file may say, as a JSON Schema: editors complete and check by it.

It is made of the steps' classes. A schema cannot say all that `degrade_kit.recipe` checks: that a range's ends are in
order, that a recipe ends at the full size, and that files, models and banks are there.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any, cast

from degrade_kit.checks import Schema, schema_of
from degrade_kit.files import decode_json
from degrade_kit.record import MAX_LQ_SCALE
from degrade_kit.steps import STEPS, Option, Step

_TEXT: Schema = {"type": ["string", "null"]}


def recipe_schema() -> Schema:
    """Make the JSON Schema, of the draft of 2020-12, of a recipe as YAML holds it."""
    bodies = {name: _body(step) for name, step in STEPS.items()}
    bare = [name for name, body in bodies.items() if not body["required"] and "oneOf" not in body]
    keyed: Schema = {
        name: {"$ref": f"#/$defs/{name}"} if name not in bare else {"anyOf": [{"$ref": f"#/$defs/{name}"}, _NULL]}
        for name in bodies
    }
    step: Schema = {
        "anyOf": [
            {"enum": bare},
            {
                "type": "object",
                "properties": keyed,
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "degrade-kit recipe",
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "description": "Lower case, words joined by dashes."},
            "source": {**_TEXT, "description": "Where the numbers come from."},
            "notes": {**_TEXT, "description": "Where it departs from its source, and why."},
            "lq_scale": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_LQ_SCALE,
                "default": 1,
                "description": "How many times smaller than HQ its LQ images are; its steps end at that size.",
            },
            "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1},
        },
        "required": ["name", "steps"],
        "additionalProperties": False,
        "$defs": {"step": step, "option": _body(Option), **bodies},
    }


_NULL: Schema = {"type": "null"}


def _body(cls: type[Step] | type[Option]) -> Schema:
    """What stands behind the name of a step: an object of its fields."""
    alternatives: tuple[str, ...] = getattr(cls, "alternatives", ())
    told = _told(cls)
    properties: Schema = {}
    required: list[str] = []
    for field in dataclasses.fields(cls):
        schema = dict(schema_of(field.metadata["check"]))
        if field.name in told:
            schema["description"] = told[field.name]
        if field.default is field.default_factory is dataclasses.MISSING:
            required.append(field.name)
        elif (default := _default(field)) is not None:
            schema["default"] = default
        properties[field.name] = schema
    body: Schema = {
        "type": "object",
        "description": re.sub(r"\s+", " ", inspect.getdoc(cls) or ""),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    if alternatives:
        body["oneOf"] = [{"required": [name], "properties": {name: {"not": _NULL}}} for name in alternatives]
    return body


def _default(field: dataclasses.Field[Any]) -> Any:  # noqa: ANN401 (a value of YAML)
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    try:
        return decode_json(json.dumps(value))
    except TypeError:
        return None


def _told(cls: type[Any]) -> Mapping[str, str]:
    """The texts under the fields of a class and of those that it inherits from, where the source is at hand."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        except (OSError, TypeError):
            continue
        body = cast("ast.ClassDef", tree.body[0]).body
        for entry, after in itertools.pairwise(body):
            named = isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name)
            texts = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if named and texts:
                name = cast("ast.Name", cast("ast.AnnAssign", entry).target).id
                found[name] = re.sub(r"\s+", " ", str(cast("ast.Constant", cast("ast.Expr", after).value).value))
    return found
