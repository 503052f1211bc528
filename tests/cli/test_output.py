"""How tables look: whole words and ids, the columns first that are wanted, on terminals of any width and in pipes."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pandas as pd
import pytest

from snapkit.cli.output import counted, show_frame

IDS = [str(uuid.UUID(int=n * 2**100)) for n in range(1, 4)]
Show = Callable[..., list[str]]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Show:
    """Lines of a table on a terminal of so many columns; in a pipe with none."""

    def lines(frame: pd.DataFrame, columns: int = 0, **options: object) -> list[str]:
        monkeypatch.setattr("sys.stdout.isatty", lambda: columns > 0, raising=False)
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "dumb")
        show_frame(frame, False, None, **options)  # type: ignore[arg-type]
        return [line for line in capsys.readouterr().out.splitlines() if line and "─" not in line]

    return lines


def allocs() -> pd.DataFrame:
    columns = {"Namespace": ["a", "a", "b"], "Note": ["x" * 40] * 3, "JobID": ["web", "web", "db"], "NodeID": IDS}
    return pd.DataFrame(columns, index=pd.Index(IDS, name="ID"))


def test_a_terminal_gets_what_is_wanted_first_and_ids_in_short(show: Show) -> None:
    head, first, _, _, more, last = show(allocs(), 50, first=["JobID", "NodeID"])
    assert head.split() == ["ID", "JobID", "NodeID", "Namespace"]
    assert first.split() == [IDS[0][:8], "web", IDS[0][:8], "a"]
    assert more == "1 more column (--columns or --json): Note"
    assert last == "3 rows; ids are short, and taken so: --columns or --json has them whole"


def test_ids_that_would_look_alike_are_whole(show: Show) -> None:
    frame = allocs().set_index(pd.Index([str(uuid.UUID(int=n)) for n in range(3)], name="ID"))
    _, first, *_, last = show(frame, 60, first=["JobID"])
    assert first.split()[0] == str(uuid.UUID(int=0))
    assert last == "3 rows"


def test_a_pipe_gets_whole_lines_and_ids(show: Show) -> None:
    frame = allocs().assign(Note="x" * 300)
    _, first, *_, last = show(frame, everything=True)
    assert first.split() == [IDS[0], "a", "x" * 300, "web", IDS[0]]
    assert last == "3 rows"
    assert [line.split()[0] for line in show(frame)[1:4]] == IDS


def test_where_only_the_key_fits_rows_stand_one_below_the_other(show: Show) -> None:
    lines = show(allocs().assign(JobID="j" * 20), 25, first=["JobID", "Namespace"])
    assert lines[:3] == [f"ID         {IDS[0][:8]}", "JobID      jjjjjjjjjjjjjj", "           jjjjjj"]
    assert max(map(len, lines[:-2])) <= 25


def test_titles_take_two_lines_before_rows_are_torn_apart(show: Show) -> None:
    frame = pd.DataFrame(
        {"CountBefore": [1], "CountAfter": [2], "BytesBefore": [1000], "Growth": [-5000]},
        index=pd.Index(["allocs"], name="Table"),
    )
    above, below, row, last = show(frame, 45, everything=True)
    assert above.split() == ["Count", "Count", "Bytes"]
    assert below.split() == ["Table", "Before", "After", "Before", "Growth"]
    assert row.split() == ["allocs", "1", "2", "1,000", "-5,000"]
    assert last == "1 row"
    assert show(frame, 30, everything=True)[0].split() == ["Table", "allocs"]


def test_numbers_are_for_people(show: Show) -> None:
    frame = pd.DataFrame(
        {"Bytes": [1234567], "Share": [0.5149], "Index": [1234567]}, index=pd.Index([None], name="Namespace")
    )
    assert show(frame, 80, everything=True)[1].split() == ["(none)", "1,234,567", "51.5%", "1234567"]
    assert [counted(0, "row"), counted(1, "row"), counted(1024, "row")] == ["0 rows", "1 row", "1,024 rows"]
