"""A large archive out of a real one: the same cluster many times over, each time with ids, names and times of its own.

What can't repeat in a real state (ciphertexts, signatures, hashes, payloads) does not repeat here either, so that the
large archive compresses about as the real one does, and inflating it costs what inflating a real one costs.

    python -m bench.grow data/v2.0.5/friday.snap big.snap --megabytes 200
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import cramjam

import snapkit
from snapkit.format import archive
from snapkit.format.schema import BY_TABLE
from snapkit.format.values import pack, unpack

#: Tables that a larger cluster has no more of.
ONCE = {
    BY_TABLE[table].byte
    for table in (
        "indexes", "time_table", "scheduler_config", "cluster_metadata", "namespaces", "variables_quotas", "root_keys",
        "root_key_meta", "acl_policies", "acl_roles", "acl_auth_methods", "acl_binding_rules", "node_pools",
    )
}  # fmt: skip
CARRIERS = {
    b"Data": {BY_TABLE["variables"].byte},
    b"Payload": {BY_TABLE[table].byte for table in ("jobs", "job_versions", "allocs")},
}
UUID = rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SIGNED = rb"eyJ[\w-]{20,}\.[\w-]{20,}\.[\w-]{20,}"  # a JWT: an alloc's signed identities
NANOSECONDS = rb"(?<=[\xcf\xd3]\x18)[\x00-\xff]{7}"  # an integer that is a time, but for its first byte
INDEX = rb"(?<=CreateIndex|ModifyIndex)(?:[\x01-\x7f]|\xcc[\x00-\xff]|\xcd[\x00-\xff]{2})"  # of Raft
GO_TIME = rb"(?<=\xaf\x01\x00\x00\x00\x0e)[\x00-\xff]{8}"
ALPHABET = bytes.maketrans(bytes(range(256)), (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" * 4))


class Copier:
    """Makes a record of one copy of the cluster out of the original's."""

    def __init__(self, names: set[bytes], seed: int) -> None:
        self._seed = seed.to_bytes(8, "big")
        encoded = {pack(name): name for name in names}
        alternatives = b"|".join(re.escape(e) for e in sorted(encoded, key=len, reverse=True))
        self._names = encoded
        self._varying = re.compile(
            b"(?P<uuid>%b)|(?P<signed>%b)|(?P<name>%b)|(?P<nanoseconds>%b)|(?P<index>%b)|(?P<time>%b)"
            % (UUID, SIGNED, alternatives, NANOSECONDS, INDEX, GO_TIME)
        )

    def copy(self, byte: int, packed: bytes, number: int) -> bytes:
        def vary(match: re.Match[bytes]) -> bytes:
            found = match[0]
            noise = self._noise(number, found, len(found))
            match match.lastgroup:
                case "uuid":
                    return self._uuid(number, found)
                case "signed":
                    return self._signed(number, found)
                case "name":
                    name = self._names[found]
                    job = re.match(rb"[\w-]+", name)
                    end = job.end() if job else 0
                    return pack(b"%b-%05d%b" % (name[:end], number, name[end:]))
                case "index":
                    return b"\xce\0" + self._noise(number, found, 3)
                case "nanoseconds":
                    return found[:2] + noise[2:]
            return found[:4] + bytes([noise[4] % 0x3B]) + noise[5:6] + found[6:]  # seconds kept, below 10**9 ns

        copied = self._varying.sub(vary, packed)
        for field in (b"Data", b"Payload"):  # what does not repeat and is not told by its looks
            if byte in CARRIERS[field] and pack(field) in copied:
                copied = pack(self._fresh(unpack(copied), number, field))
        return copied

    def _fresh(self, record: Any, number: int, field: bytes) -> Any:
        if isinstance(record, dict):
            if isinstance(record.get(field), bytes):
                record[field] = self._filled(number, record[field], field)
            elif isinstance(record.get(b"Job"), dict):
                self._fresh(record[b"Job"], number, field)
        return record

    def _uuid(self, number: int, uuid: bytes) -> bytes:
        digits = self._noise(number, uuid, 16).hex().encode()
        return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))

    def _signed(self, number: int, token: bytes) -> bytes:
        """A token of as many bytes: its claims name the ids of the copy, and its signature is another."""
        header, claims, signature = token.split(b".")
        told = base64.urlsafe_b64decode(claims + b"=" * (-len(claims) % 4))
        told = re.sub(UUID, lambda match: self._uuid(number, match[0]), told)
        noise = self._noise(number, token, len(signature)).translate(ALPHABET)
        return b".".join((header, base64.urlsafe_b64encode(told).rstrip(b"="), noise))

    def _filled(self, number: int, content: bytes, field: bytes) -> bytes:
        """A ciphertext of as many bytes; a payload of as many, compressed as Nomad does."""
        if field == b"Payload" and content:
            plain = bytes(cramjam.snappy.decompress_raw(content))
            return bytes(cramjam.snappy.compress_raw(self._noise(number, content, len(plain))))
        return self._noise(number, content, len(content))

    def _noise(self, number: int, what: bytes, length: int) -> bytes:
        return hashlib.shake_128(self._seed + number.to_bytes(8, "big") + what).digest(length)


def grow(source: Path, target: Path, megabytes: int = 200, seed: int = 0) -> tuple[int, int]:
    """Write an archive whose state.bin has at least so many megabytes.

    Returns:
        The bytes of its state.bin and of the archive.
    """
    with snapkit.open(source) as snapshot, tempfile.TemporaryFile() as state:
        meta = snapshot.archive.meta
        for piece in _state(snapshot, megabytes, seed):
            state.write(piece)
        size = state.tell()
        state.seek(0)
        archive.write(target, meta, _pieces(state), size, overwrite=True)
    return size, target.stat().st_size


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(1 << 20), b"")


def _state(snapshot: snapkit.Snapshot, megabytes: int, seed: int) -> Iterator[bytes]:
    records = [(byte, bytes(value)) for byte, value in snapshot.raw()]
    growing = sum(len(value) for byte, value in records if byte not in ONCE)
    copies = -(-megabytes * 1_000_000 // growing)
    jobs = {str(job).encode() for job in snapshot.job_versions.reset_index()["ID"]}
    names = jobs | {str(name).encode() for name in snapshot.allocs["Name"]}
    names |= {str(name).encode() for name in snapshot.nodes["Name"]}
    copier = Copier(names, seed)
    yield snapshot.header
    for byte in dict.fromkeys(byte for byte, _ in records):  # each type in one run, as a server writes them
        mine = [value for other, value in records if other == byte]
        for number in range(1 if byte in ONCE else copies):
            for value in mine:
                yield bytes([byte])
                yield copier.copy(byte, value, number) if byte not in ONCE else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    size, compressed = grow(options.source, options.target, options.megabytes, options.seed)
    print(f"{size:,} bytes of state, {compressed:,} compressed, ratio {size / compressed:.1f}")


if __name__ == "__main__":
    main()
