-- The transactions that have locked the row of a run, if they are still open. The state of a session is hidden from
-- roles that may not see it. Workers lock rows for milliseconds.
SELECT activity.pid AS process_id, activity.usename::text AS user, activity.application_name AS application, activity.state,
       (extract(epoch FROM coalesce(activity.xact_start, prepared.prepared)) * 1e6)::bigint AS began_at
FROM durable.run_overview AS run
JOIN pg_catalog.pg_locks AS held
  ON held.locktype = 'transactionid' AND held.granted AND held.transactionid::text = run.locked_by
LEFT JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid = held.pid
LEFT JOIN pg_catalog.pg_prepared_xacts AS prepared ON prepared.transaction::text = run.locked_by
WHERE run.workflow_name_shard = %(shard_value)s AND run.run_id = %(run_id)s::uuid
