-- Workers of version 4 of the schema fill none of the columns that version 5 added; while they work beside newer ones, what
-- they wrote of these runs is completed before it is read. What no worker wrote is skipped, as in migration 6.
WITH told AS (
    UPDATE durable.events
    SET child_status = pg_catalog.substring(payload::text, '^\{"status":"(completed|failed|cancelled)"')
    WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[])
      AND kind = 'child' AND child_status IS NULL AND payload::text ~ '^\{"status":"(completed|failed|cancelled)"'
)
UPDATE durable.steps
SET child_shard = pg_catalog.left(output #>> '{}'::text[], -37),
    child_run_id = pg_catalog.right(output #>> '{}'::text[], 36)::uuid
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[])
  AND kind = 'child' AND status = 'completed' AND child_run_id IS NULL
  AND output::text ~ '^".+_[0-9]+:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"$'
  AND pg_catalog.replace(output::text, '\\', '') !~* '\\u(0000|d[89a-f])'
