"""How well texts read: their contrast with what is behind them, as WCAG 2 has it, measured in a page as it is drawn."""

from __future__ import annotations

from typing import Any

AA = 4.5  # to 1: what WCAG asks of text of any size at level AA
#: An element -> the texts in it that are drawn, each with its contrast. What is disabled is exempt, as WCAG has it;
#: `opacity` counts; pictures behind a text and elements that lie over others do not.
_MEASURE = """root => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
    const known = new Map();
    function parts(colour) {  // red, green, blue and alpha of whatever CSS takes for a colour, 0 to 1
        if (!known.has(colour)) {
            canvas.clearRect(0, 0, 1, 1);
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
            const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
            known.set(colour, [r / 255, g / 255, b / 255, a / 255]);
        }
        return known.get(colour);
    }
    const over = ([r, g, b, a], below) => [r, g, b].map((value, i) => value * a + below[i] * (1 - a));
    function behind(node) {
        const stack = [];
        for (let each = node; each; each = each.parentElement) {
            stack.push(parts(getComputedStyle(each).backgroundColor));
        }
        const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark")
            && matchMedia("(prefers-color-scheme: dark)").matches;
        const page = parts(dark ? "#121212" : "#ffffff");  // Chromium's own
        return stack.reverse().reduce((below, top) => over(top, below), page);
    }
    const light = rgb => rgb.map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    function contrast(node, colour, opacity) {
        const below = behind(node);
        const [r, g, b, a] = parts(colour);
        const [lighter, darker] = [light(over([r, g, b, a * opacity], below)), light(below)].sort((x, y) => y - x);
        return (lighter + 0.05) / (darker + 0.05);
    }
    function opacity(node) {
        let all = 1;
        for (let each = node; each; each = each.parentElement) all *= Number(getComputedStyle(each).opacity);
        return all;
    }
    const found = [];
    const add = (node, text, colour) => found.push([text.trim().slice(0, 60), contrast(node, colour, opacity(node))]);
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let text = walker.nextNode(); text; text = walker.nextNode()) {
        const node = text.parentElement;
        const said = text.data.trim();
        if (!said || node.closest(":disabled, style, script, title, option") || !node.checkVisibility()) continue;
        const style = getComputedStyle(node);
        if (style.visibility === "hidden" || style.clipPath !== "none") continue;
        add(node, said, node instanceof SVGElement ? style.fill : style.color);
    }
    for (const field of root.querySelectorAll("input:enabled, select:enabled, textarea:enabled")) {
        if (!field.checkVisibility()) continue;
        add(field, field.value || field.placeholder || field.tagName, getComputedStyle(field).color);
        if (field.placeholder) add(field, field.placeholder, getComputedStyle(field, "::placeholder").color);
    }
    return found;
}"""


def faint(elements: Any, least: float = AA) -> list[str]:
    """Of the texts of these elements (a locator) that are drawn, those that read worse: each once, with its contrast.

    There have to be some to look at.
    """
    found: list[tuple[str, float]] = elements.evaluate_all(f"roots => roots.flatMap({_MEASURE})")
    assert found
    return sorted({f"{text}: {ratio:.2f}" for text, ratio in found if ratio < least})
