"""What looks like a secret in a snapshot: private keys, cloud keys, tokens, JWTs and strings of high entropy.

The rules are detect-secrets'. What redact put in a secret's place is told by its letters, and is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from snapkit.errors import RecordError, SnapshotError
from snapkit.format.archive import Source
from snapkit.format.schema import BY_BYTE, RecordType, Type, record_type
from snapkit.format.values import Buffer, Leaf, Mask, go_time, text, unpack, walk
from snapkit.state.redact.pseudonyms import UUID, looks_replaced
from snapkit.state.snapshot import Snapshot, open_snapshot
from snapkit.state.snapshot.keys import keys

if TYPE_CHECKING:
    import pandas as pd

#: Text in which nothing can be found: without so many letters and digits in a row, or a sign of a known format.
_CANDIDATE = re.compile(rb"[A-Za-z0-9+/=_]{16,}|-----BEGIN|://[^/\s]+@|xox|hooks\.slack")
_PUBLIC = re.compile(r"-----BEGIN (?P<what>(?:RSA |EC )?PUBLIC KEY|CERTIFICATE)-----.*?-----END (?P=what)-----", re.S)
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{20,}={0,2}(?![A-Za-z0-9+/_=-])")
_HEX = re.compile(r"(?<![A-Za-z0-9-])[0-9a-fA-F]{32,}(?![A-Za-z0-9-])")
#: Words of a name, such as `_nomad-task-<id>-group-web`: a secret is not made of them.
_PART = r"(?:[a-z]+|[A-Z]+|[A-Z][a-z]+|\d{1,10}|[0-9a-f]{4,12})"
_NAME = re.compile(f"{_PART}(?:[-_/+]+{_PART})*")

_JWT = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class Leak(NamedTuple):
    """Something that looks like a secret.

    Attributes:
        table: Where: the table,
        key: the record's key,
        path: and the path in it, by Nomad's field names.
        detector: What it looks like.
        value: Masked.
    """

    table: str
    key: tuple[Any, ...]
    path: str
    detector: str
    value: str


def leaks(src: Source | Snapshot) -> pd.DataFrame:
    """What looks like a secret in a snapshot, record by record.

    Args:
        src: Anything that `open()` takes, or an open snapshot.

    Returns:
        Table, Key (tuples), Path, Detector, Value (masked), in the order of the state.

    Raises:
        SnapshotError: It can't be read, or the package detect-secrets is missing.
    """
    import pandas as pd

    detect = _detector()
    if isinstance(src, Snapshot):
        found = list(_leaks(src, detect))
    else:
        with open_snapshot(src) as snapshot:
            found = list(_leaks(snapshot, detect))
    columns = {
        name.capitalize(): pd.Series(
            [getattr(leak, name) for leak in found], dtype="object" if name == "key" else "str"
        )
        for name in Leak._fields
    }
    return pd.DataFrame(columns)


def _leaks(snapshot: Snapshot, detect: Callable[[str], Iterator[tuple[str, str]]]) -> Iterator[Leak]:
    mask = snapshot.mask
    known: dict[bytes, list[tuple[str, str]]] = {}
    for number, (byte, packed) in enumerate(snapshot.raw()):
        if not _CANDIDATE.search(packed):
            continue
        kind = record_type(byte)
        key: tuple[Any, ...] | None = None
        for leaf in _leaves(number, kind, packed):
            value = leaf.value
            if not isinstance(value, bytes) or not _CANDIDATE.search(value) or _is_no_text(leaf):
                continue
            if value not in known:
                if len(known) > 100_000:
                    known.clear()
                known[value] = list(detect(text(value)))
            for detector, secret in known[value]:
                if key is None:
                    key = keys(kind, [packed])[0] if byte in BY_BYTE and kind.key else ()
                yield Leak(kind.table, key, leaf.path, detector, _masked(mask, secret))


def _leaves(number: int, kind: RecordType, packed: Buffer) -> Iterator[Leaf]:
    try:
        yield from walk(unpack(packed), Type("struct", struct=kind.struct))
    except RecordError as error:
        raise error.at(f"state.bin record {number + 1:,} ({kind.name})") from error


def _is_no_text(leaf: Leaf) -> bool:
    """Hashes and ciphertexts are what they are, and times may look like anything."""
    if leaf.kind.kind != "time":
        return leaf.kind.kind == "bytes" and not leaf.secret
    try:
        return go_time(leaf.value) is not None
    except SnapshotError:
        return False


def _masked(mask: Mask, secret: str) -> str:
    return mask(secret.encode()) if mask is not None else "masked"


@cache
def _detector() -> Callable[[str], Iterator[tuple[str, str]]]:
    try:
        from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
        from detect_secrets.plugins.base import RegexBasedDetector
        from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString, HexHighEntropyString
        from detect_secrets.plugins.jwt import JwtTokenDetector
    except ImportError as error:
        raise SnapshotError(
            "needs the package detect-secrets", "a leak scan", "pip install 'snapkit[leaks]'"
        ) from error
    classes: dict[str, Any] = get_mapping_from_secret_type_to_class()
    formats = [  # addresses are no secrets: what redact does about them is another matter
        made()
        for name, made in sorted(classes.items())
        if issubclass(made, RegexBasedDetector) and name not in ("Public IP (ipv4)", JwtTokenDetector.secret_type)
    ]
    jwt = JwtTokenDetector()
    entropies = [(_BASE64, Base64HighEntropyString()), (_HEX, HexHighEntropyString())]

    def detect(value: str) -> Iterator[tuple[str, str]]:
        value = _PUBLIC.sub("", value)
        found: set[str] = set()
        for secret in {match[0] for match in _JWT.finditer(value)}:
            if looks_replaced(secret) or list(jwt.analyze_string(secret)):
                value = value.replace(secret, "")  # the whole, of which the detector gives but two parts
                if not looks_replaced(secret):
                    yield jwt.secret_type, secret
        for plugin in formats:
            for secret in plugin.analyze_string(value):
                if secret and not looks_replaced(secret) and secret not in found:
                    found.add(secret)
                    yield plugin.secret_type, secret
        path, value = value.startswith("/"), UUID.sub("", value)
        for pattern, entropy in entropies:
            for word in {part for match in pattern.finditer(value) for part in _parts(match[0], path)}:
                if any(word in other or other in word for other in found) or _NAME.fullmatch(word):
                    continue
                if not looks_replaced(word) and entropy.calculate_shannon_entropy(word) > entropy.entropy_limit:
                    found.add(word)
                    yield entropy.secret_type, word

    return detect


def _parts(word: str, path: bool) -> list[str]:
    """Of a path, the names in it: the whole has a high entropy, being of many words."""
    return [part for part in word.split("/") if len(part) >= 20] if path else [word]
