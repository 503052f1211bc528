"""What a fuzzer feeds: any bytes as an archive, a state, or the records of one, to all that reads them.

python -m tests.fuzz CORPUS [options of libFuzzer]    # with the package atheris, coverage-guided
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from snapkit.errors import SnapshotError
from snapkit.format.archive import Limits
from snapkit.state.snapshot import open_snapshot
from snapkit.state.verify import verify
from tests import forge

LIMITS = Limits(total=1 << 22, record=1 << 20, records=10_000)


def one(data: bytes) -> None:
    """Each reader gives what it promises or a SnapshotError; anything else is a crash."""
    kind, data = data[:1], data[1:]
    if kind == b"s":
        data = b"\x80" + data
    elif kind == b"a":
        data = forge.archive(b"\x80" + data)
    elif kind == b"t":
        data = forge.squeeze(data)
    with suppress(SnapshotError):
        report = verify(data, "2.0.5", limits=LIMITS)
        assert all(finding.place and finding.message for finding in report.found)
        report.to_json()
    with suppress(SnapshotError), open_snapshot(data, limits=LIMITS) as snapshot:
        repr(snapshot)
        for table in snapshot.tables.index:
            with suppress(SnapshotError):
                snapshot.table(table)


def main() -> None:
    import atheris

    # Coverage of our own code alone: pandas would drown it.
    for name in [name for name in sys.modules if name.startswith("snapkit.")]:
        del sys.modules[name]
    with atheris.instrument_imports(include=["snapkit"]):
        import tests.fuzz as fresh

        fresh = __import__("importlib").reload(fresh)
    atheris.Setup(sys.argv, fresh.one)
    atheris.Fuzz()


def seeds(folder: Path) -> None:
    """Write what a first run starts from: real archives and records of every type."""
    from snapkit.format.schema import TYPES

    folder.mkdir(parents=True, exist_ok=True)
    for kind in TYPES:
        value = forge.example_struct(kind.struct)
        record = forge.record(kind.byte, [value] if kind.table == "time_table" else value)
        (folder / f"{kind.table}").write_bytes(b"s" + record)
    (folder / "little").write_bytes(b"a" + forge.LITTLE[1:])
    (folder / "tar").write_bytes(b"t" + forge.tar(forge.members(forge.LITTLE)))
    (folder / "archive").write_bytes(b"x" + forge.archive(forge.LITTLE))


if __name__ == "__main__":
    main()
