"""Archives made to order: a cluster, a moment, an index, and as little else as a server needs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests import forge

START = datetime(2026, 11, 1, tzinfo=UTC)
HERE = "11111111-1111-4111-8111-111111111111"
THERE = "22222222-2222-4222-8222-222222222222"


def made(cluster: str = HERE, created: datetime = START, index: int = 100) -> bytes:
    """A whole archive, which verify has no error of."""
    state = forge.LITTLE
    if cluster:
        state += forge.record(14, {"ClusterID": cluster, "CreateTime": 1_795_471_701_000_000_000})
    milliseconds = round((created - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    meta = forge.meta_json(len(state), ID=f"2-{index}-{milliseconds}", Index=index)
    return forge.archive(state, meta)


def damaged(data: bytes) -> bytes:
    """The same, of which some bytes in the middle are others."""
    middle = len(data) // 2
    return data[:middle] + bytes(255 - byte for byte in data[middle : middle + 4]) + data[middle + 4 :]


def written(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def hourly(folder: Path, count: int, cluster: str = HERE, start: datetime = START) -> list[Path]:
    """An archive an hour."""
    return [
        written(folder, f"{number:04d}.snap", made(cluster, start + timedelta(hours=number), 100 + number))
        for number in range(count)
    ]
