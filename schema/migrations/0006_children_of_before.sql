-- Why: children that were begun before version 5, and their ends, get the columns that it added. A migration of its own,
-- because it may take long and must not hold the locks of version 5 meanwhile.
-- Locks: those of the rows that it changes; a worker waits for one of them as it would for another worker.

UPDATE durable.steps
SET child_shard = pg_catalog.left(output #>> '{}'::text[], -37),
    child_run_id = pg_catalog.right(output #>> '{}'::text[], 36)::uuid
WHERE kind = 'child' AND status = 'completed' AND child_run_id IS NULL;

UPDATE durable.events
SET child_status = payload ->> 'status'::text
WHERE kind = 'child' AND child_status IS NULL;
