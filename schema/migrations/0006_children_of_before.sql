-- Why: children that were begun before version 5, and their ends, get the columns that it added. This is a separate
-- migration because it may take long and must not hold the locks of version 5 meanwhile.
-- Locks: those of the rows that it changes; a worker waits for one of them as it would for another worker.

-- Clients may insert events with any text. Rows that no worker wrote are skipped: they must not stop the migration.
UPDATE durable.steps
SET child_shard = pg_catalog.left(output #>> '{}'::text[], -37),
    child_run_id = pg_catalog.right(output #>> '{}'::text[], 36)::uuid
WHERE kind = 'child' AND status = 'completed' AND child_run_id IS NULL
  AND output::text ~ '^".+_[0-9]+:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"$'
  AND pg_catalog.replace(output::text, '\\', '') !~* '\\u(0000|d[89a-f])';

UPDATE durable.events
SET child_status = pg_catalog.substring(payload::text, '^\{"status":"(completed|failed|cancelled)"')
WHERE kind = 'child' AND child_status IS NULL AND payload::text ~ '^\{"status":"(completed|failed|cancelled)"';
