"""Values: msgpack as go-msgpack writes it, Go's times and durations, and Nomad's JSON of them."""

from __future__ import annotations

import json
import math
import struct
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snapkit.errors import RecordError
from snapkit.format.schema import ANY, BY_TABLE, TYPES, Field, Type, fields
from snapkit.format.values import (
    UNIX_EPOCH,
    GoTime,
    go_duration,
    go_time,
    split_list,
    split_map,
    text,
    to_json,
    unpack,
    unpack_column,
    unpack_texts,
    walk,
)
from tests import forge

INTEGERS = st.integers(-(2**63), 2**64 - 1)
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | st.binary(max_size=40)
KEYS = st.binary(max_size=12) | INTEGERS


def trees(leaves: st.SearchStrategy[Any] = SCALARS) -> st.SearchStrategy[Any]:
    """What go-msgpack can write: structs, slices and maps of scalars and raw strings."""
    return st.recursive(leaves, lambda x: st.lists(x, max_size=5) | st.dictionaries(KEYS, x, max_size=5), max_leaves=20)


TREES = trees()
#: What a newer or a hostile writer can write besides.
ANYTHING = trees(
    SCALARS
    | st.floats()
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=16))
    | st.builds(msgpack.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**9 - 1))
)
#: Every type by the schema, and lists and maps of them.
KINDS = st.sampled_from(
    [ANY]
    + [Type("struct", struct=t.struct) for t in TYPES]
    + [f.type for t in TYPES for f in fields(t.struct).values()]
    + [Type(k) for k in ("string", "bytes", "bool", "time", "duration", "int64", "uint64", "float64")]
)


# -- msgpack


@given(TREES)
def test_what_go_msgpack_writes_is_read_back_the_same(tree: Any) -> None:
    assert unpack(forge.pack(tree)) == tree


@given(TREES)
def test_the_new_specs_bin_and_str8_are_read_as_the_old_specs_raw(tree: Any) -> None:
    assert unpack(msgpack.packb(tree, use_bin_type=True)) == tree


@pytest.mark.parametrize("length", [0, 1, 31, 32, 255, 256, 65_535, 65_536])
def test_every_form_of_a_string_is_read(length: int) -> None:
    content = b"\xff" * length
    forms = [b"\xdb" + length.to_bytes(4, "big"), b"\xc6" + length.to_bytes(4, "big")]
    if length < 2**16:
        forms += [b"\xda" + length.to_bytes(2, "big"), b"\xc5" + length.to_bytes(2, "big")]
    if length < 2**8:
        forms += [b"\xd9" + bytes([length]), b"\xc4" + bytes([length])]
    if length < 32:
        forms += [bytes([0xA0 | length])]
    assert [unpack(form + content) for form in forms] == [content] * len(forms)


@pytest.mark.parametrize("number", [0, -1, 127, -32, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1])
def test_integers_are_kept_exactly(number: int) -> None:
    assert unpack(forge.pack(number)) == number
    assert to_json(unpack(forge.pack(number)), Type("uint64")) == number


@given(st.binary(max_size=60))
@example(b"")
@example(b"\xc1")
@example(b"\x81\x91\x01\x01")  # a list as a key
@example(b"\xc7\x03\xffabc")  # a timestamp of three bytes
@example(b"\xd7\xff" + b"\xff" * 8)  # a timestamp of too many nanoseconds
@example(b"\x91" * 5000)
def test_any_bytes_are_a_value_or_a_record_error(data: bytes) -> None:
    for decode in (unpack, split_map, split_list):
        with suppress(RecordError):
            decode(data)


@given(st.dictionaries(st.text(max_size=8), ANYTHING, max_size=5))
def test_a_map_is_split_into_packed_fields(row: dict[str, Any]) -> None:
    parts = split_map(forge.pack(row))
    assert list(parts) == list(row)
    assert repr([unpack(bytes(part)) for part in parts.values()]) == repr([*unpack(forge.pack(row)).values()])


def test_field_names_that_are_no_utf8_are_shown_with_replacement_characters() -> None:
    parts = split_map(forge.pack({b"\xff\xfe": 1, b"ID": b"\xff"}))
    assert {name: unpack(bytes(part)) for name, part in parts.items()} == {"\ufffd\ufffd": 1, "ID": b"\xff"}


@pytest.mark.parametrize("depth", [200, 500, 600, 990, 1000, 1020])
@pytest.mark.parametrize("key", [b"ID", b"\xff"])
def test_a_deep_field_is_split_or_a_record_error(depth: int, key: bytes) -> None:
    deep = b"\x91" * depth + b"\xc0"
    try:
        parts = split_map(b"\x81" + forge.pack(key) + deep)
    except RecordError:
        return
    assert bytes(parts[text(key)]) == deep


def test_what_is_no_map_or_list_is_refused_by_name() -> None:
    with pytest.raises(RecordError, match="is a int and not a map"):
        split_map(b"\x05")
    with pytest.raises(RecordError, match="not an array"):
        split_list(b"\x80")


@given(st.lists(st.none() | st.binary(max_size=40), max_size=10))
@example([b"\xff", None, b"plain"])
def test_a_column_of_texts_is_each_text(values: list[bytes | None]) -> None:
    packed = [forge.pack(value) for value in values]
    assert unpack_texts(packed) == [None if value is None else text(value) for value in values]
    assert unpack_column(packed) == values


def test_a_column_of_texts_takes_the_new_specs_bin() -> None:
    assert unpack_texts([b"\xc4\x02ab", b"\xa1c"]) == ["ab", "c"]


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(RecordError, match="is not text"):
        unpack_texts([b"\x05"])


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        ("naïve ☃ 😀".encode(), "naïve ☃ 😀"),
        (b"a\xffb", "a\ufffdb"),
        (b"\xe2\x82", "\ufffd\ufffd"),  # Go: one for each byte; Python alone would join them
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),  # half of a surrogate pair
        (b"\xf0\x9f\x98", "\ufffd\ufffd\ufffd"),
        (b"\xc0\x80", "\ufffd\ufffd"),
    ],
)
def test_text_that_is_no_utf8_is_shown_as_go_does(raw: bytes, shown: str) -> None:
    assert text(raw) == shown


# -- times


def zones() -> st.SearchStrategy[int]:
    """Minutes east of UTC that Go's binary time can hold (-1 stands for UTC)."""
    return st.integers(-14 * 60, 14 * 60).filter(lambda minutes: minutes != -1)


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.integers(0, 10**9 - 1),
    zones(),
)
def test_a_go_time_of_version_1_is_the_same_moment_and_zone(moment: datetime, nanoseconds: int, minutes: int) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    since_year_1 = (moment - datetime(1, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    read = go_time(forge.go_time(since_year_1, nanoseconds, minutes))
    assert read == GoTime(since_year_1 - UNIX_EPOCH, nanoseconds, minutes * 60)
    assert read.unix_nanoseconds == (since_year_1 - UNIX_EPOCH) * 10**9 + nanoseconds

    printed, _, fraction = str(read).partition(".")
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    zone = f"{local:%z}"[:3] + ":" + f"{local:%z}"[3:] if minutes else "Z"
    assert printed.startswith(f"{local:%Y-%m-%dT%H:%M:%S}".zfill(19))
    assert str(read).endswith(zone)
    assert fraction.removesuffix(zone) == f"{nanoseconds:09d}".rstrip("0")


@given(st.integers(-(10**10), 10**10), st.integers(0, 10**9 - 1), zones(), st.integers(0, 59))
def test_a_go_time_of_version_2_has_seconds_in_its_zone(
    seconds: int, nanoseconds: int, minutes: int, zone_seconds: int
) -> None:
    raw = b"\2" + forge.go_time(seconds, nanoseconds, minutes)[1:] + bytes([zone_seconds])
    assert go_time(raw) == GoTime(seconds - UNIX_EPOCH, nanoseconds, minutes * 60 + zone_seconds)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**9 - 1))
@example(0, 0)
@example(2**32 - 1, 0)
@example(2**34 - 1, 999_999_999)
@example(-1, 1)
def test_msgpack_timestamps_of_4_8_and_12_bytes_are_times(seconds: int, nanoseconds: int) -> None:
    want = GoTime(seconds, nanoseconds)
    forms = [nanoseconds.to_bytes(4, "big") + seconds.to_bytes(8, "big", signed=True)]
    if 0 <= seconds < 2**34:
        forms.append((nanoseconds << 34 | seconds).to_bytes(8, "big"))
    if nanoseconds == 0 and 0 <= seconds < 2**32:
        forms.append(seconds.to_bytes(4, "big"))
    assert [go_time(raw) for raw in forms] == [want] * len(forms)
    # The same as an extension of type -1, as the new spec has it.
    assert go_time(unpack(msgpack.packb(msgpack.Timestamp(seconds, nanoseconds)))) == want


@pytest.mark.parametrize(
    ("seconds", "nanoseconds", "minutes", "printed"),
    [
        (0, 0, -1, "0001-01-01T00:00:00Z"),
        (UNIX_EPOCH, 0, -1, "1970-01-01T00:00:00Z"),
        (UNIX_EPOCH, 0, 0, "1970-01-01T00:00:00Z"),
        (UNIX_EPOCH + 1_795_471_701, 682_512_000, 60, "2026-11-23T23:08:21.682512+01:00"),
        (UNIX_EPOCH + 1_795_471_701, 1, -570, "2026-11-23T12:38:21.000000001-09:30"),
        (UNIX_EPOCH + 1_795_471_701, 500_000_000, -1, "2026-11-23T22:08:21.5Z"),
        (315_537_897_599, 999_999_999, -1, "9999-12-31T23:59:59.999999999Z"),
        (315_537_897_600, 0, -1, "10000-01-01T00:00:00Z"),
    ],
)
def test_a_time_prints_as_go_prints_it(seconds: int, nanoseconds: int, minutes: int, printed: str) -> None:
    assert str(go_time(forge.go_time(seconds, nanoseconds, minutes))) == printed


@pytest.mark.parametrize("seconds", [-(2**63), -1, 2**63 - 1])
def test_a_time_of_any_year_prints_without_an_error(seconds: int) -> None:
    assert str(go_time(forge.go_time(seconds)))
    assert str(GoTime(seconds, 0)).endswith("Z")


def test_the_zero_time_is_not_set() -> None:
    zero = go_time(forge.go_time(0))
    assert zero is not None
    assert zero.is_zero
    assert not GoTime(0, 0).is_zero
    assert go_time(None) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\1",
        b"\3" + forge.GO_TIME[1:],
        forge.GO_TIME + b"\0",
        forge.GO_TIME[:-1],
        forge.go_time(0, -1),
        forge.go_time(0, 10**9),
        b"\xff" * 8,
        b"\xff" * 12,
        5,
        1.5,
        True,
        [],
        {},
        msgpack.ExtType(5, b"abcd"),
    ],
    ids=repr,
)
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(RecordError, match="is not a time"):
        go_time(value)


@given(st.binary(max_size=20) | st.binary(min_size=15, max_size=15).map(lambda raw: b"\1" + raw[1:]))
@example(b"\xff" * 8)
@example(b"\xff" * 12)
def test_any_bytes_are_a_time_or_a_record_error(raw: bytes) -> None:
    with suppress(RecordError):
        assert str(go_time(raw))


# -- durations


@pytest.mark.parametrize(
    ("nanoseconds", "printed"),
    [
        (0, "0s"),
        (1, "1ns"),
        (999, "999ns"),
        (1_000, "1µs"),
        (1_100, "1.1µs"),
        (1_500, "1.5µs"),
        (999_999, "999.999µs"),
        (1_000_000, "1ms"),
        (2_200_000, "2.2ms"),
        (300_000_000, "300ms"),
        (999_999_999, "999.999999ms"),
        (1_000_000_000, "1s"),
        (1_500_000_000, "1.5s"),
        (1_000_000_001, "1.000000001s"),
        (10_000_000_000, "10s"),
        (60_000_000_000, "1m0s"),
        (90_000_000_000, "1m30s"),
        (90_500_000_000, "1m30.5s"),
        (245_000_000_000, "4m5s"),
        (245_001_000_000, "4m5.001s"),
        (18_367_001_000_000, "5h6m7.001s"),
        (480_000_000_001, "8m0.000000001s"),
        (3_600_000_000_000, "1h0m0s"),
        (28_800_000_000_000, "8h0m0s"),
        (86_400_000_000_000, "24h0m0s"),
        (2**63 - 1, "2562047h47m16.854775807s"),
        (-1, "-1ns"),
        (-1_500, "-1.5µs"),
        (-90_000_000_000, "-1m30s"),
        (-(2**63), "-2562047h47m16.854775808s"),
    ],
)
def test_a_duration_prints_as_go_prints_it(nanoseconds: int, printed: str) -> None:
    assert go_duration(nanoseconds) == printed


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_printed_duration_says_the_same_number(nanoseconds: int) -> None:
    from decimal import Decimal
    from re import findall

    units = {"h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "µs": 10**3, "ns": 1}
    printed = go_duration(nanoseconds)
    total = sum(Decimal(number) * units[unit] for number, unit in findall(r"([\d.]+)(h|ms|m|s|µs|ns)", printed))
    assert (-total if printed.startswith("-") else total) == nanoseconds


# -- JSON


@given(ANYTHING, KINDS, st.booleans())
@example(b"\xff" * 8, Type("time"), False)
@example(b"\xff" * 12, Type("time"), True)
@example({b"Launch": b"\xff" * 8}, Type("struct", struct="PeriodicLaunch"), False)
def test_any_value_of_any_type_has_json_or_is_a_record_error(value: Any, kind: Type, secret: bool) -> None:
    for mask in (None, lambda raw: "masked"):
        try:
            shown = to_json(value, kind, mask, secret=secret)
        except RecordError:
            continue
        assert json.loads(json.dumps(shown, allow_nan=False)) == json.loads(json.dumps(shown))


@given(ANYTHING, KINDS)
def test_walking_any_value_ends_or_is_a_record_error(value: Any, kind: Type) -> None:
    try:
        leaves = list(walk(value, kind))
    except RecordError:
        return
    assert all(not isinstance(leaf.value, dict | list) for leaf in leaves)


@pytest.mark.parametrize("key", [b"", b"k", b"a.b[c"])
@pytest.mark.parametrize("depth", [150, 199, 250, 900, 5_000])
def test_depth_is_bounded_whatever_the_keys_are(key: bytes, depth: int) -> None:
    nested: Any = b"x"
    for _ in range(depth):
        nested = {key: nested}
    for shown in (lambda: to_json(nested, ANY), lambda: list(walk(nested, ANY))):
        if depth > 200:
            with pytest.raises(RecordError, match="nested more than 200 deep"):
                shown()
        elif key != b"a.b[c":
            assert shown()


@pytest.mark.parametrize(
    ("value", "kind", "printed"),
    [
        (b"abc", Type("string"), '"abc"'),
        (b"abc", Type("bytes"), '"YWJj"'),
        (b"", Type("bytes"), '""'),
        (b"abc", ANY, '"abc"'),
        (b"not a time", Type("time"), '"bm90IGEgdGltZQ=="'),
        (forge.go_time(0), Type("time"), "null"),
        (msgpack.Timestamp(1, 500_000_000), Type("time"), '"1970-01-01T00:00:01.5Z"'),
        (msgpack.ExtType(5, b"abc"), ANY, '"YWJj"'),
        (28_800_000_000_000, Type("duration"), "28800000000000"),
        (2**64 - 1, Type("uint64"), "18446744073709551615"),
        (137.0, ANY, "137"),
        (1.5, Type("float64"), "1.5"),
        (None, Type("string"), "null"),
        (True, Type("bool"), "true"),
        (math.inf, ANY, '"inf"'),
        ({b"a": [1, None]}, ANY, '{"a": [1, null]}'),
        ({1: 2}, ANY, '{"1": 2}'),
    ],
    ids=repr,
)
def test_the_json_of_a_value(value: Any, kind: Type, printed: str) -> None:
    assert json.dumps(to_json(value, kind)) == printed


@pytest.mark.parametrize(("table", "field"), [("acl_tokens", "ExpirationTTL"), ("acl_auth_methods", "MaxTokenTTL")])
def test_two_durations_are_text_in_nomads_json(table: str, field: str) -> None:
    kind = Type("struct", struct=BY_TABLE[table].struct)
    assert to_json({field.encode(): 28_800_000_000_000}, kind) == {field: "8h0m0s"}
    assert to_json({field.encode(): 0}, kind) == {field: ""}


def test_fields_are_renamed_and_left_out_as_nomads_json_does() -> None:
    kind = Type("struct", struct="v2.BlobInfo")
    assert to_json({b"Ciphertext": b"\xff", b"Iv": None}, kind) == {"ciphertext": "/w==", "iv": None}
    volume = to_json({b"ID": b"v", b"WriteClaims": {b"a": {}}}, Type("struct", struct="CSIVolume"))
    assert volume == {"ID": "v"}


def test_secrets_are_masked_below_their_field_and_nowhere_else() -> None:
    task = {b"Name": b"t", b"Env": {b"A": b"s1", b"N": 5}, b"Config": {b"args": [b"s2", {b"deep": b"s3"}], b"e": b""}}
    shown = to_json(task, Type("struct", struct="Task"), lambda raw: f"<{raw.decode()}>")
    assert shown == {
        "Name": "t",
        "Env": {"A": "<s1>", "N": 5},
        "Config": {"args": ["<s2>", {"deep": "<s3>"}], "e": ""},
    }


def test_a_float_is_never_masked_into_another_type() -> None:
    packed = struct.pack(">Bd", 0xCB, 0.1)
    assert to_json(unpack(packed), Type("float64"), lambda raw: "m", secret=True) == 0.1


def test_walk_names_places_by_nomads_field_names() -> None:
    job = {b"TaskGroups": [{b"Tasks": [{b"Env": {b"POOL": b"x"}, b"Name": b"t"}]}], b"Meta": {b"k": b"v"}}
    leaves = [(leaf.path, leaf.value, leaf.secret) for leaf in walk(job, Type("struct", struct="Job"))]
    assert leaves == [
        ("TaskGroups[0].Tasks[0].Env.POOL", b"POOL", False),  # the key of a map can be found too
        ("TaskGroups[0].Tasks[0].Env.POOL", b"x", True),
        ("TaskGroups[0].Tasks[0].Name", b"t", False),
        ("Meta.k", b"k", False),
        ("Meta.k", b"v", False),
    ]


def test_a_field_by_default_is_no_secret() -> None:
    assert Field("x", ANY, "x") == Field("x", ANY, "x", "", "", "", "", False, False)
