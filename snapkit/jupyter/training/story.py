"""What the exercises work on, made from the archives in data/ when a private copy is made: the same bytes each time.

Damaged archives are not stored anywhere. What happens in the stories (who did what, and to what) is packed, so that
nobody reads the end by chance; its readable source is in the project's tests.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from snapkit.format import archive
from snapkit.format.archive import META, STATE, SUMS
from snapkit.state.output.edit import Change, Edits, Record, edited
from snapkit.state.snapshot import Snapshot, open_snapshot

MIDDLE_OF_A_BYTE = 1 << 4


@cache
def packed() -> dict[str, Any]:
    """The stories."""
    text = files(__package__).joinpath("incident.txt").read_text(encoding="ascii")
    document: dict[str, Any] = json.loads(zlib.decompress(base64.b85decode("".join(text.split()))))
    return document


# -- archives, taken apart and put together


def taken_apart(data: bytes) -> dict[str, bytes]:
    """The members of a whole archive."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
        return {member.name: stream.read() for member in tar if (stream := tar.extractfile(member))}


def put_together(members: Iterable[tuple[str, bytes]]) -> bytes:
    """An archive of these members as they are, whatever they hold, ended as Nomad ends it."""
    tar = b""
    for name, content in members:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o600
        tar += info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % archive.BLOCK)
    return _squeezed(tar + bytes(2 * archive.BLOCK))


def _squeezed(data: bytes) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    return archive.GO_GZIP + body + zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")


def with_sums(meta: bytes, state: bytes) -> bytes:
    """An archive whose sums fit what is in it, good or bad."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in ((META, meta), (STATE, state))]
    return put_together([(META, meta), (STATE, state), (SUMS, "".join(lines).encode())])


def rewritten(
    snapshot: Snapshot,
    changes: Mapping[str, Change] | None = None,
    *,
    edits: Edits | None = None,
    meta: Mapping[str, Any] | None = None,
) -> bytes:
    """An archive of a snapshot with some of its records changed, and fields of its meta.json."""
    state = b"".join(edited(snapshot, changes, edits))
    file = io.BytesIO()
    archive.write_to(file, dict(snapshot.archive.meta) | dict(meta or {}), [state], len(state))
    return file.getvalue()


# -- exercise 3: what was done to a good archive


def _cut(data: bytes, other: bytes) -> bytes:
    return data[: len(data) * 3 // 5]


def _flipped(data: bytes, other: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ MIDDLE_OF_A_BYTE]) + data[len(data) // 2 + 1 :]


def _wrong_sums(data: bytes, other: bytes) -> bytes:
    members = taken_apart(data)
    digest = hashlib.sha256(members[STATE] + b"\n").hexdigest().encode()
    was = hashlib.sha256(members[STATE]).hexdigest().encode()
    return put_together((members | {SUMS: members[SUMS].replace(was, digest)}).items())


def _swapped(data: bytes, other: bytes) -> bytes:
    """Sums that fit, and a state.bin of another day."""
    return with_sums(taken_apart(data)[META], taken_apart(other)[STATE])


def _spoilt_record(data: bytes, other: bytes) -> bytes:
    """Spoilt before it was packed: sums and sizes fit, and in the middle a record's fields are no fields."""
    members = taken_apart(data)
    with open_snapshot(data) as snapshot:
        pieces, count = [snapshot.header], len(snapshot.type_bytes)
        for number, (byte, packed_) in enumerate(snapshot.raw()):
            record = bytes(packed_)
            if number == count // 2:
                record = record[:3] + b"\xc1" * 8 + record[11:]  # a byte that msgpack never uses
            pieces.append(bytes([byte]) + record)
    return with_sums(members[META], b"".join(pieces))


def _other_cluster(data: bytes, other: bytes) -> bytes:
    def renamed(row: Record) -> bool:
        old = row[b"ClusterID"]
        row[b"ClusterID"] = hashlib.sha256(old).hexdigest()[:8].encode() + old[8:]
        return True

    with open_snapshot(data) as snapshot:
        return rewritten(snapshot, {"cluster_metadata": renamed})


def _no_keys(data: bytes, other: bytes) -> bytes:
    with open_snapshot(data) as snapshot:
        edits = Edits()
        for key in snapshot["root_keys"].index:
            edits.delete("root_keys", key)
        return rewritten(snapshot, edits=edits)


def _repacked(data: bytes, other: bytes) -> bytes:
    """As `tar czf` packs it: ended by zeros up to 10,240 bytes, which a server refuses."""
    tar = gzip.decompress(data)
    return _squeezed(tar + bytes(-len(tar) % tarfile.RECORDSIZE or tarfile.RECORDSIZE))


def _web_page(data: bytes, other: bytes) -> bytes:
    return b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"


def _whole(data: bytes, other: bytes) -> bytes:
    return data


#: What can be wrong, in words, and what makes it so.
KINDS: Mapping[str, Callable[[bytes, bytes], bytes]] = {
    "whole": _whole,
    "cut short": _cut,
    "bit flipped": _flipped,
    "wrong sums": _wrong_sums,
    "swapped member": _swapped,
    "spoilt record": _spoilt_record,
    "other cluster": _other_cluster,
    "lost keyring": _no_keys,
    "repacked": _repacked,
    "web page": _web_page,
}


@cache
def shelf() -> dict[str, str]:
    """The kind of each backup on the shelf of exercise 3, by file. Their order tells nothing."""
    order = sorted(KINDS, key=lambda kind: hashlib.sha256(f"on the shelf: {kind}".encode()).digest())
    return {f"backup-{number:02}.snap": kind for number, kind in enumerate(order, 1)}


# -- exercise 4: a night in between


def planted(data: bytes, chapter: str) -> bytes:
    """What came of a state by a chapter of the story."""
    told = packed()[chapter]
    edits = Edits()
    for table, record in told["put"]:
        edits.put(table, record)
    for table, *key in told["deleted"]:
        edits.delete(table, *key)
    for row, index in told["stamps"].items():
        edits.stamp(index, row)
    with open_snapshot(data) as snapshot:
        moment = told["created"] // 10**6
        meta = {"Index": told["index"], "ID": f"{snapshot.meta.term}-{told['index']}-{moment}"}
        return rewritten(snapshot, edits=edits, meta=meta)


# -- exercise 6: a backup that opens, and is not all there


def ended_early(data: bytes) -> bytes:
    """The state without its last records, at a record's edge, with sums and sizes that fit."""
    members = taken_apart(data)
    with open_snapshot(data) as snapshot:
        records = [bytes([byte]) + bytes(packed_) for byte, packed_ in snapshot.raw()]
        state = snapshot.header + b"".join(records[: len(records) * 7 // 10])
    meta = json.loads(members[META]) | {"Size": len(state)}
    return with_sums(json.dumps(meta, separators=(",", ":")).encode() + b"\n", state)


# -- what lies in front of a learner


def material(number: int, data: Path) -> dict[str, bytes]:
    """The files of an exercise, by name, made from the folder of archives."""

    def read(day: str) -> bytes:
        return (data / "v2.0.5" / f"{day}.snap").read_bytes()

    match number:
        case 1 | 2:
            return {"backup.snap": read("tuesday")}
        case 3:
            good, other = read("tuesday"), read("monday")
            return {file: KINDS[kind](good, other) for file, kind in shelf().items()}
        case 4:
            evening = read("tuesday")
            night = planted(evening, "night")
            return {"evening.snap": evening, "night.snap": night, "morning.snap": planted(night, "morning")}
        case 5:
            return {"last-night.snap": read("thursday")}
        case 6:
            days = ("monday", "tuesday", "wednesday", "thursday")
            glass = packed()["envelope"]
            return {
                **{f"{day}.snap": read(day) for day in days},
                "friday.snap": ended_early(read("friday")),
                "envelope.txt": _secret(data / "v2.0.5" / "thursday.snap", glass).encode() + b"\n",
            }
    return {}


def _secret(path: Path, accessor: str) -> str:
    with open_snapshot(path) as snapshot:
        return str(snapshot.get("acl_tokens", accessor, reveal=True)["SecretID"])
