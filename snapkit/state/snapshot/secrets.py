"""Secrets: masked wherever they were not asked for by name, so that equal ones are still told to be equal."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from snapkit.errors import SnapshotError
from snapkit.format.values import Mask

_PROCESS_KEY = secrets.token_bytes(32)


def masker(key: bytes | str | None = None) -> Mask:
    """What shows `masked:<fingerprint>` for a secret: the same for equal secrets under one key.

    Args:
        key: Of the fingerprint. By default one that lives as long as this process, so that a fingerprint can't be
            linked across processes or tried against guesses; give one to keep stored outputs the same.

    Raises:
        SnapshotError: The key is empty: anybody could make its fingerprints.
    """
    if key is not None and not key:
        raise SnapshotError("is empty", "the key of fingerprints", "give some text or bytes that only you know")
    secret_key = _PROCESS_KEY if key is None else key.encode() if isinstance(key, str) else key

    def mask(secret: bytes) -> str:
        return f"masked:{hmac.new(secret_key, secret, hashlib.sha256).hexdigest()[:12]}"

    return mask
