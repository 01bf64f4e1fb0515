-- The run leaves the worker until its first open wait ends or its deadline comes. Before version 5 of the schema, a
-- wait for a child kept the child's id as the name of an event.
UPDATE durable.runs AS run
SET status = CASE WHEN open.names IS NULL AND open.children IS NULL THEN 'sleeping' ELSE 'waiting_event' END,
    awaits = CASE WHEN open.children IS NULL THEN open.names ELSE coalesce(open.names, '{}') END,
    awaits_runs = open.children, next_wake_at = least(open.wake_at, run.deadline_at), worker_id = NULL, set_asides = 0,
    isolation = NULL, updated_at = now()
FROM (
    SELECT ours.run_id, ours.epoch, min(wait.wake_at) AS wake_at,
           pg_catalog.array_agg(CASE WHEN wait.wait_type = 'event' THEN wait.event_name
                                     ELSE pg_catalog.concat(wait.wait_type, ':', wait.event_name) END)
               FILTER (WHERE wait.wait_type IN ('event', 'request')) AS names,
           pg_catalog.array_agg(coalesce(wait.child_run_id, wait.event_name::uuid))
               FILTER (WHERE wait.wait_type = 'child_result') AS children
    FROM unnest(%(run_ids)s::uuid[], %(epochs)s::bigint[]) AS ours (run_id, epoch)
    JOIN durable.waits AS wait
      ON wait.workflow_name_shard = %(shard_value)s AND wait.run_id = ours.run_id AND wait.satisfied_at IS NULL
     AND wait.run_id = ANY (%(run_ids)s::uuid[])
    GROUP BY ours.run_id, ours.epoch
) AS open
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = open.run_id AND run.epoch = open.epoch
  AND run.run_id = ANY (%(run_ids)s::uuid[]) AND coalesce(run.worker_id = %(worker_id)s, false)
RETURNING run.run_id::text,
          CASE WHEN run.next_wake_at > '-infinity' AND run.next_wake_at < 'infinity'
               THEN extract(epoch FROM run.next_wake_at - run.updated_at)::numeric END AS wake_in
