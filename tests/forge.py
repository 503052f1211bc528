"""Archives, states and records made to order, byte by byte: whole ones, odd ones and broken ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

import msgpack

from snapkit.format.schema import Type, fields

BLOCK = 512
META = {
    "Version": 1,
    "ID": "2-77-1795471701682",
    "Index": 77,
    "Term": 2,
    "Peers": "ka4xMjcuMC4wLjE6NDY0Nw==",
    "Configuration": {"Servers": [{"Suffrage": 0, "ID": "a", "Address": "127.0.0.1:4647"}]},
    "ConfigurationIndex": 1,
}


def go_time(seconds: int, nanoseconds: int = 0, minutes: int = -1) -> bytes:
    """Go's binary time, version 1. Seconds are since year 1."""
    return (
        b"\1"
        + seconds.to_bytes(8, "big", signed=True)
        + nanoseconds.to_bytes(4, "big", signed=True)
        + minutes.to_bytes(2, "big", signed=True)
    )


#: 2026-11-23T22:08:21.682512345Z: 15 bytes that are no UTF-8.
GO_TIME = go_time(62_135_596_800 + 1_795_471_701, 682_512_345)

# -- state.bin


def pack(value: Any) -> bytes:
    """msgpack of the old spec, as go-msgpack writes it: text and bytes are both raw."""
    packed: bytes = msgpack.packb(value, use_bin_type=False)
    return packed


def record(byte: int, value: Any) -> bytes:
    """A type byte and a value (bytes: packed already)."""
    return bytes([byte]) + (value if isinstance(value, bytes) else pack(value))


def state(*records: bytes) -> bytes:
    return b"\x80" + b"".join(records)


#: As little as a server needs: what every state has from the start.
LITTLE = state(
    record(2, {"Key": "jobs", "Value": 7}),
    record(0, {"ID": "n1", "Name": "client1", "NodePool": "default"}),
    record(28, {"Name": "default"}),
    record(64, {"Name": "default"}),
    record(13, {"SchedulerAlgorithm": "binpack"}),
)

# -- the container


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.type = size, 0o600, 1795471701, kind
    return info.tobuf(tarfile.USTAR_FORMAT)


def member(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(content), kind) + content + bytes(-len(content) % BLOCK)


def pax(**records: str) -> bytes:
    """A PAX header for the member after it."""
    body = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length += 1
        body += str(length).encode() + rest
    return member("PaxHeaders.0/x", body, tarfile.XHDTYPE)


def tar(members: Iterable[tuple[str, bytes]], end: bytes = bytes(2 * BLOCK)) -> bytes:
    return b"".join(member(name, content) for name, content in members) + end


def meta_json(size: int, **changes: Any) -> bytes:
    return json.dumps({**META, "Size": size, **changes}, separators=(",", ":")).encode() + b"\n"


def sums(*members: tuple[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members).encode()


def members(content: bytes, meta: bytes | None = None) -> list[tuple[str, bytes]]:
    """meta.json, state.bin and SHA256SUMS that fit."""
    two = [("meta.json", meta_json(len(content)) if meta is None else meta), ("state.bin", content)]
    return [*two, ("SHA256SUMS", sums(*two))]


def squeeze(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def archive(content: bytes, meta: bytes | None = None, before: bytes = b"") -> bytes:
    """A whole archive whose hashes fit, with something before its first tar header if need be."""
    return squeeze(before + tar(members(content, meta)))


def state_of(data: bytes) -> bytes:
    """The state.bin in an archive."""
    return next(content for member, content in untar(data) if member.name == "state.bin")


def untar(data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The members of an archive by Python's own tarfile."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as file:
        return [(info, stream.read()) for info in file if (stream := file.extractfile(info))]


# -- records by the schema


def example(kind: Type, salt: str = "x") -> Any:
    """A value of a Go type, as msgpack has it, down to the last field."""
    match kind.kind:
        case "struct":
            return example_struct(kind.struct, salt)
        case "list":
            return [example(kind.element, salt)] if kind.element else []
        case "map":
            return {f"key-{salt}": example(kind.element, salt)} if kind.element else {}
        case "string":
            return f"text-{salt}"
        case "bytes":
            return b"\xff\xfe" + salt.encode()
        case "bool":
            return True
        case "time":
            return GO_TIME
        case "duration":
            return 90_000_000_000
        case "float64":
            return 1.5
        case "any":
            return {f"any-{salt}": [1, "a", None]}
        case "uint64" | "uint":
            return 2**64 - 1
        case "int64" | "int":
            return 1_795_471_701_682_512_345
        case "uint8" | "int8":
            return 100
    return 12_345 if kind.kind.startswith(("int", "uint")) else None


def example_struct(struct: str, salt: str = "x", overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A struct with all fields that the newest release has."""
    made = {name: example(f.type, salt) for name, f in fields(struct).items() if not f.last}
    for name, field in fields(struct).items():
        if field.time_unit == "s" and name in made:
            made[name] = 1_795_471_701
    return made | dict(overrides or {})
