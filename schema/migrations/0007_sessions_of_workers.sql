-- Why: a worker's lock counted as held whoever held it, so that any login could keep a dead worker alive for the length
-- of its lease. Now the row says which session holds it. The key that marks the worker's other sessions is another one.
-- Locks: a short one on workers. Rows that workers of version 6 write have neither, and are judged as before.

ALTER TABLE durable.workers
    ADD COLUMN lock_pid    integer,
    ADD COLUMN session_key bigint;
