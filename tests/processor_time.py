"""Say in CI what the tests cost: processor seconds of each folder, and the dearest tests.

Wall time depends on what else the machine does; processor time hardly does. It is that of the
process and of its children that have ended. A fixture counts for the test that sets it up or
tears it down; the limit is for what a test does itself, as what it is given is often shared.
"""

from __future__ import annotations

import collections
import os
import pathlib
import time

import pytest

LIMIT = 15.0  # processor seconds of one test that is marked neither slow nor release
DEAREST = 20
SPENT = pytest.StashKey[float]()


def processor_seconds() -> float:
    """User and system time of this process and of all its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item):
    item.stash[SPENT] = processor_seconds()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Put the time since the last report of this test onto the report: xdist passes it on."""
    report = yield
    now = processor_seconds()
    report.processor_seconds = now - item.stash[SPENT]
    item.stash[SPENT] = now
    return report


class Summary:
    """Add up the reports where they come together, and print the sums at the end."""

    def __init__(self) -> None:
        self.tests: dict[str, float] = collections.defaultdict(float)
        self.itself: dict[str, float] = {}  # of quick tests, without their fixtures

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        seconds = getattr(report, "processor_seconds", 0.0)
        self.tests[report.nodeid] += seconds
        if report.when == "call" and not {"slow", "release"} & set(report.keywords):
            self.itself[report.nodeid] = seconds

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        folders: dict[str, float] = collections.defaultdict(float)
        for test, seconds in self.tests.items():
            folders[str(pathlib.PurePosixPath(test.split("::")[0]).parent)] += seconds
        everything = processor_seconds()  # the processes of xdist have ended: they are children
        folders["(starting, collecting)"] = everything - sum(self.tests.values())

        out = terminalreporter
        out.section("processor seconds")
        for folder, seconds in dearest(folders):
            out.write_line(f"{seconds:8.1f}  {folder}")
        out.write_line(f"{everything:8.1f}  in all")
        out.write_line(f"The {DEAREST} dearest tests:")
        for test, seconds in dearest(self.tests)[:DEAREST]:
            out.write_line(f"{seconds:8.1f}  {test}")
        over = [test for test, seconds in dearest(self.itself) if seconds > LIMIT]
        if over:
            out.write_line(
                f"OVER THE LIMIT: a quick test takes at most {LIMIT:g} s of processor time, and "
                f"{len(over)} took more. Make each cheaper: {', '.join(over)}",
                red=True,
                bold=True,
            )


def dearest(seconds: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda entry: -entry[1])


def pytest_configure(config: pytest.Config) -> None:
    if "CI" in os.environ and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Summary(), "processor-time-summary")
