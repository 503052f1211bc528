"""Measurements in fresh processes that take turns, so that what else the machine does meets them all alike."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent


def options(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """What all measurements are asked: how large an archive, how many rounds, and where the page of figures goes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--write", type=Path)
    return parser


def publish(page: str, write: Path | None) -> None:
    """Print the page, and keep it if that was asked for."""
    print(page)
    if write:
        write.write_text(page, encoding="utf-8")


def medians(children: Mapping[str, Sequence[str]], rounds: int) -> dict[str, tuple[float, ...]]:
    """Medians of the figures by name: mostly seconds and peak memory (KiB).

    Args:
        children: The module that each runs as `python -m MODULE --child ARGUMENT…`, which prints the figures.
        rounds: How often each.
    """
    turns: dict[str, list[list[float]]] = {name: [] for name in children}
    for _ in range(rounds):
        for name, (module, *arguments) in children.items():
            command = [sys.executable, "-m", module, "--child", *arguments]
            output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
            turns[name].append([float(word) for word in output.split()])
    return {name: tuple(map(statistics.median, zip(*figures, strict=True))) for name, figures in turns.items()}
