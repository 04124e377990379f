"""Has every client of matrix.toml do all that it can, and prints who saw what as a table.

Each client tours the server on stdio and over HTTP, with sessions and without. What it tells must be
what matrix.toml expects; what it does not tell must be declared there, with the reason. The table is
in docs/clients.md too, and must be the same there.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checks import Checks
from servers import TRANSPORTS, reached, started_by_clients

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs/clients.md"
BEGINNING, END = "<!-- Written by tests/clients/run. -->\n", "<!-- Until here. -->"

PLAN = tomllib.loads((HERE / "matrix.toml").read_text())
SIGHTS: dict[str, dict[str, Any]] = PLAN["sights"]

# The Inspector starts a process for each thing it does, on a machine that may have much else to do.
PATIENCE = 120


@dataclass(frozen=True, eq=False)
class Tour:
    """One client, over one transport, in one version of the protocol."""

    client: dict[str, Any]
    transport: str
    era: str

    def __str__(self) -> str:
        return f"{self.client['name']}, {self.transport}, {self.era}"

    @property
    def not_spoken(self) -> str | None:
        """Why the client does not speak this version, if it does not."""
        return self.client.get("not_spoken", {}).get(self.era)

    @property
    def cannot(self) -> dict[str, str]:
        """What the client cannot do, and why."""
        return self.client.get("cannot", {})

    def run(self, place: Path, server: dict[str, Any]) -> dict[str, Any]:
        """Gives what the client saw, by sight."""
        node_modules = place / "node/node_modules"
        runs, program = self.client["runs"], self.client["tour"]
        if runs == "node":
            # Packages are looked for beside the program that imports them.
            command = [node_modules / "node/bin/node", place / "node" / program]
        else:
            command = [place / "python" / runs / "bin/python", HERE / "tours" / program]
        try:
            ended = subprocess.run(
                [*command, self.era, json.dumps(server)],
                env=os.environ | {"NODE_MODULES": str(node_modules)},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=True,
            )
        except subprocess.SubprocessError as error:
            return {"failed": f"{error}: {error.stderr}"}
        return json.loads(ended.stdout)


def tours() -> list[Tour]:
    return [
        Tour(client, transport, era)
        for client in PLAN["clients"]
        for transport in TRANSPORTS
        for era in PLAN["eras"]
    ]


def installed(place: Path) -> list[str]:
    """The names of the tools, from the registry itself."""
    entry = started_by_clients(place, "conformance")
    command = [entry["command"], "list", "--json"]
    listed = subprocess.check_output(command, env=os.environ | entry["env"], text=True)
    return sorted(json.loads(line)["name"] for line in listed.splitlines())


def judge(checks: Checks, tour: Tour, seen: dict[str, Any], tools: list[str]) -> dict[str, str]:
    """Checks what a client saw against what it must see, and gives the cells of its row."""
    checks.section = str(tour)
    if "failed" in seen:
        checks.check("the tour came to its end", False, seen["failed"])
    expected = {"version": tour.era, "tools": tools}
    expected |= {sight: part["seen"] for sight, part in SIGHTS.items() if "seen" in part}
    cells = {}
    for sight, part in SIGHTS.items():
        if sight in tour.cannot:
            checks.check(f"cannot: {part['does']}", sight not in seen, seen.get(sight))
            cells[sight] = "no"
        else:
            checks.equal(part["does"], seen.get(sight), expected[sight])
            cells[sight] = "yes" if seen.get(sight) == expected[sight] else "FAILED"
    return cells


def version(client: dict[str, Any]) -> str:
    """The version of a client, from the file that pins it."""
    if client["package"].startswith("@"):
        return json.loads((HERE / "package.json").read_text())["dependencies"][client["package"]]
    pins = (HERE / "requirements" / f"{client['runs']}.txt").read_text()
    return re.search(rf"^{client['package']}==(.+)$", pins, re.MULTILINE)[1]


def table(rows: dict[Tour, dict[str, str]]) -> str:
    """Who saw what, as Markdown, with the reasons why a client does not do the rest."""
    columns = [sight for sight in SIGHTS if sight != "version"]
    reasons: list[str] = []

    def because(tour: Tour, reason: str) -> str:
        reason = f"{tour.client['name']}: {reason}."
        if reason not in reasons:
            reasons.append(reason)
        return f" [{reasons.index(reason) + 1}]"

    lines = [["client", "version", "transport", "protocol"]]
    lines[0] += [SIGHTS[sight]["does"] for sight in columns]
    for tour, cells in rows.items():
        spoken = f", not spoken{because(tour, tour.not_spoken)}" if tour.not_spoken else ""
        line = [tour.client["name"], version(tour.client), tour.transport, tour.era + spoken]
        for sight in columns:
            reason = tour.cannot.get(sight)
            line.append(cells[sight] + (because(tour, reason) if reason else ""))
        lines.append(line)

    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    drawn = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([*(f"| {line} |" for line in drawn), "", *notes, ""])


def compare(checks: Checks, drawn: str) -> None:
    """The page must hold the table; it is renewed where that is asked for, and all went well."""
    checks.section = "docs/clients.md"
    before, _, rest = PAGE.read_text().partition(BEGINNING)
    old, _, after = rest.partition(END)
    if "renew" in sys.argv and not checks.failed:
        PAGE.write_text(f"{before}{BEGINNING}{drawn}{END}{after}")
    else:
        checks.check("has this table; `tests/clients/run renew` writes it", old == drawn)


def main() -> None:
    place = Path(sys.argv[1])
    checks = Checks()
    tools = installed(place)
    with ExitStack() as stack, ThreadPoolExecutor(os.cpu_count()) as several:
        servers = {
            transport: stack.enter_context(reached(place, "conformance", transport))
            for transport in TRANSPORTS
        }

        def observe(tour: Tour) -> dict[str, Any] | None:
            return None if tour.not_spoken else tour.run(place, servers[tour.transport])

        plan = tours()
        observed = dict(zip(plan, several.map(observe, plan), strict=True))
    rows = {
        tour: dict.fromkeys(SIGHTS, "") if seen is None else judge(checks, tour, seen, tools)
        for tour, seen in observed.items()
    }
    drawn = table(rows)
    print(f"\n{drawn}")
    compare(checks, drawn)
    checks.conclude()


if __name__ == "__main__":
    main()
