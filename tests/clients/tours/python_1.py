"""The Python SDK before its second major version, which opens sessions only."""

from contextlib import AsyncExitStack
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from tour import PERSON, server, take


class Session:
    async def open(self, stack: AsyncExitStack) -> None:
        entry = server()
        if "url" in entry:
            transport = streamable_http_client(entry["url"])
        else:
            parameters = StdioServerParameters(**{k: entry[k] for k in ("command", "args", "env")})
            transport = stdio_client(parameters)
        reader, writer, *_ = await stack.enter_async_context(transport)
        session = ClientSession(reader, writer, elicitation_callback=self.answer)
        self.session = await stack.enter_async_context(session)
        self.greeting = await self.session.initialize()

    async def answer(self, _: Any, question: types.ElicitRequestParams) -> types.ElicitResult:
        self.question = question.message
        return types.ElicitResult(action="accept", content=PERSON)

    async def version(self) -> str:
        return self.greeting.protocolVersion

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self.session.list_tools()).tools]

    async def text(self) -> str:
        return (await self.session.call_tool("test_simple_text")).content[0].text

    async def progress(self) -> list[list[float]]:
        steps = []

        async def step(done: float, total: float | None, _: str | None) -> None:
            steps.append([done, total])

        await self.session.call_tool("test_tool_with_progress", progress_callback=step)
        return steps

    async def image(self) -> dict[str, str]:
        picture = (await self.session.call_tool("test_image_content")).content[0]
        return {"type": picture.mimeType, "data": picture.data}

    async def error(self) -> dict[str, Any]:
        result = await self.session.call_tool("test_error_handling")
        return {"is_error": result.isError, "text": result.content[0].text}

    async def form(self) -> dict[str, str]:
        result = await self.session.call_tool("test_input_required_result_elicitation")
        return {"question": self.question, "answer": result.content[0].text}

    async def resources(self) -> dict[str, Any]:
        listed = (await self.session.list_resources()).resources
        read = await self.session.read_resource("test://static-text")
        return {"listed": [str(one.uri) for one in listed], "read": read.contents[0].text}

    async def prompts(self) -> dict[str, Any]:
        listed = (await self.session.list_prompts()).prompts
        arguments = {"arg1": "tea", "arg2": "salt"}
        prompt = await self.session.get_prompt("test_prompt_with_arguments", arguments)
        text = prompt.messages[0].content.text
        return {"listed": [one.name for one in listed], "got": text}

    async def completion(self) -> list[str]:
        prompt = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
        offered = await self.session.complete(prompt, {"name": "arg1", "value": "par"})
        return offered.completion.values


async def main() -> None:
    async with AsyncExitStack() as stack:
        session = Session()
        await session.open(stack)
        await take(session)


anyio.run(main)
