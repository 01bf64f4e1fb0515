"""A codec of your own, so that the tables reveal nothing. Needs `pip install 'durable-flows[encryption]'`."""

import asyncio
import json
from typing import Any

import psycopg
from cryptography.fernet import Fernet

from durable import AsyncClient, Context, JsonCodec, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


class EncryptingCodec(JsonCodec):
    """Encrypts the JSON. What is stored must be JSON itself, so the token is stored as a JSON string."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._fernet = Fernet(key)

    def encode(self, value: object, what: str) -> str:
        return json.dumps(self._fernet.encrypt(super().encode(value, what).encode()).decode())

    def decode(self, text: str, type: Any, what: str) -> Any:
        return super().decode(self._fernet.decrypt(json.loads(text)).decode(), type, what)


async def look_up(name: str) -> int:
    return 250


@workflow(codec=EncryptingCodec(Fernet.generate_key()))  # keep yours in a secret store
async def debt(ctx: Context, name: str) -> str:
    return f"{name} owes {await ctx.execute('look up', look_up, name)}"


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with AsyncClient(dsn) as client, Worker(dsn, [debt]):
            handle = await client.begin(debt, "Ada")
            print("the run's output:", await handle.result())
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            cursor = await connection.execute(
                "SELECT run.input::text || run.output::text || step.input::text || step.output::text"
                " FROM durable.runs AS run JOIN durable.steps AS step USING (run_id) WHERE run_id = %s",
                (handle.run_key.run_id,),
            )
            (stored,) = await cursor.fetchone() or ("",)
        print("the tables reveal:", "something" if not stored or "Ada" in stored or "250" in stored else "nothing")


asyncio.run(main())

# Output:
# the run's output: Ada owes 250
# the tables reveal: nothing
