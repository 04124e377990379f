"""An agent of Pydantic AI. Its model is a function, which calls the tool that it is told to call.

What is seen of tools is what the model sees; the rest is what the framework offers to programs.
"""

import base64
from typing import Any

import anyio
from fastmcp.client import Client
from fastmcp.client.elicitation import ElicitRequestParams
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from pydantic_ai import Agent, BinaryContent, ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tour import PERSON, era, server, take


class Assistant:
    def __init__(self) -> None:
        entry = server()
        if "url" in entry:
            transport = StreamableHttpTransport(entry["url"])
        else:
            transport = StdioTransport(
                entry["command"], entry["args"], entry["env"], keep_alive=False
            )
        # It asks the server what it offers, and would believe that it offers nothing if the version
        # were taken for granted.
        self.client = Client(
            transport,
            mode="legacy" if era() == "2025-11-25" else "auto",
            elicitation_handler=self.answer,
            progress_handler=self.step,
        )
        self.toolset = MCPToolset(self.client, tool_error_behavior="failed")
        self.agent = Agent(FunctionModel(self.decide), toolsets=[self.toolset])
        self.steps: list[list[float]] = []

    async def decide(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        """Calls the tool that the person names, and is content with whatever comes back."""
        self.offered = sorted(tool.name for tool in info.function_tools)
        if len(messages) == 1:
            tool = messages[0].parts[-1].content
            return ModelResponse(parts=[ToolCallPart(tool, {})])
        return ModelResponse(parts=[TextPart("done")])

    async def asked_to_call(self, tool: str) -> ToolReturnPart:
        """Runs the agent, and gives what its model was shown of the tool's result."""
        run = await self.agent.run(tool)
        shown = run.all_messages()[2].parts
        return next(part for part in shown if isinstance(part, ToolReturnPart))

    async def answer(
        self, message: str, _form: type | None, _question: ElicitRequestParams, _context: Any
    ) -> dict[str, str]:
        self.question = message
        return PERSON

    async def step(self, done: float, total: float | None, _message: str | None) -> None:
        self.steps.append([done, total])

    async def version(self) -> str:
        return self.client.protocol_version

    async def tools(self) -> list[str]:
        await self.asked_to_call("test_simple_text")
        return self.offered

    async def text(self) -> str:
        return (await self.asked_to_call("test_simple_text")).content

    async def progress(self) -> list[list[float]]:
        await self.asked_to_call("test_tool_with_progress")
        return self.steps

    async def image(self) -> dict[str, str]:
        picture = (await self.asked_to_call("test_image_content")).content
        assert isinstance(picture, BinaryContent), picture
        return {"type": picture.media_type, "data": base64.b64encode(picture.data).decode()}

    async def error(self) -> dict[str, Any]:
        result = await self.asked_to_call("test_error_handling")
        return {"is_error": result.outcome == "failed", "text": result.content}

    async def form(self) -> dict[str, str]:
        result = await self.asked_to_call("test_input_required_result_elicitation")
        return {"question": self.question, "answer": result.content}

    async def resources(self) -> dict[str, Any]:
        listed = [resource.uri for resource in await self.toolset.list_resources()]
        return {"listed": listed, "read": await self.toolset.read_resource("test://static-text")}

    async def prompts(self) -> dict[str, Any]:
        listed = [prompt.name for prompt in await self.toolset.list_prompts()]
        arguments = {"arg1": "tea", "arg2": "salt"}
        prompt = await self.toolset.get_prompt("test_prompt_with_arguments", arguments)
        return {"listed": listed, "got": prompt.messages[0].content.content}


async def main() -> None:
    assistant = Assistant()
    async with assistant.toolset:
        await take(assistant)


anyio.run(main)
