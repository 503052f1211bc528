"""Snappy's block format, which the state has the payloads of dispatched jobs in.

Source: google/snappy, format_description.txt.
"""

from __future__ import annotations

MOST = 1 << 24  # bytes: Nomad takes payloads of 16 KiB


def expanded(data: bytes) -> bytes:
    """What was compressed; the data as they are if they are not snappy's."""
    try:
        length, at = _length(data)
        out = bytearray()
        while at < len(data) and len(out) < length <= MOST:
            at = _element(data, at, out)
    except (IndexError, ValueError):
        return data
    return bytes(out) if len(out) == length and at == len(data) else data


def _length(data: bytes) -> tuple[int, int]:
    """The length ahead, seven bits a byte, and where it ends."""
    value = 0
    for at in range(5):
        value |= (data[at] & 0x7F) << 7 * at
        if data[at] < 0x80:
            return value, at + 1
    raise ValueError("too long a number")


def _element(data: bytes, at: int, out: bytearray) -> int:
    """Take a literal, or a copy of what is there already; gives where the next begins."""
    tag, at = data[at], at + 1
    if tag & 3 == 0:
        size, width = (tag >> 2) + 1, max(0, (tag >> 2) - 59)
        if width:
            size = int.from_bytes(data[at : at + width], "little") + 1
        at += width
        out += data[at : at + size]
        return at + size
    if tag & 3 == 1:
        size, back, width = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at], 1
    else:
        width = 2 if tag & 3 == 2 else 4
        size, back = (tag >> 2) + 1, int.from_bytes(data[at : at + width], "little")
    if not 0 < back <= len(out):
        raise ValueError("a copy of what is not there")
    for _ in range(size):  # byte by byte: it may reach into what it writes
        out.append(out[-back])
    return at + width


def literal(data: bytes) -> bytes:
    """Data in the format, though no smaller."""
    head, size = bytearray(), len(data)
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + (bytes([62 << 2]) + (len(data) - 1).to_bytes(3, "little") + data if data else b"")
