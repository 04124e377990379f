"""The Python SDK since its second major version, which speaks with sessions and without."""

from typing import Any

import anyio
import mcp_types as types
from mcp import Client, StdioServerParameters

from tour import PERSON, era, server, take


class Connection:
    def __init__(self) -> None:
        entry = server()
        parts = {key: entry[key] for key in ("command", "args", "env") if key in entry}
        mode = "legacy" if era() == "2025-11-25" else era()
        where = entry["url"] if "url" in entry else StdioServerParameters(**parts)
        self.client = Client(where, mode=mode, elicitation_callback=self.answer)

    async def answer(self, _: Any, question: types.ElicitRequestParams) -> types.ElicitResult:
        self.question = question.message
        return types.ElicitResult(action="accept", content=PERSON)

    async def version(self) -> str:
        return self.client.protocol_version

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def text(self) -> str:
        return (await self.client.call_tool("test_simple_text")).content[0].text

    async def progress(self) -> list[list[float]]:
        steps = []

        async def step(done: float, total: float | None, _: str | None) -> None:
            steps.append([done, total])

        await self.client.call_tool("test_tool_with_progress", progress_callback=step)
        return steps

    async def image(self) -> dict[str, str]:
        picture = (await self.client.call_tool("test_image_content")).content[0]
        return {"type": picture.mime_type, "data": picture.data}

    async def error(self) -> dict[str, Any]:
        result = await self.client.call_tool("test_error_handling")
        return {"is_error": result.is_error, "text": result.content[0].text}

    async def form(self) -> dict[str, str]:
        result = await self.client.call_tool("test_input_required_result_elicitation")
        return {"question": self.question, "answer": result.content[0].text}

    async def resources(self) -> dict[str, Any]:
        listed = (await self.client.list_resources()).resources
        read = await self.client.read_resource("test://static-text")
        return {"listed": [one.uri for one in listed], "read": read.contents[0].text}

    async def prompts(self) -> dict[str, Any]:
        listed = (await self.client.list_prompts()).prompts
        arguments = {"arg1": "tea", "arg2": "salt"}
        prompt = await self.client.get_prompt("test_prompt_with_arguments", arguments)
        text = prompt.messages[0].content.text
        return {"listed": [one.name for one in listed], "got": text}

    async def completion(self) -> list[str]:
        prompt = types.PromptReference(name="test_prompt_with_arguments")
        offered = await self.client.complete(prompt, {"name": "arg1", "value": "par"})
        return offered.completion.values


async def main() -> None:
    connection = Connection()
    async with connection.client:
        await take(connection)


anyio.run(main)
