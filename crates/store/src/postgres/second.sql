-- What one reaper leaves to the next: workers that were silent, and the beat that a silence is about.
CREATE TABLE palisade_jobs.silence (
    incarnation text PRIMARY KEY, timeline text NOT NULL, beat bigint NOT NULL, silent_ms bigint NOT NULL
) WITH (fillfactor = 50);
-- The rules of queues as they were, each from when on and by whom.
CREATE TABLE palisade_jobs.queue_change (
    queue text NOT NULL, revision bigint NOT NULL, at_ms bigint NOT NULL, rules text NOT NULL, by text,
    PRIMARY KEY (queue, revision)
);
