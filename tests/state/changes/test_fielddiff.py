"""Two records, field by field: every change is told with its path, and the changes make the later of the earlier."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.errors import RecordError
from snapkit.format.schema import ANY, LIST_NAMES, TYPES, Type, fields
from snapkit.format.values import pack, unpack
from snapkit.state.changes.fielddiff import FieldChange, differences

from ...conftest import ARCHIVES, path_of

JOB = Type("struct", struct="Job")
STEP = re.compile(r'(?:^|\.)([A-Za-z_][\w-]*)|\[("(?:[^"\\]|\\.)*")\]|\[(\d+)\]')


def diff(before: Any, after: Any, kind: Type = JOB) -> list[tuple[str, str, Any, Any]]:
    return [plain(change) for change in differences(pack(before), pack(after), kind)]


def plain(change: FieldChange) -> tuple[str, str, Any, Any]:
    before, after = (None if packed is None else unpack(packed) for packed in (change.before, change.after))
    return change.path, change.change, before, after


def applied(record: Any, changes: list[FieldChange], kind: Type) -> Any:
    """The earlier record with its changes made: an item of a list by its place or name, as the paths say."""
    record = copy.deepcopy(record)
    order = {"removed": 0, "added": 1, "changed": 2, "moved": 3}
    removed = sorted((c for c in changes if c.change == "removed"), key=lambda c: _position(c.path), reverse=True)
    rest = sorted((c for c in changes if c.change != "removed"), key=lambda c: (order[c.change], _position(c.path)))
    for change in [*removed, *rest]:
        steps = [
            word.encode() if word else json.loads(name).encode() if name else int(position)
            for word, name, position in STEP.findall(change.path)
        ]
        assert "".join(match[0] for match in STEP.finditer(change.path)) == change.path
        if not steps:
            return unpack(change.after or b"\xc0")
        holder, kind_of = record, kind
        for step in steps[:-1]:
            holder, kind_of = _into(holder, kind_of, step)
        _set(holder, kind_of, steps[-1], change)
    return record


def _position(path: str) -> int:
    match = re.search(r"\[(\d+)\]$", path)
    return int(match[1]) if match else -1


def _into(holder: Any, kind: Type, step: Any) -> tuple[Any, Type]:
    if isinstance(holder, dict):
        field = fields(kind.struct).get(step.decode())
        return holder[step], field.type if field else kind.element or ANY
    return holder[_place(holder, kind, step)], kind.element or ANY


def _place(holder: list[Any], kind: Type, step: Any) -> int:
    if isinstance(step, int):
        return step
    name = LIST_NAMES[(kind.element or ANY).struct].encode()
    return next(i for i, item in enumerate(holder) if item[name] == step)


def _set(holder: Any, kind: Type, step: Any, change: FieldChange) -> None:
    value = unpack(change.after or b"\xc0")
    if change.change == "moved":
        field = fields(kind.struct).get(step.decode()) if isinstance(step, bytes) else None
        listed = field.type if field else kind
        name = LIST_NAMES[(listed.element or ANY).struct].encode()
        holder[step].sort(key=lambda item: value.index(item[name]))
    elif isinstance(holder, dict):
        if change.change == "removed":
            del holder[step]
        else:
            holder[step] = value
    elif change.change == "removed":
        del holder[_place(holder, kind, step)]
    elif change.change == "added":
        holder.insert(step if isinstance(step, int) else len(holder), value)
    else:
        holder[_place(holder, kind, step)] = value


def without_nil(value: Any, kind: Type) -> Any:
    """A struct's fields that are nil left out: they say no more than missing ones."""
    if isinstance(value, dict):
        known = fields(kind.struct)
        items = ((k, v, known.get(k.decode() if isinstance(k, bytes) else str(k))) for k, v in value.items())
        return {
            k: without_nil(v, field.type if field else kind.element or ANY)
            for k, v, field in items
            if field is None or v is not None
        }
    return [without_nil(item, kind.element or ANY) for item in value] if isinstance(value, list) else value


def mirrored(changes: list[tuple[str, str, Any, Any]]) -> list[tuple[str, str, Any, Any]]:
    other = {"added": "removed", "removed": "added"}
    return sorted(((p, other.get(c, c), after, before) for p, c, before, after in changes), key=repr)


# -- what is told


def test_equal_records_have_no_differences() -> None:
    assert diff({"ID": "a"}, {"ID": "a"}) == []
    assert diff({"Meta": {"a": "1", "b": "2"}, "ID": "a"}, {"ID": "a", "Meta": {"b": "2", "a": "1"}}) == []


def test_one_value_in_two_ways_of_writing_it_is_no_difference() -> None:
    short, long = b"\x81\xa8Priority\x32", b"\x81\xa8Priority\xcf" + (50).to_bytes(8, "big")
    assert list(differences(short, long, JOB)) == []


def test_a_bool_is_no_number() -> None:
    assert diff({"Stop": True}, {"Stop": 1}) == [("Stop", "changed", True, 1)]
    assert diff({"Meta": {"a": 1}}, {"Meta": {"a": 1.0}}) == [("Meta.a", "changed", 1, 1.0)]


def test_a_missing_field_is_nil_and_a_missing_entry_is_not() -> None:
    assert diff({"ID": "a"}, {"ID": "a", "Payload": None}) == []
    assert diff({"Meta": {}}, {"Meta": {"a": None}}) == [("Meta.a", "added", None, None)]
    assert diff({"Stop": None}, {"Stop": False}) == [("Stop", "changed", None, False)]


def test_items_go_by_their_names() -> None:
    before = {"TaskGroups": [{"Name": "a", "Count": 1}, {"Name": "b", "Count": 1}]}
    after = {"TaskGroups": [{"Name": "c", "Count": 1}, {"Name": "a", "Count": 2}]}
    assert diff(before, after) == [
        ('TaskGroups["a"].Count', "changed", 1, 2),
        ('TaskGroups["b"]', "removed", {b"Name": b"b", b"Count": 1}, None),
        ('TaskGroups["c"]', "added", None, {b"Name": b"c", b"Count": 1}),
        ("TaskGroups", "moved", [b"a", b"b"], [b"c", b"a"]),
    ]


def test_names_that_stand_twice_are_none() -> None:
    before = {"TaskGroups": [{"Name": "a", "Count": 1}, {"Name": "a", "Count": 2}]}
    after = {"TaskGroups": [{"Name": "a", "Count": 1}, {"Name": "a", "Count": 3}]}
    assert diff(before, after) == [("TaskGroups[1].Count", "changed", 2, 3)]


def test_other_items_go_by_their_places() -> None:
    assert diff({"Datacenters": ["a", "b"]}, {"Datacenters": ["a", "c"]}) == [
        ("Datacenters[1]", "changed", b"b", b"c"),
    ]
    assert diff({"Datacenters": ["a", "b"]}, {"Datacenters": ["b", "c"]}) == [
        ("Datacenters[0]", "removed", b"a", None),
        ("Datacenters[1]", "added", None, b"c"),
    ]


def test_keys_that_are_no_words_are_quoted() -> None:
    before, after = {"Meta": {"a.b": "1", 'c"]': "1"}}, {"Meta": {"a.b": "2", 'c"]': "2"}}
    assert [path for path, *_ in diff(before, after)] == ['Meta["a.b"]', 'Meta["c\\"]"]']


def test_what_is_secret_is_marked() -> None:
    task = {"Name": "t", "Env": {"POOL": "a"}, "User": "u"}
    before = {"TaskGroups": [{"Name": "g", "Tasks": [task]}]}
    after = {"TaskGroups": [{"Name": "g", "Tasks": [task | {"Env": {"POOL": "b"}, "User": "v"}]}]}
    found = {c.path: c.secret for c in differences(pack(before), pack(after), JOB)}
    assert found == {'TaskGroups["g"].Tasks["t"].Env.POOL': True, 'TaskGroups["g"].Tasks["t"].User': False}


def test_what_is_no_map_is_one_change() -> None:
    assert diff({"ID": "a"}, ["a"]) == [("", "changed", {b"ID": b"a"}, [b"a"])]


def test_what_is_nested_too_deep_is_an_error() -> None:
    def nested(depth: int, leaf: int) -> Any:
        return leaf if depth == 0 else {"a": nested(depth - 1, leaf)}

    assert len(list(differences(pack(nested(150, 1)), pack(nested(150, 2)), ANY))) == 1
    with pytest.raises(RecordError, match="nested more than 200 deep"):
        list(differences(pack(nested(250, 1)), pack(nested(250, 2)), ANY))


def test_long_lists_are_compared_all_the_same() -> None:
    before = {"Datacenters": [str(i) for i in range(3000)]}
    after = {"Datacenters": ["new", *before["Datacenters"][:-1]]}
    assert applied(unpack(pack(before)), list(differences(pack(before), pack(after), JOB)), JOB) == unpack(pack(after))


# -- of real records


def real_records() -> Iterator[tuple[Type, Any]]:
    for archive in ARCHIVES:
        with snapkit.open(path_of(archive)) as snapshot:
            for byte, packed in snapshot.raw():
                kind = next(kind for kind in TYPES if kind.byte == byte)
                if kind.key:
                    yield Type("struct", struct=kind.struct), unpack(packed)


RECORDS = list(real_records())


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        for i, item in enumerate(value):
            yield from leaves(item, (*path, i))
    elif path:
        yield path


def named(path: tuple[Any, ...], record: Any, kind: Type) -> str:
    """The path of a leaf as it is to be told."""
    told = ""
    for step in path:
        if isinstance(step, int):
            field = LIST_NAMES.get((kind.element or ANY).struct, "").encode()
            names: list[Any] = [item.get(field) if isinstance(item, dict) else None for item in record]
            unique = field and all(isinstance(n, bytes) and n for n in names) and len(set(names)) == len(names)
            told += f"[{json.dumps(names[step].decode(), ensure_ascii=False)}]" if unique else f"[{step}]"
            kind = kind.element or ANY
        else:
            name = step.decode()
            word = re.fullmatch(r"[A-Za-z_][\w-]*", name, re.ASCII)
            told += (f".{name}" if told else name) if word else f"[{json.dumps(name, ensure_ascii=False)}]"
            known = fields(kind.struct).get(name)
            kind = known.type if known else kind.element or ANY
        record = record[step]
    return told


def changed(record: Any, path: tuple[Any, ...], chosen: random.Random) -> Any:
    """The record with one leaf otherwise."""
    record = copy.deepcopy(record)
    holder = record
    for step in path[:-1]:
        holder = holder[step]
    old = holder[path[-1]]
    others = [b"another", 7, True, None, 2.5, b"\xff"]
    holder[path[-1]] = chosen.choice([v for v in others if (type(v), v) != (type(old), old)])
    return record


def is_name(path: tuple[Any, ...], record: Any, kind: Type) -> bool:
    """Is the leaf the name that an item goes by? Then it is another item."""
    for step in path[:-1]:
        known = fields(kind.struct).get(step.decode()) if isinstance(step, bytes) else None
        kind = known.type if known else kind.element or ANY
    return LIST_NAMES.get(kind.struct, "").encode() == path[-1]


@settings(max_examples=300)
@given(st.integers(0, len(RECORDS) - 1), st.randoms(use_true_random=False))
def test_any_one_field_that_changed_is_told_with_its_path(number: int, chosen: random.Random) -> None:
    kind, record = RECORDS[number]
    path = chosen.choice([p for p in leaves(record) if not is_name(p, record, kind)])
    after = changed(record, path, chosen)
    found = list(differences(pack(record), pack(after), kind))
    holder = record
    for step in path[:-1]:
        holder = holder[step]
    old = holder[path[-1]]
    assert [(c.path, c.change) for c in found] == [(named(path, record, kind), "changed")]
    assert unpack(found[0].before or b"\xc0") == old


@settings(max_examples=200)
@given(st.integers(0, len(RECORDS) - 1), st.randoms(use_true_random=False), st.integers(1, 5))
def test_changes_make_the_later_record_of_the_earlier(number: int, chosen: random.Random, count: int) -> None:
    kind, record = RECORDS[number]
    after = record
    for _ in range(count):
        paths = list(leaves(after))
        if not paths:
            break
        path = chosen.choice(paths)
        after = changed(after, path, chosen) if chosen.random() < 0.5 else _shuffled(after, path, chosen)
    found = list(differences(pack(record), pack(after), kind))
    assert without_nil(applied(record, found, kind), kind) == without_nil(after, kind)
    back = list(differences(pack(after), pack(record), kind))
    assert mirrored([plain(c) for c in found]) == sorted((plain(c) for c in back), key=repr)


def _shuffled(record: Any, path: tuple[Any, ...], chosen: random.Random) -> Any:
    """With an item or entry less, or once more, or a list in another order, somewhere on the way to a leaf."""
    record = copy.deepcopy(record)
    holders = []
    holder = record
    for step in path:
        holders.append((holder, step))
        holder = holder[step]
    holder, step = chosen.choice(holders)
    if isinstance(holder, list):
        match chosen.randrange(3):
            case 0:
                del holder[step]
            case 1:
                holder.insert(step, copy.deepcopy(holder[-1]))
            case 2:
                chosen.shuffle(holder)
    elif holder is not record:
        del holder[step]
    return record


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([b"a", b"b", b"\xff"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([b"a", b"b.c", b"d"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=400)
@given(VALUES, VALUES)
def test_any_two_values(before: Any, after: Any) -> None:
    found = list(differences(pack(before), pack(after), ANY))
    assert applied(before, found, ANY) == after
    assert bool(found) == (pack_sorted(before) != pack_sorted(after))
    back = list(differences(pack(after), pack(before), ANY))
    assert mirrored([plain(c) for c in found]) == sorted((plain(c) for c in back), key=repr)


def pack_sorted(value: Any) -> bytes:
    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: ordered(value[k]) for k in sorted(value)}
        return [ordered(item) for item in value] if isinstance(value, list) else value

    packed: bytes = msgpack.packb(ordered(value), use_bin_type=False)
    return packed


ITEMS = st.lists(st.integers(0, 3), max_size=9)


@settings(max_examples=400)
@given(ITEMS, ITEMS)
def test_lists_of_items_that_repeat_are_told_alike_both_ways(before: list[int], after: list[int]) -> None:
    found = [plain(c) for c in differences(pack(before), pack(after), ANY)]
    back = [plain(c) for c in differences(pack(after), pack(before), ANY)]
    assert mirrored(found) == sorted(back, key=repr)


def test_the_names_of_items_are_fields_of_theirs() -> None:
    assert all(name in fields(struct) for struct, name in LIST_NAMES.items())
