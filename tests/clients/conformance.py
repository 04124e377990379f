"""Runs the conformance suite of the protocol against the server, and judges what it found.

No check may fail, in what the suite scores and in what it only tries, except those of scenarios that
expected-failures.txt names. What is named there must fail, and must not be scored. A warning is a
wish of the specification, and is shown.
"""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from checks import Checks
from servers import reached

# Two revisions of the protocol as they were frozen, and then all that the suite has.
PASSES = {
    "2025-11-25": ["--requirements", "2025-11-25"],
    "2026-07-28": ["--requirements", "2026-07-28"],
    "all": ["--suite", "all"],
}

# The suite has about a hundred scenarios of a second, and some wait for a time-out.
PATIENCE = 600

# What a scenario's directory is called: the scenario, and when it ran.
RESULT = re.compile(r"server-(.+)-\d{4}-\d{2}-\d{2}T[\d-]+Z")


def expected_failures() -> set[str]:
    lines = (Path(__file__).parent / "expected-failures.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


class Pass:
    """One run of the suite, and the checks of each scenario."""

    def __init__(self, place: Path, url: str, name: str) -> None:
        node_modules = place / "node/node_modules"
        suite = node_modules / "@modelcontextprotocol/conformance/dist/index.js"
        results = place / "conformance" / name
        shutil.rmtree(results, ignore_errors=True)
        command = [node_modules / "node/bin/node", suite, "server", "--url", url, "-o", results]
        self.said = subprocess.run(
            [*command, *PASSES[name]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        ).stdout
        self.scenarios = {
            RESULT.fullmatch(file.parent.name)[1]: json.loads(file.read_text())
            for file in sorted(results.glob("*/checks.json"))
        }

    @property
    def not_scored(self) -> set[str]:
        """The scenarios that are tried, and do not count: the suite lists them after the total."""
        _, _, listed = self.said.partition("\nNot scored")
        return set(re.findall(r"^  \S ([\w-]+) \(", listed, re.MULTILINE))

    @property
    def failing(self) -> dict[str, list[str]]:
        """What failed, by scenario."""
        failed = {
            scenario: [
                f"{check['id']}: {check.get('errorMessage', check.get('description', ''))}"
                for check in found
                if check["status"] == "FAILURE"
            ]
            for scenario, found in self.scenarios.items()
        }
        return {scenario: checks for scenario, checks in failed.items() if checks}

    def told(self, status: str) -> list[str]:
        return [
            f"{scenario}: {check['id']}: {check.get('errorMessage', '')}"
            for scenario, found in self.scenarios.items()
            for check in found
            if check["status"] == status
        ]


def judge(checks: Checks, run: Pass, expected: set[str]) -> None:
    totals = Counter(check["status"] for found in run.scenarios.values() for check in found)
    print(f"        {len(run.scenarios)} scenarios: {dict(totals)}")
    for warning in run.told("WARNING"):
        print(f"        warning: {warning}")
    announced = len(re.findall(r"^[✓✗] \S+: \d+ passed", run.said, re.MULTILINE))
    ran = len(run.scenarios) == announced and totals["SUCCESS"]
    checks.check("the suite ran", ran, run.said[-2000:])
    unexpected = {name: found for name, found in run.failing.items() if name not in expected}
    checks.equal("what failed and is not in expected-failures.txt", unexpected, {})


def main() -> None:
    checks = Checks()
    place = Path(sys.argv[1])
    expected = expected_failures()
    failed: set[str] = set()
    with reached(place, "conformance", "HTTP") as server:
        for name in PASSES:
            checks.section = f"conformance, {name}"
            run = Pass(place, server["url"], name)
            judge(checks, run, expected)
            failed |= run.failing.keys()
            if name != "all":
                scored = run.scenarios.keys() - run.not_scored
                checks.equal("what is scored and may fail", scored & expected, set())
    checks.section = "conformance"
    checks.equal("what is in expected-failures.txt and passes", expected - failed, set())
    checks.conclude()


if __name__ == "__main__":
    main()
