-- What could not be done for the schedule now will be tried later. If somebody has locked it meanwhile, the next claim
-- skips it.
UPDATE durable.schedules
SET due_at = now() + make_interval(secs => %(seconds)s)
WHERE schedule_id = ANY (ARRAY(SELECT schedule_id
                               FROM durable.schedules
                               WHERE schedule_id = %(schedule_id)s AND due_at <= now()
                               FOR UPDATE SKIP LOCKED))
