"""Refuses every change of a run's status that is not in ``durable.core.runs.TRANSITIONS``, by a trigger of the tests'
own."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from durable.core.runs import BEGINNINGS, TRANSITIONS

SETUP = "durable.setting_up"
"""A setting of the session: ``on`` while a test writes rows by hand that no engine has written."""


def refuse_other_transitions(connection: Connection[Any]) -> None:
    """For the tables in the schema ``durable`` of this database."""
    allowed = " OR ".join(f"OLD.status = '{old}' AND NEW.status = '{new}'" for old, new in TRANSITIONS)
    beginnings = ", ".join(f"'{status}'" for status in BEGINNINGS)
    connection.execute(
        f"""
        CREATE FUNCTION durable.check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF current_setting('{SETUP}', true) = 'on' THEN
                RETURN NULL;
            ELSIF TG_OP = 'INSERT' AND NEW.status NOT IN ({beginnings}) THEN
                RAISE 'no run begins as %', NEW.status;
            ELSIF TG_OP = 'UPDATE' AND NEW.status <> OLD.status AND NOT ({allowed}) THEN
                RAISE 'no run that is % becomes %', OLD.status, NEW.status;
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER check_transition AFTER INSERT OR UPDATE OF status ON durable.runs
            FOR EACH ROW EXECUTE FUNCTION durable.check_transition()
        """.encode()
    )
