-- Suspends schedules that cannot be read, with the reason, until they are scheduled again.
UPDATE durable.schedules AS schedule
SET problem = unread.problem, updated_at = now()
FROM unnest(%(schedule_ids)s::text[], %(problems)s::text[]) AS unread (schedule_id, problem)
WHERE schedule.schedule_id = unread.schedule_id
