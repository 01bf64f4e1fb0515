"""A connection that belongs to the engine: it runs operations, and it has the schema that they are about."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from durable.postgres import pipeline
from durable.postgres.silence import ANSWER_SECONDS, answering
from durable.store.operation import Operation
from durable.store.statement import T


class EngineConnection:
    """A psycopg connection in autocommit mode, and a schema. A worker has the same schema for life, so no statement
    names it. ``is_pooled``: its transactions may run in sessions of others, set up as the role and the database are."""

    __slots__ = ("_is_pooled", "psycopg", "schema")

    def __init__(self, connection: AsyncConnection[Any], schema: str, *, is_pooled: bool = False) -> None:
        self.psycopg = connection
        self.schema = schema
        self._is_pooled = is_pooled

    async def run(self, operation: Operation[T]) -> T:
        """Runs an operation to its end, however long the server takes."""
        return await pipeline.run(self.psycopg, self.schema, operation, is_pooled=self._is_pooled)

    async def answer(self, operation: Operation[T], seconds: float = ANSWER_SECONDS) -> T:
        """Like ``run``, but hangs up if the operation has not ended within that many seconds."""
        with answering(self.psycopg, seconds):
            return await self.run(operation)

    @property
    def is_closed(self) -> bool:
        return self.psycopg.closed

    async def close(self) -> None:
        await self.psycopg.close()
