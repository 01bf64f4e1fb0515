-- Runs that this transaction has ended. What no run could be given is left out.
SELECT run.run_id::text, run.epoch, run.status, run.error::text AS error,
       CASE WHEN pg_catalog.pg_column_size(run.input) < 8000 OR pg_catalog.octet_length(run.input::text) <= 16777216
            THEN run.input::text END AS input,
       run.tags::text AS tags, run.headers::text AS headers, run.scheduled_at IS NOT NULL AS is_scheduled,
       run.chapter IS NOT NULL AS has_continued,
       run.parent_run_id::text,
       (SELECT max(event.event_id::text)
        FROM durable.events AS event
        WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = run.run_id
          AND event.run_id = ANY (%(run_ids)s::uuid[]) AND event.kind IN ('cancel', 'terminate')) AS request_id
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = ANY (%(run_ids)s::uuid[])
