"""Drives the server with the command line of the MCP Inspector, one process for each request,
on stdio and over HTTP.

`--strict` makes it judge every schema by what clients and models are known to understand.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from checks import Checks
from python_client import TOOLS
from servers import TRANSPORTS, reached
from web import web

# Its own names: `modern` is 2026-07-28, `legacy` the latest version before.
ERAS = ["legacy", "auto", "modern"]

# What it exits with when a tool gives an error, or is not there.
TOOL_FAILED = 5


class Inspector:
    def __init__(self, place: Path, server: dict[str, Any]) -> None:
        package = place / "node/node_modules/@modelcontextprotocol/inspector"
        launcher = json.loads((package / "package.json").read_text())["bin"]["mcp-inspector"]
        node = place / "node/node_modules/node/bin/node"
        self.command = [str(node), str(package / launcher), "--cli"]
        config = place / "inspector.json"
        config.write_text(json.dumps({"mcpServers": {"kami": server}}))
        self.command += ["--config", str(config), "--server", "kami"]

    def run(self, era: str, *arguments: str) -> tuple[int, Any, str]:
        """Gives the exit code, the result, and what it said on stderr."""
        command = [*self.command, "--protocol-era", era, "--format", "json", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        try:
            output = json.loads(ended.stdout)
        except ValueError:
            output = {"unreadable": ended.stdout}
        return ended.returncode, output.get("result", output), ended.stderr

    def call(self, era: str, tool: str, arguments: dict[str, Any]) -> tuple[int, Any, str]:
        named = ["--tool-name", tool, "--tool-args-json", json.dumps(arguments)]
        return self.run(era, "--method", "tools/call", *named)


def lists(inspector: Inspector, checks: Checks, era: str) -> None:
    code, result, report = inspector.run(era, "--method", "tools/list", "--strict")
    errors = [block for block in report.split("\n\n") if block.startswith("Error")]
    checks.check("tools/list --strict finds no error", (code, errors) == (0, []), (code, errors))
    listed = [tool["name"] for tool in result.get("tools", [])]
    checks.equal("tools/list gives all tools", listed, TOOLS)
    summary = [line for line in report.splitlines() if " across " in line]
    print(f"        {era}: {summary[-1] if summary else 'no findings'}")


def calls(inspector: Inspector, checks: Checks, era: str, address: str) -> None:
    def answer(tool: str, arguments: dict[str, Any]) -> Any:
        code, result, report = inspector.call(era, tool, arguments)
        fine = code == 0 and not result.get("isError")
        checks.check(f"{tool} answers", fine, (code, result, report))
        return result

    greeting = answer("greet", {"name": "Ada", "language": "spanish"})
    checks.equal("greet", texts(greeting), ["¡Hola, Ada!"])
    size = answer("measure_text", {"text": "one two\nthree"}).get("structuredContent", {})
    expected = {"characters": 13, "words": 3, "lines": 2, "bytes": 13}
    checks.equal("measure_text", size, expected)
    found = answer("json_query", {"filter": ".[] | .a", "json": [{"a": 1}, {"a": None}]})
    expected = {"results": [1, None], "truncated": False}
    checks.equal("json_query", found.get("structuredContent"), expected)
    page = answer("fetch_url", {"url": f"{address}/tides"})
    checks.check("fetch_url", "# Tide tables" in "".join(texts(page)), page)
    files = answer("list_files", {"glob": "*.jpg"}).get("structuredContent", {})
    checks.equal("list_files", files.get("files"), ["thumbnail/tests/rocket.jpg"])
    photo = answer("make_thumbnail", {"path": "rocket.jpg", "max_width": 80})
    kinds = [part["type"] for part in photo.get("content", [])]
    checks.equal("make_thumbnail", kinds, ["image", "text"])
    sums = answer(
        "query_csv",
        {
            "csv": "tea,cups\ngreen,2\nblack,3\n",
            "aggregates": [{"function": "sum", "column": "cups"}],
        },
    )
    checks.equal("query_csv", sums.get("structuredContent", {}).get("rows"), [[5]])

    code, result, _ = inspector.call(era, "greet", {"name": "Ada", "language": "latin"})
    told = code == TOOL_FAILED and result.get("isError") and "/language" in texts(result)[0]
    checks.check("wrong arguments are an error that names the path", told, (code, result))
    code, result, report = inspector.call(era, "no-such-tool", {})
    missed = code == TOOL_FAILED and "not found" in report
    checks.check("an unknown tool is not found", missed, (code, result, report))


def load(inspector: Inspector, checks: Checks) -> None:
    """Calls one tool many times over one connection."""
    asked = ["--method", "tools/call", "--tool-name", "measure_text", "--tool-arg", "text=tea"]
    limits = ["--load", "--load-requests", "500", "--load-concurrency", "16"]
    code, result, report = inspector.run("modern", *asked, *limits)
    checks.check("500 calls, 16 at a time", code == 0, (code, result, report))
    print(f"        {json.dumps(result)[:400]}")


def texts(result: Any) -> list[str]:
    return [part["text"] for part in result.get("content", []) if part["type"] == "text"]


def converse(inspector: Inspector, checks: Checks, transport: str, address: str) -> None:
    for era in ERAS:
        checks.section = f"inspector, {transport}, {era}"
        lists(inspector, checks, era)
    for era in ["legacy", "modern"]:
        checks.section = f"inspector, {transport}, {era}"
        calls(inspector, checks, era, address)
    checks.section = f"inspector, {transport}"
    load(inspector, checks)


def main() -> None:
    checks = Checks()
    place = Path(sys.argv[1])
    with web() as address:
        for transport in TRANSPORTS:
            with reached(place, "kami", transport) as server:
                converse(Inspector(place, server), checks, transport, address)
    checks.conclude()


if __name__ == "__main__":
    main()
