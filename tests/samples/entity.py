"""A run that lives as long as the customer: it takes in prompts for ever and keeps its history short.

Temporal's `hello_continue_as_new` and `bedrock/entity`. After three turns the run begins its next chapter with what it
needs to know. It stays the same run: prompts that it has not read yet, its key and its handles are kept.
"""

import msgspec

from durable import AsyncClient, Context, Worker, workflow

TURNS_IN_A_CHAPTER = 3


class Conversation(msgspec.Struct):
    answered: int = 0
    summary: str = ""


async def ask_model(prompt: str, *, summary: str) -> str:
    return f"{prompt}? Well, you said {summary}" if summary else f"{prompt}? Tell me more"


async def summarize(summary: str, prompt: str) -> str:
    return f"{summary}, {prompt}" if summary else prompt


@workflow
async def assistant(ctx: Context, conversation: Conversation) -> Conversation:
    for turn in range(TURNS_IN_A_CHAPTER):
        prompt = await ctx.wait_for_event(f"prompt {turn}", "prompt", str)
        if prompt == "bye":
            return conversation
        answer = await ctx.execute(f"ask {turn}", ask_model, prompt, summary=conversation.summary)
        conversation.summary = await ctx.execute(f"summarize {turn}", summarize, conversation.summary, prompt)
        conversation.answered += 1
        ctx.set_status(answer)
    return await ctx.continue_as_new(conversation)


async def main(dsn: str) -> tuple[Conversation, str, int]:
    async with AsyncClient(dsn) as client, Worker(dsn, [assistant]):
        handle = await client.begin(assistant, Conversation(), key="customer 42")
        for prompt in ("tea", "milk", "sugar", "cake", "plates", "spoons", "napkins", "bye"):
            await handle.publish_event("prompt", prompt)
        conversation = await handle.result()
        info = await handle.info()
        return conversation, info.detail, info.chapter
