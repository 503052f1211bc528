"""Secrets: masked wherever they were not asked for by name, and variables unlocked where the keys are at hand."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from snapkit.errors import SnapshotError, SourceError
from snapkit.format.values import Mask

if TYPE_CHECKING:
    import pandas as pd

    #: Snapshot.table: what gives a table by its name.
    Tables: TypeAlias = Callable[..., pd.DataFrame]

_PROCESS_KEY = secrets.token_bytes(32)
NONCE = 12  # bytes ahead of an AES-GCM ciphertext
AEAD = "aead"  # the provider whose keys lie beside what they open


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


class KeyringError(SnapshotError):
    """Variables can't be unlocked."""


class MissingKeyError(KeyringError):
    """Neither the archive nor the keystore has the material of a root key."""


class ExternalKeyError(KeyringError):
    """A root key is wrapped by a key that an external KMS holds."""


class WrongKeyError(KeyringError):
    """A ciphertext does not open: it was altered, or the key is not its own."""


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A root key as one provider wraps it.

    Attributes:
        key_id: The root key's id.
        provider: `aead`, or the external KMS.
        provider_id: Its name in the server's configuration.
        wrapped: The data encryption key, sealed.
        kek: The key that opens it; empty where a KMS holds that.
        place: Where it was found.
    """

    key_id: str
    provider: str
    provider_id: str
    wrapped: bytes
    kek: bytes
    place: str


def unlock(table: Tables, keystore: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """The variables of a snapshot in the clear, by its tables. See Snapshot.unlock()."""
    import pandas as pd

    keyring = Keyring(table, keystore)
    sealed = table("variables", ["KeyID", "Data"])
    items = [
        keyring.open_variable(str(namespace), str(path), str(row["KeyID"]), row["Data"] or b"")
        for (namespace, path), row in zip(sealed.index, sealed.to_dict("records"), strict=True)
    ]
    return pd.DataFrame({"Items": pd.Series(items, dtype="object", index=sealed.index)})


class Keyring:
    """The root keys that a snapshot and a keystore folder have material of.

    Raises:
        SourceError: The keystore folder can't be read.
        KeyringError: A file in it is not one of a keyring.
    """

    def __init__(self, table: Tables, keystore: str | os.PathLike[str] | None = None) -> None:
        self._wrapped: dict[str, list[WrappedKey]] = {}
        for key in [*_keys_in_state(table), *(_keys_in_folder(Path(keystore)) if keystore is not None else ())]:
            self._wrapped.setdefault(key.key_id, []).append(key)
        self._opened: dict[str, bytes] = {}

    def key(self, key_id: str) -> bytes:
        """The data encryption key of a root key, in the clear.

        Raises:
            MissingKeyError: There is no material of it.
            ExternalKeyError: It takes an external KMS to open it.
            WrongKeyError: It does not open.
        """
        if key_id not in self._opened:
            candidates = self._wrapped.get(key_id, [])
            own = [key for key in candidates if key.provider == AEAD]
            if not candidates:
                advice = "give keystore=, a copy of server/keystore from a server's data directory"
                raise MissingKeyError("has no material", f"root key {key_id}", advice)
            if not own:
                kms = candidates[0]
                advice = f"only {kms.provider} (provider {kms.provider_id!r} of the servers' keyring blocks) opens it"
                raise ExternalKeyError(f"is wrapped by {kms.provider}", f"root key {key_id}", advice)
            self._opened[key_id] = _open(own[-1].kek, own[-1].wrapped, None, f"root key {key_id}, {own[-1].place}")
        return self._opened[key_id]

    def open_variable(self, namespace: str, path: str, key_id: str, data: bytes) -> dict[str, str]:
        """A variable's items.

        Raises:
            KeyringError: As `key()`, or the variable was altered.
        """
        place = f"variable {namespace}/{path}"
        plain = _open(self.key(key_id), data, key_id.encode(), place)
        try:
            items: dict[str, str] = json.loads(plain)
        except ValueError as error:
            raise KeyringError("opens, but not to JSON", place) from error
        return items


def _keys_in_state(table: Tables) -> Iterator[WrappedKey]:
    """From 1.9 on. A record does not mean that there is material: after an upgrade it stands without."""
    frame = table("root_keys", ["WrappedKeys"], reveal=True)
    for key_id, wrapped_keys in zip(frame.index, frame["WrappedKeys"], strict=True):
        place = f"root key {key_id}"
        try:
            found = [
                (key["Provider"], key["ProviderID"], blob["ciphertext"], key.get("KeyEncryptionKey"))
                for key in wrapped_keys or ()
                if (blob := key.get("WrappedDataEncryptionKey")) and blob.get("ciphertext")
            ]
        except (AttributeError, KeyError, TypeError) as error:
            raise KeyringError("is not as Nomad writes it", place, "use another copy of the snapshot") from error
        for provider, provider_id, sealed, kek in found:
            yield WrappedKey(
                str(key_id), provider, provider_id, _decoded(sealed, place), _decoded(kek, place), "in the state"
            )


def _keys_in_folder(folder: Path) -> Iterator[WrappedKey]:
    """`*.nks.json` of a server's keystore: `DEK` up to 1.8.2, `WrappedDEK` with a provider from 1.8.3."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(
            f"can't be read ({error.strerror})", str(folder), "name a server's keystore folder"
        ) from error
    for file in files:
        if not file.name.endswith(".nks.json"):
            continue
        try:
            document: Mapping[str, Any] = json.loads(file.read_bytes())
            wrapped = document.get("WrappedDEK")
            sealed = wrapped["ciphertext"] if wrapped else document["DEK"]
            provider, provider_id = document.get("Provider") or AEAD, document.get("ProviderID") or AEAD
            kek = document.get("KEK")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise KeyringError("is no keyring file", str(file), "remove it or fetch it again") from error
        key_id = file.name.partition(".")[0]
        yield WrappedKey(
            key_id, provider, provider_id, _decoded(sealed, str(file)), _decoded(kek, str(file)), file.name
        )


def _decoded(text: Any, place: str) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise KeyringError("is not base64", place) from error


def _open(key: bytes, sealed: bytes, associated: bytes | None, place: str) -> bytes:
    """AES-256-GCM with the nonce ahead of the ciphertext (Nomad: nomad/encrypter.go)."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise KeyringError("needs the package cryptography", place, "pip install 'snapkit[keys]'") from error
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], associated)
    except (InvalidTag, ValueError) as error:  # ValueError: a key or nonce of a wrong length
        advice = "it was altered, or the key is of another cluster"
        raise WrongKeyError("does not open", place, advice) from error
