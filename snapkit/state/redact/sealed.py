"""Variables and the root keys that seal them: dummies under a fresh key that the archive carries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from snapkit.errors import RecordError
from snapkit.format.schema import Type, fields
from snapkit.state.redact.pseudonyms import TABLES
from snapkit.state.redact.seen import shown
from snapkit.state.redact.values import Values
from snapkit.state.snapshot.keyring import AEAD, NONCE, Keyring, KeyringError

_TAG = 16  # bytes of AES-GCM's tag
#: Structs as Go writes them with nothing in them.
_EMPTY: Mapping[str, dict[str, Any]] = {
    struct: {name: {"string": "", "bool": False}.get(f.type.kind, 0 if "int" in f.type.kind else None)
             for name, f in fields(struct).items()}
    for struct in ("WrappedKey", "v2.BlobInfo", "v2.KeyInfo")
}  # fmt: skip


class Sealed:
    """Redacts variables and root keys.

    Args:
        values: The careful way, for their other fields.
        table: `Snapshot.table` of the archive, whose keys open what they can.
    """

    def __init__(self, values: Values, table: Callable[..., Any]) -> None:
        self._values = values
        self._names = values.names
        self._table = table

    def variable(self, record: Any) -> Any:
        """A variable, unpacked.

        Raises:
            RecordError: It is no map.
        """
        if not isinstance(record, dict):
            raise RecordError("is no map")
        made = self._values.value(record, Type("struct", struct="VariableEncrypted"), "keep", "VariableEncrypted")
        data = record.get(b"Data")
        if not isinstance(data, bytes) and b"Data" in made:
            made[b"Data"] = None
        elif data:
            made[b"Data"] = self._sealed(record, made.get(b"KeyID"), data)
            self._values.counts["VariableEncrypted.Data"] += 1
        return made

    def _sealed(self, record: dict[bytes, Any], key_id: Any, data: bytes) -> bytes:
        """A variable's ciphertext: of dummy items, of the same length, under the new key."""
        size = len(data) - NONCE - _TAG
        if size < 2 or not isinstance(key_id, bytes):
            return self._names.noise("data", data, len(data))
        plain = self._dummy(record, data, size)
        nonce = self._names.noise("nonce", data, NONCE)
        sealed: bytes = _aead(self._key_of(key_id, "dek")).encrypt(nonce, plain, key_id)
        return nonce + sealed

    @cached_property
    def _keyring(self) -> Keyring | None:
        """None where a root key is not as Nomad writes it."""
        try:
            return Keyring(self._table)
        except KeyringError:
            return None

    def _items(self, record: dict[bytes, Any], data: bytes) -> dict[str, str] | None:
        """A variable's items, where the archive has what opens it."""
        namespace, path, key_id = (shown(record.get(name) or b"") for name in (b"Namespace", b"Path", b"KeyID"))
        try:
            return self._keyring.open_variable(namespace, path, key_id, data) if self._keyring else None
        except KeyringError:
            return None

    def _dummy(self, record: dict[bytes, Any], data: bytes, size: int) -> bytes:
        """JSON of so many bytes: of items of the same names and lengths, or of one where they can't be had."""
        items = self._items(record, data)
        if items is not None:
            dummy = {self._names.member(n): self._secret(i) for n, i in items.items()}
            plain = json.dumps(dummy, ensure_ascii=False, separators=(",", ":")).encode()
            if len(plain) <= size:
                return plain.ljust(size)
        around = b'{"value":""}'
        if size < len(around):
            return b"{}".ljust(size)
        filler = self._names.noise("value", data, size - len(around)).translate(TABLES["lower"])
        return around[:-2] + filler + around[-2:]

    def _secret(self, value: str) -> str:
        return self._names.secret(value.encode("utf-8", "replace")).decode()

    def _key_of(self, key_id: bytes, which: str) -> bytes:
        return self._names.noise(which, key_id, 32)

    def root_key(self, record: Any) -> Any:
        """A root key, unpacked, with other material: an AEAD key that the archive carries, and no RSA key (EdDSA
        signs then).

        Raises:
            RecordError: It is no map.
        """
        if not isinstance(record, dict):
            raise RecordError("is no map")
        made = self._values.value(record, Type("struct", struct="RootKey"), "keep", "RootKey")
        wrapped, key_id = record.get(b"WrappedKeys"), made.get(b"KeyID")
        if not isinstance(wrapped, list) or not isinstance(key_id, bytes):
            made[b"WrappedKeys"] = None
        elif any(isinstance(item, dict) and item.get(b"WrappedDataEncryptionKey") for item in wrapped):
            made[b"WrappedKeys"] = [self._wrapped(key_id)]
            self._values.counts["RootKey.WrappedKeys"] += len(wrapped)
        else:
            made[b"WrappedKeys"] = []
        return made

    def _wrapped(self, key_id: bytes) -> dict[str, Any]:
        kek, nonce = self._key_of(key_id, "kek"), self._names.noise("kek nonce", key_id, NONCE)
        sealed = nonce + _aead(kek).encrypt(nonce, self._key_of(key_id, "dek"), None)
        info = _EMPTY["v2.KeyInfo"] | {"KeyId": key_id}
        return _EMPTY["WrappedKey"] | {
            "Provider": AEAD,
            "ProviderID": AEAD,
            "WrappedDataEncryptionKey": _EMPTY["v2.BlobInfo"] | {"Ciphertext": sealed, "KeyInfo": info},
            "WrappedRSAKey": _EMPTY["v2.BlobInfo"],
            "KeyEncryptionKey": kek,
        }


def _aead(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise KeyringError("needs the package cryptography", "redaction", "pip install 'snapkit[keys]'") from error
    return AESGCM(key)
