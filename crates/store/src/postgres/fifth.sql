-- Whether a job was never given out, so that a claim need not look for its checkpoints. What a client of the version before
-- enqueues, and whatever comes back, does not say so, and is looked at.
ALTER TABLE palisade_jobs.job_ready ADD COLUMN fresh boolean;

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
        INSERT INTO palisade_jobs.job_ready (queue, priority, job, attempts, fresh) VALUES (queue_, priority_, id, 0, true);
    END IF;
END $$;
