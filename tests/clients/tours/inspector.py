"""The MCP Inspector: its command line, and `mcpdo`, which keeps a connection for several commands.

The command line makes a connection for each request. What needs one that lasts is left to `mcpdo`:
to answer a form, and to tell the version.
"""

import asyncio
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tour import PERSON, era, server, take

# The names that the Inspector has for them.
ERAS = {"2025-11-25": "legacy", "2026-07-28": "modern"}

# Beside it are the clients that npm installed.
NODE_MODULES = Path(os.environ["NODE_MODULES"])
INSPECTOR = NODE_MODULES / "@modelcontextprotocol/inspector/clients"


class Inspector:
    def __init__(self, home: Path) -> None:
        self.config = home / "mcp.json"
        # What it remembers, and the socket of its daemon, have no place in anybody's home.
        self.environment = os.environ | {"HOME": str(home), "MCP_STORAGE_DIR": str(home)}
        entry = {"type": "http" if "url" in server() else "stdio", **server()}
        self.config.write_text(json.dumps({"mcpServers": {"kami": entry}}))

    async def run(self, program: str, *arguments: str) -> Any:
        """Runs one of its programs, and gives what it printed as JSON."""
        process = await asyncio.create_subprocess_exec(
            NODE_MODULES / "node/bin/node",
            INSPECTOR / program,
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, report = await process.communicate()
        try:
            return json.loads(printed)
        except ValueError as error:
            raise RuntimeError(f"{arguments}: {printed.decode()}{report.decode()}") from error

    async def ask(self, method: str, *arguments: str) -> Any:
        where = ["--cli", "--config", str(self.config), "--server", "kami"]
        how = ["--protocol-era", ERAS[era()], "--format", "json", "--method", method]
        output = await self.run("launcher/build/index.js", *where, *how, *arguments)
        return output.get("result", output)

    async def call(self, tool: str) -> Any:
        return await self.ask("tools/call", "--tool-name", tool)

    async def mcpdo(self, *arguments: str) -> Any:
        return await self.run("mcpdo/build/mcp-bin.js", "--format", "json", *arguments)

    async def version(self) -> str:
        how = ["--config", str(self.config), "--server", "kami", "--era", ERAS[era()]]
        await self.mcpdo("connect", *how)
        return (await self.mcpdo("connections/show", "kami"))["protocolVersion"]

    async def tools(self) -> list[str]:
        return [tool["name"] for tool in (await self.ask("tools/list"))["tools"]]

    async def text(self) -> str:
        return (await self.call("test_simple_text"))["content"][0]["text"]

    async def image(self) -> dict[str, str]:
        picture = (await self.call("test_image_content"))["content"][0]
        return {"type": picture["mimeType"], "data": picture["data"]}

    async def error(self) -> dict[str, Any]:
        result = await self.call("test_error_handling")
        return {"is_error": result["isError"], "text": result["content"][0]["text"]}

    async def form(self) -> dict[str, str]:
        """Calls in one command, which returns with the question, and answers in another."""
        tool = "test_input_required_result_elicitation"
        asked = (await self.mcpdo("@kami", "tools/call", tool))["elicitationPending"]
        answers = [f"{name}:={value}" for name, value in PERSON.items()]
        result = await self.mcpdo("elicitation/respond", asked["elicitationId"], *answers)
        return {"question": asked["message"], "answer": result["content"][0]["text"]}

    async def resources(self) -> dict[str, Any]:
        listed = (await self.ask("resources/list"))["resources"]
        read = (await self.ask("resources/read", "--uri", "test://static-text"))["contents"]
        return {"listed": [one["uri"] for one in listed], "read": read[0]["text"]}

    async def prompts(self) -> dict[str, Any]:
        listed = (await self.ask("prompts/list"))["prompts"]
        name = ["--prompt-name", "test_prompt_with_arguments"]
        prompt = await self.ask("prompts/get", *name, "--prompt-args", "arg1=tea", "arg2=salt")
        text = prompt["messages"][0]["content"]["text"]
        return {"listed": [one["name"] for one in listed], "got": text}

    async def completion(self) -> list[str]:
        prompt = ["--complete-ref-type", "ref/prompt"]
        prompt += ["--complete-ref", "test_prompt_with_arguments"]
        argument = ["--complete-arg-name", "arg1", "--complete-arg-value", "par"]
        offered = await self.mcpdo("@kami", "prompts/complete", *prompt, *argument)
        return offered.get("completion", offered)["values"]


async def main() -> None:
    with TemporaryDirectory(prefix="inspector-") as home:
        inspector = Inspector(Path(home))
        try:
            await take(inspector)
        finally:
            await inspector.mcpdo("daemon", "stop")


asyncio.run(main())
