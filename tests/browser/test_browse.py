"""`snapkit.browse()` of changes, a timeline and a report, as a person uses it: by mouse and by keyboard."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.contrast import faint
from tests.browser.driving import PANEL, THEMES, Lab, picture, run_all, use_theme

SETUP = """
import snapkit

days = ["monday", "tuesday", "wednesday", "thursday", "friday"]
week = {day: snapkit.open(f"data/v2.0.5/{day}.snap", key="notebook") for day in days}
"""
CHANGES = "snapkit.browse(snapkit.compare(week['tuesday'], week['wednesday']))"
TIMELINE = "snapkit.browse(list(week.values()))"
REPORT = "snapkit.browse(snapkit.verify('data/v2.0.5/thursday.snap'))"


def test_a_person_browses_changes_a_timeline_and_a_report(lab: Lab, browser) -> None:
    with lab.page(browser, lab.write("browse", SETUP, CHANGES, TIMELINE, REPORT)) as page:
        use_theme(page, THEMES[0])
        run_all(page)
        cells = page.locator(f"{PANEL} .jp-CodeCell")
        look_through_changes(page, cells.nth(1))
        zoom_the_timeline(page, cells.nth(2))
        open_a_finding(page, cells.nth(3))
        show_it_all(page, cells)
        for theme in THEMES:
            use_theme(page, theme)
            for place, name in enumerate(("changes", "timeline", "report"), 1):
                cells.nth(place).evaluate("cell => cell.scrollIntoView({block: 'start'})")
                expect(cells.nth(place).locator(".snapkit-static")).to_have_count(1)
                expect(cells.nth(place).locator(".snapkit-static")).to_be_hidden()
                page.wait_for_timeout(200)
                assert faint(cells.nth(place).locator(".snapkit-browser")) == []
                picture(page, f"browse-{name}" if theme.endswith("Light") else f"browse-{name}-dark")


def show_it_all(page, cells) -> None:
    """For the pictures."""
    changes, timeline, report = (cells.nth(place) for place in (1, 2, 3))
    for cell in (changes, timeline):
        cell.get_by_role("searchbox").fill("")
        for place in range(cell.get_by_role("combobox").count()):
            cell.get_by_role("combobox").nth(place).select_option(index=0)
    changes.get_by_role("checkbox").uncheck()
    changes.get_by_role("searchbox").fill("changed")
    expect(changes.get_by_role("status").first).to_have_text(
        "3 of 17 rows"
    )  # else it is a row of before that is clicked
    changes.get_by_role("row").filter(has_text="anonymous").click()
    expect(changes.get_by_text('+namespace "*" { policy = "write" }')).to_be_visible()
    expect(timeline.locator(".snapkit-events [role=status]")).to_contain_text("410 of 411")
    report.get_by_role("textbox", name="Filter").fill("")


def look_through_changes(page, cell) -> None:
    cell.scroll_into_view_if_needed()
    expect(cell.get_by_role("row").filter(has_text="anonymous")).to_be_visible()
    rows = cell.get_by_role("grid")
    rows.evaluate("grid => grid.scrollTop = 60")  # by now its rows lie behind the names of its columns
    above = """grid => {
        const { x, y } = grid.getBoundingClientRect();
        return document.elementFromPoint(x + 20, y + 12).closest('[role=columnheader]') !== null;
    }"""
    expect(cell.get_by_role("row").filter(has_text="svc-backup")).to_be_visible()
    assert rows.evaluate(above)
    cell.get_by_role("combobox", name="Table").select_option(label="acl_policies (1)")
    expect(cell.get_by_role("row").filter(has_text="metrics-agent")).to_have_count(0)
    cell.get_by_role("row").filter(has_text="anonymous").click()
    expect(cell.get_by_text('+namespace "*" { policy = "write" }')).to_be_visible()
    expect(cell.get_by_text('-namespace "default" { policy = "read" }')).to_be_visible()
    cell.get_by_role("combobox", name="Table").select_option(index=0)
    cell.get_by_role("combobox", name="Change").select_option(label="+ added (14)")
    cell.get_by_role("checkbox").check()
    expect(cell.get_by_role("combobox", name="Table")).to_contain_text("indexes")
    cell.get_by_role("searchbox").fill("svc-backup")
    expect(cell.get_by_role("row").filter(has_text="+ added")).to_have_count(1)
    cell.get_by_role("grid").focus()
    page.keyboard.press("Enter")
    expect(cell.locator("pre").filter(has_text="AccessorID")).to_contain_text("masked:")


def zoom_the_timeline(page, cell) -> None:
    cell.scroll_into_view_if_needed()
    status = cell.locator(".snapkit-events [role=status]")
    rows = cell.locator(".snapkit-grid [role=status]")
    expect(status).to_contain_text("410 of 411 events in view")
    expect(rows).to_have_text("410 rows")
    picture_ = cell.get_by_role("application")
    picture_.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(status).not_to_contain_text("410 of 411")
    page.keyboard.press("Home")
    expect(status).to_contain_text("411 of 411 events in view: 8.32 h")
    expect(rows).to_have_text("411 rows")
    box = picture_.bounding_box()
    page.mouse.move(box["x"] + 160, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(rows).to_have_text("410 rows")
    cell.get_by_role("searchbox").fill("anonymous Kind=acl_policy.changed")
    expect(rows).not_to_have_text("410 rows")
    row = cell.get_by_role("row").filter(has_text="acl_policy.changed").first
    row.click()
    detail = cell.locator(".snapkit-detail")
    expect(detail).to_contain_text("sometime between 2026-11-23 22:0")
    assert "local time" in detail.locator("time").first.get_attribute("title")
    expect(cell.locator(".snapkit-chosen")).not_to_have_count(0)
    cell.get_by_role("combobox", name="Kind").select_option(label="acl_policy (6)")
    expect(status).to_contain_text("6 of 6 events")
    cell.locator(".snapkit-mark").last.click()
    expect(detail).to_contain_text("Table acl_policies")


def open_a_finding(page, cell) -> None:
    cell.scroll_into_view_if_needed()
    expect(cell.get_by_text("It would restore", exact=False).last).to_be_visible()
    finding = cell.locator(".widget-html summary").filter(has_text="its job").last
    finding.focus()
    page.keyboard.press("Enter")
    expect(finding.locator("xpath=..").get_by_text("the record stays behind alone")).to_be_visible()
    cell.get_by_role("textbox", name="Filter").fill("no such words")
    expect(cell.get_by_text("No finding has all these words.")).to_be_visible()
    cell.get_by_role("textbox", name="Filter").fill("metrics-agent")
    expect(cell.get_by_text("No finding has all these words.")).to_have_count(0)
