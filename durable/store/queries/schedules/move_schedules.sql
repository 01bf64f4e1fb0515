-- Moves claimed schedules forward.
UPDATE durable.schedules AS schedule
SET next_tick_at = moved.next_tick_at, due_at = moved.due_at, buffered_tick_at = moved.buffered_tick_at,
    last_tick_at = coalesce(moved.last_tick_at, schedule.last_tick_at),
    last_run = coalesce(moved.last_run, schedule.last_run), updated_at = now()
FROM unnest(%(schedule_ids)s::text[], %(next_ticks)s::timestamptz[], %(dues)s::timestamptz[],
            %(buffered_ticks)s::timestamptz[], %(last_ticks)s::timestamptz[], %(last_runs)s::text[])
     AS moved (schedule_id, next_tick_at, due_at, buffered_tick_at, last_tick_at, last_run)
WHERE schedule.schedule_id = moved.schedule_id
