"""Every setting of a run, with the comment at its field: above it, or at the end of its lines."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
import typing
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """name: as `--set` has it. default: dataclasses.MISSING where there is none. words: the comment at the field."""

    name: str
    hint: object
    default: object
    words: str


def settings_of(kind: type, prefix: str = "") -> dict[type, list[Setting]]:
    """The settings in a dataclass, and in those that it is made of, each by itself. prefix: what names begin with."""
    hints, comments = typing.get_type_hints(kind), field_comments(kind)
    found: dict[type, list[Setting]] = {kind: []}
    for field in dataclasses.fields(kind):
        name, hint = prefix + field.name, hints[field.name]
        inner = [one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)]
        for part in inner:
            assert isinstance(part, type)
            found |= settings_of(part, f"{name}.")
        if not inner:
            found[kind].append(Setting(name, hint, field.default, comments[field.name]))
    return found


def field_comments(kind: type) -> dict[str, str]:
    """Every field of a dataclass of ours → the comment at it, "" where there is none.

    A comment above stands on lines of its own, without a blank line between it and the field; what stands above and at
    the field's end is one text. Lines of `#` alone, such as rules, say nothing.
    """
    source = textwrap.dedent(inspect.getsource(kind))
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    alone, trailing = _comments(source)
    found = dict.fromkeys((field.name for field in dataclasses.fields(kind)), "")
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id in found:
            first = node.lineno
            while first - 1 in alone:
                first -= 1
            last = node.end_lineno or node.lineno
            above = [alone[line] for line in range(first, node.lineno)]
            beside = [trailing[line] for line in range(node.lineno, last + 1) if line in trailing]
            found[node.target.id] = " ".join(part for part in [*above, *beside] if part)
    return found


def _comments(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """Line → comment: of comments that stand alone on their line, and of those at the end of one."""
    alone: dict[int, str] = {}
    trailing: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            words = token.string.lstrip("#:").strip()
            place = alone if token.line.lstrip().startswith("#") else trailing
            place[token.start[0]] = words
    return alone, trailing
