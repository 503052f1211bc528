"""A learner's answer, in whatever form it comes, held against the truth. Nothing here raises on an odd answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import PurePath
from typing import Any, TypeAlias

#: A thing to be named, by each text that names it: `shop/web`, and `web` where that is enough.
Name: TypeAlias = frozenset[str]
#: What is wrong with an answer, in kind; empty if it is right.
Wrong: TypeAlias = str

MOST = 1_000  # items of an answer that are looked at
NOTHING = "There is no answer yet: put yours in place of the three dots."


def name(*parts: object, alone: bool = False) -> Name:
    """What something is called: its parts with a slash between; `alone`: the last part by itself will do."""
    whole = "/".join(_normal(str(part)) for part in parts)
    return frozenset({whole, _normal(str(parts[-1]))} if alone else {whole})


def is_nothing(answer: Any) -> bool:
    """Is it what stood there before: three dots, None or an empty text?"""
    return answer is ... or answer is None or (isinstance(answer, str) and not answer.strip(" .…"))


# -- what an answer says


def text_of(value: Any) -> str | None:
    """A single value as text by which equal ones are equal: 13, 13.0, `13 `, numpy's 13. None if it is not single."""
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value).decode("utf-8", "replace")
    if isinstance(value, bool | int | float | date | datetime | timedelta):
        return _normal(str(value))
    if isinstance(value, PurePath):
        return _normal(value.name)
    if isinstance(value, str):
        return _normal(value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # numpy's
        return text_of(value.item())
    return None


def _normal(text: str) -> str:
    text = " ".join(text.split()).strip("\"'`").casefold()
    number = number_of(text)
    return text if number is None else f"{number:.15g}"


def number_of(text: str) -> float | None:
    """`1,234`, `1_234`, `12.0`; None for what is no number."""
    try:
        number = float(text.replace(",", "").replace("_", "").strip())
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


def items_of(value: Any) -> list[Any]:
    """What is in a collection: a frame's or an index's labels, a dict's keys, a column's values."""
    if isinstance(value, Mapping):
        return list(islice(value, MOST))
    index = getattr(value, "index", None)
    if hasattr(value, "iloc") and index is not None:
        if getattr(value, "ndim", 1) == 1 or _is_plain(index):
            # A column is its values; a table that is numbered is its first column, or its rows.
            return _rows(value)
        return list(islice(index, MOST))
    if hasattr(value, "tolist"):
        value = value.tolist()
    try:
        return list(islice(value, MOST))
    except TypeError:
        return []


def _is_plain(index: Any) -> bool:
    return getattr(index, "name", None) is None and all(type(label) is int for label in islice(index, MOST))


def _rows(value: Any) -> list[Any]:
    if getattr(value, "ndim", 1) == 1:
        return list(islice(value, MOST))
    return [row[0] if len(row) == 1 else row for row in islice(value.itertuples(index=False, name=None), MOST)]


def readings(answer: Any) -> list[frozenset[str]]:
    """The ways in which an answer can be read as names: `("shop", "web")` is two of them, or one in two parts."""
    single = text_of(answer)
    if single is not None:
        parts = [part for line in single.split(",") if (part := _normal(line))]
        return [frozenset({single}), *([frozenset(parts)] if len(parts) > 1 else [])]
    found = [frozenset(filter(None, map(_joined, items_of(answer))))]
    if isinstance(answer, tuple | list) and 1 < len(answer) <= 3:
        found.append(frozenset(filter(None, [_joined(answer)])))
    if hasattr(answer, "iloc") and getattr(answer, "ndim", 0) == 1:  # or a column's labels
        found.append(frozenset(filter(None, map(_joined, islice(answer.index, MOST)))))
    return found


def _joined(item: Any) -> str:
    single = text_of(item)
    if single is not None:
        return single
    parts = [text_of(part) for part in items_of(item)]
    return "/".join(part for part in parts if part is not None) if None not in parts else ""


def only(answer: Any) -> Any:
    """What is alone in a collection, down to the value; anything else as it is."""
    for _ in range(5):
        if text_of(answer) is not None:
            break
        items = items_of(answer)
        if isinstance(answer, Mapping) and len(answer) == 1:
            items = list(answer.values())
        if len(items) != 1:
            break
        answer = items[0]
    return answer


# -- is it right?


def judge_names(answer: Any, truth: Iterable[Name], what: str) -> Wrong:
    """Are these the things, all of them and no others, in any order?"""
    wanted = list(truth)
    best: tuple[int, int] | None = None
    for reading in readings(answer):
        hit = sum(bool(forms & reading) for forms in wanted)
        odd = sum(not any(text in forms for forms in wanted) for text in reading)
        if best is None or hit > best[0] or (hit and hit == best[0] and odd < best[1]):
            best = hit, odd
    hit, odd = best or (0, 0)
    if hit == len(wanted) and not odd:
        return ""
    if not hit and not odd:
        return f"That is nothing that could be read as {what}."
    if not hit:
        return "It is not that one." if odd == 1 else "None of these belongs here."
    told = [f"{hit} of what you named belong{'s' if hit == 1 else ''} here"]
    told += [f"{odd} do{'es' if odd == 1 else ''} not"] if odd else []
    told += ["something is still missing"] if hit < len(wanted) else []
    return f"{', and '.join(told)}."


def judge_number(answer: Any, truth: float) -> Wrong:
    """Is it this number?"""
    text = text_of(only(answer))
    if text is None:
        return "A single number is wanted, and this is none."
    number = number_of(text)
    if number is None:
        return "A number is wanted, and this is none."
    return "" if abs(number - truth) <= 1e-9 * max(1.0, abs(truth)) else "It is another number."


def judge_moment(answer: Any, truth: Any) -> Wrong:
    """Is it this moment, to the second? Without a zone it counts as UTC."""
    import pandas as pd

    answer = only(answer)
    try:
        moment = pd.Timestamp(answer if not isinstance(answer, bytes) else answer.decode())
        moment = moment.tz_localize("UTC") if moment.tz is None else moment.tz_convert("UTC")
    except (ValueError, TypeError, OverflowError, ArithmeticError):
        return "A moment is wanted, such as 2026-11-23 08:00:00, and this can't be read as one."
    if pd.isna(moment):
        return "A moment is wanted, and this is none."
    away = abs((moment - truth).total_seconds())
    if away < 1:
        return ""
    if away < 60:
        return "The minute is right, the second is not."
    if away % 1800 < 1 and away <= 14 * 3600:
        return "Right but for the time zone: it is wanted in UTC."
    return "It is another moment. (Is the unit right? Milliseconds are not seconds.)"


def judge_mapping(answer: Any, truth: Mapping[str, str], kinds: Iterable[str]) -> Wrong:
    """Is each thing given its kind?"""
    if hasattr(answer, "to_dict"):
        answer = answer.to_dict()
    if not isinstance(answer, Mapping):
        return "A dict is wanted: what is wrong, by file."
    given = {text: text_of(value) for key, value in islice(answer.items(), MOST) if (text := text_of(key))}
    given = {(key if key.endswith(".snap") else f"{key}.snap"): value for key, value in given.items()}
    known = {_normal(kind) for kind in kinds}
    said = {key: value for key, value in given.items() if value not in (None, "", "...")}
    if not said:
        return NOTHING
    strange = sorted({str(value) for value in said.values()} - known)
    if strange:
        return f"{strange[0]!r:.40} is not one of the kinds above."
    right = sorted(key for key, kind in truth.items() if said.get(key) == _normal(kind))
    if len(right) == len(truth):
        return ""
    open_ = len(truth) - sum(key in said for key in truth)
    told = f"{len(right)} of {len(truth)} are right" + (f": {', '.join(right)}" if right else "")
    return f"{told}; {open_} are without an answer." if open_ else f"{told}."


#: Holds an answer against the truth.
Judge: TypeAlias = Callable[[Any, Any], Wrong]
