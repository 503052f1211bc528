"""Prints docs/checks.md."""

from snapkit.state.verify import CHECKS
from snapkit.state.verify.registry import markdown

if __name__ == "__main__":
    assert CHECKS
    print(markdown(), end="")
