"""Transactions of other libraries: SQLAlchemy, Django, asyncpg. Each module is imported only when an object of that
library turns up.

An adapter provides ``sync_execute(tx)`` and ``async_execute(tx)``, which return how to run one statement in that
transaction, or ``None`` for an object that the adapter does not recognize. It never begins, commits or rolls back.
``durable.postgres.transactions`` names the adapters and says what is expected of them; it is the place to register
another one.

``prometheus`` and ``otel`` are observers of a worker, which applications import themselves.
"""
