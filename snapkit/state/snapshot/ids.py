"""Ids in short, as Nomad's own command takes them: by how they begin, where that tells which one is meant.

Only ids of UUID form are taken so. Names (of jobs, policies, namespaces, variables, …) are what they are, whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from snapkit.errors import AmbiguousError

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHOWN = 10  # candidates that an error lists

K = TypeVar("K", str, tuple[str, ...])


def may_be_short(text: str) -> bool:
    """Is it of the letters of which ids are, and shorter?"""
    return re.fullmatch(r"[0-9a-f-]{1,35}", text) is not None


def beginning(key: K, keys: Iterable[K]) -> list[K]:
    """Those keys (or ids) that are meant by one whose ids may be in short: that one itself, or all that begin so."""
    found = []
    for candidate in keys:
        if candidate == key:
            return [candidate]
        if all(map(_begins, _parts(key), _parts(candidate))) and len(_parts(key)) == len(_parts(candidate)):
            found.append(candidate)
    return list(dict.fromkeys(found))


def whole(key: K, keys: Iterable[K], place: str) -> K:
    """The one key (or id) that is meant; what was given where there is none.

    Args:
        key: An id, or the parts of a key.
        keys: All that there are.
        place: Where they are, for the error.

    Raises:
        AmbiguousError: Several begin so.
    """
    found = beginning(key, keys)
    if len(found) > 1:
        told = ["/".join(_parts(each)) for each in found[:SHOWN]]
        more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
        what = f"{len(found):,} ids begin with {'/'.join(_parts(key))!r:.60}"
        raise AmbiguousError(what, place, f"give more of it: {', '.join(told)}{more}")
    return found[0] if found else key


def _parts(key: str | Sequence[str]) -> Sequence[str]:
    return (key,) if isinstance(key, str) else key


def _begins(part: str, of: str) -> bool:
    return part == of or (part != "" and of.startswith(part) and UUID.fullmatch(of) is not None)
