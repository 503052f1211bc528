"""HCL 1 and its JSON: what is read, and what is refused. Whole rules are held against a real server in test_rules."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapkit.state.access.hcl import HclError, Item, Object, Value, parse


def plain(value: Value | list[Item]) -> Any:
    """Items as lists of a key after the other and the value; the rest as it is."""
    if isinstance(value, Object):
        return {"items": plain(value.items)}
    if isinstance(value, list):
        return [[*one.keys, plain(one.value)] if isinstance(one, Item) else plain(one) for one in value]
    return value


def block(*items: Any) -> dict[str, Any]:
    return {"items": list(items)}


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        (" \t\r\n", []),
        ("# one\n// two\n/* three\n * */", []),
        ('a = "b"', [["a", "b"]]),
        ('"a" = "b"', [["a", "b"]]),
        ('a = "b" c = "d"', [["a", "b"], ["c", "d"]]),
        ('a = "b", c = "d",', [["a", "b"], ["c", "d"]]),
        ('a="b"# c', [["a", "b"]]),
        ("a {}", [["a", block()]]),
        ("a = {}", [["a", block()]]),
        ("a b \"c d\" { e = 1 }", [["a", "b", "c d", block(["e", "1"])]]),
        ("a { b { c {} } }", [["a", block(["b", block(["c", block()])])]]),
        ("a { b = 1 }\na { b = 2 }", [["a", block(["b", "1"])], ["a", block(["b", "2"])]]),
        ("a-b.c_d = 1", [["a-b.c_d", "1"]]),
        ("é = 1", [["é", "1"]]),
        ("a = [1, \"b\", true, [2], {c = 3}, ]", [["a", ["1", "b", "true", ["2"], block(["c", "3"])]]]),
        ("a = [,,1,,]", [["a", ["1"]]]),
        ("a = -1 b = 0x1F c = 1.5e-3", [["a", "-1"], ["b", "0x1F"], ["c", "1.5e-3"]]),
        ("a = [.5, 017]", [["a", [".5", "017"]]]),
        (r'a = "\"\\\n\t\u00e9\U0001F600\x41\101"', [["a", '"\\\n\té\U0001f600AA']]),
        (r'a = "\xc3\xa9 \xff"', [["a", "é \ufffd"]]),
        ('a = "x${ "y{}\\n" }z"', [["a", 'x${ "y{}\\n" }z']]),
        ('a = "$x $${b}"', [["a", "$x $${b}"]]),
        ("a = <<EOF\nb\n c\nEOF\n", [["a", "b\n c\n"]]),
        ("a = <<-EOF\n    b\n      c\n    EOF\nd = 1", [["a", "b\n  c\n"], ["d", "1"]]),
        ("a = <<-EOF\n b\n   EOF\n", [["a", " b\n"]]),
        ("a = <<EOF\nEOF\n", [["a", ""]]),
        ("a = <<EOF\r\nb\r\nEOF\r\n", [["a", "b\n"]]),
        # what no one writes, and a server lets pass
        ("a = 1 b =", [["a", "1"]]),
        ("a { b = 1 c = } }", [["a", block(["b", "1"])]]),
    ],
)  # fmt: skip
def test_hcl(text: str, items: Any) -> None:
    assert plain(parse(text)) == items


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("{}", []),
        ('\n {"a": "b"}', [["a", "b"]]),
        ('{"a": 1, "a": 2.5}', [["a", "1"], ["a", "2.5"]]),
        ('{"a": true, "b": null}', [["a", "true"], ["b", ""]]),
        (r'{"a": "\"\\\n\u00e9"}', [["a", '"\\\né']]),
        ('{"a": {"b": "c"}}', [["a", block(["b", "c"])]]),
        ('{"a": {"b": {"c": "d"}, "e": {}}}', [["a", "b", block(["c", "d"])], ["a", "e", block()]]),
        ('{"a": {"b": {"c": {"d": "e"}}}}', [["a", "b", "c", block(["d", "e"])]]),
        ('{"a": {"b": {}, "c": 1}}', [["a", block(["b", block()], ["c", "1"])]]),
        ('{"a": [{"b": {"c": 1}}, {"d": 2}]}', [["a", "b", block(["c", "1"])], ["a", block(["d", "2"])]]),
        ('{"a": ["b", {"c": 1}]}', [["a", ["b", block(["c", "1"])]]]),
        ('{"a": []}', [["a", []]]),
        ('{"a": 1, "b": {"c": {"d": 2}}}', [["a", "1"], ["b", "c", block(["d", "2"])]]),
        # what no one writes, and a server lets pass
        ('{"a": 1,}', [["a", "1"]]),
        ('{"a": 1} b', [["a", "1"]]),
        ('{"a": 1', [["a", "1"]]),
        ("{", []),
        ('{"a": ["b", true, ["c"]]}', [["a", ["b", "c"]]]),
        ('{"a" "b": 1}', [["a", "b", "1"]]),
    ],
)  # fmt: skip
def test_json(text: str, items: Any) -> None:
    assert plain(parse(text)) == items


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a", "line 1: a name wants '=' or '{', not the end"),
        ("a = 1\nb\nc", "line 3: "),
        ("a = 1\n\nb = ;", "line 3: ';' means nothing here"),
        ("a b = 1", "wants"),
        ("= 1", "a name is wanted"),
        ("a {", "'}' is wanted, not the end"),
        ("a { b }", "a name wants '=' or '{', not '}'"),
        ("a = }", "a value is wanted"),
        ("a = [1 2]", "',' or ']' is wanted"),
        ("a = [", "not the end"),
        ("a = [b]", "a value or ']' is wanted, not 'b'"),
        ("1 = 2", "a name is wanted"),
        ("true = 2", "a name is wanted"),
        ('a = "b', "a string does not end"),
        ('a = "b\n"', "a string does not end"),
        ('a = "${b"', "a string does not end"),
        (r'a = "\q"', "is no escape"),
        (r'a = "\x4"', "is no escape"),
        (r'a = "\400"', "is no byte"),
        (r'a = "\U00110000"', "is no character"),
        ("a = 0x", "begins no number"),
        ("a = 018", "begins no number"),
        ("a = <EOF\nb\nEOF\n", "heredoc"),
        ("a = <<\nb\n\n", "heredoc"),
        ("a = <<E-F\nb\nE-F\n", "heredoc"),
        ("a = <<EOF\nb\nEOF", "a heredoc does not end"),
        ("a = <<-EOF\nb\nEOF\n", "a heredoc does not end"),
        ("/* a", "a comment does not end"),
        ("a = 1 / b", "'/' means nothing here"),
        ("a = 1 # \0", "keeps for itself"),
        ("\ufeffa = 1", "means nothing here"),
        ('{"a": tru}', "'tru' means nothing here"),
        ('{"a": 01}', "begins with 0"),
        ('{"a": "b\n"}', "a string does not end"),
        (r'{"a": "\/"}', "is no escape"),
        (r'{"a": "\ud83d"}', "is no character"),
        ('{"a": # b\n1}', "'#' means nothing here"),
        ('{"a": <<EOF\n}', "'<' means nothing here"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_what_it_is_not(text: str, why: str) -> None:
    with pytest.raises(HclError) as raised:
        parse(text)
    assert why in str(raised.value)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0\ue123"), max_size=6)
values = st.recursive(
    names,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(names, inner), max_size=3).map(tuple),
    max_leaves=8,
)
trees = st.lists(st.tuples(names, values), max_size=4).map(tuple)


def quoted(text: str) -> str:
    return '"' + "".join(f"\\U{ord(c):08x}" if c in '"\\\n\r$' else c for c in text) + '"'


def written(value: Any) -> str:
    """Tuples as objects, lists as lists."""
    if isinstance(value, tuple):
        return "{" + " ".join(f"{quoted(name)} = {written(one)}" for name, one in value) + "}"
    return "[" + ",".join(map(written, value)) + "]" if isinstance(value, list) else quoted(value)


def expected(value: Any) -> Any:
    if isinstance(value, tuple):
        return block(*([name, expected(one)] for name, one in value))
    return [expected(one) for one in value] if isinstance(value, list) else value


@given(trees)
def test_what_is_written_is_read(tree: Any) -> None:
    assert plain(parse(written(tree)[1:-1])) == expected(tree)["items"]


@given(st.dictionaries(names, st.lists(names, max_size=3) | names, max_size=3))
def test_json_is_read_as_json_is(tree: dict[str, Any]) -> None:
    text = json.dumps(tree, ensure_ascii=False).replace("\\u0000", "x")
    assert plain(parse(text)) == [[name, value] for name, value in json.loads(text).items()]


PIECES = (
    'a "b" "c\\n" = { } [ ] , . + - 1 0x 018 true null : ; " \\ $ ${ <<E <<-E E # // /* */ \n \r\n \0 é \ufeff \ue123 '
    '{"a":1} <<E\nb\nE\n'
)


@given(st.lists(st.sampled_from(PIECES.split(" ")), max_size=14).map(" ".join) | st.text(max_size=30))
def test_whatever_it_is_there_is_an_answer(text: str) -> None:
    with suppress(HclError):
        assert all(item.keys for item in parse(text))
