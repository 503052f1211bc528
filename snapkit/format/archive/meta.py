"""meta.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from snapkit.errors import ArchiveError
from snapkit.format.archive.model import META, RAFT

DEPTH_OF_META = 100  # Nomad's is 4 deep
_META_TYPES: dict[str, type] = {
    "ID": str,
    "Version": int,
    "Index": int,
    "Term": int,
    "Size": int,
    "ConfigurationIndex": int,
    "Configuration": dict,
}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):  # JSON has no such number, were it to be written again
        raise ValueError(f"{number:.20} is too large a number")
    return value


def _as_go(value: Any, depth: int = DEPTH_OF_META) -> Any:
    """The same with U+FFFD for each half of a character, as Go has it: no file takes them."""
    if depth == 0:
        raise ValueError(f"it is nested more than {DEPTH_OF_META} deep")
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_as_go(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {_as_go(name, depth): _as_go(item, depth - 1) for name, item in value.items()}
    return value


def parse_meta(data: bytes) -> dict[str, Any]:
    """meta.json as a dict.

    Raises:
        ArchiveError: It is not a JSON object, or a field that snapkit reads is not of its type.
    """
    advice = "it is not as Nomad writes it: use another copy"
    try:
        # Python would take other encodings, and constants that JSON does not have.
        meta = _as_go(json.loads(data.decode(), parse_constant=_refuse_constant, parse_float=_finite))
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"is not JSON ({error})", META, advice, check="archive.meta") from error
    if not isinstance(meta, dict):
        raise ArchiveError("is not a JSON object", META, advice, check="archive.meta")
    for field, kind in _META_TYPES.items():
        value = meta.get(field, kind())
        outside = isinstance(value, int) and not 0 <= value < 2**64
        if not isinstance(value, kind) or isinstance(value, bool) or outside:
            raise ArchiveError(f"{field} is {value!r:.60}", META, advice, check="archive.meta")
    servers = meta.get("Configuration", {}).get("Servers")
    servers = [] if servers is None else servers
    if not isinstance(servers, list) or not all(isinstance(server, dict) for server in servers):
        raise ArchiveError(f"Servers is {servers!r:.60}", META, advice, check="archive.meta")
    return meta


def check_size(meta: Mapping[str, Any], size: int) -> None:
    if meta.get("Size", size) != size:
        raise ArchiveError(
            f"state.bin has {size:,} bytes and meta.json's Size says {meta['Size']:,}",
            META,
            "a server finds out only after the upload: use another copy",
            nomad=f"{RAFT}failed to write snapshot, size didn't match ({size} != {meta['Size']})",
            check="archive.size",
        )


def created_milliseconds(snapshot_id: str) -> int:
    """The Unix milliseconds in `<term>-<index>-<milliseconds>`; 0 if it has none, or some beyond the year 2262."""
    last = snapshot_id.rpartition("-")[2]
    milliseconds = int(last) if last.isascii() and last.isdigit() and len(last) < 14 else 0
    return milliseconds if milliseconds < 2**63 // 10**6 else 0  # what 64 bits of nanoseconds hold
