"""What a client is asked to do, and how it tells what it saw.

Each program in this folder is one client. A class has a method for everything that the client can
do, and each gives what was seen, in the words that matrix.toml expects. A program says nothing about
what is right: matrix.py compares.
"""

import json
import sys
from typing import Any

SIGHTS = [
    "version",
    "tools",
    "text",
    "progress",
    "image",
    "error",
    "form",
    "resources",
    "prompts",
    "completion",
]

# Who answers forms.
PERSON = {"name": "Ada"}


def era() -> str:
    """The version of the protocol that the client is to speak."""
    return sys.argv[1]


def server() -> dict[str, Any]:
    """The server, as a client's configuration names it: by a command, or by a URL."""
    return json.loads(sys.argv[2])


async def take(client: object) -> None:
    """Has a client do all that it can, and prints what it saw as one JSON object."""
    seen = {}
    for sight in SIGHTS:
        if look := getattr(client, sight, None):
            try:
                seen[sight] = await look()
            except Exception as error:
                seen[sight] = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(seen))
