"""The keyring: root keys that lie in the archive or in a keystore folder, the variables they open, and how they stand.

Source: Nomad's nomad/encrypter.go and nomad/structs/keyring.go.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from snapkit.errors import SnapshotError, SourceError

if TYPE_CHECKING:
    import pandas as pd

    #: Snapshot.table: what gives a table by its name.
    Tables: TypeAlias = Callable[..., pd.DataFrame]

NONCE = 12  # bytes ahead of an AES-GCM ciphertext
AEAD = "aead"  # the provider whose keys lie beside what they open
ALGORITHM = "aes256-gcm"  # Nomad knows no other
STATES = ("active", "inactive", "rekeying", "prepublished", "deprecated")
SUFFIX = ".nks.json"
THE_STATE = "the state"  # as a place
FILE_FIELDS = {"Meta", "Provider", "ProviderID", "WrappedDEK", "WrappedRSAKey", "KEK", "DEK", "RSAKey"}
BLOB_FIELDS = {"ciphertext", "client_data", "hmac", "iv", "key_info", "plaintext", "value_path", "wrapped"}

Material: TypeAlias = Literal["here", "external", "damaged", "missing"]


class KeyringError(SnapshotError):
    """Variables can't be unlocked."""


class MissingKeyError(KeyringError):
    """Neither the archive nor the keystore has the material of a root key."""


class ExternalKeyError(KeyringError):
    """A root key is wrapped by a key that an external KMS holds."""


class WrongKeyError(KeyringError):
    """A root key does not open by the key beside it, or is not the one that it should be."""


class AlteredError(KeyringError):
    """A ciphertext does not open, and the key is the right one: it was altered."""


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A root key as one provider wraps it.

    Attributes:
        key_id: The root key's id.
        provider: `aead`, or the external KMS.
        provider_id: Its name in the server's configuration.
        wrapped: The data encryption key, sealed.
        wrapped_rsa: The signing key, sealed; empty before 1.7.
        kek: The key that opens both; empty where a KMS holds that.
        kms_key: What the KMS calls that key.
        place: Where it was found.
        state: Of the root key, by the file it was found in; empty for one in the state, whose record says it.
        created: As `state`: Unix nanoseconds; 0 for unknown.
    """

    key_id: str
    provider: str
    provider_id: str
    wrapped: bytes = field(repr=False)
    wrapped_rsa: bytes = field(repr=False)
    kek: bytes = field(repr=False)
    kms_key: str
    place: str
    state: str = ""
    created: int = 0


class Keyring:
    """The root keys that a snapshot and a keystore folder have material of.

    Attributes:
        wrapped: The wrapped keys of each root key, by its id.

    Raises:
        SourceError: The keystore folder can't be read.
        KeyringError: A file in it is not one of a keyring.
    """

    def __init__(self, table: Tables, keystore: str | os.PathLike[str] | None = None) -> None:
        self.wrapped: dict[str, list[WrappedKey]] = {}
        for key in [*_keys_in_state(table), *(_keys_in_folder(Path(keystore)) if keystore is not None else ())]:
            self.wrapped.setdefault(key.key_id, []).append(key)
        self._opened: dict[str, bytes] = {}

    def key(self, key_id: str) -> bytes:
        """The data encryption key of a root key, in the clear. All that is there of it must open, and to the same.

        Raises:
            MissingKeyError: There is no material of it.
            ExternalKeyError: It takes an external KMS to open it.
            WrongKeyError: It does not open, or two copies of it differ.
            AlteredError: It opens in part.
        """
        if key_id not in self._opened:
            place = f"root key {key_id}"
            found = self.wrapped.get(key_id, [])
            own = [key for key in found if key.provider == AEAD and key.kek]
            external = [key for key in found if key.provider != AEAD]
            if not own and external:
                kms = external[0]
                which = f", by its key {kms.kms_key!r}" if kms.kms_key else ""
                advice = f"only {kms.provider} (provider {kms.provider_id!r} of the servers' keyring blocks) opens it"
                raise ExternalKeyError(f"is wrapped by {kms.provider}", place, advice + which)
            if not own:
                advice = "give a copy of server/keystore from a server's data directory (keystore=, --keystore)"
                raise MissingKeyError("has no material", place, advice)
            opened = {_unwrapped(key) for key in own}
            if len(opened) > 1:
                where = f"{place}, {' and '.join(key.place for key in own)}"
                raise WrongKeyError("is not the same key twice", where, "find out which is the cluster's")
            self._opened[key_id] = opened.pop()
        return self._opened[key_id]

    def material(self, key_id: str) -> Material:
        """What there is of a root key: it opens by what is here, takes a KMS, does not open, or is not there."""
        try:
            self.key(key_id)
        except MissingKeyError:
            return "missing"
        except ExternalKeyError:
            return "external"
        except (WrongKeyError, AlteredError):
            return "damaged"
        return "here"

    def open_variable(self, namespace: str, path: str, key_id: str, data: bytes) -> dict[str, str]:
        """A variable's items.

        Raises:
            AlteredError: The variable was altered.
            KeyringError: As `key()`, or it opens to no items.
        """
        place = f"variable {namespace}/{path}"
        plain = _open(self.key(key_id), data, key_id.encode(), place)
        if plain is None:
            raise AlteredError(
                "was altered: it does not open by its own key", place, "use another copy of the snapshot"
            )
        try:
            items = json.loads(plain)
        except (ValueError, RecursionError) as error:
            raise KeyringError("opens, but not to JSON", place) from error
        if not isinstance(items, dict) or not all(isinstance(value, str) for value in items.values()):
            raise KeyringError("opens, but not to items that are text", place)
        return items


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


#: What names the root key that it was sealed or signed by: columns of `report()`, with their tables and fields.
USES = {
    "Variables": ("variables", "KeyID"),
    "Allocs": ("allocs", "SigningKeyID"),
    "Nodes": ("nodes", "IdentitySigningKeyID"),
}


def report(table: Tables, keystore: str | os.PathLike[str] | None = None, now: datetime | None = None) -> pd.DataFrame:
    """Every root key that there is or that something needs, by a snapshot's tables. See Snapshot.keyring()."""
    import pandas as pd

    ring = Keyring(table, keystore)
    told: dict[str, tuple[Any, Any]] = {
        keys[0].key_id: (keys[0].state or None, pd.Timestamp(keys[0].created, unit="ns", tz="UTC"))
        for keys in ring.wrapped.values()
    }
    stated: list[str] = []
    for name in ("root_key_meta", "root_keys"):  # the state says it better than a file, and the newer type best
        frame = table(name, ["State", "CreateTime"])
        told |= zip(frame.index, zip(frame["State"], frame["CreateTime"], strict=True), strict=True)
        stated.extend(frame.index)
    uses = {name: Counter(table(used, [field])[field]) for name, (used, field) in USES.items()}
    for used in uses.values():
        told |= {str(key): (None, pd.NaT) for key in used if isinstance(key, str) and key and key not in told}
    wrapped = [ring.wrapped.get(key, []) for key in told]
    states, created = zip(*told.values(), strict=True) if told else ((), ())
    found = pd.DataFrame(
        {
            "State": pd.array(states, dtype="str"),
            "CreateTime": pd.DatetimeIndex(pd.to_datetime(list(created), utc=True)).as_unit("ns"),
            "Age": pd.array([pd.NaT] * len(told), dtype="timedelta64[ns]"),
            "Providers": pd.array([_joined(one.provider_id for one in keys) for keys in wrapped], dtype="str"),
            "Places": pd.array([_joined(map(_kind_of_place, keys)) for keys in wrapped], dtype="str"),
            "Material": pd.array([ring.material(key) for key in told], dtype="str"),
            **{name: pd.array([used[key] for key in told], dtype="Int64") for name, used in uses.items()},
            "Orphaned": pd.array([""] * len(told), dtype="str"),
        },
        index=pd.Index(list(told), dtype="str", name="KeyID"),
    )
    if now is not None:
        found["Age"] = (pd.Timestamp(now) - found["CreateTime"]).astype("timedelta64[ns]")
    coming = found["State"].isin(("active", "prepublished")) & found.index.isin(stated)
    needed = coming | (found[list(uses)] > 0).any(axis=1)
    found.loc[~needed, "Orphaned"] = "unused"
    found.loc[needed & ~found["Material"].isin(("here", "external")), "Orphaned"] = "missing"
    return found


def _kind_of_place(key: WrappedKey) -> str:
    return "state" if key.place == THE_STATE else "keystore"


def _joined(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


# -- where keys are


def _keys_in_state(table: Tables) -> Iterator[WrappedKey]:
    """From 1.9 on. A record does not mean that there is material: after an upgrade it stands without."""
    frame = table("root_keys", ["WrappedKeys"], reveal=True)
    for key_id, wrapped_keys in zip(frame.index, frame["WrappedKeys"], strict=True):
        place = f"root key {key_id}"
        for key in _of(wrapped_keys or [], list, place):
            key = _of(key, dict, place)
            if "Provider" not in key or "ProviderID" not in key:
                raise _foreign(place)
            sealed, kms_key = _blob(key.get("WrappedDataEncryptionKey"), place)
            if not sealed:
                continue
            rsa, rsa_key = _blob(key.get("WrappedRSAKey"), place)
            provider, kek = key["Provider"] or AEAD, _decoded(key.get("KeyEncryptionKey"), place)
            if provider == AEAD and {kms_key, rsa_key} - {"", key_id}:
                raise WrongKeyError("holds a key of another root key", place, "it was altered: use another copy")
            yield WrappedKey(str(key_id), provider, key["ProviderID"], sealed, rsa, kek, kms_key, THE_STATE)


def _keys_in_folder(folder: Path) -> Iterator[WrappedKey]:
    """`*.nks.json` of a server's keystore: `DEK` up to 1.8.2, `WrappedDEK` with a provider from 1.8.3."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(
            f"can't be read ({error.strerror})", str(folder), "name a server's keystore folder"
        ) from error
    yield from (_key_in_file(file) for file in files if file.name.endswith(SUFFIX))


def _key_in_file(file: Path) -> WrappedKey:
    place = str(file)
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise SourceError(f"can't be read ({error.strerror})", place, "check its mode") from error
    except (ValueError, RecursionError) as error:
        raise _no_keyring_file(place, "it is no JSON") from error
    if not isinstance(document, dict) or not isinstance(meta := document.get("Meta"), dict):
        raise _no_keyring_file(place, "it has no Meta")
    if strange := document.keys() - FILE_FIELDS:
        raise _no_keyring_file(place, f"it has a field {min(strange)!r:.40}")
    key_id = file.name.partition(".")[0]
    if meta.get("KeyID") != key_id:
        raise _no_keyring_file(place, f"it is of root key {meta.get('KeyID')!r:.60}")
    if meta.get("Algorithm") != ALGORITHM or meta.get("State") not in STATES:
        raise _no_keyring_file(place, f"it is {meta.get('State')!r:.20}, for {meta.get('Algorithm')!r:.20}")
    if type(created := meta.get("CreateTime")) is not int or not 0 <= created < 2**63:
        raise _no_keyring_file(place, f"it was created at {created!r:.40}")
    provider_id = document.get("ProviderID") or document.get("Provider") or AEAD
    # From 1.8.3 on the name ends in the provider's, and `Provider` may be what it is called in the configuration.
    if not isinstance(provider_id, str) or file.name not in (key_id + SUFFIX, f"{key_id}.{provider_id}{SUFFIX}"):
        raise _no_keyring_file(place, f"it is of provider {provider_id!r:.40}")
    wrapped, kms_key = _blob(document.get("WrappedDEK"), place)
    rsa, rsa_key = _blob(document.get("WrappedRSAKey"), place)
    wrapped = wrapped or _decoded(document.get("DEK"), place)
    rsa = rsa or _decoded(document.get("RSAKey"), place)
    provider = provider_id.partition(".")[0]
    if not wrapped or (provider == AEAD and {kms_key, rsa_key} - {"", key_id}):
        raise _no_keyring_file(place, "it holds a key of another root key" if wrapped else "it has no key")
    kek = _decoded(document.get("KEK"), place)
    return WrappedKey(key_id, provider, provider_id, wrapped, rsa, kek, kms_key, file.name, str(meta["State"]), created)


def _no_keyring_file(place: str, why: str) -> KeyringError:
    return KeyringError(f"is no keyring file as Nomad writes it ({why})", place, "remove it or fetch it again")


def _foreign(place: str) -> KeyringError:
    return KeyringError("is not as Nomad writes it", place, "use another copy")


def _of(value: Any, kind: type, place: str) -> Any:
    if not isinstance(value, kind):
        raise _foreign(place)
    return value


def _blob(blob: Any, place: str) -> tuple[bytes, str]:
    """The ciphertext in a go-kms-wrapping BlobInfo, and the id of the key that it says it was sealed by or is of."""
    if blob is None:
        return b"", ""
    if _of(blob, dict, place).keys() - BLOB_FIELDS:
        raise _foreign(place)
    about: Mapping[str, Any] = _of(blob.get("key_info") or {}, dict, place)
    return _decoded(blob.get("ciphertext"), place), str(about.get("key_id") or "")


def _decoded(text: Any, place: str) -> bytes:
    try:
        data = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise KeyringError("is not base64", place, "use another copy") from error
    if base64.b64encode(data) != (text or "").encode():  # bits that the last character has no use for
        raise KeyringError("is not base64 as Nomad writes it", place, "it was altered: use another copy")
    return data


# -- opening


def _unwrapped(key: WrappedKey) -> bytes:
    """The data encryption key; the signing key must open too, for all of it to be as it was written."""
    place = f"root key {key.key_id}, in {key.place}"
    opened = [_open(key.kek, sealed, None, place) for sealed in (key.wrapped, key.wrapped_rsa) if sealed]
    if not any(opened):
        advice = "it was altered, or the key is of another cluster"
        raise WrongKeyError("does not open by the key beside it", place, advice)
    if opened[0] is None or None in opened:
        part = "data" if opened[0] is None else "signing"
        raise AlteredError(f"was altered: its {part} key does not open, and the other does", place, "use another copy")
    return opened[0]


def _open(key: bytes, sealed: bytes, associated: bytes | None, place: str) -> bytes | None:
    """AES-256-GCM with the nonce ahead of the ciphertext (Nomad: nomad/encrypter.go); None if it does not open."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise KeyringError("needs the package cryptography", place, "pip install 'snapkit[keys]'") from error
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], associated)
    except (InvalidTag, ValueError):  # ValueError: a key or nonce of a wrong length
        return None
