"""A model calls tools until it has an answer; no call to the model or to a tool is paid for twice.

Temporal's `openai_agents` and `langgraph`, Hatchet's agent. The loop is plain Python. Each turn is a step, and the
arguments that the model has chosen are passed to the tool by their names.
"""

from collections.abc import Awaitable, Callable
from itertools import count

import msgspec

from durable import AsyncClient, Context, Worker, workflow


class ToolCall(msgspec.Struct, tag=True):
    tool: str
    arguments: dict[str, str]


class Answer(msgspec.Struct, tag=True):
    text: str


async def ask_model(messages: list[str]) -> ToolCall | Answer:
    if len(messages) == 1:
        return ToolCall("find_city", {"landmark": "Eiffel Tower"})
    if len(messages) == 2:
        return ToolCall("get_weather", {"city": messages[-1], "unit": "Celsius"})
    return Answer(f"By the Eiffel Tower, it is {messages[-1]}.")


async def find_city(landmark: str) -> str:
    return {"Eiffel Tower": "Paris"}[landmark]


async def get_weather(city: str, unit: str = "Fahrenheit") -> str:
    return f"18 degrees {unit} in {city}"


TOOLS: dict[str, Callable[..., Awaitable[str]]] = {"find_city": find_city, "get_weather": get_weather}


@workflow
async def agent(ctx: Context, question: str) -> str:
    messages = [question]
    for turn in count(1):
        reply = await ctx.execute(f"model {turn}", ask_model, messages)
        if isinstance(reply, Answer):
            return reply.text
        ctx.set_status(f"calls {reply.tool}")
        messages.append(await ctx.execute(f"tool {turn}", TOOLS[reply.tool], **reply.arguments))
    raise AssertionError("count never ends")


async def main(dsn: str) -> str:
    async with AsyncClient(dsn) as client, Worker(dsn, [agent]):
        return await (await client.begin(agent, "How warm is it by the Eiffel Tower?")).result()
