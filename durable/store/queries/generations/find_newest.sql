-- The run that was begun last with that key, if there is one under these shard values, as an array because it is one
-- column then: shard value, id, generation, status, and the call that began it. A run whose retry was requested no longer
-- counts as ended. And which shard counts there were.
SELECT shard_count, shard_counts, raising_to IS NOT NULL AS is_being_raised,
       (SELECT ARRAY[run.workflow_name_shard, run.run_id::text, coalesce(run.generation, 0)::text,
                     CASE WHEN run.status IN ('failed', 'cancelled') AND EXISTS (
                              SELECT FROM durable.events AS request
                              WHERE request.workflow_name_shard = run.workflow_name_shard AND request.run_id = run.run_id
                                AND request.kind = 'retry' AND request.routed_at IS NULL)
                          THEN 'queued' ELSE run.status END,
                     run.begin_id::text]
        FROM durable.runs AS run
        WHERE run.workflow_name_shard = ANY(%(shard_values)s::text::text[]) AND run.key = %(key)s
        ORDER BY run.generation DESC NULLS LAST
        LIMIT 1) AS newest
FROM durable.settings
