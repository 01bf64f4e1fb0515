"""A codec of your own, so that the tables reveal nothing. Needs `pip install 'durable-flows[encryption]'`."""

import asyncio
import copy
import json
import os
from typing import Any, Self

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from durable import AsyncClient, Context, DeserializationError, JsonCodec, Place, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


class EncryptingCodec(JsonCodec):
    """Encrypts, and authenticates the place: what was moved to another run or step is refused. Stores a JSON string."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._cipher, self._place = ChaCha20Poly1305(key), b""

    def bound_to(self, place: Place) -> Self:
        bound = copy.copy(self)
        bound._place = str(place).encode()
        return bound

    def encode(self, value: object, what: str) -> str:
        text, nonce = super().encode(value, what), os.urandom(12)
        return json.dumps((nonce + self._cipher.encrypt(nonce, text.encode(), self._place)).hex())

    def decode(self, text: str, type: Any, what: str) -> Any:
        try:
            plain = self._cipher.decrypt((sealed := bytes.fromhex(json.loads(text)))[:12], sealed[12:], self._place)
        except Exception:
            raise DeserializationError(what, "it was not written with this key for this place") from None
        return super().decode(plain.decode(), type, what)


@workflow(codec=EncryptingCodec(ChaCha20Poly1305.generate_key()))  # keep yours in a secret store
async def debt(ctx: Context, name: str) -> str:
    return f"{name} owes 250"


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with AsyncClient(dsn) as client, Worker(dsn, [debt]):
            print("the run's output:", await (await client.begin(debt, "Lovelace")).result())
        with psycopg.connect(dsn) as db:
            ((stored,),) = db.execute("SELECT input::text || output::text FROM durable.runs").fetchall()
        print("the tables reveal:", "something" if "Lovelace" in stored else "nothing")


asyncio.run(main())

# Output:
# the run's output: Lovelace owes 250
# the tables reveal: nothing
