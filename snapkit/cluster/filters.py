"""The `filter` parameter of Nomad's lists: go-bexpr's expressions, as `Status == "failed" and JobID matches "^web"`.

Source: hashicorp/go-bexpr, grammar.peg.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from snapkit.errors import SnapshotError

Matcher = Callable[[Mapping[str, Any]], bool]
MAX_DEPTH = 50

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<operator>==|!=|\(|\))|(?P<index>\["[^"]*"\])"""
    r"""|(?P<word>[^\s()\[\]"`=!]+(?:\["[^"]*"\][\w./-]*)*))"""
)


class FilterError(SnapshotError):
    """A filter expression can't be understood."""


class _Token(NamedTuple):
    kind: str
    value: str
    offset: int


def matcher(expression: str) -> Matcher:
    """What tells whether an object matches an expression.

    Raises:
        FilterError: The expression can't be understood.
    """
    parser = _Parser(expression)
    matches = parser.either(0)
    parser.end()
    return matches


def _tokens(expression: str) -> Iterator[_Token]:
    position = 0
    while expression[position:].strip():
        match = _TOKEN.match(expression, position)
        if match is None or match.lastgroup is None:
            raise FilterError("can't be read", f"filter, character {position + 1}", 'quote values as "…"')
        yield _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
        position = match.end()


class _Parser:
    def __init__(self, expression: str) -> None:
        self._tokens = list(_tokens(expression))
        self._next = 0

    def _peek(self, *words: str) -> bool:
        following = self._tokens[self._next : self._next + len(words)]
        return [t.value for t in following if t.kind != "text"] == list(words)

    def _accept(self, *words: str) -> bool:
        found = self._peek(*words)
        self._next += len(words) * found
        return found

    def _take(self) -> _Token:
        if self._next >= len(self._tokens):
            raise FilterError("ends too early", "filter", "it takes a selector, an operator and a value")
        self._next += 1
        return self._tokens[self._next - 1]

    def end(self) -> None:
        if self._next < len(self._tokens):
            token = self._tokens[self._next]
            raise FilterError(f"has {token.value!r} where it should end", f"filter, character {token.offset + 1}")

    def either(self, depth: int) -> Matcher:
        if depth > MAX_DEPTH:
            raise FilterError("is nested too deep", "filter")
        parts = [self._both(depth)]
        while self._accept("or"):
            parts.append(self._both(depth))
        return lambda item: any(part(item) for part in parts)

    def _both(self, depth: int) -> Matcher:
        parts = [self._negated(depth)]
        while self._accept("and"):
            parts.append(self._negated(depth))
        return lambda item: all(part(item) for part in parts)

    def _negated(self, depth: int) -> Matcher:
        if self._accept("not"):
            inner = self._negated(depth + 1) if depth < MAX_DEPTH else self.either(depth + 1)
            return lambda item: not inner(item)
        if self._accept("("):
            inner = self.either(depth + 1)
            if not self._accept(")"):
                raise FilterError("lacks a closing parenthesis", "filter")
            return inner
        return self._comparison()

    def _comparison(self) -> Matcher:
        left = self._take()
        for words, compare in _OPERATORS:
            if self._accept(*words):
                if words[0] == "is":
                    return lambda item: compare(_select(item, left.value), "")
                right = self._take()
                value, selector = (left, right) if words[-1] == "in" else (right, left)
                wanted = _literal(value)
                return lambda item: compare(_select(item, selector.value), wanted)
        raise FilterError(f"has no operator after {left.value!r}", f"filter, character {left.offset + 1}")


def _literal(token: _Token) -> str:
    if token.kind != "text":
        return token.value
    inner = token.value[1:-1]
    return inner if token.value[0] == "`" else re.sub(r"\\(.)", r"\1", inner)


def _select(item: Any, selector: str) -> Any:
    if selector.startswith("/"):
        parts = selector[1:].split("/")
    else:
        parts = [a or b for a, b in re.findall(r'\["([^"]*)"\]|([^.\[\]]+)', selector)]
    for part in parts:
        item = item.get(part) if isinstance(item, Mapping) else None
    return item


def _equal(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return str(value).lower() == wanted.lower()
    return wanted == "" if value is None else str(value) == wanted


def _contains(value: Any, wanted: str) -> bool:
    if isinstance(value, str):
        return wanted in value
    return isinstance(value, list | dict) and any(str(element) == wanted for element in value)


def _matches(value: Any, wanted: str) -> bool:
    try:
        return re.search(wanted, str(value or "")) is not None
    except re.error as error:
        raise FilterError(f"has a regular expression that is none ({error})", "filter") from error


_OPERATORS: tuple[tuple[tuple[str, ...], Callable[[Any, str], bool]], ...] = (
    (("==",), _equal),
    (("!=",), lambda value, wanted: not _equal(value, wanted)),
    (("is", "not", "empty"), lambda value, _: bool(value)),
    (("is", "empty"), lambda value, _: not value),
    (("not", "in"), lambda value, wanted: not _contains(value, wanted)),
    (("in",), _contains),
    (("not", "contains"), lambda value, wanted: not _contains(value, wanted)),
    (("contains",), _contains),
    (("not", "matches"), lambda value, wanted: not _matches(value, wanted)),
    (("matches",), _matches),
)
