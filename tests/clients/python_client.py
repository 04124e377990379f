"""Drives the server with the Python SDK, in each way that it can connect, on stdio and over HTTP.

`auto` asks the server what it speaks, `legacy` opens a session with `initialize`, and a version
by name takes that version for granted. The results must be the same in all three, and over
both transports.
"""

import base64
import csv
import json
import struct
import subprocess
import sys
import time
import warnings
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import anyio
import mcp_types as types
from jsonschema import Draft202012Validator
from mcp import Client, MCPError, StdioServerParameters
from mcp.client import Transport
from mcp.client.stdio import stdio_client
from mcp.client.subscriptions import ToolsListChanged
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPDeprecationWarning

from checks import Checks
from servers import TRANSPORTS, reached, started_by_clients
from web import web

MODES = {"auto": "2026-07-28", "legacy": "2025-11-25", "2026-07-28": "2026-07-28"}

TOOLS = [
    "count_slowly",
    "delete_note",
    "describe_csv",
    "fetch_url",
    "greet",
    "json_query",
    "list_files",
    "make_thumbnail",
    "measure_text",
    "query_csv",
    "read_file",
    "search_files",
    "show_everything",
    "write_note",
]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# Long for a machine, short for a person who waits for a failing check.
PATIENCE = 20


class Connection:
    """A client, and what the server told it without being asked."""

    def __init__(self, place: Path, mode: str, server: dict[str, Any]) -> None:
        self.place = place
        self.mode = mode
        self.server = server
        self.logs: list[types.LoggingMessageNotificationParams] = []
        self.faults: list[Exception] = []
        self.list_changes = 0
        self.changed = anyio.Event()

    @asynccontextmanager
    async def open(self, **options: Any):
        with (self.place / "server.log").open("a") as log:
            self.client = Client(
                self.server.get("url") or self.starting_it(log),
                mode=self.mode,
                message_handler=self.on_message,
                logging_callback=self.on_log,
                read_timeout_seconds=PATIENCE,
                **options,
            )
            async with self.client:
                yield self.client

    def starting_it(self, log: TextIO) -> Transport:
        parts = {part: self.server[part] for part in ("command", "args", "env")}
        return stdio_client(StdioServerParameters(**parts), errlog=log)

    async def on_message(self, message: types.ServerNotification | Exception) -> None:
        if isinstance(message, Exception):
            self.faults.append(message)
        elif isinstance(message, types.ToolListChangedNotification):
            self.list_changes += 1
            self.changed.set()

    async def on_log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logs.append(params)

    def kami(self, *arguments: str) -> None:
        """Another process changes the registry while the server runs."""
        ours = started_by_clients(self.place, "kami")
        subprocess.run(
            [ours["command"], "--quiet", *arguments],
            env=ours["env"],
            check=True,
            capture_output=True,
        )


class Conversation:
    """All that is asked of the server over one connection."""

    def __init__(self, connection: Connection, checks: Checks, address: str) -> None:
        self.connection = connection
        self.client = connection.client
        self.checks = checks
        self.address = address
        self.tools: dict[str, types.Tool] = {}
        self.answered: set[str] = set()

    async def hold(self) -> None:
        await self.lists()
        await self.answers()
        await self.shows_pictures()
        await self.refuses()
        await self.speaks_while_it_works()
        await self.shows_everything()
        await self.keeps_calls_apart()
        await self.announces_changes()
        self.checks.equal("each tool has answered", sorted(self.answered), TOOLS)
        self.checks.equal("every line from the server was understood", self.connection.faults, [])

    async def lists(self) -> None:
        checks, client = self.checks, self.client
        checks.equal("version", client.protocol_version, MODES[self.connection.mode])
        listed = await client.list_tools()
        self.tools = {tool.name: tool for tool in listed.tools}
        checks.equal("lists all tools", [tool.name for tool in listed.tools], TOOLS)
        # Each result names the server where nothing before it did.
        stamp = (listed.meta or {}).get("io.modelcontextprotocol/serverInfo", {})
        introduced = client.server_info.name if client.server_info else None
        checks.equal("says who it is", introduced or stamp.get("name"), "kami")
        for tool in listed.tools:
            schemas = [tool.input_schema, tool.output_schema]
            for schema in filter(None, schemas):
                Draft202012Validator.check_schema(schema)
            checks.check(
                f"describes {tool.name}",
                tool.description and all(s is None or s["type"] == "object" for s in schemas),
                tool,
            )

    async def call(
        self, tool: str, on_progress: ProgressFnT | None = None, /, **arguments: Any
    ) -> types.CallToolResult:
        """Calls a tool; its result must be what its output schema says, or an error."""
        result = await self.client.call_tool(tool, arguments, progress_callback=on_progress)
        schema = self.tools[tool].output_schema
        if not result.is_error:
            self.answered.add(tool)
        if not result.is_error and schema is not None:
            errors = list(Draft202012Validator(schema).iter_errors(result.structured_content))
            self.checks.equal(f"{tool} gives what its schema says", errors, [])
            copy = json.loads(result.content[0].text)
            self.checks.equal(f"{tool} gives the same as text", copy, result.structured_content)
        elif not result.is_error:
            self.checks.equal(f"{tool} has no structure", result.structured_content, None)
        return result

    async def answers(self) -> None:
        checks = self.checks
        greeting = await self.call("greet", name="Ada", language="french")
        checks.equal("greet", text(greeting), "Bonjour, Ada !")
        greeting = await self.call("greet", name="愛", language="japanese")
        checks.equal("greet, beyond ASCII", text(greeting), "こんにちは、愛さん！")
        size = await self.call("measure_text", text="naïve café\nline two\n")
        expected = {"characters": 20, "words": 4, "lines": 2, "bytes": 22}
        checks.equal("measure_text", size.structured_content, expected)

        stock = [{"name": "tea", "price": 2}, {"name": "salt", "price": 1}]
        found = await self.call("json_query", filter="map(select(.price > 1) | .name)", json=stock)
        expected = {"results": [["tea"]], "truncated": False}
        checks.equal("json_query", found.structured_content, expected)

        page = await self.call("fetch_url", url=f"{self.address}/tides")
        checks.check("fetch_url", "# Tide tables" in text(page) and "**Brest**" in text(page), page)

        files = await self.call("list_files", glob="*.csv")
        expected = ["csv-query/tests/penguins.csv"]
        checks.equal("list_files", files.structured_content["files"], expected)
        lines = await self.call("read_file", path="hello/README.md", max_lines=2)
        checks.check("read_file", text(lines).startswith("1\t# hello\n2\t"), lines)
        source = (EXAMPLES / "hello/src/lib.rs").read_text().splitlines()
        found = await self.call("search_files", pattern=r"^pub fn", folder="hello/src")
        expected = [(n, line) for n, line in enumerate(source, 1) if line.startswith("pub fn")]
        matches = [(m["line"], m["text"]) for m in found.structured_content["matches"]]
        checks.equal("search_files", matches, expected)

        # Notes are kept, and nobody is asked about one that is new.
        name = f"note-{uuid4().hex}"
        written = await self.call("write_note", name=name, text="two litres")
        checks.equal("write_note", text(written), f"`{name}` holds 10 bytes")
        missing = await self.call("delete_note", name="bread")
        checks.equal("delete_note", text(missing), "there is no note `bread`")

        await self.answers_about_penguins()

    async def answers_about_penguins(self) -> None:
        with (EXAMPLES / "csv-query/tests/penguins.csv").open() as file:
            penguins = list(csv.DictReader(file))
        table = await self.call("describe_csv", path="penguins.csv")
        described = table.structured_content
        self.checks.equal("describe_csv: rows", described["rows"], len(penguins))
        names = [column["name"] for column in described["columns"]]
        self.checks.equal("describe_csv: columns", names, list(penguins[0]))

        masses: dict[str, list[int]] = {}
        for penguin in penguins:
            if penguin["body_mass_g"] not in ("", "NA"):
                masses.setdefault(penguin["species"], []).append(int(penguin["body_mass_g"]))
        answer = await self.call(
            "query_csv",
            path="penguins.csv",
            group_by=["species"],
            aggregates=[{"function": "mean", "column": "body_mass_g"}],
            sort_by="species",
        )
        rows = answer.structured_content["rows"]
        means = [[species, sum(all) / len(all)] for species, all in sorted(masses.items())]
        same = [row[0] for row in rows] == [mean[0] for mean in means] and all(
            abs(row[1] - mean[1]) < 1e-6 for row, mean in zip(rows, means, strict=True)
        )
        self.checks.check("query_csv", same, {"is": rows, "should be": means})

    async def shows_pictures(self) -> None:
        photo = await self.call("make_thumbnail", path="rocket.jpg", max_width=160)
        picture = image(photo)
        self.checks.check("make_thumbnail: a photo", picture[:3] == b"\xff\xd8\xff", photo)
        photo = await self.call("make_thumbnail", path="rocket.jpg", max_width=64, format="png")
        width, height = struct.unpack(">II", image(photo)[16:24])
        self.checks.check("make_thumbnail: its size", (width, height) == (64, 43), (width, height))
        smaller = base64.b64encode(image(photo)).decode()
        again = await self.call("make_thumbnail", image_base64=smaller, max_width=32)
        self.checks.check("make_thumbnail: bytes", "64 x 43" in text(again), text(again))

    async def refuses(self) -> None:
        wrong = [
            ("greet", {"name": "Ada", "language": "latin"}, ["/language", "english"]),
            ("greet", {}, ["name", "required"]),
            ("greet", {"name": "Ada", "nickname": "A"}, ["nickname"]),
            ("measure_text", {"text": 5}, ["/text", "string"]),
            ("query_csv", {"csv": "a\n1\n", "limit": 0}, ["/limit", "1"]),
            ("query_csv", {"csv": "a\n", "group_by": ["a", 2]}, ["/group_by/1", "string"]),
            ("json_query", {"filter": ".[", "json": []}, ["not valid jq", "column 3"]),
            ("read_file", {"path": "../Cargo.toml"}, ["../Cargo.toml"]),
            ("fetch_url", {"url": f"{self.address}/missing"}, ["404"]),
            ("fetch_url", {"url": "http://169.254.169.254/latest"}, ["169.254.169.254", "denied"]),
            ("make_thumbnail", {"image_base64": "bm90IGEgcGljdHVyZQ=="}, []),
        ]
        for tool, arguments, parts in wrong:
            result = await self.call(tool, **arguments)
            told = result.is_error and all(part in text(result) for part in parts)
            self.checks.check(f"{tool} refuses {json.dumps(arguments)[:60]}", told, result)
        for name in ["gret", "no-such-tool", ""]:
            try:
                seen = await self.client.call_tool(name, {})
            except MCPError as error:
                seen = error
            refused = isinstance(seen, MCPError) and seen.code == types.INVALID_PARAMS
            self.checks.check(f"an unknown tool: {name!r}", refused, seen)

    async def speaks_while_it_works(self) -> None:
        steps: list[tuple[float, float | None, str | None]] = []

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            steps.append((done, total, message))

        logs = self.connection.logs
        logs.clear()
        arguments = {"steps": 3, "pause": 5}
        result = await self.call("count_slowly", on_progress, **arguments)
        self.checks.equal("count_slowly", text(result), "took 3 steps")
        expected = [(float(n), 3.0, f"step {n}") for n in (1, 2, 3)]
        self.checks.equal("progress", steps, expected)

        # A session hears warnings; without one, who asks for nothing hears nothing.
        session = self.connection.mode == "legacy"
        heard = [(log.level, log.logger, log.data) for log in logs]
        expected = [("warning", "count_slowly", "that was slow")] if session else []
        self.checks.equal("log messages by default", heard, expected)

        logs.clear()
        if session:
            await self.client.set_logging_level("info")
            await self.client.call_tool("count_slowly", arguments)
        else:
            meta = {"io.modelcontextprotocol/logLevel": "info"}
            await self.client.call_tool("count_slowly", arguments, meta=meta)
        expected = ["step 1", "step 2", "step 3", "that was slow"]
        self.checks.equal("log messages on demand", [log.data for log in logs], expected)

    async def shows_everything(self) -> None:
        result = await self.call("show_everything")
        data = base64.b64encode(bytes(range(256))).decode()
        expected = [
            types.TextContent(
                text="ünïcödé 🦀\n",
                annotations=types.Annotations(audience=["user"], priority=0.5),
            ),
            types.ImageContent(data=data, mime_type="image/png"),
            types.AudioContent(data=data, mime_type="audio/wav"),
            types.EmbeddedResource(
                resource=types.TextResourceContents(
                    uri="memo:///note", text="a note", mime_type="text/plain"
                )
            ),
            types.EmbeddedResource(
                resource=types.BlobResourceContents(uri="memo:///bytes", blob=data)
            ),
            types.ResourceLink(
                uri="https://example.com/report",
                name="report",
                title="A report",
                mime_type="text/html",
                size=12,
            ),
        ]
        for actual, wanted in zip(result.content, expected, strict=True):
            self.checks.equal(f"content of type {wanted.type}", actual, wanted)

    async def keeps_calls_apart(self) -> None:
        replies: dict[int, Any] = {}
        order: list[str] = []

        async def measure(n: int) -> None:
            result = await self.client.call_tool("measure_text", {"text": "x" * n})
            replies[n] = result.structured_content["characters"]

        async def query(n: int) -> None:
            result = await self.client.call_tool("json_query", {"filter": ". + 1", "json": -n})
            replies[-n] = result.structured_content["results"]

        async def slow() -> None:
            arguments = {"steps": 1, "pause": 300}
            order.append(text(await self.client.call_tool("count_slowly", arguments)))

        async def quick() -> None:
            await anyio.sleep(0.05)
            order.append(text(await self.client.call_tool("greet", {"name": "Ada"})))

        async with anyio.create_task_group() as group:
            group.start_soon(slow)
            group.start_soon(quick)
        expected = ["Hello, Ada!", "took 1 steps"]
        self.checks.equal("a slow call holds up no other", order, expected)

        async with anyio.create_task_group() as group:
            for n in range(1, 101):
                group.start_soon(measure, n)
                group.start_soon(query, n)
        expected = {n: n for n in range(1, 101)} | {-n: [1 - n] for n in range(1, 101)}
        crossed = {n: reply for n, reply in replies.items() if reply != expected[n]}
        self.checks.equal("200 calls at once, no reply crossed", crossed, {})
        self.checks.equal("200 calls at once, each answered", len(replies), 200)

        started = time.monotonic()
        try:
            await self.client.call_tool(
                "count_slowly", {"steps": 4, "pause": 1000}, read_timeout_seconds=0.3
            )
            seen = "a result"
        except MCPError as error:
            seen = error.code
        self.checks.equal("a call that is given up", seen, types.REQUEST_TIMEOUT)
        still = await self.client.call_tool("greet", {"name": "Ada"})
        quickly = time.monotonic() - started < 2
        self.checks.check("calls after it", quickly and text(still) == "Hello, Ada!", still)

    async def announces_changes(self) -> None:
        if self.connection.mode == "legacy":
            await self.change(self.notified)
            return
        async with self.client.listen(tools_list_changed=True) as news:
            self.checks.equal("listens", news.honored.tools_list_changed, True)

            async def event() -> bool:
                return isinstance(await anext(news), ToolsListChanged)

            await self.change(event)

    async def notified(self) -> bool:
        await self.connection.changed.wait()
        self.connection.changed = anyio.Event()
        return True

    async def change(self, news: Any) -> None:
        """Takes a package away and brings it back; the news, and then the list, must say so."""
        artifact = str(self.connection.place / "artifacts/hello.wasm")
        without = [name for name in TOOLS if name not in ("greet", "measure_text")]
        changes = [
            (("uninstall", "dev.kami.hello"), without),
            (("install", "--yes", artifact), TOOLS),
        ]
        for command, expected in changes:
            await anyio.to_thread.run_sync(self.connection.kami, *command)
            with anyio.move_on_after(PATIENCE) as waiting:
                self.checks.check(f"hears of {command[0]}", await news())
            self.checks.check(f"hears of {command[0]} in time", not waiting.cancelled_caught)
            listed = [tool.name for tool in (await self.client.list_tools()).tools]
            self.checks.equal(f"lists what is there after {command[0]}", listed, expected)
        greeting = await self.client.call_tool("greet", {"name": "Ada"})
        self.checks.equal("calls what came back", text(greeting), "Hello, Ada!")


def text(result: types.CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if part.type == "text")


def image(result: types.CallToolResult) -> bytes:
    return next(base64.b64decode(part.data) for part in result.content if part.type == "image")


async def main() -> None:
    # Logging is deprecated in 2026-07-28, and sessions have it still.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    checks = Checks()
    place = Path(sys.argv[1])
    (place / "server.log").unlink(missing_ok=True)
    with web() as address:
        for transport in TRANSPORTS:
            with reached(place, "kami", transport) as server:
                for mode in MODES:
                    checks.section = f"{transport}, {mode}"
                    await converse(Connection(place, mode, server), checks, address)
    checks.conclude()


async def converse(connection: Connection, checks: Checks, address: str) -> None:
    try:
        async with connection.open():
            await Conversation(connection, checks, address).hold()
            leaving = time.monotonic()
        # The client kills what has not ended two seconds after its input did.
        took = time.monotonic() - leaving
        checks.check("the connection ends at once", took < 1.5, f"{took:.2f} s")
    except Exception as error:
        checks.check("the conversation went through", False, describe(error))


def describe(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(describe(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    anyio.run(main)
