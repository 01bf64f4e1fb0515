-- Why: a worker's lock counted as held whoever held it, so that any login could keep a dead worker alive for the length
-- of its lease. Now the row says whose lock counts. The key that marks the worker's other sessions is another one.
-- Locks: a short one on workers. Rows that workers of version 6 write have neither, and are judged as before.

ALTER TABLE durable.workers
    ADD COLUMN login       oid,
    ADD COLUMN session_key bigint;
