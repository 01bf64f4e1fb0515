-- Why: a worker's lock counted as held even if another login held it, so that any login could keep a dead worker alive
-- for the length of its lease. Now the row says whose lock counts. The key that marks the worker's other sessions is
-- another one.
-- Locks: a short one on workers. Rows that workers of version 6 write have neither, and are judged as before.

ALTER TABLE durable.workers
    ADD COLUMN login       oid,
    ADD COLUMN session_key bigint;

COMMENT ON COLUMN durable.workers.login IS
    'The role as which it has logged in; a lock that is held by another role does not count. Null: written by version 6, '
    'where the lock counts even if another role holds it.';
COMMENT ON COLUMN durable.workers.session_key IS
    'The advisory lock that its sessions share, by which they are found and ended when it is dead.';
