"""Refuses changes of a run's status that are not in ``durable.core.runs.TRANSITIONS``, by a trigger of the tests' own.

Only the engine's statements are held to it, which are told by their form: tests write rows by hand that no engine
would.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from durable.core.runs import BEGINNINGS, TRANSITIONS


def refuse_other_transitions(connection: Connection[Any]) -> None:
    """For the tables in the schema ``durable`` of this database."""
    allowed = " OR ".join(f"OLD.status = '{old}' AND NEW.status = '{new}'" for old, new in TRANSITIONS)
    beginnings = ", ".join(f"'{status}'" for status in BEGINNINGS)
    connection.execute(
        f"""
        CREATE FUNCTION durable.check_beginning() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF current_query() LIKE '%ON CONFLICT DO NOTHING%' AND NEW.status NOT IN ({beginnings}) THEN
                RAISE 'no run begins as %', NEW.status;
            END IF;
            RETURN NULL;
        END $$;
        CREATE FUNCTION durable.check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF current_query() LIKE '%UPDATE durable.runs AS run%' AND NEW.status <> OLD.status AND NOT ({allowed}) THEN
                RAISE 'no run that is % becomes %', OLD.status, NEW.status;
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER check_beginning AFTER INSERT ON durable.runs
            FOR EACH ROW EXECUTE FUNCTION durable.check_beginning();
        CREATE TRIGGER check_transition AFTER UPDATE OF status ON durable.runs
            FOR EACH ROW EXECUTE FUNCTION durable.check_transition()
        """.encode()
    )
