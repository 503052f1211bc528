"""The fast way: a record as msgspec decodes it, into a struct of its type, and encodes it again.

Of a record no more is written than what was decoded and looked at: a field that stands twice is written once, and what
is not of its type, or has a field that the schema lacks, is left to the careful way. What a profile leaves as it is,
whole lists, maps and structs, passes without a look. What was met before is not looked at again: a job in each of its
allocations, and every name.
"""

from __future__ import annotations

import types
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import astuple

from snapkit.errors import RecordError
from snapkit.format.schema import ANY, Type, fields
from snapkit.format.values import Buffer, pack, unpack
from snapkit.state.redact.profiles import SEALED, How, Step, inner, replaced_below, steps, struct_of
from snapkit.state.redact.values import Values, fits

_ROOM = 64 << 20  # bytes of values that are remembered
_LARGEST = 1 << 18  # bytes of one of them
_LESSONS = 50  # how often fields that were not seen before are learned of
_AROUND = 300  # bytes of the objects around one
#: First bytes of what has no text in it: numbers, nil, booleans, and what is empty.
_NO_TEXT = frozenset({*range(0x81), 0x90, 0xA0, 0xC0, 0xC2, 0xC3, *range(0xCA, 0xD4), *range(0xE0, 0x100)})
_TEXT = frozenset({*range(0xA0, 0xC0), *range(0xD9, 0xDC), *range(0xC4, 0xC7)})  # first bytes of text and bytes
_FEW = 20  # of which it does not pay to find the equal ones first
#: What is in no record but one: not worth remembering.
_ONCE = frozenset({"Allocation.ID", "Allocation.SignedIdentities", "Evaluation.ID"})
_SHORT = 32  # bytes from which msgspec writes text in another form than go-msgpack
_SECOND = (10**9).to_bytes(4, "big")
_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Done:
    """What a value became, packed, and what was replaced in it: places with counts."""

    __slots__ = ("counts", "new")

    def __init__(self, new: bytes, counts: tuple[tuple[str, int], ...]) -> None:
        self.new = Raw(new)
        self.counts = counts


class _Memory(dict[Any, _Done]):
    """What values of a field became; and about how many bytes that takes."""

    size = 0


class _Texts(_Memory):
    """What texts of a field became."""

    def __init__(self, of: Packed, step: Step, how: How) -> None:
        self._of = of
        self._step = step
        self._how: How = how

    def __missing__(self, text: str) -> _Done:
        old, step = text.encode(), self._step
        new = self._of.values.text(old, step.type, self._how, step.place)
        done = _Done(pack(new), ((step.place, 1),) if new != old else ())
        if step.place not in _ONCE and self._of.has_room(self, len(old) + len(new)):
            self[text] = done
        return done


# What is done to a field of a struct that was decoded: to text, to what is still packed, to structs below.
_WALK_TEXT = """
    value = struct.f{0}
    if value:
        done = use{0}[value]
        struct.f{0} = done.new
        if done.counts:
            met(done)
"""
_WALK_PACKED = """
    value = struct.f{0}
    if value is not UNSET:
        value = bytes(value)
        if value[0] not in NO_TEXT:
            done = use{0}(value)
            if done is not None:
                struct.f{0} = done.new
                if done.counts:
                    met(done)
"""
_WALK_NESTED = """
    value = struct.f{0}
    if value:
        struct.f{0} = use{0}(value)
"""

#: Changes a struct, list or map that was decoded, in place or into what it gives.
_Walk: TypeAlias = Callable[[Any], Any]
#: What checks a packed value, if there is more to check than decoding does; what decodes it, and what walks that.
_Made: TypeAlias = "tuple[Callable[[Buffer], Any] | None, Callable[[Buffer], Any], _Walk]"
#: Gives what a packed value becomes; None if it stays.
_Change: TypeAlias = Callable[[bytes], _Done | None]


class Packed:
    """Redacts packed records.

    Args:
        values: The careful way, and what is known of the fields that records have.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self.encode = msgspec.msgpack.Encoder().encode
        self._structs: dict[tuple[str, How], tuple[Any, Any, _Walk]] = {}
        self._units: list[_Unit] = []
        self._lessons = _LESSONS
        self._memories: dict[tuple[str, str, How], _Memory] = {}
        self._room = _ROOM
        self._met: list[_Done] = []

    def has_room(self, memory: _Memory, size: int) -> bool:
        """Is a value of so many bytes to be remembered there? If there is no room, the largest memory is emptied."""
        if size > _LARGEST:
            return False
        memory.size += size + _AROUND
        self._room -= size + _AROUND
        if self._room < 0:
            largest = max(self._memories.values(), key=lambda memory: memory.size)
            self._room += largest.size
            largest.size = 0
            largest.clear()
        return True

    def settle(self) -> None:
        """Count what was replaced up to here in `values.counts`."""
        self._settle(0)

    def _settle(self, mark: int) -> None:
        counts = self.values.counts
        met = self._met[mark:]
        if len(met) < _FEW:
            for done in met:
                for place, count in done.counts:
                    counts[place] += count
        else:
            for done, times in Counter(met).items():
                for place, count in done.counts:
                    counts[place] += count * times
        del self._met[mark:]

    def record(self, struct: str) -> Callable[[Buffer], Buffer]:
        """What redacts a record of a struct; it raises RecordError for one that is no map."""
        kind = Type("struct", struct=struct)
        if not self._below(struct):
            return lambda packed: packed
        return self._unit(kind, "keep", self._thorough(kind, struct))

    def records(self, struct: str) -> Callable[[Buffer], Buffer]:
        """What redacts a record that is a list of structs."""
        return self._thorough(Type("list", Type("struct", struct=struct)), struct)

    def _thorough(self, kind: Type, struct: str) -> Callable[[Buffer], bytes]:
        value = self.values.value

        def redacted(packed: Buffer) -> bytes:
            record = unpack(packed)
            if not fits(record, kind):
                raise RecordError(f"is a {type(record).__name__} and not a map of fields")
            return pack(value(record, kind, "keep", struct))

        return redacted

    def _careful(self, kind: Type, how: How, place: str) -> Callable[[Buffer], bytes]:
        """What redacts a value of whatever type by unpacking it."""
        value = self.values.value
        return lambda packed: pack(value(unpack(packed), kind, how, place))

    def _unit(self, kind: Type, how: How, careful: Callable[[Buffer], bytes]) -> _Unit:
        unit = _Unit(self, kind, how, careful)
        self._units.append(unit)
        return unit

    def learn(self, packed: Buffer, kind: Type) -> bool:
        """Look for fields that were not seen before in what could not be decoded. If there are,
        all is made anew."""
        if self._lessons == 0 or not self.values.seen.look(unpack(packed), kind):
            return False
        self._lessons -= 1
        self._structs.clear()
        for unit in self._units:
            unit.made = None
        return True

    # -- what is below a value

    def nested(self, kind: Type, how: How) -> tuple[Any, Any, _Walk]:
        """The type that msgspec decodes, that of what is only checked (None: nothing), and what walks the decoded."""
        if kind.kind == "struct":
            return self._struct(kind.struct, how)
        assert kind.element is not None
        item, checked, walk = self.nested(kind.element, how)
        if kind.kind == "list":
            return _list(item), checked and _list(checked), _walk_list(walk)
        return _map(item), checked and _map(checked), self._walk_map(walk)

    def _struct(self, struct: str, how: How) -> tuple[Any, Any, _Walk]:
        found = self._structs.get((struct, how))
        if found is None:
            found = self._structs[struct, how] = self._made(struct, how)
        return found

    def _made(self, struct: str, how: How) -> tuple[Any, Any, _Walk]:
        known = steps(struct, self.values.profile)
        decoded: list[tuple[str, Any, Any]] = []
        checked: list[tuple[str, Any, Any]] = []
        texts: list[tuple[int, _Memory]] = []
        packed: list[tuple[int, _Change]] = []
        nested: list[tuple[int, _Walk]] = []
        names = self._names(struct)
        for number, name in enumerate(names):
            attribute = f"f{number}"
            step = known.get(name.encode())
            if step is None:
                step = Step(name, f"{struct}.{name}", ANY, "secret")
            own = inner(how, step.how)
            kind: Any = Raw
            if step.type.kind == "string" and own == "keep":
                checked.append((attribute, str | None | UnsetType, UNSET))
            elif step.type.kind == "string":
                kind = str | None | UnsetType
                remembered = self._memories.setdefault((step.place, "", own), _Texts(self, step, own))
                texts.append((number, remembered))
            elif _is_plain(step.type):
                kind = int | float | bool | None | UnsetType
            elif self._is_walked(step, own):
                if _is_unit(step.type) or self._below(struct_of(step.type)) <= {"url"}:
                    packed.append((number, self._change(step, own)))
                else:
                    kind, texts_below, below = self.nested(step.type, own)
                    if texts_below is not None:
                        checked.append((attribute, texts_below | None | UnsetType, UNSET))
                    kind = kind | None | UnsetType
                    nested.append((number, below))
            elif own != "keep" or (step.type.kind in ("time", "bytes") and step.place not in SEALED):
                packed.append((number, self._change(step, own)))
            decoded.append((attribute, kind, UNSET))
        renamed = {f"f{number}": name for number, name in enumerate(names)}
        walk = self._walk_struct(texts, packed, nested)
        if self.values.profile == "strict" and not set(names) <= set(fields(struct)):
            walk = _walk_renamed(walk, [name if name.encode() in known else self._key(name) for name in names])
        title = "".join(c for c in struct if c.isalnum())
        return (
            msgspec.defstruct(title, decoded, rename=renamed, forbid_unknown_fields=True, gc=False),
            msgspec.defstruct(title, checked, rename={a: renamed[a] for a, _, _ in checked}, gc=False)
            if checked
            else None,
            walk,
        )

    def _names(self, struct: str) -> Sequence[str]:
        """The fields of a struct as records have them; none if that is not known, or one can't be written so: then it
        is left to the careful way, as is a record with a field more."""
        names = self.values.seen.order(struct)
        if any(len(name.encode()) >= _SHORT for name in names):
            return ()
        return names

    def _key(self, name: str) -> str:
        key: bytes = self.values.key(name.encode())
        return key.decode()

    def _below(self, struct: str) -> frozenset[How]:
        return replaced_below(struct, self.values.profile, frozenset(s for s, _ in self.values.seen.unknown))

    def _is_walked(self, step: Step, how: How) -> bool:
        """Are there fields of structs in it that something is to be done to, each by itself?"""
        kind = step.type
        while kind.element is not None:
            kind = kind.element
        if kind.kind != "struct" or not fields(kind.struct) or how == "secret":
            return False
        if self.values.profile == "strict":
            return how == "name"
        return how == "keep" and bool(self._below(kind.struct))

    # -- changes of packed values

    def _change(self, step: Step, how: How) -> _Change:
        place, kind = step.place, step.type
        careful = self._careful(kind, how, place)
        make = self._unit(kind, how, careful) if self._is_walked(step, how) else careful
        remembered = self._memories.setdefault((place, kind.kind, how), _Memory())
        found = remembered.get

        def change(old: bytes) -> _Done | None:
            return found(old) or self._remember(old, make, remembered)

        if place in _ONCE:
            return lambda old: _Done(make(old), ())  # which counts by itself

        if how == "keep" and kind.kind in ("time", "bytes"):
            return lambda old: None if old[0] in _TEXT else change(old)
        if kind.kind == "time":
            return lambda old: None if _is_go_time(old) else change(old)
        if how == "unique":
            return lambda old: change(old) if b"unique" in old else None
        if how == "url" or (how == "keep" and self._below(struct_of(kind)) <= {"url"}):
            return lambda old: change(old) if b"://" in old or b"?" in old else None
        return change

    def _remember(self, old: bytes, make: Callable[[Buffer], bytes], remembered: _Memory) -> _Done:
        values, mark = self.values, len(self._met)
        counts, values.counts = values.counts, defaultdict(int)
        try:
            new = make(old)
            if len(self._met) > mark:
                self._settle(mark)
            done = _Done(new, tuple(values.counts.items()))
        finally:
            values.counts = counts
        if self.has_room(remembered, len(old) + len(new)):
            remembered[old] = done
        return done

    # -- walks

    def _walk_struct(
        self,
        texts: list[tuple[int, _Memory]],
        packed: list[tuple[int, _Change]],
        nested: list[tuple[int, _Walk]],
    ) -> _Walk:
        """A function that is written for the struct, as dataclasses does it: a loop over the fields, in what is done to
        each record, takes a tenth of all the time. Nothing of an archive is in it: fields are called by their number.
        """
        known: dict[str, Any] = {"met": self._met.append, "UNSET": UNSET, "NO_TEXT": _NO_TEXT}
        lines = ["def walk(struct):"]
        for template, found in ((_WALK_TEXT, texts), (_WALK_PACKED, packed), (_WALK_NESTED, nested)):
            for number, use in found:
                known[f"use{number}"] = use
                lines.append(template.format(number))
        exec("\n".join((*lines, "    return struct")), known)
        walk: _Walk = known["walk"]
        return walk

    def _walk_map(self, walk: _Walk) -> _Walk:
        strict, key = self.values.profile == "strict", self._key

        def walk_map(entries: dict[str, Any]) -> Any:
            made = {
                (key(name) if strict else name): item if item is None else walk(item) for name, item in entries.items()
            }
            if all(len(name.encode()) < _SHORT for name in made):
                return made
            return Raw(_header(len(made), 0x80, 0xDE) + b"".join(pack(n) + self.encode(i) for n, i in made.items()))

        return walk_map


class _Unit:
    """Redacts a struct, or a list or map of such, by decoding it; what can't be decoded so is left to `careful`.

    Attributes:
        made: What checks, what decodes and what walks it; None until it is needed, as a struct may hold itself.
    """

    def __init__(self, of: Packed, kind: Type, how: How, careful: Callable[[Buffer], bytes]) -> None:
        self.made: _Made | None = None
        self._of = of
        self._kind = kind
        self._how: How = how
        self._careful = careful

    def __call__(self, packed: Buffer) -> bytes:
        check, decode, walk = self.made or self._make()
        try:
            if check is not None:
                check(packed)
            value = decode(packed)
        except _ERRORS:
            return self(packed) if self._of.learn(packed, self._kind) else self._careful(packed)
        made: bytes = self._of.encode(walk(value))
        if made[0] == 0xDE and made[1] == 0 and made[2] < 16:  # by the fields that there could be
            return _header(made[2], 0x80, 0xDE) + made[3:]
        return made

    def _make(self) -> _Made:
        decoded, checked, walk = self._of.nested(self._kind, self._how)
        check = None if checked is None else msgspec.msgpack.Decoder(checked).decode
        self.made = check, msgspec.msgpack.Decoder(decoded).decode, walk
        return self.made


def _walk_renamed(walk: _Walk, names: Sequence[str]) -> _Walk:
    """Of a struct that has fields which are not known: with the names that they are given."""

    def walk_renamed(struct: Any) -> dict[str, Any]:
        values = zip(names, astuple(walk(struct)), strict=True)
        return {name: value for name, value in values if value is not UNSET}

    return walk_renamed


def _walk_list(walk: _Walk) -> _Walk:
    def walk_list(items: list[Any]) -> list[Any]:
        return [item if item is None else walk(item) for item in items]

    return walk_list


def _list(item: Any) -> Any:
    return types.GenericAlias(list, (item | None,))


def _map(item: Any) -> Any:
    return types.GenericAlias(dict, (str, item | None))


def _is_plain(kind: Type) -> bool:
    """Is it a number or a boolean?"""
    return kind.kind not in ("string", "bytes", "time", "any", "list", "map", "struct")


def _is_unit(kind: Type) -> bool:
    """Does it come again as it is? A job does, in its allocations, and what has no time in it."""
    return struct_of(kind) == "Job" or not _has_time(struct_of(kind), set())


def _has_time(struct: str, seen: set[str]) -> bool:
    seen.add(struct)
    for known in fields(struct).values():
        if known.type.kind == "time" or known.time_unit:
            return True
        below = struct_of(known.type)
        if below and below not in seen and _has_time(below, seen):
            return True
    return False


def _is_go_time(packed: bytes) -> bool:
    """Is it a time in the form that is common?"""
    return packed[:2] == b"\xaf\1" and len(packed) == 16 and packed[10:14] < _SECOND


def _header(size: int, short: int, long: int) -> bytes:
    """What msgpack puts ahead of a map's or list's items."""
    if size < 16:
        return bytes([short | size])
    return bytes([long]) + size.to_bytes(2, "big") if size < 1 << 16 else bytes([long + 1]) + size.to_bytes(4, "big")
