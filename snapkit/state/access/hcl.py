"""HCL 1 and its JSON, the language of ACL rules: text to items, as a Nomad server reads it.

What HCL's own parser lets pass, a server lets pass, so its oddities are kept: a name without a value at the end of the
text, or text after the end of JSON, is no error. A parser of HCL 2 knows another language, and one that gives
dictionaries loses what stands twice.

Source: github.com/hashicorp/hcl 1.0.1-nomad-1: hcl/scanner, hcl/parser, hcl/strconv, json/scanner, json/parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

#: What stands behind a name. Of a literal it is the text: `1` and `true` are "1" and "true", JSON's null is "".
Value: TypeAlias = "str | Object | list[Value]"


@dataclass(frozen=True, slots=True)
class Item:
    """`key = value`, or a block: `key "label" … { … }`.

    Attributes:
        keys: The name and its labels, without quotes.
        value: A literal's text, an Object, or a list.
    """

    keys: tuple[str, ...]
    value: Value


@dataclass(frozen=True, slots=True)
class Object:
    """What stands in braces, in order; names may stand twice."""

    items: list[Item]


class HclError(ValueError):
    """It is no HCL. The message begins with the line."""


def parse(text: str) -> list[Item]:
    """The items of a text in HCL, or in JSON if it begins with a brace.

    JSON has blocks as HCL does: `{"a": {"b": {…}}}` is the one item `a "b" {…}`.

    Raises:
        HclError: It is neither, or nested too deeply.
    """
    try:
        return _JsonParser(text).parse() if text.lstrip().startswith("{") else _Parser(text).parse()
    except RecursionError:
        raise HclError("nested too deeply") from None


# -- tokens

_LITERALS = frozenset({"string", "number", "bool", "heredoc"})
_END = ""  # the kind of token that the end is
_ESCAPE = re.compile(
    r"""\\ (?: (?P<one> [abfnrtv\\"]) | (?P<octal> [0-7]{3})
             | x (?P<byte> [0-9a-fA-F]{2}) | (?: u (?P<short> [0-9a-fA-F]{4}) | U (?P<long> [0-9a-fA-F]{8}) ) )""",
    re.VERBOSE,
)
_ONE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_NUMBER = re.compile(
    r"""-? (?: 0 [xX] [0-9a-fA-F]+ | [0-9]+ (?: \. [0-9]* )? (?: [eE] [+-]? (?: [0-9]+ | . )? )? )
        | \. [0-9]+ [eE]?""",  # an exponent without digits takes what follows
    re.VERBOSE | re.DOTALL,
)
_OCTAL = re.compile(r"0[0-9]+")
_HEREDOC = re.compile(r"<<(-?)(\w+)\n")


class _Scanner:
    """Takes a text apart into tokens."""

    #: Characters that are tokens of their own.
    marks = "[]{},=.+-"
    word_marks = "-._"

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.start = 0  # of the last token

    def fail(self, why: str) -> NoReturn:
        raise HclError(self.placed(why))

    def placed(self, why: str) -> str:
        return f"line {self.text.count(chr(10), 0, self.start) + 1}: {why}"

    def token(self) -> tuple[str, str]:
        """The next token's kind and text."""
        self.skip()
        self.start = self.at
        if self.at >= len(self.text):
            return _END, ""
        first = self.text[self.at]
        if _is_letter(first):
            return self.word()
        if number := _NUMBER.match(self.text, self.at):
            return self.number(number)
        if first == '"':
            return "string", self.string()
        if first == "<":
            return "heredoc", self.heredoc()
        if first not in self.marks:
            self.fail(f"{first!r} means nothing here")
        self.at += 1
        return first, first

    def skip(self) -> None:
        """White space and comments."""
        while self.at < len(self.text):
            if self.text[self.at] in " \t\r\n":
                self.at += 1
            elif self.text[self.at] == "#" or self.text.startswith("//", self.at):
                end = self.text.find("\n", self.at)
                self.at = end if end >= 0 else len(self.text)
            elif self.text.startswith("/*", self.at):
                end = self.text.find("*/", self.at + 2)
                if end < 0:
                    self.start = self.at
                    self.fail("a comment does not end")
                self.at = end + 2
            else:
                return

    def word(self) -> tuple[str, str]:
        end = self.at
        while end < len(self.text) and (
            _is_letter(self.text[end]) or self.text[end].isdecimal() or self.text[end] in self.word_marks
        ):
            end += 1
        word, self.at = self.text[self.at : end], end
        return ("bool" if word in ("true", "false") else "word"), word

    def number(self, found: re.Match[str]) -> tuple[str, str]:
        self.at = found.end()
        digits = found[0].lstrip("-")
        if (_OCTAL.fullmatch(digits) and set(digits[2:]) & {"8", "9"}) or (
            digits == "0" and self.text[self.at : self.at + 1] in ("x", "X")
        ):
            self.fail(f"{found[0]} begins no number")
        return "number", found[0]

    def string(self) -> str:
        """Its value: escapes are resolved, but not within `${ }`, where quotes do not end it either."""
        parts: list[str] = []
        braces = 0
        at = self.at + 1
        while at < len(self.text):
            character = self.text[at]
            if character == '"' and not braces:
                self.at = at + 1
                return _text(parts)
            if character == "\n" and not braces:
                break
            if character == "\\":
                escape = _ESCAPE.match(self.text, at)
                if escape is None:
                    self.fail(f"{self.text[at : at + 2]!r} is no escape")
                parts.append(escape[0] if braces else self.escaped(escape))
                at = escape.end()
                continue
            if braces:
                braces += (character == "{") - (character == "}")
            elif self.text.startswith("${", at):
                braces, character = 1, "${"
            parts.append(character)
            at += len(character)
        self.fail("a string does not end")

    def escaped(self, escape: re.Match[str]) -> str:
        if escape["one"]:
            return _ONE[escape["one"]]
        if escape["octal"] or escape["byte"]:
            byte = int(escape["byte"], 16) if escape["byte"] else int(escape["octal"], 8)
            if byte > 0xFF:
                self.fail(f"{escape[0]} is no byte")
            return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)
        return self.character(int(escape["short"] or escape["long"], 16), escape[0])

    def character(self, code: int, escape: str) -> str:
        if code > 0x10FFFF:
            self.fail(f"{escape} is no character")
        return chr(code) if not 0xD800 <= code < 0xE000 else "\N{REPLACEMENT CHARACTER}"

    def heredoc(self) -> str:
        opening = _HEREDOC.match(self.text, self.at)
        if opening is None or not all(map(_is_word, opening[2])):
            self.fail("'<' begins no heredoc")
        # A line of less bytes than the opening has after `<<`, its `-` included, does not close it.
        least = len((opening[1] + opening[2]).encode())
        closing = re.compile(rf"^([ \t\v\f\r]*){re.escape(opening[2])}\r*\n", re.MULTILINE)
        for found in closing.finditer(self.text, opening.end()):
            if len(found[0].encode()) > least:
                self.at = found.end()
                text = self.text[opening.end() : found.end(1)]
                return _unindented(text, found[1]) if opening[1] else text
        self.fail("a heredoc does not end")


def _is_letter(character: str) -> bool:
    return character == "_" or character.isalpha()


def _is_word(character: str) -> bool:
    return _is_letter(character) or character.isdecimal()


def _text(parts: Iterable[str]) -> str:
    """Bytes that escapes gave are part of UTF-8, or U+FFFD."""
    return "".join(parts).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _unindented(text: str, indent: str) -> str:
    lines = text.split("\n")
    if not all(line.startswith(indent) for line in lines):
        return text.rstrip(" \t")
    return "\n".join(line.removeprefix(indent) for line in lines)


# -- HCL


class _UnexpectedError(HclError):
    """By the parser. Of the scanner's errors none is overlooked."""


class _EndOfTextError(Exception):
    """It ended where it may."""


class _Parser:
    def __init__(self, text: str) -> None:
        self._scanner = _Scanner(text.replace("\r\n", "\n"))
        self._kind, self._text = _END, ""
        self._held = False

    def parse(self) -> list[Item]:
        if set(self._scanner.text) & {"\0", "\ue123"}:
            raise HclError("line 1: holds a character that HCL keeps for itself")
        items: list[Item] = []
        self._items(items, in_object=False)
        return items

    def _next(self) -> str:
        """Go to the next token; its kind."""
        if not self._held:
            self._kind, self._text = self._scanner.token()
        self._held = False
        return self._kind

    def _peek(self) -> str:
        kind = self._next()
        self._held = True
        return kind

    def _refuse(self, why: str) -> NoReturn:
        found = repr(self._text) if self._kind or self._text else "the end"
        raise _UnexpectedError(self._scanner.placed(f"{why}, not {found:.60}"))

    def _items(self, items: list[Item], *, in_object: bool) -> None:
        while not (in_object and self._peek() == "}"):
            try:
                items.append(self._item())
            except _EndOfTextError:
                return
            if self._peek() == ",":
                self._next()

    def _item(self) -> Item:
        keys: list[str] = []
        while self._next() in ("word", "string"):
            keys.append(self._text)
        if self._kind == _END and not keys:
            raise _EndOfTextError
        if self._kind == "=" and len(keys) == 1:
            return Item(tuple(keys), self._value())
        if self._kind == "{" and keys:
            return Item(tuple(keys), self._object())
        if keys and self._kind == "}":
            self._kind = _END  # or _object() would overlook it
        self._refuse("a name wants '=' or '{'" if keys else "a name is wanted")

    def _value(self) -> Value:
        kind = self._next()
        if kind in _LITERALS:
            return self._text
        if kind == "{":
            return self._object()
        if kind == "[":
            return self._list()
        if kind == _END:
            raise _EndOfTextError
        self._refuse("a value is wanted")

    def _object(self) -> Object:
        items: list[Item] = []
        try:
            self._items(items, in_object=True)
        except _UnexpectedError:
            if self._kind != "}":  # what a brace cuts short is overlooked, if another one follows
                raise
        if self._next() != "}":
            self._refuse("'}' is wanted")
        return Object(items)

    def _list(self) -> list[Value]:
        values: list[Value] = []
        wants_comma = False
        while (kind := self._next()) != "]":
            if wants_comma and kind != ",":
                self._refuse("',' or ']' is wanted")
            wants_comma = kind not in (",", "[")
            if kind in _LITERALS:
                values.append(self._text)
            elif kind == "{":
                values.append(self._object())
            elif kind == "[":
                values.append(self._list())
            elif kind != ",":
                self._refuse("a value or ']' is wanted")
        return values


# -- JSON


class _JsonScanner(_Scanner):
    marks = "[]{},:."
    word_marks = "-_"

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1

    def token(self) -> tuple[str, str]:
        self.skip()
        if self.text.startswith("\0", self.at):  # counts as the end, and the text goes on behind it
            self.at += 1
            return _END, ""
        return super().token()

    def word(self) -> tuple[str, str]:
        kind, word = super().word()
        if kind == "bool" or word == "null":
            return kind if kind == "bool" else "null", word
        self.fail(f"{word!r:.60} means nothing here")

    def number(self, found: re.Match[str]) -> tuple[str, str]:
        if re.fullmatch(r"-?0(?:[0-9]+|[xX].*)", found[0]):
            self.fail(f"{found[0]} begins with 0")
        self.at = found.end()
        return "number", found[0]

    def string(self) -> str:
        parts: list[str] = []
        at = self.at + 1
        while at < len(self.text) and self.text[at] not in "\n\0":
            if self.text[at] == '"':
                self.at = at + 1
                return _text(parts)
            if self.text[at] == "\\":
                escape = _ESCAPE.match(self.text, at)
                if escape is None:
                    self.fail(f"{self.text[at : at + 2]!r} is no escape")
                parts.append(self.escaped(escape))
                at = escape.end()
            else:
                parts.append(self.text[at])
                at += 1
        self.fail("a string does not end")

    def character(self, code: int, escape: str) -> str:
        if 0xD800 <= code < 0xE000:
            self.fail(f"{escape} is no character")
        return super().character(code, escape)

    def heredoc(self) -> str:
        self.fail("'<' means nothing here")


class _JsonParser(_Parser):
    def __init__(self, text: str) -> None:
        super().__init__("")
        self._scanner = _JsonScanner(text)

    def parse(self) -> list[Item]:
        if self._next() != "{":
            self._refuse("'{' is wanted")
        return list(_flat(self._object().items))

    def _items(self, items: list[Item], *, in_object: bool) -> None:
        while True:
            try:
                items.append(self._item())
            except _EndOfTextError:
                return
            if self._next() != ",":  # whatever it is
                return

    def _item(self) -> Item:
        keys: list[str] = []
        while self._next() == "string":
            keys.append(self._text)
        if self._kind == _END:
            raise _EndOfTextError
        if self._kind != ":" or not keys:
            self._refuse("a name and ':' are wanted")
        return Item(tuple(keys), self._value())

    def _value(self) -> Value:
        if self._next() == "null":
            return ""
        self._held = True
        return super()._value()

    def _object(self) -> Object:
        items: list[Item] = []
        try:
            self._items(items, in_object=True)
        except _UnexpectedError:
            if self._kind != "}":
                raise
        return Object(items)

    def _list(self) -> list[Value]:
        values: list[Value] = []
        while (kind := self._next()) != "]":
            if kind in ("number", "string"):
                values.append(self._text)
            elif kind == "{":
                values.append(self._object())
            elif kind not in (",", "bool", "["):  # these are overlooked
                self._refuse("a value or ']' is wanted")
        return values


def _flat(items: Iterable[Item]) -> Iterator[Item]:
    """Objects that hold nothing but objects, and lists of nothing but objects, as blocks with labels."""
    for item in items:
        match item.value:
            case Object(inner) if inner and all(isinstance(one.value, Object) for one in inner):
                yield from _flat(Item((*item.keys, *one.keys), one.value) for one in inner)
            case list(values) if values and all(isinstance(one, Object) for one in values):
                yield from _flat(Item(item.keys, one) for one in values)
            case value:
                yield Item(item.keys, _flat_within(value))


def _flat_within(value: Value) -> Value:
    if isinstance(value, Object):
        return Object(list(_flat(value.items)))
    return [_flat_within(one) for one in value] if isinstance(value, list) else value
