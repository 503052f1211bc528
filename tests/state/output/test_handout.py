"""A handout: all that matters is on the page, nothing that must not be is, and it stays small, plain and the same."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snapkit
from snapkit.errors import SnapshotError, SourceError, TargetExistsError
from snapkit.state.output.handout import FIELDS, LARGEST, ROWS, Handout, handout
from snapkit.state.output.picture import LINES, timeline_svg
from snapkit.state.sizes import sizes
from tests import forge

from ...conftest import DATA, RAFT_DIRECTORIES, oracle, path_of
from .. import samples
from ..findings.test_report import Page as Tags
from ..test_hostile import SMALL, odd_records, real_state
from ..test_masking import records, shows

WEDNESDAY, THURSDAY, FRIDAY = (path_of(f"v2.0.5/{day}") for day in ("wednesday", "thursday", "friday"))
ONE = ["verdict", "about", "tables", "sizes", "timeline", "tokens", "page"]
TWO = [*ONE[:2], "changes", *ONE[2:-1], "rights", "page"]


class Page(Tags):
    """A page's tables too: by caption, as rows of texts."""

    VOID = ("meta", "br")

    def __init__(self, text: str) -> None:
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        super().__init__(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("path", "rect"):  # written as XML has them
            assert self.open[-1] == tag
        super().handle_endtag(tag)
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        super().handle_data(data)
        if "caption" in self.open:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            self._rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@cache
def made(*days: str) -> Handout:
    return handout(*(path_of(f"v2.0.5/{day}") for day in days), key="fixed")


@cache
def read(*days: str) -> Page:
    return Page(made(*days).to_html())


def ids(page: Handout) -> list[str]:
    return [section.id for section in page.sections]


# -- what is on it


def test_a_page_of_one_has_what_it_is_and_what_verify_says() -> None:
    found, report = read("friday"), snapkit.verify(FRIDAY)
    assert ids(made("friday")) == ONE
    assert "Ok." in found.text
    assert report.summary in found.text
    findings = [[f.severity, f.check, f.place, f.message, f.advice] for f in report.found]
    assert found.tables["Findings, the worst first"][1:] == findings
    about = {row[0]: row[1] for row in found.tables["What is known of it as a whole"]}
    meta = oracle("v2.0.5/friday", "inspect")["Meta"]
    assert about["Snapshot"] == meta["ID"]
    assert about["Raft"] == f"index {meta['Index']}, term {meta['Term']}"
    assert about["Taken"] == "2026-11-23 22:09:20 UTC"
    assert all(server["ID"] in about["Servers"] for server in meta["Configuration"]["Servers"])
    assert about["state.bin"] == f"{report.members[1].size:,} bytes, SHA-256 {report.members[1].sha256}"


def test_its_tables_are_what_nomad_inspect_counts() -> None:
    rows = read("friday").tables["Tables, the largest first"][1:]
    said = {s["Name"]: (f"{s['Count']:,}", f"{s['Sum']:,}") for s in oracle("v2.0.5/friday", "inspect")["Stats"]}
    assert {name: (count, size) for _, name, count, size, _ in rows} == said
    assert rows[0][-1] == "54.0%"


def test_its_sizes_timeline_and_tokens_are_those_of_the_commands() -> None:
    tables = read("friday").tables
    with snapkit.open(FRIDAY) as snap:
        by_job = sizes(snap, "job")
        events = snap.timeline()
    assert tables["By job, the largest first"][1][:4] == ["shop", "web", "39", f"{by_job['Bytes'].iloc[0]:,}"]
    shown = tables["Events in order"][1:]
    assert [row[2] for row in shown] == list(events["Message"].tail(ROWS))
    assert shown[-1][:2] == ["2026-11-24 06:08:19", "acl_token.expires"]
    [picture] = re.findall("<svg.*?</svg>", made("friday").to_html().partition("<figure>")[2])
    assert picture.count("<g>") == min(events["Kind"].nunique(), LINES)
    may = {row[0]: row[2] for row in tables["Tokens and others"]}
    assert may["Bootstrap Token"] == may["break glass"] == "everything (management)"
    assert may["pager"] == "submit jobs, run commands in allocations"
    assert "intern" not in may


def test_an_open_cluster_is_told() -> None:
    rows = {row[0]: row for row in read("wednesday").tables["Tokens and others"]}
    assert rows["Anonymous Token"][1:4] == [
        "anonymous",
        "submit jobs, run commands in allocations, drain nodes",
        "anonymous",
    ]
    assert "svc-backup" in rows


def test_without_tokens_anybody_can_do_anything_and_it_is_told_why() -> None:
    page = Page(handout(forge.archive(forge.LITTLE)).to_html())
    [row] = page.tables["Tokens and others"][1:]
    assert row[:3] == ["Anonymous Token", "anonymous", "everything (management)"]
    assert "ACLs were off or not bootstrapped" in row[3]


def test_a_page_of_two_has_what_changed() -> None:
    found = read("wednesday", "thursday")
    assert ids(made("wednesday", "thursday")) == TWO
    changes = snapkit.compare(WEDNESDAY, THURSDAY)
    assert changes.headline in found.text
    objects = found.tables["Objects that changed"][1:]
    assert [(row[0], row[1]) for row in objects] == list(
        zip(changes.objects["Change"], changes.objects["Table"], strict=True)
    )
    [policy] = [row for row in objects if row[2] == "anonymous"]
    assert '-namespace "*" { policy = "write" }' in policy[3]
    assert any(row[0] == "removed" and "svc-backup" in row[2] for row in objects)
    rights = found.tables["Rights that came and went"][1:]
    assert ["removed", "anonymous", "Anonymous Token", "node", "", "write", "anonymous"] in rights
    grown = {row[0]: row for row in found.tables["Tables, what grew most first"]}
    assert grown["acl_tokens"][1:3] == ["6", "5"]
    kinds = [row[1] for row in found.tables["Events in order"]]
    assert "acl_token.deleted" in kinds  # as only two snapshots can tell


def test_of_two_clusters_the_timeline_is_of_the_second() -> None:
    page = Page(handout(path_of("v1.8.4/monday"), FRIDAY).to_html())
    assert "different clusters" in page.text
    assert [row[2] for row in page.tables["Events in order"]] == [
        row[2] for row in read("friday").tables["Events in order"]
    ]


@pytest.mark.parametrize(
    "source", [DATA / RAFT_DIRECTORIES[0], path_of("v0.12.12/monday"), path_of("every-table/every-table")]
)
def test_any_snapshot_has_a_page(source: Path) -> None:
    page = handout(source)
    assert ids(page) == ONE
    assert page.problems == ()
    Page(page.to_html())


# -- that it is plain: for every reader, printer and program


@pytest.mark.parametrize("days", [("friday",), ("wednesday", "thursday")])
def test_it_needs_nothing_and_runs_nothing(days: tuple[str, ...]) -> None:
    text = made(*days).to_html()
    assert text.isascii()
    assert "default-src 'none'" in text
    assert not re.search(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w]|url\(|@import|javascript:", text)
    tags = {tag for tag, _ in read(*days).tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "base", "form"}
    attributes = {name for _, found in read(*days).tags for name in found}
    assert not [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "data")]
    assert all((link["href"] or "").startswith("#") for link in read(*days).all("a"))


@pytest.mark.parametrize("days", [("friday",), ("wednesday", "thursday")])
def test_it_is_accessible(days: tuple[str, ...]) -> None:
    page = read(*days)
    assert page.all("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) > 5
    for rows in page.tables.values():
        assert all(rows[0])  # each column has a name
        assert {len(row) for row in rows} == {len(rows[0])}
    known = [str(found["id"]) for _, found in page.tags if "id" in found]
    assert len(known) == len(set(known))
    for _, found in page.tags:
        for name in ("aria-labelledby", "href"):
            assert {word.lstrip("#") for word in (found.get(name) or "").split()} <= set(known)
    assert all(svg.get("aria-hidden") == "true" or svg.get("role") == "img" for svg in page.all("svg"))
    assert page.all("title")
    assert {"nav", "main", "section", "figcaption"} <= {tag for tag, _ in page.tags}


def test_it_prints() -> None:
    style = made("friday").to_html().partition("<style>")[2].partition("</style>")[0]
    printed = style.partition("@media print{")[2]
    for rule in ("color-scheme:light", "thead{display:table-header-group}", "break-inside:avoid", "max-width:none"):
        assert rule in printed
    assert "overflow:hidden" not in style


def test_the_same_gives_the_same_page_and_another_key_other_fingerprints() -> None:
    sources = [samples.archive({"nodes": [{"ID": "n", "SecretID": secret, "Name": "n"}]}) for secret in ("one", "two")]
    one, same, other = (handout(*sources, key=key).to_html() for key in ("a", "a", "b"))
    assert one == same
    found, others = (set(re.findall("masked:[0-9a-f]+", text)) for text in (one, other))
    assert len(found) == 2
    assert not found & others


def test_tokens_are_judged_by_the_given_time() -> None:
    page = Page(handout(FRIDAY, now=datetime(2026, 11, 24, 12, tzinfo=UTC)).to_html())
    assert {row[0]: row[4] for row in page.tables["Tokens and others"][1:]}["shop deployer"] == "expired"
    assert "expired" not in read("friday").text


# -- that nothing is on it that must not be


def test_no_secret_is_on_it() -> None:
    secrets = ("QXZVjkw79QXZVjkw79QXZ", "ZZVQjkw97ZZVQjkw97ZZV")
    sources = [samples.archive(records(secret)) for secret in secrets]
    page = handout(*sources, rows=None)
    assert len(page.sections) == len(TWO)
    assert not shows(page.to_html() + repr(page) + str(page.to_json()), *secrets)
    assert "masked:" in page.to_html()


HOSTILE = "</td><script>alert(1)</script>\x1b[31m\u202e\"'&<img src=x onerror=alert(1)>"


def hostile(*jobs: str) -> bytes:
    return samples.archive(
        {
            "jobs": [{"Namespace": HOSTILE, "ID": job, "ModifyIndex": 5, "CreateIndex": 5} for job in jobs],
            "acl_tokens": [
                {"AccessorID": HOSTILE, "Name": HOSTILE, "Type": "management", "CreateTime": samples.GO_TIME}
            ],
            "acl_policies": [{"Name": HOSTILE, "Rules": HOSTILE}],
            "nodes": [{"ID": HOSTILE, "Name": HOSTILE, "CreateIndex": 4, "ModifyIndex": 4}],
            "cluster_metadata": [{"ClusterID": HOSTILE, "CreateTime": 5}],
        }
    )


def test_names_are_text_and_nothing_else() -> None:
    page = handout(hostile(HOSTILE), hostile("x" * 100_000))
    found = Page(page.to_html())
    assert {"script", "img"} & {tag for tag, _ in found.tags} == set()
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in found.text
    assert not [c for c in found.text if not c.isprintable() and c != "\n"]
    assert len(page.to_html()) < 100_000  # names are cut


def test_a_large_archive_has_a_small_page_that_says_what_is_left_out() -> None:
    many = [{"ID": f"s{i:04}", "Namespace": "n", "JobID": f"job-{i}", "CreateIndex": i + 9} for i in range(3_000)]
    node = {"ID": "n", "Name": "n", "ModifyIndex": 3}
    rules = "\n".join(f"# {i}" for i in range(500))
    before: dict[str, Any] = {
        "nodes": [node | {"Attributes": {}}],
        "acl_policies": [{"Name": "p", "Rules": rules, "ModifyIndex": 3}],
    }
    after = {
        "nodes": [node | {"Attributes": {f"attribute-{i}": "x" for i in range(500)}}],
        "acl_policies": [{"Name": "p", "Rules": rules.replace("# ", "## "), "ModifyIndex": 4}],
        "services": many,
    }
    page = handout(samples.archive(before), samples.archive(after))
    assert len(page.to_html()) < 150_000
    sections = {section.id: section for section in page.sections}
    assert sections["changes"].rows > 3_000
    assert sections["changes"].shown < ROWS + 10
    assert sections["sizes"].shown <= 2 * LARGEST
    found = Page(page.to_html())
    assert "These are the first 200 of 3,002; snapkit diff " in found.text
    assert "These are the last 200 of 3," in found.text
    node_row, policy_row, *_ = found.tables["Objects that changed"][1:]
    assert node_row[3].count("attribute-") == FIELDS
    assert node_row[3].endswith("and 480 more fields")
    assert policy_row[3].endswith("more lines")
    assert policy_row[3].count("# ") == FIELDS - 1  # and a line that says where
    few = handout(samples.archive(after), rows=5)
    assert {section.id: section.shown for section in few.sections}["timeline"] == 5
    assert len(few.to_html()) < 20_000


# -- what is damaged


def test_what_was_cut_short_says_so_and_has_what_is_certain() -> None:
    page = handout(FRIDAY.read_bytes()[:30_000])
    found = Page(page.to_html())
    assert not page.ok
    assert page.damage[0].startswith("30,000 bytes in memory: byte 30,000: the gzip stream ends too early")
    assert ids(page) == ONE
    assert "Damaged. 30,000 bytes in memory" in found.text
    assert "archive.truncated" in [row[1] for row in found.tables["Findings, the worst first"]]
    assert "salvaged" in found.text.lower()
    assert "there may be more" in found.text
    assert page.headline.startswith("30,000 bytes in memory: DAMAGED; not ok")


def test_tokens_that_are_lost_are_not_taken_for_none() -> None:
    page = handout(FRIDAY.read_bytes()[:8_000])
    assert "who holds one can't be told" in Page(page.to_html()).text
    assert "Tokens and others" not in page.to_html()


@pytest.mark.parametrize("source", [b"", b"no archive at all", forge.squeeze(b"nor this")])
def test_of_what_is_no_archive_there_is_what_verify_found(source: bytes) -> None:
    page = handout(source)
    assert not page.ok
    assert ids(page) == ["verdict", "about", "page"]
    assert "Nothing in it could be opened" in Page(page.to_html()).text


def test_of_two_of_which_one_is_no_archive_there_is_the_other() -> None:
    page = handout(FRIDAY, b"no archive at all")
    assert ids(page) == ONE
    assert page.damage[0] == ""
    assert page.damage[1]


def test_a_record_that_is_no_record_takes_only_its_own_parts_away() -> None:
    node = {"ID": 7, "Name": ["no", "name"]}
    page = handout(samples.archive({"nodes": [node], "acl_tokens": [{"AccessorID": "a", "Policies": "none"}]}))
    assert not page.ok
    assert page.reports[0].worst == "error"
    assert ids(page) == ONE
    Page(page.to_html())


@settings(max_examples=6)
@given(st.lists(odd_records(), min_size=2, max_size=4))
def test_any_records_have_a_page(odd: list[bytes]) -> None:
    Page(handout(forge.archive(forge.state(*odd)), SMALL).to_html())


@settings(max_examples=2)
@given(st.data())
def test_a_real_state_with_some_bytes_changed_has_a_page(data: st.DataObject) -> None:
    state = bytearray(real_state())
    for _ in range(data.draw(st.integers(1, 5))):
        state[data.draw(st.integers(1, len(state) - 1))] = data.draw(st.integers(0, 255))
    page = handout(bytes(state), key="fixed")
    Page(page.to_html())
    assert page.reports[0].worst is not None or page.ok


# -- how it is made and kept


class Once(BytesIO):
    """A stream that is read once."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise OSError("not this one")


def test_a_stream_is_read_once() -> None:
    page = handout(Once(FRIDAY.read_bytes()))
    assert ids(page) == ONE
    assert page.damage == ("",)


def test_of_an_encrypted_one_there_is_a_page_for_whoever_can_open_it() -> None:
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    sealed = pyrage.encrypt(FRIDAY.read_bytes(), [identity.to_public()])
    assert handout(sealed, identity=str(identity)).ok
    with pytest.raises(SourceError):
        handout(sealed)


@pytest.mark.parametrize(
    "wrong", [lambda: handout("none.snap"), lambda: handout(FRIDAY, rows=0), lambda: handout(FRIDAY, key="")]
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], Handout]) -> None:
    with pytest.raises(SnapshotError):
        wrong()


def test_it_is_saved_whole_for_its_owner_alone_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    made("friday").save(path)
    assert path.read_text("ascii") == made("friday").to_html()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(TargetExistsError):
        made("thursday").save(path)
    made("thursday").save(path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(SourceError):
        made("friday").save(tmp_path / "none" / "report.html")


def test_json_tells_what_is_in_it() -> None:
    told = made("friday").to_json()
    assert told["schema"] == "snapkit.handout/1"
    assert told["snapshots"][0]["source"] == str(FRIDAY)
    assert [section["id"] for section in told["sections"]] == ONE
    assert told["bytes"] == len(made("friday").to_html())
    assert next(s for s in told["sections"] if s["id"] == "timeline")["rows"] > ROWS


def test_its_picture_is_the_timelines() -> None:
    with snapkit.open(FRIDAY) as snap:
        assert timeline_svg(snap.timeline(), snap.meta.created) in made("friday").to_html()
