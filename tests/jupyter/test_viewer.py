"""What the viewer tells of an archive, and the notebook that it leads into."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

import snapkit
from snapkit.format import schema
from snapkit.jupyter.viewer import summary, verified, write_notebook
from tests import forge
from tests.damage import DAMAGES, damaged

from ..conftest import ARCHIVES, path_of

FRIDAY = path_of("v2.0.5/friday")
OPEN = Callable[..., snapkit.Snapshot]


class Page(HTMLParser):
    """The words, the cells by row, and the tags of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""
        self._in_cell = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True
        elif tag in ("p", "h2", "h3", "pre"):
            self.words += "\n"

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._in_cell:
            self.rows[-1][-1] += data


@pytest.mark.parametrize("archive", ARCHIVES)
def test_a_whole_archive_is_told_as_it_is(archive: str, open_: OPEN) -> None:
    snap = open_(path_of(archive))
    page = Page(summary(path_of(archive), "backups/here.snap"))
    assert page.words.lstrip().startswith("here.snap\n✓ Whole:")
    facts = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert facts["Taken"] == f"{snap.meta.created:%Y-%m-%d %H:%M:%S} UTC"
    assert facts["Raft"] == f"index {snap.meta.index}, term {snap.meta.term}"
    assert facts["Cluster"] == (snap.meta.cluster_id or "unknown")
    assert facts["Written by"] == f"Nomad {schema.in_words(snap.meta.version_range)}"
    assert facts["Servers"] == ", ".join(str(server["Address"]) for server in snap.meta.servers)
    assert facts["State"].startswith(f"{sum(snap.tables['Bytes']):,} bytes, {sum(snap.tables['Count']):,} records in ")
    start = page.rows.index(["Table", "Type", "Records", "Bytes", "Share"]) + 1
    expected = [
        [str(row.Index), row.Type, f"{row.Count:,}", f"{row.Bytes:,}", f"{row.Bytes / sum(snap.tables['Bytes']):.1%}"]
        for row in snap.tables.itertuples()
    ]
    assert sorted(page.rows[start : start + len(expected)]) == sorted(expected)


@pytest.mark.parametrize("damage", DAMAGES[::3], ids=lambda damage: damage.name)
def test_whatever_is_wrong_is_told_as_verify_does(damage, tmp_path: Path) -> None:
    (tmp_path / "x.snap").write_bytes(damaged(damage))
    (tmp_path / "x.snap").chmod(0o600)
    report = snapkit.verify(tmp_path / "x.snap", level="framing")
    page = Page(summary(tmp_path / "x.snap", "x.snap"))
    assert str(tmp_path) not in page.words
    assert ("✗ Damaged:" in page.words) is not report.ok
    for finding in report.found:
        assert finding.check in page.words
        assert finding.advice in page.words


def test_the_one_clear_error_comes_first_with_what_to_do(tmp_path: Path) -> None:
    whole = FRIDAY.read_bytes()
    (tmp_path / "it's cut.snap").write_bytes(whole[: len(whole) // 2])
    lines = Page(summary(tmp_path / "it's cut.snap", "a/it's cut.snap")).words.strip().splitlines()
    assert lines[0] == "it's cut.snap"
    assert lines[1].startswith("✗ Damaged: a/it's cut.snap: byte 22,119: the gzip stream ends too early; the file was ")
    assert lines[3] == """snapkit verify 'it'"'"'s cut.snap' --salvage 'it'"'"'s cut-salvaged.snap'"""
    (tmp_path / "-o.snap").write_bytes(whole[:-1])
    assert (
        "snapkit verify ./-o.snap --salvage ./-o-salvaged.snap" in Page(summary(tmp_path / "-o.snap", "-o.snap")).words
    )
    (tmp_path / "no.snap").write_text("<html>")
    said = summary(tmp_path / "no.snap", "no.snap")
    assert "perhaps a proxy&#x27;s page" in said
    assert "--salvage" not in said
    assert "No such file" in summary(tmp_path / "gone.snap", "gone.snap")


def test_what_is_encrypted_says_how_it_is_opened(tmp_path: Path) -> None:
    pyrage = pytest.importorskip("pyrage")
    key = pyrage.x25519.Identity.generate()
    sealed = tmp_path / "friday.snap.age"
    sealed.write_bytes(pyrage.encrypt(FRIDAY.read_bytes(), [key.to_public()]))
    page = Page(summary(sealed, "friday.snap.age"))
    assert "Encrypted (age)" in page.words
    assert "snapkit inspect friday.snap.age --identity KEYFILE" in page.words
    assert "is encrypted (age)" in verified(sealed, "friday.snap.age")
    (tmp_path / "key.txt").write_text(str(key))
    ran = run(write_notebook(sealed), KEYFILE=str(tmp_path / "key.txt"))
    assert ran["snap"].meta.index == 200


def test_verified_has_what_verify_finds() -> None:
    page = Page(verified(FRIDAY, "friday.snap"))
    report = snapkit.verify(FRIDAY)
    assert "Every record verified" in page.words
    assert all(finding.message in page.words for finding in report.found)
    assert len(report.found) > 10


EVIL = ('"><img src=x onerror=alert(1)><script>alert(1)</script>', "<time onclick=alert(1)>", "<b>", "</div></td>")


@pytest.mark.parametrize("evil", EVIL)
def test_what_an_archive_holds_or_is_called_is_text(evil: str, tmp_path: Path) -> None:
    plain = Page(summary(FRIDAY, "x.snap"))
    server = {"ID": evil, "Address": evil, "Suffrage": 0}
    cluster = forge.record(schema.BY_TABLE["cluster_metadata"].byte, {"ClusterID": evil})
    state = forge.state(cluster, forge.record(200, {"ID": evil}))
    data = forge.archive(state, forge.meta_json(len(state), ID=evil, Configuration={"Servers": [server]}))
    (tmp_path / "x.snap").write_bytes(data)
    page = Page(summary(tmp_path / "x.snap", f"{evil}.snap"))
    assert page.words.count(evil) >= 3
    for said in (summary, verified):
        page = Page(said(tmp_path / "x.snap", f"{evil}.snap"))
        assert page.tags <= plain.tags | {"pre"}
        assert page.attributes <= plain.attributes


def test_of_a_very_long_address_there_is_the_beginning(tmp_path: Path) -> None:
    server = {"ID": "a", "Address": "x" * 1_000_000, "Suffrage": 0}
    (tmp_path / "x.snap").write_bytes(
        forge.archive(forge.LITTLE, forge.meta_json(len(forge.LITTLE), Configuration={"Servers": [server]}))
    )
    assert len(summary(tmp_path / "x.snap", "x.snap", limits=snapkit.Limits(ratio=1e6))) < 30_000


def test_limits_and_progress_are_passed_on() -> None:
    told: list[tuple[int, int | None]] = []
    assert "archive.limit" in summary(FRIDAY, "x.snap", limits=snapkit.Limits(total=1000))
    summary(FRIDAY, "x.snap", progress=lambda *far: told.append(far))
    assert told[-1] == (FRIDAY.stat().st_size, FRIDAY.stat().st_size)


# -- the notebook


def run(notebook: Path, **texts: str) -> dict:
    """Its cells one after another, where it lies, but for those that show widgets; what they left."""
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(notebook.parent)
        for cell in json.loads(notebook.read_text())["cells"]:
            if cell["cell_type"] == "code" and "browse" not in cell["source"]:
                source = cell["source"]
                for old, new in texts.items():
                    source = source.replace(old, new)
                exec(source, names)
    return names


def test_a_notebook_is_made_beside_it_and_never_over_another(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    (tmp_path / "a b.snap").write_bytes(FRIDAY.read_bytes())
    (tmp_path / "a b.ipynb").write_text("mine")
    (tmp_path / "a b-2.ipynb").symlink_to("nowhere")
    made = [write_notebook(tmp_path / "a b.snap") for _ in range(2)]
    assert [path.name for path in made] == ["a b-3.ipynb", "a b-4.ipynb"]
    assert (tmp_path / "a b.ipynb").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    nbformat.validate(nbformat.read(made[0], as_version=4))
    assert run(made[0])["snap"].meta.index == 200
    assert str(tmp_path) not in made[0].read_text()
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("name", ['it\'s "so".snap', "a\\n.snap", "`x` *y* <b>.SNAP", "žluť.snap", "x\n# y.snap", "x"])
def test_any_name_is_text_in_a_notebook(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FRIDAY.read_bytes())
    made = write_notebook(tmp_path / name)
    assert made.name == f"{re.sub('[.](snap|SNAP)$', '', name)}.ipynb"
    assert run(made)["source"] == name
    about = json.loads(made.read_text())["cells"][0]["source"]
    assert about.splitlines()[1] == ""
    assert "<b>" not in about


def test_the_notebook_of_a_damaged_archive_salvages(tmp_path: Path) -> None:
    whole = FRIDAY.read_bytes()
    (tmp_path / "cut.snap").write_bytes(whole[: len(whole) // 2])
    ran = run(write_notebook(tmp_path / "cut.snap"))
    assert not ran["report"].ok
    assert ran["snap"].salvage is not None


def test_without_an_archive_there_is_no_notebook(tmp_path: Path) -> None:
    with pytest.raises(snapkit.SnapshotError, match=r"gone\.snap: can't be read"):
        write_notebook(tmp_path / "gone.snap")
    assert list(tmp_path.iterdir()) == []
