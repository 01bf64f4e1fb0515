"""Runs one module of CPython's tests of asyncio on the loop of a run, and tells what came of each test.

    python -m tests.cpython.runner test_locks OUTCOMES.json [uvloop]

Every module needs a process of its own: asyncio is changed for all of it.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import unittest
from pathlib import Path
from typing import Any

from tests.cpython.hosted_loop import HostedLoop

TESTS = "test.test_asyncio"


class _Result(unittest.TestResult):
    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, str] = {}
        self.failed = 0

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.outcomes[test.id()] = ""

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        if self.failed < (failed := len(self.errors) + len(self.failures)):
            self.failed = failed
            gc.collect()  # what a failed test has left is not found by the next one that looks

    def settle(self) -> dict[str, str]:
        for test, text in [*self.errors, *self.failures]:
            self.outcomes[getattr(test, "test_case", test).id()] = text
        for test, _ in self.skipped:
            self.outcomes.pop(test.id(), None)
        return {test.removeprefix(f"{TESTS}."): text for test, text in self.outcomes.items()}


def run(module: str, host: asyncio.AbstractEventLoop) -> dict[str, str]:
    """Returns the traceback of each test of the module, empty if it has passed. Those that were skipped are left
    out."""
    HostedLoop.host = host
    asyncio.new_event_loop = asyncio.events.new_event_loop = HostedLoop
    utils: Any = importlib.import_module(f"{TESTS}.utils")
    utils.TestCase.new_test_loop = _new_test_loop
    suite = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(f"{TESTS}.{module}"))
    result = _Result()
    suite.run(result)
    return result.settle()


def _new_test_loop(test: Any, _: object = None) -> HostedLoop:
    loop = HostedLoop()  # type: ignore[abstract]  # the methods it lacks raise an error
    test.set_event_loop(loop)
    return loop


def main(module: str, outcomes: str, host: str = "asyncio") -> None:
    loop = importlib.import_module(host).new_event_loop()
    Path(outcomes).write_text(json.dumps(run(module, loop), indent=1))
    loop.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
