"""What workers do in tests: functions that they find by name."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from snapkit.fleet.running import Hidden


def double(number: int, more: int = 0) -> int:
    return 2 * number + more


def process(number: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def revealed(item: Hidden[str], key: Hidden[bytes]) -> tuple[str, bytes, str]:
    return item.value, key.value, repr((item, key))


def die(number: int) -> int:
    """At the number 1, always."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    raise ValueError(f"no {number}")


def dead(number: int, reason: str) -> Any:
    return number, reason
