"""One line per check, and a count at the end."""

import sys
from typing import NoReturn


class Checks:
    def __init__(self) -> None:
        self.section = ""
        self.passed = 0
        self.failed = 0

    def check(self, what: str, holds: object, seen: object = "") -> None:
        """Counts `what` as passed if it holds; if not, shows what was seen in its place."""
        if holds:
            self.passed += 1
            print(f"ok      {self.section}: {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED  {self.section}: {what}\n        {seen!r}", flush=True)

    def equal(self, what: str, actual: object, expected: object) -> None:
        self.check(what, actual == expected, {"is": actual, "should be": expected})

    def conclude(self) -> NoReturn:
        print(f"\n{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)
