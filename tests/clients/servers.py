"""How clients reach a server: they start it on their own, or one over HTTP is there for all of them."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Any

TRANSPORTS = ["stdio", "HTTP"]


def started_by_clients(place: Path, name: str) -> dict[str, Any]:
    """The entry of a client's configuration by which the client starts the server itself."""
    return json.loads((place / "mcp.json").read_text())["mcpServers"][name]


@contextmanager
def reached(place: Path, name: str, transport: str) -> Iterator[dict[str, Any]]:
    """Gives the entry of a client's configuration for this transport, while it holds."""
    entry = started_by_clients(place, name)
    if transport == "stdio":
        yield entry
        return
    with served(place, entry) as url:
        yield {"type": "http", "url": url}


@contextmanager
def served(place: Path, entry: dict[str, Any]) -> Iterator[str]:
    """Serves over HTTP what the entry serves on stdio, and gives the URL."""
    server = subprocess.Popen(
        [entry["command"], *entry["args"], "--http", "127.0.0.1:0"],
        env=os.environ | entry["env"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield announced(server.stderr, place / "http.log")
    finally:
        server.terminate()
        server.wait()


def announced(report: IO[str], log: Path) -> str:
    """Reads on which URL a server listens, and leaves the rest of what it says to the log."""
    said = ""
    for line in report:
        said += line
        if found := re.search(r"Serving \d+ tools on (http://\S+)", line):
            Thread(target=lambda: log.write_text(said + report.read()), daemon=True).start()
            return found[1]
    raise RuntimeError(f"the server ended before it listened: {said}")
