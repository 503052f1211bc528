"""What the bytes of a state are of, and what the servers will collect."""

from snapkit.state.sizes.parts import By, duplication, growth, sizes

__all__ = ["By", "duplication", "growth", "sizes"]
