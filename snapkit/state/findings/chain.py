"""Entries that are chained by their hashes: each has the SHA-256 of the bytes of the one before it as `previous`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

GENESIS = "0" * 64  # what the first entry is chained to
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def canonical(value: Mapping[str, Any]) -> bytes:
    """JSON in the one way that it is written here: keys in order, no spaces, ASCII, a line feed at the end."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii") + b"\n"


def parsed(data: bytes | None) -> dict[str, Any] | None:
    """An entry, if it is one as `canonical` writes it."""
    try:
        value = json.loads(data or b"")
        return value if isinstance(value, dict) and canonical(value) == data else None
    except (ValueError, RecursionError):
        return None


def digest(data: bytes) -> str:
    """The SHA-256 in hex: what the next entry is chained to."""
    return hashlib.sha256(data).hexdigest()


def is_sha256(value: object) -> bool:
    """Is it a SHA-256 in hex, as it is written here?"""
    return isinstance(value, str) and SHA256.fullmatch(value) is not None
