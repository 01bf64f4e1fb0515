-- An earlier failure is not the outcome of a run that is being tried again, or whose retry was requested.
SELECT run_id::text, status, output::text, CASE WHEN status IN ('failed', 'cancelled') THEN error::text END AS error
FROM (
    SELECT run.run_id, run.output, run.error,
           CASE WHEN run.status IN ('failed', 'cancelled') AND EXISTS (
                    SELECT FROM durable.events AS request
                    WHERE request.workflow_name_shard = %(shard_value)s AND request.run_id = run.run_id
                      AND request.kind = 'retry' AND request.routed_at IS NULL)
                THEN 'queued' ELSE run.status END AS status
    FROM durable.runs AS run
    WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = ANY(%(run_ids)s::text::uuid[])
) AS found
