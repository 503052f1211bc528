"""The `filter` parameter of Nomad's lists: go-bexpr's expressions, as `Status == "failed" and JobID matches "^web"`.

They are read by the same grammar and refused in the same words, and are about the record that the state holds, not
about the stub that a list shows of it.
Source: hashicorp/go-bexpr 0.1.16, grammar.peg and evaluate.go; mitchellh/pointerstructure, get.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, NamedTuple

from snapkit.errors import SnapshotError
from snapkit.format.schema import ANY, Type, fields

Matcher = Callable[[Mapping[str, Any]], bool]
MAX_DEPTH = 50

_SPACE, _LETTER, _NAME, _DIGIT = r"[ \t\r\n]", "[a-zA-Z]", "[a-zA-Z0-9_/]", "[0-9]"
_SEGMENT = r"[\pL\pN-_.~:|]"
_SEGMENT_HERE = re.compile(r"[\w.~:|-]")
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_ESCAPE = re.compile(
    r"""\\(?:([abfnrtv\\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))""", re.DOTALL
)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
#: What an operator gives where a map has no such key.
_ABSENT: Final = {"==": False, "in": False, "empty": True, "matches": False, "nil": True}


class FilterError(SnapshotError):
    """A filter expression can't be understood, or not be applied: `what` has the words of a server."""


def matcher(expression: str, struct: str = "") -> Matcher:
    """What tells whether an object matches an expression; it raises FilterError where a server answers 400.

    Args:
        expression: As a request has it.
        struct: Nomad's name of what the objects are, as the schema has it; without it, fields that an object has not
            are taken for not there.

    Raises:
        FilterError: The expression can't be understood.
    """
    parser = _Parser(expression)
    found = parser.parse()
    kind = Type("struct", struct=struct) if struct else ANY
    return lambda item: found(_Place(item, kind), {})


# -- values


class _Place(NamedTuple):
    """A value and its type."""

    value: Any
    type: Type

    @property
    def kind(self) -> str:
        """As Go's reflection calls it, after pointers."""
        if self.value is None and self.type.kind not in ("list", "map", "bytes", "string"):
            return "invalid"
        known = {"list": "slice", "bytes": "slice", "time": "struct", "duration": "int64"}
        if self.type.kind != "any":
            return known.get(self.type.kind, self.type.kind)
        of_python = {bool: "bool", int: "int64", float: "float64", str: "string", list: "slice", dict: "map"}
        return of_python.get(type(self.value), "struct")

    def below(self, part: str, place: str) -> _Place | None:
        """What a part of a selector leads to; None if a map has no such key."""
        kind = self.kind
        if kind == "map":
            return _Place(self.value[part], self.type.element or ANY) if part in (self.value or ()) else None
        if kind == "slice":
            try:
                number = _integer(part)
            except FilterError:
                words = f"couldn't convert value {json.dumps(part)} to type int"
                raise FilterError(f"error finding value in datum: {place}: {words}") from None
            if not 0 <= number < len(self.value or ()):
                words = f"index {number} is out of range (length = {len(self.value or ())})"
                raise FilterError(f"error finding value in datum: {place}: {words}")
            return _Place(self.value[number], self.type.element or ANY)
        if self.type.struct in _EMBEDDED:
            if part in _EMBEDDED[self.type.struct]:
                return _Place(self.value, Type("struct", struct=part))
            words = f'couldn\'t find key: struct field with name "{part}"'
            raise FilterError(f"error finding value in datum: {place}: {words}")
        if kind == "struct":
            field = fields(_PARTS.get(self.type.struct, self.type.struct)).get(part)
            if field is None or field.last or field.json is None:
                words = f'couldn\'t find key: struct field with name "{part}"'
                raise FilterError(f"error finding value in datum: {place}: {words}")
            zero = None if self.type.struct in _ALL_POINTERS else _ZERO.get(field.type.kind)
            found = self.value.get(field.json, zero)
            never_nil = found is None and (self.type.struct, part) in _NEVER_NIL
            return _Place({} if never_nil else found, field.type)
        at, _, part = place.rpartition(" at part ")
        raise FilterError(f"error finding value in datum: {at}: at part {part}, invalid value kind: {kind}")


_NUMBERS = "int int8 int16 int32 int64 uint uint8 uint16 uint32 uint64 duration float64"
_ZERO: Mapping[str, Any] = {"string": "", "bool": False, **dict.fromkeys(_NUMBERS.split(), 0)}
#: Structs that a record has, and no pointers to them, though Nomad's JSON leaves them out.
_NEVER_NIL = {("Allocation", "DesiredTransition"), ("Evaluation", "WaitUntil")}
#: Structs all of whose fields are pointers.
_ALL_POINTERS = {"DesiredTransition"}
#: A record that is two structs in one; a filter names them, and their fields below.
_EMBEDDED = {"VariableEncrypted": ("VariableMetadata", "VariableData")}
_PARTS = {part: whole for whole, parts in _EMBEDDED.items() for part in parts}
_Names = Mapping[str, "Selector | _Place"]
_Test = Callable[[_Place, _Names], bool]


@dataclass(frozen=True, slots=True)
class Selector:
    """A way to a value, such as `Meta["owner"]` or `"/Meta/owner"`."""

    path: tuple[str, ...]
    pointer: bool = False

    def __str__(self) -> str:
        return ("/" if self.pointer else ".").join(self.path)

    def resolved(self, names: _Names) -> Selector | _Place:
        """With what the names of `any` and `all` stand for."""
        if not self.path or self.path[0] not in names:
            return self
        stands_for = names[self.path[0]]
        if isinstance(stands_for, Selector):
            return Selector((*stands_for.path, *self.path[1:]))
        if len(self.path) > 1:
            kind = "int" if stands_for.kind == "int64" else stands_for.kind
            full = "/".join(self.path)
            raise FilterError(f"/{self.path[0]} references a {kind} so /{full} is invalid")
        return stands_for

    def of(self, item: _Place, names: _Names) -> _Place | None:
        """The value; None where a map has no such key."""
        way = self.resolved(names)
        if isinstance(way, _Place):
            return way
        place = item
        for number, part in enumerate(way.path):
            pointer = "".join(f"/{p.replace('~', '~0').replace('/', '~1')}" for p in way.path)
            found = place.below(part, f"{pointer} at part {number}")
            if found is None:
                if number == len(way.path) - 1 and number > 0:
                    return None
                raise FilterError(
                    f"error finding value in datum: {pointer} at part {number}: couldn't find key {json.dumps(part)}"
                )
            place = found
        return place


def _integer(text: str, kind: str = "int64") -> int:
    """A whole number in one of Go's notations."""
    signed = not kind.startswith("uint")
    sign, digits = (text[0], text[1:]) if signed and text[:1] in ("+", "-") else ("", text)
    called = f"strconv.Parse{'Int' if signed else 'Uint'}: parsing {json.dumps(text)}"
    try:
        number = int(digits, 8) if re.fullmatch("0[0-7]+", digits) else int(digits, 0)
    except ValueError:
        number = -1
    if number < 0 or digits[:1] in ("+", "-") or digits != digits.strip():
        raise FilterError(f"{called}: invalid syntax")
    if number > (2**63 - (sign != "-") if signed else 2**64 - 1):
        raise FilterError(f"{called}: value out of range")
    return -number if sign == "-" else number


def _wanted(text: str, kind: str) -> Any:
    """The value of an expression, as what it is compared with has it."""
    try:
        if kind == "bool":
            if text not in _TRUE + _FALSE:
                raise FilterError(f"strconv.ParseBool: parsing {json.dumps(text)}: invalid syntax")
            return text in _TRUE
        if kind.startswith(("int", "uint")):
            return _integer(text, kind)
        if kind.startswith("float"):
            try:
                return float(text)
            except ValueError:
                raise FilterError(f"strconv.ParseFloat: parsing {json.dumps(text)}: invalid syntax") from None
    except FilterError as error:
        raise FilterError(f"error getting match value in expression: {error.what}") from None
    return text


_PRIMITIVE = re.compile("bool|string|u?int(8|16|32|64)?|float(32|64)")


def _equal(selector: Selector, place: _Place, text: str) -> bool:
    if not _PRIMITIVE.fullmatch(place.kind):
        raise FilterError("unable to find suitable primitive comparison function for matching")
    return bool((place.value or _ZERO.get(place.kind)) == _wanted(text, place.kind))


def _contains(selector: Selector, place: _Place, text: str) -> bool:
    kind = place.kind
    wanted = _wanted(text, kind)
    if kind == "string":
        return text in (place.value or "")
    if kind == "map":
        return wanted in (place.value or ())
    if kind != "slice":
        raise FilterError(
            f"cannot perform in/contains operations on type {kind} for selector: {json.dumps(str(selector))}"
        )
    element = place.type.element or ANY
    items = [_Place(item, element) for item in place.value or ()]
    of_structs = element.nested and element is not ANY
    if of_structs or any(not _PRIMITIVE.fullmatch(item.kind) for item in items):
        raise FilterError('unable to find suitable primitive comparison function for "in" comparison')
    return any(item.value == _wanted(text, item.kind) for item in items)


def _empty(selector: Selector, place: _Place, text: str) -> bool:
    if place.kind not in ("map", "slice", "string"):
        raise FilterError(
            f"cannot perform is-empty operations on type {place.kind} for selector: {json.dumps(str(selector))}"
        )
    return not place.value


def _nil(selector: Selector, place: _Place, text: str) -> bool:
    if place.kind not in ("map", "slice", "struct", "invalid"):
        raise FilterError(
            f"cannot perform is-nil operations on type {place.kind} for selector: {json.dumps(str(selector))}"
        )
    return place.value is None


def _matches(selector: Selector, place: _Place, text: str) -> bool:
    if place.kind != "string":
        raise FilterError(f"value of type {place.kind} is not convertible to []byte")
    try:
        if unknown := _NOT_RE2.search(text):
            raise re.error(f"invalid or unsupported Perl syntax: `{unknown[1]}`")
        return re.search(text, place.value or "") is not None
    except re.error as error:
        words = f"failed to compile regular expression {json.dumps(text)}: error parsing regexp: {error}"
        raise FilterError(words) from error


#: What Python's regular expressions have and Go's have not.
_NOT_RE2 = re.compile(r"(?<!\\)(?:\\\\)*(\(\?(?:[=!>(]|<[=!]|P=)|\\[1-9])")

_TESTS: Mapping[str, Callable[[Selector, _Place, str], bool]] = {
    "==": _equal, "in": _contains, "empty": _empty, "nil": _nil, "matches": _matches,
}  # fmt: skip


def _comparison(selector: Selector, name: str, negated: bool, text: str) -> _Test:
    def test(item: _Place, names: _Names) -> bool:
        place = selector.of(item, names)
        return (_ABSENT[name] if place is None else _TESTS[name](selector, place, text)) != negated

    return test


def _of_each(every: bool, selector: Selector, index: str, value: str, default: str, inner: _Test) -> _Test:
    """`any X as y { … }` or `all X as i, y { … }`."""

    def test(item: _Place, names: _Names) -> bool:
        place = selector.of(item, names)
        if place is None:
            return every
        if place.kind not in ("slice", "map"):
            raise FilterError(f"{selector} is not a list or a map")
        way = selector.resolved(names)
        path = way.path if isinstance(way, Selector) else ()
        of_map = place.kind == "map"
        for key in (place.value or {}) if of_map else range(len(place.value or ())):
            known = _Place(key, Type("string") if of_map else Type("int64"))
            element = Selector((*path, str(key)))
            bound: dict[str, Selector | _Place] = {index: known, value: element, default: known if of_map else element}
            if inner(item, {**names, **{name: to for name, to in bound.items() if name}}) != every:
                return not every
        return every

    return test


# -- the grammar: a method is a rule, None is no match


class _Fault(NamedTuple):
    offset: int
    words: str


def _rule(method: Callable[[_Parser], Any]) -> Callable[[_Parser], Any]:
    """What matched once at a place matches there again: without memory, parentheses would double the work each."""

    @wraps(method)
    def remembering(self: _Parser) -> Any:
        key = (method.__name__, self.offset, self.inverted)
        if key not in self.memory:
            start = self.offset
            found = method(self)
            if found is None:
                self.offset = start
            self.memory[key] = (found, self.offset)
        found, self.offset = self.memory[key]
        return found

    return remembering


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0
        self.inverted = False  # within a !predicate
        self.memory: dict[tuple[str, int, bool], tuple[Any, int]] = {}
        self.furthest = 0
        self.expected: set[str] = set()
        self.faults: list[_Fault] = []
        self.depth = 0

    def parse(self) -> _Test:
        found = self._input()
        if self.faults:
            raise FilterError("\n".join(dict.fromkeys(f"{self._at(f.offset)}{f.words}" for f in self.faults)))
        if found is None:
            wanted = sorted(self.expected - {"!."}) + ["EOF"] * ("!." in self.expected)
            listed = " or ".join(filter(None, [", ".join(wanted[:-1]), wanted[-1]])) if wanted else ""
            raise FilterError(f"{self._at(self.furthest)}: no match found, expected: {listed}")
        test: _Test = found
        return test

    def _at(self, offset: int) -> str:
        before = self.text[:offset]
        line, column = before.count("\n") + 1, offset - (before.rfind("\n") + 1)
        in_bytes = len(before.encode("utf-8", "surrogatepass"))
        at_newline = self.text[offset : offset + 1] == "\n"  # which Go counts to the next line already
        return f"{line + at_newline}:{0 if at_newline else column + 1} ({in_bytes})"

    # -- what rules are made of

    def _note(self, matched: bool, offset: int, wanted: str) -> None:
        if matched != self.inverted or offset < self.furthest:
            return
        if offset > self.furthest:
            self.furthest, self.expected = offset, set()
        self.expected.add(f"!{wanted}" if self.inverted else wanted)

    def _take(self, matched: bool, length: int, wanted: str) -> bool:
        self._note(matched, self.offset, wanted)
        self.offset += length * matched
        return matched

    def _literal(self, text: str) -> bool:
        return self._take(self.text.startswith(text, self.offset), len(text), json.dumps(text))

    def _one_of(self, name: str, characters: re.Pattern[str]) -> bool:
        return self._take(characters.match(self.text, self.offset) is not None, 1, name)

    def _any(self) -> bool:
        return self._take(self.offset < len(self.text), 1, ".")

    def _not(self, rule: Callable[[], Any]) -> bool:
        """Does a rule not match here? Nothing is taken."""
        start, self.inverted = self.offset, not self.inverted
        found = rule()
        self.offset, self.inverted = start, not self.inverted
        return found is None or found is False

    def _back(self, start: int) -> None:
        self.offset = start

    def _fault(self, rule: str, words: str, offset: int | None = None) -> None:
        self.faults.append(_Fault(self.offset if offset is None else offset, f": rule {rule}: {words}"))

    def _space(self) -> bool:
        count = 0
        while self._one_of(_SPACE, _CLASSES[_SPACE]):
            count += 1
        return count > 0

    def _end(self) -> bool:
        return self._not(self._any)

    def _words(self, *words: str) -> bool:
        """Words, each with space ahead."""
        start = self.offset
        if all(self._space() and self._literal(word) for word in words):
            return True
        self._back(start)
        return False

    def _sequence(self, *parts: Callable[[], Any]) -> list[Any] | None:
        start, found = self.offset, []
        for part in parts:
            value = part()
            if value is None or value is False:
                self._back(start)
                return None
            found.append(value)
        return found

    def _maybe_space(self) -> bool:
        self._space()
        return True

    def _lit(self, text: str) -> Callable[[], bool]:
        return lambda: self._literal(text)

    # -- expressions

    @_rule
    def _input(self) -> _Test | None:
        space, inner = self._maybe_space, self._either
        found = self._sequence(space, self._lit("("), space, inner, space, self._lit(")"), space, self._end)
        if found:
            return found[3]  # type: ignore[no-any-return]
        found = self._sequence(space, inner, space, self._end)
        return found[1] if found else None

    @_rule
    def _either(self) -> _Test | None:
        found = self._sequence(self._both, self._space, self._lit("or"), self._space, self._either)
        if found:
            left, right = found[0], found[4]
            return lambda item, names: left(item, names) or right(item, names)
        either: _Test | None = self._both() or self._collection()
        return either

    @_rule
    def _both(self) -> _Test | None:
        found = self._sequence(self._negated, self._space, self._lit("and"), self._space, self._both)
        if found:
            left, right = found[0], found[4]
            return lambda item, names: left(item, names) and right(item, names)
        return self._negated()  # type: ignore[no-any-return]

    @_rule
    def _negated(self) -> _Test | None:
        found = self._sequence(self._lit("not"), self._space, self._deeper(self._negated))
        if found:
            inner = found[2]
            return lambda item, names: not inner(item, names)
        return self._grouped()  # type: ignore[no-any-return]

    def _deeper(self, rule: Callable[[], Any]) -> Callable[[], Any]:
        def nested() -> Any:
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise FilterError("the expression is nested too deep")
            try:
                return rule()
            finally:
                self.depth -= 1

        return nested

    @_rule
    def _grouped(self) -> _Test | None:
        space = self._maybe_space
        inner = self._deeper(self._either)
        found = self._sequence(self._lit("("), space, inner, space, self._lit(")"))
        if found:
            return found[2]  # type: ignore[no-any-return]
        test: _Test | None = self._match()
        if test is not None:
            return test
        if self._sequence(self._lit("("), space, inner, space, lambda: self._not(self._lit(")"))):
            self._fault('"grouping"', "Unmatched parentheses")
        return None

    @_rule
    def _collection(self) -> _Test | None:
        every = None
        for word, meaning in (("any", False), ("all", True)):
            if every is None and self._sequence(self._lit(word), self._space):
                every = meaning
        if every is None:
            return None
        space = self._maybe_space
        found = self._sequence(
            self._selector, self._space, self._lit("as"), self._space, self._bindings, space, self._lit("{"), space,
            self._deeper(self._either), space, self._lit("}"),
        )  # fmt: skip
        if not found:
            return None
        index, value, default = found[4]
        return _of_each(every, found[0], index, value, default, found[8])

    @_rule
    def _bindings(self) -> tuple[str, str, str] | None:
        """The names for the index, for the value, and the one that stands alone."""
        space, comma, blank, name = self._maybe_space, self._lit(","), self._lit("_"), self._identifier
        if found := self._sequence(name, space, comma, space, name):
            return found[0], found[4], ""
        if found := self._sequence(name, space, comma, space, blank):
            return found[0], "", ""
        if found := self._sequence(blank, space, comma, space, name):
            return "", found[4], ""
        alone = self._identifier()
        return ("", "", alone) if alone else None

    @_rule
    def _match(self) -> _Test | None:
        start = self.offset
        selector = self._selector()
        if selector is not None:
            operator = self._operator()
            if operator and (value := self._value()) is not None:
                return _comparison(selector, *operator, value)
            self._back(start)
        selector = self._selector()
        if selector is not None:
            for words, name, negated in _UNARY:
                if self._words(*words):
                    return _comparison(selector, name, negated, "")
            self._back(start)
        return self._value_in()  # type: ignore[no-any-return]

    def _operator(self) -> tuple[str, bool] | None:
        for symbol, negated in (("==", False), ("!=", True)):
            if self._sequence(self._maybe_space, self._lit(symbol), self._maybe_space):
                return "==", negated
        for words, name, negated in _BINARY:
            if self._sequence(lambda words=words: self._words(*words), self._space):  # type: ignore[misc]
                return name, negated
        return None

    def _in(self) -> tuple[str, bool] | None:
        for words, negated in ((("in",), False), (("not", "in"), True)):
            if self._sequence(lambda words=words: self._words(*words), self._space):  # type: ignore[misc]
                return "in", negated
        return None

    @_rule
    def _value_in(self) -> _Test | None:
        found = self._sequence(self._value_there, self._in, self._selector)
        if found:
            (value,), (name, negated), selector = found
            return _comparison(selector, name, negated, value)
        if self._sequence(self._value_there, self._in, lambda: self._not(self._selector)):
            self._fault('"match"', "Invalid selector")
        return None

    def _value_there(self) -> tuple[str] | None:
        value = self._value()  # which may be empty
        return None if value is None else (value,)

    @_rule
    def _selector(self) -> Selector | None:
        start = self.offset
        first = self._identifier()
        if first:
            path = [first]
            while (part := self._part()) is not None:
                path.append(part)
            return Selector(tuple(path))
        if self._literal('"'):
            path = []
            while (part := self._segment()) is not None:
                path.append(part)
            if self._literal('"'):
                return Selector(tuple(p.replace("~1", "/").replace("~0", "~") for p in path), pointer=True)
        self._back(start)
        return None

    def _run(self, name: str, characters: re.Pattern[str]) -> str:
        start = self.offset
        while self._one_of(name, characters):
            pass
        return self.text[start : self.offset]

    def _segment(self) -> str | None:
        start = self.offset
        if self._literal("/") and (segment := self._run(_SEGMENT, _SEGMENT_HERE)):
            return segment
        self._back(start)
        return None

    @_rule
    def _identifier(self) -> str | None:
        start = self.offset
        if not self._one_of(_LETTER, _CLASSES[_LETTER]):
            return None
        self._run(_NAME, _CLASSES[_NAME])
        return self.text[start : self.offset]

    def _part(self) -> str | None:
        start = self.offset
        if self._literal(".") and (name := self._identifier()):
            return name  # type: ignore[no-any-return]
        self._back(start)
        if (index := self._index()) is not None:
            return index[0]  # type: ignore[no-any-return]
        if self._literal(".") and (digits := self._run(_DIGIT, _CLASSES[_DIGIT])):
            return digits
        self._back(start)
        return None

    @_rule
    def _index(self) -> tuple[str] | None:
        space, bracket, text = self._maybe_space, self._lit("["), self._text_there
        if found := self._sequence(bracket, space, text, space, self._lit("]")):
            return found[2]  # type: ignore[no-any-return]
        if self._sequence(bracket, space, lambda: self._not(text)):
            self._fault('"index"', "Invalid index")
        elif self._sequence(bracket, space, text, space, lambda: self._not(self._lit("]"))):
            self._fault('"index"', "Unclosed index expression")
        return None

    @_rule
    def _value(self) -> str | None:
        selector = self._selector()
        if selector is not None:
            return str(selector)
        number = self._number()
        if number is not None:
            return number  # type: ignore[no-any-return]
        text = self._text_there()
        return None if text is None else text[0]

    @_rule
    def _number(self) -> str | None:
        start = self.offset
        self._literal("-")
        if self._literal("0") or (self._one_of("[1-9]", _CLASSES["[1-9]"]) and self._run_or_none()):
            whole = self.offset
            if not (self._literal(".") and self._run(_DIGIT, _CLASSES[_DIGIT])):
                self._back(whole)
            end = self.offset
            after = self._space() or self._end() or self._literal(")")
            self._back(end)
            if after:
                return self.text[start:end]
            self._fault('"number"', "Invalid number literal")
        self._back(start)
        return None

    def _run_or_none(self) -> bool:
        self._run(_DIGIT, _CLASSES[_DIGIT])
        return True

    @_rule
    def _text_there(self) -> tuple[str] | None:
        """A text in quotes, which may be empty."""
        start = self.offset
        for quote in '`"':
            if not self._literal(quote):
                continue
            self._run_until(quote)
            if self._literal(quote):
                unquoted = _unquoted(self.text[start : self.offset])
                if unquoted is None:
                    self._fault('"string"', "invalid syntax", start)
                    return ("",)
                return (unquoted,)
            if self._end():
                self._fault('"string"', "Unterminated string literal")
            self._back(start)
        return None

    def _run_until(self, quote: str) -> None:
        while self._not(self._lit(quote)) and self._any():
            pass


def _unquoted(text: str) -> str | None:
    """As Go's strconv.Unquote has it; None where that refuses."""
    inner = text[1:-1]
    if text[0] == "`":
        return inner.replace("\r", "")
    if "\n" in inner:
        return None
    wrong = False

    def character(match: re.Match[str]) -> str:
        nonlocal wrong
        letter, *codes = match.groups()
        if letter:
            return _LETTERS[letter]
        for code, base in zip(codes[:4], (16, 8, 16, 16), strict=True):
            if code and int(code, base) <= 0x10FFFF:
                return chr(int(code, base))
        wrong = True
        return ""

    plain = _ESCAPE.sub(character, inner)
    return None if wrong else plain


_CLASSES = {name: re.compile(name) for name in (_SPACE, _LETTER, _NAME, _DIGIT, "[1-9]")}
_BINARY: Sequence[tuple[tuple[str, ...], str, bool]] = (
    (("contains",), "in", False), (("not", "contains"), "in", True),
    (("matches",), "matches", False), (("not", "matches"), "matches", True),
)  # fmt: skip
_UNARY: Sequence[tuple[tuple[str, ...], str, bool]] = (
    (("is", "empty"), "empty", False), (("is", "not", "empty"), "empty", True),
    (("is", "nil"), "nil", False), (("is", "not", "nil"), "nil", True),
)  # fmt: skip
