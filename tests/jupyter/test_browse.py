"""browse(): what it takes, what it says of what it does not take, and what is left of it without a kernel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import snapkit
from snapkit.errors import SnapshotError
from snapkit.jupyter.browser import Browser
from snapkit.jupyter.changes import ChangesBrowser
from snapkit.jupyter.events import TimelineBrowser
from snapkit.jupyter.explorer import SnapshotBrowser
from snapkit.jupyter.findings import ReportBrowser

from ..conftest import path_of

pytest.importorskip("ipywidgets")

TUESDAY, WEDNESDAY = path_of("v2.0.5/tuesday"), path_of("v2.0.5/wednesday")


@pytest.fixture(scope="module")
def week() -> Iterator[tuple[snapkit.Snapshot, snapkit.Snapshot]]:
    with snapkit.open(TUESDAY, key="k") as tuesday, snapkit.open(WEDNESDAY, key="k") as wednesday:
        yield tuesday, wednesday


def test_each_thing_has_its_browser(week: tuple[snapkit.Snapshot, snapkit.Snapshot]) -> None:
    tuesday, wednesday = week
    assert isinstance(snapkit.browse(tuesday), SnapshotBrowser)
    assert isinstance(snapkit.browse(TUESDAY), SnapshotBrowser)
    assert isinstance(snapkit.browse(str(TUESDAY)), SnapshotBrowser)
    assert isinstance(snapkit.browse(snapkit.compare(tuesday, wednesday)), ChangesBrowser)
    assert isinstance(snapkit.browse(snapkit.verify(TUESDAY)), ReportBrowser)
    events = snapkit.timeline(tuesday, wednesday)
    assert isinstance(snapkit.browse(events), TimelineBrowser)
    assert isinstance(snapkit.browse(events[events["Kind"] == "job.submitted"]), TimelineBrowser)
    several = snapkit.browse([tuesday, WEDNESDAY])
    assert isinstance(several, TimelineBrowser)
    pd.testing.assert_frame_equal(several.shown, TimelineBrowser(events).shown)


def test_a_client_is_browsed_as_it_is_now() -> None:
    pytest.importorskip("starlette")
    with snapkit.serve(WEDNESDAY) as cluster:
        client = snapkit.Client(cluster.address, token=cluster.token)
        assert isinstance(snapkit.browse(client), SnapshotBrowser)


def test_an_archive_and_a_cluster_are_compared_and_compared_again() -> None:
    pytest.importorskip("starlette")
    with snapkit.serve(WEDNESDAY) as cluster:
        client = snapkit.Client(cluster.address, token=cluster.token)
        since = snapkit.browse(TUESDAY, client)
        back = snapkit.browse(client, str(TUESDAY))
        assert isinstance(since, ChangesBrowser)
        assert isinstance(back, ChangesBrowser)
        there = set(since.changes.objects["Key"])
        assert ("default", "metrics-agent") in there
        assert set(back.changes.objects["Key"]) == there
        assert cluster.address in since.to_html()
        assert set(since.changes.objects["Change"]) == {"added", "changed"}
        assert set(back.changes.objects["Change"]) == {"removed", "changed"}
        client.restore(TUESDAY)
        since.again_button.click()
        assert ("default", "metrics-agent") not in set(since.changes.objects["Key"])
        assert len(since.grid.frame) == len(since.changes.objects)
        assert since.changes.headline in since.widget.children[0].value
        shown = since.changes
    since.again_button.click()  # it is gone now
    assert cluster.address in since.message.value
    assert since.changes is shown
    assert not since.again_button.disabled


def test_two_archives_are_compared_once(week: tuple[snapkit.Snapshot, snapkit.Snapshot]) -> None:
    tuesday, _ = week
    browser = snapkit.browse(tuesday, WEDNESDAY)
    assert isinstance(browser, ChangesBrowser)
    assert browser.changes.headline == snapkit.compare(tuesday, WEDNESDAY).headline
    assert browser.again_button not in browser.widget.children[1].children
    revealed = snapkit.browse(TUESDAY, WEDNESDAY, reveal=True)
    assert isinstance(revealed, ChangesBrowser)
    assert revealed.changes.revealed
    with pytest.raises(SnapshotError, match=r"takes no int.*two of snapshots, paths and clients"):
        snapkit.browse(tuesday, 42)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (42, r"takes no int; it takes a snapshot"),
        (None, r"takes no NoneType"),
        ([], r"takes no list"),
        ([1, 2], r"takes no list"),
        (pd.DataFrame({"Kind": ["x"]}), r"is a table without Time, TimeEarliest"),
        (Path("there-is-no-such.snap"), r"there-is-no-such\.snap"),
    ],
)
def test_what_it_does_not_take_is_one_clear_error(x: Any, words: str) -> None:
    with pytest.raises(SnapshotError, match=words):
        snapkit.browse(x)


def test_secrets_of_changes_are_asked_for_when_they_are_compared() -> None:
    with pytest.raises(SnapshotError, match=r"compare\(…, reveal=True\)"):
        snapkit.browse(snapkit.compare(TUESDAY, WEDNESDAY), reveal=True)
    snapkit.browse(snapkit.compare(TUESDAY, WEDNESDAY, reveal=True), reveal=True)


@pytest.mark.parametrize("package", ["ipywidgets", "anywidget"])
def test_without_its_packages_it_says_what_to_install(package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"import snapkit\nsnapkit.browse(snapkit.compare({str(TUESDAY)!r}, {str(WEDNESDAY)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"needs the package {package}" in done.stderr
    assert "pip install 'snapkit[lab]'" in done.stderr


def test_nothing_of_it_is_imported_before_it_is_called() -> None:
    code = "import sys, snapkit; print([n for n in ('pandas', 'ipywidgets', 'IPython') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_kernel_it_is_short_html_and_the_same_each_time() -> None:
    def made() -> list[Browser]:
        with snapkit.open(TUESDAY, key="k") as tuesday, snapkit.open(WEDNESDAY, key="k") as wednesday:
            return [
                snapkit.browse(snapkit.compare(tuesday, wednesday)),
                snapkit.browse([tuesday, wednesday]),
                snapkit.browse(snapkit.verify(WEDNESDAY)),
            ]

    for one, other in zip(made(), made(), strict=True):
        assert one.to_html() == other.to_html()
        assert repr(one) == repr(other)
        assert len(one.to_html()) < 15_000
        assert "<script" not in one.to_html()
        assert "<svg" not in one.to_html(), "a code host takes it away"
