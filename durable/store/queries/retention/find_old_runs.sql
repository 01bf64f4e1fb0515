-- A page in the order of the ids, so that no run is read twice: the runs that ended at least this many seconds ago, and
-- the last run of a full page.
SELECT page.run_id::text, page.parent_shard, page.parent_run_id::text, page.is_old, page.place = %(limit)s AS is_last_of_full_page
FROM (
    SELECT run_id, parent_shard, parent_run_id, row_number() OVER (ORDER BY run_id) AS place,
           coalesce(completed_at < now() - make_interval(secs => %(age)s), false) AS is_old
    FROM durable.runs
    WHERE workflow_name_shard = %(shard_value)s AND run_id > %(after)s::uuid
    ORDER BY run_id
    LIMIT %(limit)s
) AS page
WHERE page.is_old OR page.place = %(limit)s
ORDER BY page.run_id
