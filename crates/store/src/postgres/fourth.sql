-- What a reaper took from one worker on one ground, in one row however many jobs that are: it is the history of each of
-- them with the claim that ended, the reason of those that wait since, and what the worker is told at its next beat.
CREATE TABLE palisade_jobs.reap (
    number bigint PRIMARY KEY, incarnation text NOT NULL, at_ms bigint NOT NULL, jobs bigint[] NOT NULL,
    tokens bigint[] NOT NULL, attempts smallint[] NOT NULL, claim_events bigint[] NOT NULL,
    claimed_ms bigint[] NOT NULL, reap_after_ms bigint[] NOT NULL, span int8range NOT NULL, reason text NOT NULL,
    kind text NOT NULL, by text NOT NULL
);
-- Numbers that hardly repeat: to compress them costs more than it saves.
ALTER TABLE palisade_jobs.reap ALTER jobs SET STORAGE EXTERNAL, ALTER tokens SET STORAGE EXTERNAL,
    ALTER claim_events SET STORAGE EXTERNAL, ALTER claimed_ms SET STORAGE EXTERNAL;
CREATE INDEX reap_holder ON palisade_jobs.reap (incarnation);
-- One entry for each row: which rows may have a job. A list of every job would cost what the row saves.
CREATE INDEX reap_span ON palisade_jobs.reap USING gist (span);
CREATE INDEX reap_old ON palisade_jobs.reap (at_ms);
-- By which of them a job waits; its reason stands there.
ALTER TABLE palisade_jobs.job_wait ADD COLUMN reap bigint;
-- What a reap would otherwise have to look for in the row of each job, and by when its progress has to change.
ALTER TABLE palisade_jobs.job_run ADD COLUMN max_attempts smallint, ADD COLUMN progress_deadline_ms bigint;
CREATE INDEX job_run_paced ON palisade_jobs.job_run (job) WHERE progress_deadline_ms IS NOT NULL;
-- What becomes of a job whose worker beats and which makes no progress: alert, hold or requeue.
ALTER TABLE palisade_jobs.queue ADD COLUMN on_stuck text NOT NULL DEFAULT 'alert';
-- The key that a job was made with, so that two jobs with one key can be seen.
ALTER TABLE palisade_jobs.job ADD COLUMN idempotency_key text;

-- One job with a key: the job that bears the key already, or a new one.
CREATE OR REPLACE FUNCTION palisade_jobs.enqueue_keyed(
    queue_ text, payload_ text, priority_ smallint, start_ms bigint, wait_ms bigint, attempts_ smallint,
    unique_ text, idempotency_ text, reap_ms bigint, by_ text, OUT id bigint, OUT new boolean
) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    now_ bigint := palisade_jobs.now_ms();
    run_ bigint := coalesce(start_ms, now_ + wait_ms);
BEGIN
    LOOP
        new := false;
        SELECT k.job INTO id FROM palisade_jobs.idempotency k WHERE k.queue = queue_ AND k.key = idempotency_;
        IF FOUND THEN RETURN; END IF;
        SELECT k.job INTO id FROM palisade_jobs.live_key k WHERE k.queue = queue_ AND k.key = unique_;
        IF FOUND THEN RETURN; END IF;
        id := nextval('palisade_jobs.job_id');
        IF idempotency_ IS NOT NULL THEN
            -- Waits for another that makes the same key now, and then finds it at the next turn.
            INSERT INTO palisade_jobs.idempotency VALUES (queue_, idempotency_, id) ON CONFLICT DO NOTHING;
            CONTINUE WHEN NOT FOUND;
        END IF;
        IF unique_ IS NOT NULL THEN
            INSERT INTO palisade_jobs.live_key VALUES (queue_, unique_, id) ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                DELETE FROM palisade_jobs.idempotency k
                    WHERE k.queue = queue_ AND k.key = idempotency_ AND k.job = enqueue_keyed.id;
                CONTINUE;
            END IF;
        END IF;
        EXIT;
    END LOOP;
    new := true;
    INSERT INTO palisade_jobs.job (id, queue, payload, priority, enqueued_ms, run_ms, max_attempts, unique_key,
        asked_reap_after_ms, by, idempotency_key)
        VALUES (id, queue_, payload_, priority_, now_, run_, attempts_, unique_, reap_ms, by_, idempotency_);
    IF run_ > now_ THEN
        INSERT INTO palisade_jobs.job_wait VALUES (id, queue_, priority_, 0, 'scheduled', run_);
    ELSE
        INSERT INTO palisade_jobs.job_ready VALUES (queue_, priority_, id, 0);
    END IF;
END $$;
