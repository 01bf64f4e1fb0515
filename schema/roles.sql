-- Roles that have no more privileges than they need, for the schema as it is in this version. Run this script as a
-- superuser, or as a role that may create roles and owns the schema. Run it once after the schema was created, and
-- again after each `durable migrate` that applied something: until then, only the owner can use what a migration added.
-- The script revokes every other privilege on the schema, so it can be repeated, and it repairs what was granted by
-- hand.
--
-- None of the roles can log in. Grant them to the roles that do:
--   CREATE ROLE app LOGIN; GRANT durable_client TO app;              an application that begins runs
--   CREATE ROLE app_worker LOGIN; GRANT durable_worker TO app_worker;
--   CREATE ROLE deployer LOGIN; GRANT durable_owner TO deployer;     `durable migrate` and `prune` act as the owner
-- Privileges of workflows on the application's own tables must be granted by the application.
--
-- Roles belong to the server and not to a database: if another database has a schema of this name too, a login that is
-- granted one of these roles has its rights in both. Print this script with a name of its own for each of the two:
--   durable schema --roles --role-prefix shop                        makes the roles shop_owner, shop_client …

BEGIN;

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['durable_owner', 'durable_worker', 'durable_client', 'durable_viewer'] LOOP
        IF pg_catalog.to_regrole(wanted) IS NULL THEN
            EXECUTE 'CREATE ROLE ' || wanted || ' NOLOGIN';
        ELSIF EXISTS (
            SELECT FROM pg_catalog.pg_shdepend
            WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
              AND refobjid = pg_catalog.to_regrole(wanted)
              AND dbid NOT IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
        ) THEN
            RAISE WARNING 'the role % has rights in another database too, and so has every login that is granted it', wanted
                USING HINT = 'Give the roles of this database names of their own: durable schema --roles --role-prefix ...';
        END IF;
    END LOOP;
END
$$;

-- The owner: all DDL, by migrations only.
ALTER SCHEMA durable OWNER TO durable_owner;
DO $$
DECLARE
    owned pg_catalog.regclass;
BEGIN
    -- Only what does not belong to the owner yet: the change takes a lock that waits for every running statement.
    FOR owned IN
        SELECT oid FROM pg_catalog.pg_class
        WHERE relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = 'durable.runs'::pg_catalog.regclass)
          AND relkind IN ('r', 'p', 'v')
          AND relowner <> 'durable_owner'::pg_catalog.regrole
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s OWNER TO durable_owner', owned);
    END LOOP;
END
$$;
ALTER FUNCTION durable.delete_schedule(text) OWNER TO durable_owner;

REVOKE ALL ON SCHEMA durable FROM PUBLIC, durable_worker, durable_client, durable_viewer;
REVOKE ALL ON ALL TABLES IN SCHEMA durable FROM PUBLIC, durable_worker, durable_client, durable_viewer;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA durable FROM PUBLIC, durable_worker, durable_client, durable_viewer;
GRANT USAGE ON SCHEMA durable TO durable_worker, durable_client, durable_viewer;

-- The worker: it claims and records runs, begins the runs of schedules, and takes over the runs of dead workers. It
-- deletes no run; the events that a run has read, once the run has continued as new.
GRANT SELECT ON durable.settings, durable.workflow_pauses TO durable_worker;
GRANT SELECT, INSERT, UPDATE ON durable.runs TO durable_worker;
GRANT SELECT, INSERT ON durable.chapters TO durable_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON durable.events, durable.steps, durable.waits, durable.workers TO durable_worker;
GRANT SELECT, UPDATE ON durable.schedules TO durable_worker;

-- The client: it begins runs, queued or asleep; publishes events, makes requests, and requests cancels and retries; sees
-- the state of runs, what they returned and how they answered, but not what they were given; and creates and changes
-- schedules. It updates no run, event or memo. It has rights to columns only: a right to change the rows of a whole table
-- is also the right to lock the table. Columns that say what only the engine can say are not among them; checks of the
-- tables rely on that.
GRANT SELECT ON durable.settings TO durable_client;
GRANT INSERT (workflow_name_shard, run_id, workflow_name, version, status, priority, next_wake_at, deadline_at, key, tags,
              input, schedule_id, scheduled_at, headers, generation, follows, begin_id) ON durable.runs TO durable_client;
GRANT SELECT (workflow_name_shard, run_id, workflow_name, version, status, priority, attempts, takeovers, set_asides,
              isolation, next_wake_at, created_at, updated_at, completed_at, tags, output, error, status_detail, chapter, key,
              generation, follows, begin_id) ON durable.runs TO durable_client;
GRANT INSERT (workflow_name_shard, run_id, event_id, kind, name, key, payload) ON durable.events TO durable_client;
GRANT SELECT (workflow_name_shard, run_id, event_id, kind, name, key, routed_at, reply, refused, replied_at) ON durable.events
    TO durable_client;
GRANT INSERT (schedule_id, workflow_name, version, expression, timezone, input, catch_up, overlap, jitter, run_timeout,
              starts_at, ends_at, anchor_at, next_tick_at, due_at, created_at, updated_at, priority, tags, headers),
      UPDATE (workflow_name, version, expression, timezone, input, catch_up, overlap, jitter, run_timeout, starts_at,
              ends_at, anchor_at, next_tick_at, due_at, paused, problem, updated_at, priority, tags, headers),
      SELECT ON durable.schedules TO durable_client;
ALTER FUNCTION durable.delete_schedule(text) SECURITY DEFINER;
GRANT EXECUTE ON FUNCTION durable.delete_schedule(text) TO durable_client;

-- It pauses and resumes workflows.
GRANT INSERT (workflow_name, paused, reason), UPDATE (paused, reason, changed_at), SELECT
      ON durable.workflow_pauses TO durable_client;

-- It may know which workflows have living workers, so that waiting in vain can be said.
GRANT SELECT (workflows, heartbeat_at, lease) ON durable.workers TO durable_client;

-- The viewer: it sees everything but payloads.
GRANT SELECT ON durable.settings, durable.workers, durable.workflow_pauses, durable.run_overview, durable.step_overview, durable.wait_overview,
                durable.event_overview, durable.chapter_overview, durable.schedule_overview TO durable_viewer;

COMMIT;
