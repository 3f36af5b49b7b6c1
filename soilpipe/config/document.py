"""A YAML file read as text with line numbers.

Every scalar stays the text that the person wrote, and each key says later what it wants to be. So none of YAML's own
readings can bite: `007` is not 7, `12:00` not 720, `NO` not false, `1.2e9` not a string where `1.2e+9` is a number.
Only below `storage_options` and `inbox_options`, which are handed on as they are, plain scalars get types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from soilpipe.config.errors import ConfigError, Problem, Where, key_path

OPTION_KEYS = ("storage_options", "inbox_options")
"""Free-form mappings for s3fs. They may hold secrets: nothing below them is ever shown."""

_SECRET_KEYS = ("key", "secret", "token", "username", "password")  # text for s3fs, even if all digits
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+")


@dataclass(frozen=True)
class Document:
    """The value of a YAML file (dicts, lists, text, None), and the line (from 1) of every key path in it."""

    file: Path
    value: Any
    lines: Mapping[Where, int]
    problems: tuple[Problem, ...]

    def line(self, where: Where) -> int | None:
        """The line of this key path, or of the nearest thing around it that is in the file."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where)


class Findings:
    """The problems found in a document so far, each told with the line on which it stands."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems = list(document.problems)

    def tell(self, where: Where, what: str) -> None:
        self.problems.append(Problem(key_path(where) + self._whose(where), what, self.document.line(where)))

    def _whose(self, where: Where) -> str:
        """ " (DIAMS_A20_O)" behind a key of that scanner: people count scanners by their ids."""
        value = self.document.value
        for part in where[:2]:
            try:
                value = value[part]
            except (LookupError, TypeError):
                return ""
        own_id = value.get("id") if len(where) > 2 and isinstance(value, dict) else None
        return f" ({own_id})" if isinstance(own_id, str) else ""


def read_document(file: Path) -> Document:
    """Read a YAML file; ConfigError where there is none, it cannot be read, or it is no YAML.

    Keys that stand twice do not stop the reading: they are in `problems`, to be told with the others.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        what = "there is no project file here. Run `soilpipe init` to write one, or name another with --project"
        raise ConfigError(file, [Problem("", what)]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(file, [Problem("", f"is not UTF-8 text (byte {error.start}). Save it as UTF-8")]) from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}. Name a file that this user may read"
        raise ConfigError(file, [Problem("", what)]) from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(file, [_syntax_problem(error, text)]) from None
    if node is None:
        raise ConfigError(file, [Problem("", "is empty. `soilpipe init` writes a project file to start from")])
    reading = _Reading()
    value = reading.value(node, (), ())
    return Document(file, value, reading.lines, tuple(reading.problems))


class _Reading:
    """One walk over the nodes of a file, which keeps the lines and what is wrong on the way."""

    def __init__(self) -> None:
        self.lines: dict[Where, int] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, where: Where, around: tuple[int, ...]) -> Any:
        self.lines.setdefault(where, node.start_mark.line + 1)
        if id(node) in around:
            self._tell(where, node, "refers to itself. Write the values out instead of the `*` reference")
            return None
        around = (*around, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where, around)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*where, i), around) for i, child in enumerate(node.value)]
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if plain and node.value in ("", "~", "null", "Null", "NULL"):
            return None
        if plain and any(key in OPTION_KEYS for key in where):
            return _typed(node.value, where)
        return node.value

    def _mapping(self, node: yaml.MappingNode, where: Where, around: tuple[int, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._tell(where, key_node, "has a key that is no word. Write `key: value`")
                continue
            key = key_node.value
            below = (*where, key)
            if key in mapping:
                first = self.lines[below]
                self._tell(below, key_node, f"stands twice, first on line {first}. Keep one of them")
                continue
            self.lines[below] = key_node.start_mark.line + 1
            mapping[key] = self.value(value_node, below, around)
        return mapping

    def _tell(self, where: Where, node: yaml.Node, what: str) -> None:
        self.problems.append(Problem(key_path(where), what, node.start_mark.line + 1))


def _typed(text: str, where: Where) -> Any:
    if where[-1] in _SECRET_KEYS:
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    """A syntax error in words. The line itself is not shown: it may hold a secret."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    told = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
    remedies = {
        "\\t": "Indent with spaces, not with tabs",
        "mapping values": "Check the indentation of this line and the one before, and quote a value that holds `: `",
        "escape": "Write regular expressions in 'single quotes'",
        "alias": "A value that begins with `*` or `&` must be in quotes",
        "anchor": "A value that begins with `*` or `&` must be in quotes",
        "scanning a quoted": "A quotation mark is opened and not closed",
        "unexpected end of stream": "A quotation mark is opened and not closed",
        "another document": "A project file is one document: take the `---` out",
        "special characters": "Take the invisible control character out",
    }
    remedy = next(
        (advice for sign, advice in remedies.items() if sign in told),
        "Check the indentation, brackets and quotation marks of this line and the one before",
    )
    # Names taken from the file go: "found undefined alias 'abc'" could tell the rest of an unquoted secret.
    told = re.sub(r"(alias|anchor|handle) '.*'", r"\1", told)
    position = getattr(error, "position", None)  # an unreadable character has no mark, only its place in the text
    line = mark.line + 1 if mark is not None else text.count("\n", 0, position) + 1 if position is not None else None
    column = f" (column {mark.column + 1})" if mark is not None else ""
    return Problem("", f"is not valid YAML{column}: {told}. {remedy}", line)
