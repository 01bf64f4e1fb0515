"""Begin a run in the transaction of an SQLAlchemy session, together with the objects that make it necessary."""

import asyncio

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from durable import Client, Context, Worker, workflow
from durable.admin import migrate
from durable.embedded import database


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


async def send_invoice(order: int) -> str:
    return f"invoice for order {order} sent"


@workflow
async def invoice(ctx: Context, order: int) -> str:
    return await ctx.execute("send", send_invoice, order)


def shop(dsn: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    Base.metadata.create_all(engine)
    with Session(engine) as session, Client(dsn) as client:
        for order, is_paid in ((1, True), (2, False)):
            session.add(Order(id=order))
            run_key = client.begin_tx(session, invoice, order)
            if is_paid:
                session.commit()
                print(client.handle(run_key, invoice).result(timeout=10))
            else:
                session.rollback()  # without a commit there is no run
        print(f"{len(client.list_runs(workflow=invoice))} run was begun")
    engine.dispose()


async def main() -> None:
    with database() as dsn:
        migrate(dsn)
        async with Worker(dsn, [invoice]):
            await asyncio.to_thread(shop, dsn)


asyncio.run(main())

# Output:
# invoice for order 1 sent
# 1 run was begun
