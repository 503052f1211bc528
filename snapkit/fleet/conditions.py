"""Conditions on one record: `Rules ~ 'write'`, `TaskGroups["front"].Count > 3 and not Stop == true`.

A condition looks at values and can do nothing else: there are no names but those of fields, and no calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from snapkit.errors import SnapshotError
from snapkit.format.schema import LIST_NAMES

Condition = Callable[[Mapping[str, Any]], bool]
MAX_DEPTH = 50
ADVICE = """write such as Rules ~ 'write', Count >= 3 or Status in ('dead', 'failed'), joined by and, or, not"""

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<number>-?\d{1,40}(?:\.\d{1,40})?(?![\w.]))"""
    r"""|(?P<sign>==|!=|<=|>=|!~|[~<>(),])|(?P<word>[A-Za-z_](?:[\w.]|\[(?:"[^"]*"|\d{1,9})\])*))"""
)
_STEP = re.compile(r'\[(?:"([^"]*)"|(\d+))\]|([^.\[\]]+)')
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
#: What items of lists go by, as in the paths of changes.
_NAMES = tuple(dict.fromkeys(LIST_NAMES.values()))


class ConditionError(SnapshotError):
    """A condition can't be understood."""


class _Token(NamedTuple):
    kind: str
    text: str
    offset: int


def condition(text: str) -> Condition:
    """What tells whether a record meets a condition.

    Fields are dotted paths: `Status`, `Config.Mode`, `TaskGroups["front"].Tasks[0].Driver`. A path that leads through a
    list without saying which item means any of them. A field that is not there is null. Operators: ==, !=, <, <=, >, >=
    (numbers, times and text, each with its own), ~ and !~ (a regular expression, Python's, anywhere in the text), in
    (one of several, or an item of a list field: `'ops' in Policies`), and, or, not, parentheses.

    Raises:
        ConditionError: It can't be understood.
    """
    parser = _Parser(text)
    meets = parser.either(0)
    parser.end()
    return meets


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._read())
        self._next = 0

    def _read(self) -> Iterator[_Token]:
        position = 0
        while self._text[position:].strip():
            found = _TOKEN.match(self._text, position)
            if found is None or found.lastgroup is None:
                raise self._error("can't be read", position)
            yield _Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup))
            position = found.end()

    def _error(self, what: str, offset: int | None = None) -> ConditionError:
        where = len(self._text) if offset is None else offset
        return ConditionError(what, f"condition {self._text!r:.100}, character {where + 1}", ADVICE)

    def _accept(self, *texts: str) -> str:
        token = self._tokens[self._next] if self._next < len(self._tokens) else None
        if token is None or token.kind == "text" or token.text not in texts:
            return ""
        self._next += 1
        return token.text

    def _take(self) -> _Token:
        if self._next >= len(self._tokens):
            raise self._error("ends too early")
        self._next += 1
        return self._tokens[self._next - 1]

    def end(self) -> None:
        if self._next < len(self._tokens):
            token = self._tokens[self._next]
            raise self._error(f"has {token.text!r:.40} where it should end", token.offset)

    def either(self, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise self._error("is nested too deep")
        parts = [self._both(depth)]
        while self._accept("or"):
            parts.append(self._both(depth))
        return lambda record: any(part(record) for part in parts)

    def _both(self, depth: int) -> Condition:
        parts = [self._negated(depth)]
        while self._accept("and"):
            parts.append(self._negated(depth))
        return lambda record: all(part(record) for part in parts)

    def _negated(self, depth: int) -> Condition:
        if depth > MAX_DEPTH:
            raise self._error("is nested too deep")
        if self._accept("not"):
            inner = self._negated(depth + 1)
            return lambda record: not inner(record)
        if self._accept("("):
            inner = self.either(depth + 1)
            self._close()
            return inner
        return self._comparison()

    def _close(self) -> None:
        if not self._accept(")"):
            offset = self._tokens[self._next].offset if self._next < len(self._tokens) else None
            raise self._error("lacks a closing parenthesis", offset)

    def _comparison(self) -> Condition:
        left = self._take()
        sign = self._accept("==", "!=", "<=", ">=", "!~", "~", "<", ">", "in")
        if not sign:
            raise self._error(f"has no operator after {left.text!r:.40}", left.offset + len(left.text))
        if sign == "in":
            return self._membership(left)
        if left.kind != "word" or left.text in _WORDS:
            raise self._error(f"{left.text!r:.40} is no field", left.offset)
        value = self._value(self._take())
        if sign in ("~", "!~"):
            return self._matching(left.text, value, sign == "!~")
        compare = _COMPARISONS[sign]
        if sign == "!=":
            return lambda record: not any(_equal(found, value) for found in select(record, left.text))
        return lambda record: any(compare(found, value) for found in select(record, left.text))

    def _matching(self, path: str, pattern: Any, absent: bool) -> Condition:
        try:
            search = re.compile(str(pattern)).search
        except re.error as error:
            raise self._error(f"has a regular expression that is none ({error})") from error

        def meets(record: Mapping[str, Any]) -> bool:
            return any(isinstance(found, str) and search(found) is not None for found in select(record, path))

        return lambda record: meets(record) != absent

    def _membership(self, left: _Token) -> Condition:
        if left.kind == "word" and left.text not in _WORDS and self._accept("("):
            values = [self._value(self._take())]
            while self._accept(","):
                values.append(self._value(self._take()))
            self._close()
            return lambda record: any(_equal(found, v) for found in select(record, left.text) for v in values)
        right = self._take()
        if right.kind != "word":
            raise self._error(f"{right.text!r:.40} is neither a list of values nor a field", right.offset)
        value = self._value(left)
        return lambda record: any(_equal(found, value) for found in select(record, right.text))

    def _value(self, token: _Token) -> Any:
        if token.kind == "text":
            return re.sub(r"\\(['\"])", r"\1", token.text[1:-1])  # other backslashes are the regular expression's
        if token.kind == "number":
            return float(token.text) if "." in token.text else int(token.text)
        if token.kind == "word" and token.text in _WORDS:
            return _WORDS[token.text]
        raise self._error(f"{token.text!r:.40} is no value", token.offset)


def select(record: Mapping[str, Any], path: str) -> list[Any]:
    """The values at a path: none or several if it leads through lists; [None] if there is nothing."""
    values: list[Any] = [record]
    for quoted, number, name in _STEP.findall(path):
        values = [inner for value in values for inner in _into(value, quoted, number, name)]
    flat = [inner for value in values for inner in (value if isinstance(value, list) else [value])]
    return flat or [None]


def _into(value: Any, quoted: str, number: str, name: str) -> list[Any]:
    if isinstance(value, list):
        if number:
            return value[int(number) : int(number) + 1]
        if quoted:
            return [item for item in value if isinstance(item, dict) and quoted in [item.get(n) for n in _NAMES]]
        return [inner for item in value for inner in _into(item, quoted, number, name)]
    return [value.get(quoted or number or name)] if isinstance(value, Mapping) else [None]


def _equal(found: Any, value: Any) -> bool:
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value
    return bool(found == value)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def meets(found: Any, value: Any) -> bool:
        if isinstance(found, bool) or isinstance(value, bool):
            return False
        if isinstance(found, str) and isinstance(value, str):
            moments = _moment(found), _moment(value)
            return compare(*moments) if None not in moments else compare(found, value)
        numbers = (int, float)
        return isinstance(found, numbers) and isinstance(value, numbers) and compare(found, value)

    return meets


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": _equal,
    "!=": lambda found, value: not _equal(found, value),
    "<": _ordered(lambda a, b: bool(a < b)),
    "<=": _ordered(lambda a, b: bool(a <= b)),
    ">": _ordered(lambda a, b: bool(a > b)),
    ">=": _ordered(lambda a, b: bool(a >= b)),
}
