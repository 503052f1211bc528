"""Masking: what stands for a secret wherever it was not asked for by name."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from snapkit.format.values import Mask

_PROCESS_KEY = secrets.token_bytes(32)


def masker(key: bytes | str | None = None) -> Mask:
    """What shows `masked:<fingerprint>` for a secret: the same for equal secrets under one key.

    Args:
        key: Of the fingerprint. By default one that lives as long as this process, so that a fingerprint can't be
            linked across processes or tried against guesses; give one to keep stored outputs the same.
    """
    secret_key = key.encode() if isinstance(key, str) else key or _PROCESS_KEY

    def mask(secret: bytes) -> str:
        return f"masked:{hmac.new(secret_key, secret, hashlib.sha256).hexdigest()[:12]}"

    return mask
