-- Format 3: what `palisade guard install table backfill_jobs ... --dry-run` of commit 2f5bcab printed, as a superuser.
BEGIN;
SET LOCAL lock_timeout = '200ms';

DO $palisade$ BEGIN
  IF to_regrole('palisade_owner') IS NULL THEN
    CREATE ROLE palisade_owner NOLOGIN BYPASSRLS;
  END IF;
END $palisade$;
CREATE SCHEMA palisade AUTHORIZATION palisade_owner;
SET LOCAL ROLE palisade_owner;
COMMENT ON SCHEMA palisade IS 'Guards of Palisade, format 3. Take them away with: palisade guard remove table';
REVOKE ALL ON SCHEMA palisade FROM PUBLIC;

-- One row per guarded table: its columns by number, so that a rename is followed, and its rules.
CREATE TABLE palisade.guard (
  id integer PRIMARY KEY,
  relation regclass NOT NULL UNIQUE,
  mode text NOT NULL CHECK (mode IN ('observe', 'enforce')),
  status_column smallint NOT NULL,
  -- Whether a job runs as long as that column is not null; its states are then 'claimed' and 'free'.
  claimed boolean NOT NULL,
  beat_column smallint NOT NULL,
  -- Where the beat is in another table: that one, its column, and the column that beat_column is the value of.
  beat_relation regclass,
  beat_there smallint,
  beat_key smallint,
  key_columns smallint[] NOT NULL,
  reason_column smallint,
  mark_column smallint,
  running text[] NOT NULL,
  done text[] NOT NULL,
  own text[] NOT NULL,
  -- A worker's own exit changes one of these columns too; none at all where nothing is known about it.
  own_columns smallint[] NOT NULL,
  min_age interval NOT NULL,
  quiet_after interval NOT NULL,
  clock_skew interval NOT NULL,
  reason text,
  mark text,
  budget integer NOT NULL,
  budget_window interval NOT NULL,
  always boolean NOT NULL,
  identity_required boolean NOT NULL DEFAULT false,
  lease text,
  installed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  installed_by text NOT NULL DEFAULT session_user
);

-- Who changed which rule.
CREATE TABLE palisade.change (
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  guard integer NOT NULL,
  what text NOT NULL,
  role text NOT NULL DEFAULT session_user,
  address inet DEFAULT inet_client_addr()
);

-- What the rules need of a job's past, as long as it runs: a judgement does not search the history.
CREATE TABLE palisade.job (
  guard integer NOT NULL,
  key text NOT NULL,
  entered_at timestamptz,
  -- The highest beat that was set back by a little since.
  high timestamptz,
  -- The transactions that claimed and that moved it last, and the claim before that.
  claimed_by xid8,
  moved_by xid8,
  before timestamptz,
  PRIMARY KEY (guard, key)
);

-- Every committed entry into and exit from a running state, and what would have been refused in observe mode. A ring of
-- 32 days: there is always a place to write to, and nobody has to make one. What is older than a month is emptied by prune().
CREATE SEQUENCE palisade.history_id;
CREATE TABLE palisade.history (
  id bigint NOT NULL DEFAULT nextval('palisade.history_id'),
  day smallint NOT NULL DEFAULT (floor(extract(epoch FROM clock_timestamp()) / 86400)::bigint % 32)::smallint,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  guard integer NOT NULL,
  key text,
  event text NOT NULL,
  was text,
  became text,
  reason text,
  reason_was text,
  content text,
  beat timestamptz,
  age interval,
  ground text,
  code integer,
  app text DEFAULT current_setting('application_name'),
  role text DEFAULT session_user,
  address inet DEFAULT inet_client_addr(),
  backend integer DEFAULT pg_backend_pid(),
  xid xid8 DEFAULT pg_current_xact_id(),
  statement text,
  identity text,
  lease text,
  term bigint,
  epoch bigint,
  PRIMARY KEY (id, day)
) PARTITION BY LIST (day);
DO $palisade$ BEGIN
  FOR n IN 0..31 LOOP
    EXECUTE format('CREATE TABLE palisade.history_%s PARTITION OF palisade.history FOR VALUES IN (%s)',
      lpad(n::text, 2, '0'), n);
  END LOOP;
END $palisade$;
CREATE INDEX history_key ON palisade.history (guard, key, at);
CREATE INDEX history_finding ON palisade.history (guard, at) WHERE code IS NOT NULL;

-- The budget: a slot that an open transaction took counts as used, and nobody waits for it.
CREATE TABLE palisade.slot (
  guard integer NOT NULL,
  slot integer NOT NULL,
  taken_at timestamptz NOT NULL DEFAULT '-infinity',
  PRIMARY KEY (guard, slot)
);

-- How often something was refused. It outlives the rollback; after a crash it may jump, and never goes back.
CREATE SEQUENCE palisade.refused;

-- Nobody could beat before the server started, so silence is counted from there at the earliest.
CREATE FUNCTION palisade.started() RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $palisade$
  SELECT pg_postmaster_start_time();
$palisade$;

CREATE FUNCTION palisade.take_slot(g palisade.guard) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  free integer;
BEGIN
  FOR free IN
    SELECT s.slot FROM palisade.slot s
    WHERE s.guard = g.id AND s.taken_at < clock_timestamp() - g.budget_window ORDER BY s.slot
  LOOP
    CONTINUE WHEN NOT pg_try_advisory_xact_lock(hashtextextended(format('palisade.slot %s', free), g.id));
    BEGIN
      UPDATE palisade.slot s SET taken_at = clock_timestamp()
      WHERE s.guard = g.id AND s.slot = free AND s.taken_at < clock_timestamp() - g.budget_window;
      IF FOUND THEN
        RETURN true;
      END IF;
    EXCEPTION WHEN serialization_failure THEN
      -- Taken since this transaction began to look: it is used, and the app's transaction goes on.
      NULL;
    END;
  END LOOP;
  RETURN false;
END $palisade$;

-- The place of a moment in the ring, as the table's own default has it, without the arithmetic of numeric.
CREATE FUNCTION palisade.place_of(moment timestamptz) RETURNS smallint
LANGUAGE sql IMMUTABLE AS $palisade$
  SELECT (date_part('day', moment - '1970-01-01 00:00:00+00'::timestamptz)::integer % 32)::smallint;
$palisade$;

-- The statement without its values; where that is in doubt, nothing. A regular expression runs only where it has something
-- to find: a large update asks once for each row. A backslash stands in no other text than E'': how those are read does not
-- depend on standard_conforming_strings, which is the session's.
CREATE FUNCTION palisade.shape() RETURNS text
LANGUAGE plpgsql AS $palisade$
DECLARE
  text text := current_query();
BEGIN
  IF octet_length(text) > 1024 OR text <> translate(text, E'$\\', '') OR strpos(text, '--') > 0 OR strpos(text, '/*') > 0
    OR strpos(lower(text), 'password') > 0 AND text ~* E'\\mpassword\\M' THEN
    RETURN NULL;
  END IF;
  IF strpos(text, '''') > 0 THEN
    text := regexp_replace(text, '''(?:[^'']|'''')*''', '?', 'g');
    IF strpos(text, '''') > 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  IF text <> translate(text, '0123456789', '') THEN
    text := regexp_replace(text, E'\\m[0-9][0-9.]*', '?', 'g');
  END IF;
  IF text ~ E'\\s\\s|[^\\S ]' THEN
    text := regexp_replace(text, E'\\s+', ' ', 'g');
  END IF;
  RETURN rtrim(text, '; ');
END $palisade$;

-- What a row holds, in few letters and whatever the session's settings are: who undoes an exit compares it.
CREATE FUNCTION palisade.content(whole anyelement) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET intervalstyle = 'postgres'
SET bytea_output = 'hex' AS $palisade$
  SELECT md5(to_jsonb(whole)::text);
$palisade$;

-- Who acts in this transaction: what it proved, what it only claims, and what follows from both.
CREATE TYPE palisade.identity AS (
  app text,
  environment text,
  lease text,
  term bigint,
  epoch bigint,
  known boolean,
  proven boolean,
  minimum bigint,
  quarantine integer,
  -- The environments of the stamp and of the role's binding.
  home text,
  bound text
);

CREATE FUNCTION palisade.record(
  g palisade.guard, event text, key text, was text, became text, reason text, beat timestamptz, age interval,
  ground text, code integer, reason_was text DEFAULT NULL, content text DEFAULT NULL,
  me palisade.identity DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  INSERT INTO palisade.history (guard, event, key, was, became, reason, beat, age, ground, code, reason_was, content,
    statement, identity, lease, term, epoch)
  VALUES (g.id, event, key, was, became, left(reason, 1000), beat, age, ground, code, reason_was, content,
    CASE WHEN ground IS DISTINCT FROM 'done' AND event <> 'entry' THEN palisade.shape() END,
    me.app || '/' || me.environment, me.lease, me.term, me.epoch);
END $palisade$;

-- What breaks a rule: refused in enforce, recorded in observe. The error undoes the app's statement; the line in the
-- server's log and the step of the sequence stay.
CREATE FUNCTION palisade.finding(
  g palisade.guard, event text, key text, was text, became text, reason text, beat timestamptz, age interval,
  code integer, said text, reason_was text DEFAULT NULL, content text DEFAULT NULL, me palisade.identity DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  who text := format('role %s, application_name %L, from %s, server process %s', session_user,
    current_setting('application_name'), coalesce(host(inet_client_addr()), 'a local socket'), pg_backend_pid());
  what text := format('Palisade: %s in %s (job %s)', said, g.relation, coalesce(key, 'unknown'));
BEGIN
  -- A quarantine is a person's word, and holds in every mode.
  IF g.mode = 'observe' AND code <> 324 THEN
    RAISE LOG 'palisade: PAL-% would be refused: %; %', code, what, who;
    PERFORM palisade.record(g, event, key, was, became, reason, beat, age, 'observed', code, reason_was, content, me);
    RETURN;
  END IF;
  PERFORM nextval('palisade.refused');
  -- A mark that outlives the rollback and ends with the session: it is shared, so nobody waits for it.
  PERFORM pg_try_advisory_lock_shared(hashtext('palisade.refused'), code);
  RAISE LOG 'palisade: PAL-% refused: %; %', code, what, who;
  RAISE EXCEPTION USING ERRCODE = 'PL' || code, MESSAGE = what,
    DETAIL = format('PAL-%s. By %s.', code, who),
    HINT = format('This statement changed nothing. What it means and how to go on: palisade explain PAL-%s', code);
END $palisade$;

-- A job leaves its running state. Like all that is called for each row and by nothing but the functions of a table, it has
-- the search path of those; setting it again costs as much as a look at a table.
CREATE FUNCTION palisade.leave(
  rule integer, key text, was text, became text, beat timestamptz, reason text, mark text, readable boolean,
  reason_was text, content text, mine boolean, finished boolean
) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '200ms' AS $palisade$
DECLARE
  g palisade.guard;
  moment timestamptz := clock_timestamp();
  sign timestamptz;
  age interval;
  ground text;
  code integer;
  said text;
  me palisade.identity;
  -- Whether anything may be known about who acts, or held against it.
  somebody boolean := coalesce(current_setting('palisade.identity', true), '') <> '';
  shape text;
BEGIN
  IF somebody OR (SELECT w.watched FROM palisade.watch w) IS DISTINCT FROM false THEN
    somebody := true;
    me := palisade.me();
  END IF;
  DELETE FROM palisade.job j WHERE j.guard = rule AND j.key = leave.key
  RETURNING greatest(j.entered_at, j.high) INTO sign;
  IF finished AND (NOT somebody OR me.quarantine IS NULL) THEN
    ground := 'done';
    age := moment - greatest(sign, CASE WHEN beat <= moment THEN beat END);
  ELSE
    SELECT * INTO g FROM palisade.guard r WHERE r.id = rule;
    IF NOT FOUND THEN
      RETURN false;
    END IF;
    -- A beat from the future says nothing; a claim and a beat that was set back count as they were seen.
    sign := greatest(sign, CASE WHEN beat <= moment + g.clock_skew THEN beat END);
    age := moment - sign;
  END IF;
  IF ground = 'done' THEN
    NULL;
  ELSIF me.quarantine IS NOT NULL THEN
    code := 324;
  ELSIF became = ANY (g.done) THEN
    ground := 'done';
  ELSIF NOT readable THEN
    code := 307;
  -- An old build finishes what it holds, and does nothing else.
  ELSIF me.epoch < me.minimum AND NOT coalesce(age < g.quiet_after AND became = ANY (g.own) AND mine, false) THEN
    code := 323;
  ELSIF g.identity_required AND NOT palisade.satisfies(me) THEN
    code := 321;
  -- Palisade's own reaper shows its term, and stays behind the rule of age unless its lease is the one that is named.
  ELSIF me.proven AND me.term IS NOT NULL AND coalesce(g.lease = me.lease, me.lease NOT LIKE 'reaper/%') THEN
    ground := 'identity';
  ELSIF age < g.quiet_after AND became = ANY (g.own) AND mine THEN
    ground := 'own';
  ELSIF age < g.quiet_after THEN
    ground := 'fresh';
  ELSIF moment - greatest(coalesce(sign, g.installed_at), palisade.started()) >= g.min_age * 59 / 60 THEN
    ground := 'old';
  ELSIF reason ~ g.reason THEN
    ground := 'reason';
  ELSIF mark ~ g.mark THEN
    ground := 'mark';
  ELSE
    code := 301;
  END IF;
  IF ground IN ('fresh', 'reason', 'mark') AND NOT palisade.take_slot(g) THEN
    code := 302;
  END IF;
  IF code IS NULL THEN
    IF ground <> 'done' THEN
      shape := palisade.shape();
    END IF;
    IF somebody THEN
      INSERT INTO palisade.history (day, guard, event, key, was, became, reason, beat, age, ground, reason_was, content,
        statement, identity, lease, term, epoch)
      VALUES (palisade.place_of(moment), rule, 'exit', key, was, became, left(reason, 1000), beat, age, ground, reason_was, content,
        shape, me.app || '/' || me.environment, me.lease, me.term, me.epoch);
    ELSE
      INSERT INTO palisade.history (day, guard, event, key, was, became, reason, beat, age, ground, reason_was, content,
        statement)
      VALUES (palisade.place_of(moment), rule, 'exit', key, was, became, left(reason, 1000), beat, age, ground, reason_was, content,
        shape);
    END IF;
    RETURN true;
  END IF;
  said := format('%s -> %s refused: ', was, became) || CASE code
    WHEN 301 THEN format('its last heartbeat is %s old, and the rule is %s',
      coalesce(to_char(age, 'FMHH24"h" MI"m" SS"s"'), 'of unknown age,'), g.min_age)
    WHEN 302 THEN format('the budget of %s running jobs within %s is spent', g.budget, g.budget_window)
    WHEN 307 THEN 'the guard cannot read a column that it needs'
    ELSE palisade.barred(code, me) END;
  PERFORM palisade.finding(g, 'exit', key, was, became, reason, beat, age, code, said, reason_was, content, me);
  RETURN true;
END $palisade$;

-- A claim counts as a beat, unless the same transaction moves the job: that is no sign of life.
CREATE FUNCTION palisade.claim(rule integer, key text) RETURNS void
LANGUAGE plpgsql AS $palisade$
#variable_conflict use_column
BEGIN
  INSERT INTO palisade.job AS j (guard, key, entered_at, claimed_by)
  VALUES (claim.rule, claim.key, clock_timestamp(), pg_current_xact_id())
  ON CONFLICT (guard, key) DO UPDATE SET claimed_by = excluded.claimed_by, before = j.entered_at,
    entered_at = CASE WHEN j.moved_by = excluded.claimed_by THEN j.entered_at ELSE excluded.entered_at END,
    high = CASE WHEN j.moved_by = excluded.claimed_by THEN j.high END;
END $palisade$;

-- A job enters a running state.
CREATE FUNCTION palisade.come(rule integer, key text, was text, became text, beat timestamptz) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '200ms' AS $palisade$
DECLARE
  g palisade.guard;
  me palisade.identity;
  moment timestamptz := clock_timestamp();
  somebody boolean := coalesce(current_setting('palisade.identity', true), '') <> '';
  watched boolean;
  home text;
  alien text;
  code integer;
BEGIN
  SELECT * INTO g FROM palisade.guard r WHERE r.id = rule;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  SELECT w.watched, w.home INTO watched, home FROM palisade.watch w;
  -- A name that tells of an environment has a mark in it; most have none.
  IF somebody OR watched IS DISTINCT FROM false OR home IS NOT NULL
    AND current_setting('application_name') <> translate(current_setting('application_name'), '-_./', '') THEN
    somebody := true;
    me := palisade.me();
    alien := palisade.foreign_by(me);
    code := CASE WHEN me.quarantine IS NOT NULL THEN 324 WHEN me.epoch < me.minimum THEN 323 END;
  END IF;
  code := CASE
    WHEN code IS NOT NULL THEN code
    WHEN g.identity_required AND (NOT somebody OR NOT palisade.satisfies(me)) THEN 321
    WHEN alien IS NOT NULL THEN 335
    WHEN beat > moment + g.clock_skew THEN 305 END;
  IF code IS NOT NULL THEN
    PERFORM palisade.finding(g, 'entry', key, was, became, NULL, beat, NULL, code,
      CASE code WHEN 305 THEN format('a heartbeat of %s lies more than %s in the future', beat, g.clock_skew)
      ELSE format('%s -> %s refused: ', coalesce(was, 'nothing'), became)
        || CASE code WHEN 335 THEN alien ELSE palisade.barred(code, me) END END, me => me);
  ELSIF somebody THEN
    INSERT INTO palisade.history (day, guard, event, key, was, became, beat, identity, lease, term, epoch)
    VALUES (palisade.place_of(moment), rule, 'entry', key, was, became, beat, me.app || '/' || me.environment, me.lease, me.term,
      me.epoch);
  ELSE
    INSERT INTO palisade.history (day, guard, event, key, was, became, beat)
    VALUES (palisade.place_of(moment), rule, 'entry', key, was, became, beat);
  END IF;
  -- Beside a beat that comes with it a claim tells nothing more.
  IF key IS NOT NULL AND (beat BETWEEN moment - interval '1 second' AND moment + g.clock_skew) IS NOT TRUE THEN
    PERFORM palisade.claim(rule, key);
  END IF;
  RETURN true;
END $palisade$;

-- The highest beat counts, also after it was set back by a little.
CREATE FUNCTION palisade.remember(rule integer, key text, highest timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
#variable_conflict use_column
BEGIN
  INSERT INTO palisade.job AS j (guard, key, high) VALUES (remember.rule, remember.key, remember.highest)
  ON CONFLICT (guard, key) DO UPDATE SET high = excluded.high;
END $palisade$;

-- The key or the beat of a job that stays in a running state changes in a way that only a mistake or an evasion does.
CREATE FUNCTION palisade.stay(
  rule integer, key text, became_key text, state text, beat timestamptz, became_beat timestamptz
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $palisade$
DECLARE
  g palisade.guard;
  highest timestamptz;
BEGIN
  SELECT * INTO g FROM palisade.guard r WHERE r.id = rule;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF became_key IS DISTINCT FROM key THEN
    PERFORM palisade.finding(g, 'key', key, state, state, NULL, beat, NULL, 306,
      format('the key of a running job would become %s', coalesce(became_key, 'NULL')));
  END IF;
  IF became_beat > clock_timestamp() + g.clock_skew THEN
    PERFORM palisade.finding(g, 'beat', key, state, state, NULL, became_beat, NULL, 305,
      format('a heartbeat of %s lies more than %s in the future', became_beat, g.clock_skew));
  END IF;
  IF became_beat >= beat OR beat IS NULL OR beat > clock_timestamp() + g.clock_skew THEN
    RETURN;
  END IF;
  highest := greatest(beat, (SELECT j.high FROM palisade.job j WHERE j.guard = rule AND j.key = stay.key));
  IF became_beat >= highest - g.clock_skew THEN
    PERFORM palisade.remember(rule, key, highest);
    PERFORM palisade.record(g, 'set-back', key, state, state, NULL, highest, NULL, NULL, NULL);
  ELSE
    PERFORM palisade.finding(g, 'set-back', key, state, state, NULL, highest, NULL, 304,
      format('the heartbeat would be set back from %s to %s', highest, coalesce(became_beat::text, 'nothing')));
  END IF;
END $palisade$;

-- A running job was deleted and put back in one statement: that is no claim, and no sign of life.
CREATE FUNCTION palisade.moved(rule integer, key text, state text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
#variable_conflict use_column
BEGIN
  INSERT INTO palisade.job AS j (guard, key, moved_by) VALUES (moved.rule, moved.key, pg_current_xact_id())
  ON CONFLICT (guard, key) DO UPDATE SET moved_by = excluded.moved_by,
    entered_at = CASE WHEN j.claimed_by = excluded.moved_by THEN j.before ELSE j.entered_at END;
  PERFORM palisade.record(g, 'moved', moved.key, moved.state, moved.state, NULL, NULL, NULL, NULL, NULL)
  FROM palisade.guard g WHERE g.id = moved.rule;
END $palisade$;

-- A job stays in a running state.
CREATE FUNCTION palisade.keep(
  rule integer, put_back boolean, readable boolean, key text, became_key text, state text, beat timestamptz,
  became_beat timestamptz
) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '200ms' AS $palisade$
BEGIN
  IF put_back THEN
    PERFORM palisade.moved(rule, key, state);
  END IF;
  IF readable AND (became_key IS DISTINCT FROM key OR became_beat < beat OR became_beat IS NULL AND beat IS NOT NULL
    OR became_beat > clock_timestamp()) THEN
    PERFORM palisade.stay(rule, key, became_key, state, beat, became_beat);
  END IF;
  RETURN false;
END $palisade$;

-- A table would be emptied: nothing else says that its running jobs may go. Rows that a policy hides are an error here, and
-- not rows that do not run.
CREATE FUNCTION palisade.empty(rule integer, emptied oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $palisade$
DECLARE
  g palisade.guard;
  name text;
  running bigint;
BEGIN
  SELECT * INTO g FROM palisade.guard r WHERE r.id = rule;
  name := palisade.column_name(g.relation, g.status_column);
  IF name IS NULL THEN
    RETURN;
  END IF;
  EXECUTE format(CASE WHEN g.claimed THEN 'SELECT count(*) FROM %s t WHERE t.%I IS NOT NULL'
    ELSE 'SELECT count(*) FROM %s t WHERE t.%I::text = ANY ($1)' END, emptied::regclass, name)
  INTO running USING g.running;
  IF running > 0 THEN
    PERFORM palisade.finding(g, 'truncate', NULL, NULL, NULL, NULL, NULL, NULL, 303,
      format('TRUNCATE would take %s running jobs', running));
  END IF;
END $palisade$;

-- Whether a guard refuses; one whose rules cannot be read does.
CREATE FUNCTION palisade.enforces(rule integer) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $palisade$
BEGIN
  RETURN coalesce((SELECT r.mode <> 'observe' FROM palisade.guard r WHERE r.id = rule), true);
EXCEPTION WHEN OTHERS THEN
  RETURN true;
END $palisade$;

-- The names that the guarded columns have now, after whatever was renamed since; NULL for one that is gone.
CREATE FUNCTION palisade.column_name(relation oid, number smallint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $palisade$
  SELECT a.attname FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = number AND NOT a.attisdropped;
$palisade$;

-- What a row holds, read the slow way: for rows of a table that was altered since the guard was made.
CREATE FUNCTION palisade.read(
  rule integer, content jsonb, OUT status text, OUT beat timestamptz, OUT key text, OUT reason text, OUT mark text,
  OUT readable boolean
) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $palisade$
DECLARE
  g palisade.guard;
  name text;
BEGIN
  SELECT * INTO g FROM palisade.guard r WHERE r.id = rule;
  status := content ->> palisade.column_name(g.relation, g.status_column);
  IF g.claimed THEN
    status := CASE WHEN status IS NULL THEN 'free' ELSE 'claimed' END;
  END IF;
  SELECT CASE WHEN count(*) = 1 THEN min(part) ELSE '(' || string_agg(part, ',' ORDER BY at) || ')' END INTO key
  FROM (SELECT content ->> palisade.column_name(g.relation, number) AS part, at
    FROM unnest(g.key_columns) WITH ORDINALITY AS k (number, at)) parts;
  reason := content ->> palisade.column_name(g.relation, g.reason_column);
  mark := content ->> palisade.column_name(g.relation, g.mark_column);
  name := palisade.column_name(g.relation, g.beat_column);
  readable := name IS NOT NULL AND key IS NOT NULL;
  IF g.beat_relation IS NULL THEN
    beat := content ->> name;
  ELSE
    EXECUTE format('SELECT b.%I FROM %s b WHERE b.%I::text = $1',
      palisade.column_name(g.beat_relation, g.beat_there), g.beat_relation,
      palisade.column_name(g.beat_relation, g.beat_key)) INTO beat USING content ->> name;
  END IF;
EXCEPTION WHEN OTHERS THEN
  readable := false;
END $palisade$;

-- Empties the days of the history that are older than that, and says which. It waits for nobody: what is in use is left for
-- the next time. Nobody writes to a day that is over, so a whole one is emptied at once.
CREATE FUNCTION palisade.prune(keep interval, dry boolean, OUT day text, OUT until timestamptz, OUT bytes bigint, OUT done text)
RETURNS SETOF record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $palisade$
DECLARE
  edge timestamptz := clock_timestamp() - keep;
  oldest timestamptz;
BEGIN
  FOR day IN SELECT i.inhrelid::regclass::text FROM pg_inherits i WHERE i.inhparent = 'palisade.history'::regclass ORDER BY 1
  LOOP
    BEGIN
      EXECUTE format('SELECT (SELECT h.at FROM %1$s h ORDER BY h.id LIMIT 1), (SELECT h.at FROM %1$s h ORDER BY h.id DESC LIMIT 1)',
        day) INTO oldest, until;
      CONTINUE WHEN oldest IS NULL OR oldest >= edge;
      bytes := pg_total_relation_size(day::regclass);
      done := CASE WHEN dry THEN 'would be ' ELSE '' END || CASE WHEN until < edge THEN 'emptied' ELSE 'cleared of old rows' END;
      IF dry THEN
        NULL;
      ELSIF until < edge THEN
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', day);
        EXECUTE format('SELECT h.at FROM %s h ORDER BY h.id DESC LIMIT 1', day) INTO until;
        CONTINUE WHEN until >= edge;
        EXECUTE format('TRUNCATE %s', day);
      ELSE
        EXECUTE format('DELETE FROM %s h WHERE h.at < $1', day) USING edge;
      END IF;
    EXCEPTION WHEN lock_not_available THEN
      done := 'in use: left for the next time';
    END;
    RETURN NEXT;
  END LOOP;
END $palisade$;

-- Which environment this database belongs to, bound to what a copy does not have. The signature is for clients: a
-- database cannot check it.
CREATE TABLE palisade.stamp (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  environment text NOT NULL,
  system_identifier text,
  database_oid oid NOT NULL,
  timeline integer,
  branch text NOT NULL DEFAULT '',
  stamped_at timestamptz NOT NULL,
  stamped_by text NOT NULL DEFAULT session_user,
  signature text
);

-- Renewed by an agent: what a physical copy stops having. No row: nobody renews it, and nothing follows.
CREATE TABLE palisade.beacon (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  at timestamptz NOT NULL,
  max_age interval NOT NULL,
  agent text NOT NULL
);

-- This database as it is now, as far as this server tells.
CREATE FUNCTION palisade.database(OUT system text, OUT number oid, OUT timeline integer, OUT branch text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  SELECT d.oid INTO number FROM pg_database d WHERE d.datname = current_database();
  branch := coalesce(nullif(current_setting('neon.branch_id', true), ''), current_setting('neon.timeline_id', true), '');
  BEGIN
    SELECT s.system_identifier INTO system FROM pg_control_system() s;
    timeline := ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer;
  EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported OR object_not_in_prerequisite_state THEN
    -- Some providers do not tell, and a standby has no place to write at.
    NULL;
  END;
END $palisade$;

-- All of it in one look: what this database is, how proofs name it, and what keeps the stamp from counting, or NULL. Only a
-- copy is certain; the others take rights away and refuse nothing.
CREATE FUNCTION palisade.place(OUT id text, OUT environment text, OUT flaw text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  SELECT coalesce(d.system, 'unknown') || '/' || d.number || CASE WHEN d.branch <> '' THEN '/' || d.branch ELSE '' END,
    s.environment, CASE
    WHEN s.one IS NULL THEN 'unstamped'
    -- Where the stamp names no branch, a setting of that name is nobody's but the session's own.
    WHEN s.system_identifier <> d.system OR s.database_oid <> d.number OR s.branch <> '' AND s.branch <> d.branch THEN 'copy'
    WHEN s.timeline <> d.timeline THEN 'promoted'
    WHEN b.at < clock_timestamp() - b.max_age THEN 'stale' END INTO id, environment, flaw
  FROM palisade.database() d LEFT JOIN palisade.stamp s ON true LEFT JOIN palisade.beacon b ON true;
END $palisade$;

CREATE FUNCTION palisade.database_id() RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $palisade$ SELECT p.id FROM palisade.place() p $palisade$;

CREATE FUNCTION palisade.flaw() RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $palisade$ SELECT p.flaw FROM palisade.place() p $palisade$;

-- RFC 2104 over SHA-256, from what every server has built in. A block of it is the key, padded, against one byte: bit_send
-- puts a length before the bits. What is called for each transaction is PL/pgSQL of few expressions, which keeps its plans:
-- making them anew costs more than the digests.
CREATE FUNCTION palisade.pad(key bytea, mask bit(512)) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  RETURN substr(bit_send(('x' || rpad(encode(CASE WHEN octet_length(key) > 64 THEN sha256(key) ELSE key END, 'hex'), 128, '0'))::bit(512)
    # mask), 5);
END $palisade$;

CREATE FUNCTION palisade.hmac(key bytea, message bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  padded bit(512) := ('x' || rpad(encode(CASE WHEN octet_length(key) > 64 THEN sha256(key) ELSE key END, 'hex'), 128, '0'))::bit(512);
BEGIN
  RETURN sha256(substr(bit_send(padded # X'5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c'), 5) || sha256(substr(bit_send(padded # X'36363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636'), 5) || message));
END $palisade$;

-- The verifier: drawn by the server when this is made and at every REFRESH, and in no dump. Every key comes from it. The
-- blocks are those of its two keys, so that deriving a key, or a seal, costs two digests.
CREATE MATERIALIZED VIEW palisade.secret AS
  WITH drawn AS MATERIALIZED (
    SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) AS key,
      sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) AS seal
  )
  SELECT key, palisade.pad(key, X'36363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636') AS key_inner, palisade.pad(key, X'5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c') AS key_outer,
    palisade.pad(seal, X'36363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636363636') AS inner_block, palisade.pad(seal, X'5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c') AS outer_block
  FROM drawn;

-- Who may prove itself, and which builds of it are too old to begin anything.
CREATE TABLE palisade.app (
  app text NOT NULL,
  environment text NOT NULL,
  generation integer NOT NULL DEFAULT 0,
  previous_until timestamptz NOT NULL DEFAULT '-infinity',
  minimum_epoch bigint,
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  changed_by text NOT NULL DEFAULT session_user,
  PRIMARY KEY (app, environment)
);

-- Who is shut out, until it is lifted. Every part that is named has to fit.
CREATE TABLE palisade.quarantine (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  app text,
  role text,
  build text,
  reason text,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  by text NOT NULL DEFAULT session_user,
  lifted_at timestamptz,
  lifted_by text,
  CHECK (num_nonnulls(app, role, build) > 0)
);

-- Leases: a takeover changes the term, which the fence's lock on (name, term) makes wait; a renewal does not.
CREATE TABLE palisade.lease (
  name text PRIMARY KEY,
  term bigint NOT NULL,
  holder text NOT NULL,
  -- Who logged in when it was taken: a holder's name is a claim, and others may read it.
  role text NOT NULL DEFAULT session_user,
  acquired_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  renewals bigint NOT NULL DEFAULT 0,
  UNIQUE (name, term)
);

-- The key of an app. It is never stored.
CREATE FUNCTION palisade.key(app text, environment text, generation integer) RETURNS bytea
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  message bytea := convert_to(format(E'palisade-key/1\n%s\n%s\n%s', app, environment, generation), 'UTF8');
BEGIN
  RETURN (SELECT sha256(s.key_outer || sha256(s.key_inner || message)) FROM palisade.secret s);
END $palisade$;

-- What only this server can write, and only for this transaction of this server process.
CREATE FUNCTION palisade.seal(content text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  message bytea := convert_to(format('%s %s %s', pg_backend_pid(), pg_current_xact_id(), content), 'UTF8');
BEGIN
  RETURN (SELECT encode(sha256(s.outer_block || sha256(s.inner_block || message)), 'hex') FROM palisade.secret s);
END $palisade$;

-- The name that a client gives itself: app, app/environment, app@epoch or app/environment@epoch, then anything.
CREATE FUNCTION palisade.claimed() RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  -- A bare name, which most are: the regular expression costs more than all that is done with it.
  IF translate(current_setting('application_name'),
    'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-', '') = '' THEN
    RETURN ARRAY[current_setting('application_name'), NULL, NULL];
  END IF;
  RETURN coalesce(regexp_match(current_setting('application_name'),
    '^([A-Za-z0-9][A-Za-z0-9._-]*)(?:/([A-Za-z0-9][A-Za-z0-9._-]*))?(?:@([0-9]{1,18}))?(?:[ :].*)?$'),
    ARRAY[current_setting('application_name'), NULL, NULL]);
END $palisade$;

-- A claim may only lower rights: it is looked at for quarantines and epochs, and proves nothing.
CREATE FUNCTION palisade.weigh(me palisade.identity) RETURNS palisade.identity
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  watched boolean;
  claim text[];
BEGIN
  SELECT w.watched, s.environment, b.environment INTO watched, me.home, me.bound
  FROM (SELECT EXISTS (SELECT FROM palisade.app a WHERE a.minimum_epoch IS NOT NULL)
      OR EXISTS (SELECT FROM palisade.quarantine q WHERE q.lifted_at IS NULL) AS watched) w
    LEFT JOIN palisade.stamp s ON true LEFT JOIN palisade.binding b ON b.role = session_user;
  IF NOT watched THEN
    RETURN me;
  END IF;
  claim := palisade.claimed();
  me.epoch := coalesce(me.epoch, claim[3]::bigint);
  SELECT a.minimum_epoch INTO me.minimum FROM palisade.app a WHERE a.app = coalesce(me.app, claim[1])
    AND a.environment = coalesce(me.environment, claim[2], me.home);
  SELECT min(q.id) INTO me.quarantine FROM palisade.quarantine q
  WHERE q.lifted_at IS NULL AND (q.app IS NULL OR q.app IN (me.app, claim[1], current_setting('application_name')))
    AND (q.role IS NULL OR q.role = session_user) AND (q.build IS NULL OR q.build = me.epoch::text);
  RETURN me;
END $palisade$;

CREATE FUNCTION palisade.me() RETURNS palisade.identity
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  sealed text := coalesce(current_setting('palisade.identity', true), '');
  me palisade.identity;
BEGIN
  IF sealed <> '' AND palisade.seal(substr(sealed, 65)) = left(sealed, 64) THEN
    me := jsonb_populate_record(NULL::palisade.identity, substr(sealed, 65)::jsonb);
  END IF;
  me.known := coalesce(me.known, false);
  me.proven := coalesce(me.proven, false);
  RETURN palisade.weigh(me);
END $palisade$;

-- Whether that is enough where identity is required: known, and of a known build where builds count.
CREATE FUNCTION palisade.satisfies(me palisade.identity) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  RETURN coalesce(me.known, false) AND (me.minimum IS NULL OR me.epoch IS NOT NULL);
END $palisade$;

CREATE FUNCTION palisade.barred(code integer, me palisade.identity) RETURNS text
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $palisade$
  SELECT CASE code
    WHEN 321 THEN CASE WHEN (me).known THEN 'this table asks for the epoch of a build, and none was given'
      ELSE 'this table asks for an identity, and the transaction has none' END
    WHEN 323 THEN format('the build is of epoch %s, and at least %s is asked for', (me).epoch, (me).minimum)
    ELSE (SELECT format('quarantine %s (%s)', q.id, concat_ws(', ', 'app ' || q.app, 'role ' || q.role,
      'build ' || q.build, q.reason)) FROM palisade.quarantine q WHERE q.id = (me).quarantine) END;
$palisade$;

CREATE FUNCTION palisade.refuse(code text, said text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'PL' || code, MESSAGE = 'Palisade: ' || said,
    DETAIL = format('PAL-%s. By role %s, application_name %L, from %s, server process %s.', code, session_user,
      current_setting('application_name'), coalesce(host(inet_client_addr()), 'a local socket'), pg_backend_pid()),
    HINT = format('What it means and how to go on: palisade explain PAL-%s', code);
END $palisade$;

-- Why a proof does not count, or NULL. It is good for half a minute around its moment.
CREATE FUNCTION palisade.disproof(app text, environment text, proof text, database text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  moment text := split_part($3, '-', 1);
  mac text := split_part($3, '-', 2);
  a palisade.app;
  old numeric;
  message bytea;
  key bytea;
BEGIN
  -- A regular expression that captures both parts costs more than all of the rest.
  IF $3 IS DISTINCT FROM moment || '-' || mac OR length(moment) NOT BETWEEN 1 AND 12 OR length(mac) <> 64
    OR translate(moment, '0123456789', '') <> '' OR translate(mac, '0123456789abcdef', '') <> '' THEN
    RETURN 'it is none';
  END IF;
  old := extract(epoch FROM clock_timestamp()) - moment::numeric;
  IF abs(old) > 30 THEN
    RETURN format('it is %s s old by the clock of this server, and counts for 30', round(old));
  END IF;
  SELECT * INTO a FROM palisade.app k WHERE k.app = $1 AND k.environment = $2 AND k.generation > 0;
  IF NOT FOUND THEN
    RETURN format('%s/%s has no key here', $1, $2);
  END IF;
  message := convert_to(format(E'palisade-proof/1\n%s\n%s\n%s\n%s', $4, $1, $2, moment), 'UTF8');
  -- Digests are compared, so that how long it takes tells nothing.
  key := palisade.key($1, $2, a.generation);
  IF sha256(palisade.hmac(key, message)) = sha256(decode(mac, 'hex')) THEN
    RETURN NULL;
  ELSIF a.previous_until > clock_timestamp() THEN
    key := palisade.key($1, $2, a.generation - 1);
    IF sha256(palisade.hmac(key, message)) = sha256(decode(mac, 'hex')) THEN
      RETURN NULL;
    END IF;
  END IF;
  RETURN 'it was made with another key, for another app or for another database';
END $palisade$;

-- An app says who it is, for this transaction and no other. Answers 'proven', or why the proof gives no rights here.
CREATE FUNCTION palisade.begin(
  app text, environment text, proof text, lease text DEFAULT NULL, term bigint DEFAULT NULL, epoch bigint DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  here record;
  why text;
  me palisade.identity;
  content text;
BEGIN
  SELECT * INTO here FROM palisade.place();
  IF here.environment <> $2 THEN
    PERFORM palisade.refuse('010', format('this is a database of %s, not of %s', here.environment, $2));
  ELSIF here.flaw = 'copy' THEN
    PERFORM palisade.refuse('011', format('this is a copy of a database of %s', here.environment));
  END IF;
  why := palisade.disproof($1, $2, $3, here.id);
  IF why IS NOT NULL THEN
    PERFORM palisade.refuse('014', format('the proof of %s/%s does not count: %s', $1, $2, why));
  END IF;
  IF $4 IS NOT NULL OR $5 IS NOT NULL THEN
    PERFORM 1 FROM palisade.lease l
    WHERE l.name = $4 AND l.term = $5 AND l.expires_at > clock_timestamp() FOR KEY SHARE;
    IF NOT FOUND THEN
      PERFORM palisade.refuse('322', format('term %s of the lease %s is over', $5, coalesce($4, 'without a name')));
    END IF;
  END IF;
  me := palisade.weigh(ROW($1, $2, $4, $5, $6, true, here.flaw IS NULL, NULL, NULL, NULL, NULL)::palisade.identity);
  IF me.quarantine IS NOT NULL THEN
    PERFORM palisade.refuse('324', palisade.barred(324, me));
  END IF;
  content := jsonb_strip_nulls(jsonb_build_object('app', $1, 'environment', $2, 'lease', $4, 'term', $5, 'epoch', $6,
    'known', true, 'proven', here.flaw IS NULL))::text;
  PERFORM set_config('palisade.identity', palisade.seal(content) || content, true);
  RETURN coalesce(here.flaw, 'proven');
END $palisade$;

-- Takes a lease that is free or over, and answers its new term; NULL while somebody holds it.
CREATE FUNCTION palisade.acquire(lease text, holder text, span interval) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
  INSERT INTO palisade.lease AS l (name, term, holder, acquired_at, expires_at)
  VALUES ($1, 1, $2, clock_timestamp(), clock_timestamp() + $3)
  ON CONFLICT (name) DO UPDATE SET term = l.term + 1, holder = excluded.holder, role = excluded.role,
    acquired_at = excluded.acquired_at, expires_at = excluded.expires_at, renewals = 0
  WHERE l.expires_at <= clock_timestamp()
  RETURNING l.term;
$palisade$;

-- Whether the term still was the holder's, and so was prolonged. Only the role that took it may, under the name that it gave.
CREATE FUNCTION palisade.renew(lease text, holder text, term bigint, span interval) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
  WITH renewed AS (
    UPDATE palisade.lease l SET expires_at = clock_timestamp() + $4, renewals = l.renewals + 1
    WHERE l.name = $1 AND l.holder = $2 AND l.role = session_user AND l.term = $3 AND l.expires_at > clock_timestamp()
    RETURNING 1
  ) SELECT EXISTS (SELECT FROM renewed);
$palisade$;

CREATE FUNCTION palisade.release(lease text, holder text, term bigint) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
  WITH released AS (
    UPDATE palisade.lease l SET expires_at = '-infinity'
    WHERE l.name = $1 AND l.holder = $2 AND l.role = session_user AND l.term = $3 RETURNING 1
  ) SELECT EXISTS (SELECT FROM released);
$palisade$;

-- Roles that belong to one environment: what a client cannot claim away.
CREATE TABLE palisade.binding (
  role text PRIMARY KEY,
  environment text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  by text NOT NULL DEFAULT session_user
);

-- The environment that the end of a name tells of by convention, such as -test; NULL where it tells of none.
CREATE FUNCTION palisade.told(name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $palisade$
  SELECT CASE lower((regexp_match(name, '[-_.](test|tests|testing|stage|staging|dev|development|preview|qa|sandbox)$', 'i'))[1])
    WHEN 'tests' THEN 'test' WHEN 'testing' THEN 'test' WHEN 'stage' THEN 'staging' WHEN 'development' THEN 'dev'
    ELSE lower((regexp_match(name, '[-_.](test|staging|dev|preview|qa|sandbox)$', 'i'))[1]) END;
$palisade$;

-- Why a client is one of another environment than this database is stamped with, or NULL: by its role, by what it proved,
-- or by what it calls itself. On a copy the stamp says nothing about who works there.
CREATE FUNCTION palisade.foreign_by(me palisade.identity) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  home text := me.home;
  claim text[];
  told text;
  why text;
BEGIN
  IF home IS NULL THEN
    RETURN NULL;
  END IF;
  IF me.bound IS NOT NULL OR me.environment IS NOT NULL THEN
    why := CASE WHEN me.bound <> home THEN format('its role %s belongs to %s', session_user, me.bound)
      WHEN me.environment <> home THEN format('it proved to be of %s', me.environment) END;
  ELSE
    claim := palisade.claimed();
    IF claim[2] IS NULL AND claim[1] <> translate(claim[1], '-_.', '') THEN
      told := palisade.told(claim[1]);
    END IF;
    why := CASE WHEN claim[2] <> home THEN format('it says that it is of %s', claim[2])
      WHEN told IS NULL THEN NULL
      WHEN told NOT IN (home, coalesce(palisade.told('-' || home), home))
        THEN format('its name %s tells of %s', claim[1], told) END;
  END IF;
  IF why IS NULL OR palisade.flaw() = 'copy' THEN
    RETURN NULL;
  END IF;
  RETURN format('a client of another environment may not claim a job of %s: %s', home, why);
END $palisade$;

-- What a judgement looks at first, in one row: whether anybody has to be told apart here. The tables that it sums up keep it.
CREATE TABLE palisade.watch (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  -- A build may be too old, somebody is in quarantine, or a role is bound to an environment.
  watched boolean NOT NULL,
  -- The environment of the stamp.
  home text
);
INSERT INTO palisade.watch (watched) VALUES (true);

-- Two that change something at once would each miss what the other did: the second waits.
CREATE FUNCTION palisade.sum_up() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  PERFORM 1 FROM palisade.watch w FOR UPDATE;
  UPDATE palisade.watch w SET home = (SELECT s.environment FROM palisade.stamp s),
    watched = EXISTS (SELECT FROM palisade.app a WHERE a.minimum_epoch IS NOT NULL)
      OR EXISTS (SELECT FROM palisade.quarantine q WHERE q.lifted_at IS NULL) OR EXISTS (SELECT FROM palisade.binding);
  RETURN NULL;
END $palisade$;

CREATE TRIGGER sum_up AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON palisade.app
  FOR EACH STATEMENT EXECUTE FUNCTION palisade.sum_up();
CREATE TRIGGER sum_up AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON palisade.quarantine
  FOR EACH STATEMENT EXECUTE FUNCTION palisade.sum_up();
CREATE TRIGGER sum_up AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON palisade.stamp
  FOR EACH STATEMENT EXECUTE FUNCTION palisade.sum_up();
CREATE TRIGGER sum_up AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON palisade.binding
  FOR EACH STATEMENT EXECUTE FUNCTION palisade.sum_up();
UPDATE palisade.binding SET role = role WHERE false;

-- A partition that is made later inherits the trigger for rows, and not the one for TRUNCATE: these lack it.
CREATE FUNCTION palisade.bare_partitions(OUT relation regclass, OUT rule integer, OUT always boolean) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
  SELECT t.relid, g.id, g.always FROM palisade.guard g CROSS JOIN LATERAL pg_partition_tree(g.relation) t
  WHERE t.relid <> g.relation
    AND NOT EXISTS (SELECT FROM pg_trigger r WHERE r.tgrelid = t.relid AND r.tgname = 'palisade_truncate');
$palisade$;

-- Gives one to a partition, with the rights of whoever owns it. The guard's owner counts its running rows.
CREATE FUNCTION palisade.cover(relation regclass, rule integer, always boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $palisade$
DECLARE
  guardian oid := (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'palisade');
BEGIN
  EXECUTE format('CREATE OR REPLACE TRIGGER palisade_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT '
    'EXECUTE FUNCTION palisade.truncate_%s()', relation, rule);
  IF always THEN
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER palisade_truncate', relation);
  END IF;
  IF NOT has_table_privilege(guardian, relation, 'SELECT') THEN
    EXECUTE format('GRANT SELECT ON %s TO %s', relation, guardian::regrole);
  END IF;
END $palisade$;

-- Called by an event trigger, where a superuser could make one: a migration never fails or waits for it.
CREATE FUNCTION palisade.partition_made() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  bare record;
BEGIN
  FOR bare IN SELECT b.relation, b.rule, b.always FROM palisade.bare_partitions() b
    WHERE EXISTS (SELECT FROM pg_event_trigger_ddl_commands() c WHERE c.classid = 'pg_class'::regclass
      AND c.objid IN (SELECT a.relid FROM pg_partition_ancestors(b.relation) a))
  LOOP
    BEGIN
      PERFORM palisade.cover(bare.relation, bare.rule, bare.always);
    EXCEPTION WHEN OTHERS THEN
      RAISE LOG 'palisade: TRUNCATE of the new partition % is not guarded: % (%)', bare.relation, SQLERRM, SQLSTATE;
    END;
  END LOOP;
EXCEPTION WHEN OTHERS THEN
  RAISE LOG 'palisade: the guard of new partitions could not do its work: % (%)', SQLERRM, SQLSTATE;
END $palisade$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA palisade FROM PUBLIC;

-- Every role may see which environment this is, say who it is, and hold a lease.
GRANT USAGE ON SCHEMA palisade TO PUBLIC;
GRANT SELECT ON palisade.stamp, palisade.beacon TO PUBLIC;
GRANT EXECUTE ON FUNCTION palisade.begin(text, text, text, text, bigint, bigint),
  palisade.acquire(text, text, interval), palisade.renew(text, text, bigint, interval), palisade.release(text, text, bigint),
  palisade.bare_partitions(), palisade.cover(regclass, integer, boolean) TO PUBLIC;
RESET ROLE;

GRANT USAGE ON SCHEMA "public" TO palisade_owner;
GRANT SELECT ON "public"."backfill_jobs" TO palisade_owner;
SET LOCAL ROLE palisade_owner;
INSERT INTO palisade.guard (id, relation, mode, status_column, claimed, beat_column, beat_relation, beat_there, beat_key, key_columns, own_columns, reason_column, mark_column, running, done, own, min_age, quiet_after, clock_skew, reason, mark, budget, budget_window, always)
VALUES (1, '"public"."backfill_jobs"'::regclass, 'enforce', 3, false, 4, NULL, NULL, NULL, '{1}', '{}', 5, 6, ARRAY['running']::text[], ARRAY['completed']::text[], ARRAY['failed', 'queued']::text[], '3600 seconds'::interval, '120 seconds'::interval, '60 seconds'::interval, '^Reaper:', '^user:', 3, '600 seconds'::interval, true)
ON CONFLICT (id) DO UPDATE SET relation = excluded.relation, mode = excluded.mode, status_column = excluded.status_column, claimed = excluded.claimed, beat_column = excluded.beat_column, beat_relation = excluded.beat_relation, beat_there = excluded.beat_there, beat_key = excluded.beat_key, key_columns = excluded.key_columns, own_columns = excluded.own_columns, reason_column = excluded.reason_column, mark_column = excluded.mark_column, running = excluded.running, done = excluded.done, own = excluded.own, min_age = excluded.min_age, quiet_after = excluded.quiet_after, clock_skew = excluded.clock_skew, reason = excluded.reason, mark = excluded.mark, budget = excluded.budget, budget_window = excluded.budget_window, always = excluded.always;
INSERT INTO palisade.change (guard, what) VALUES (1, 'installed, mode enforce');
DELETE FROM palisade.slot WHERE guard = 1 AND slot > 3;
INSERT INTO palisade.slot (guard, slot) SELECT 1, n FROM generate_series(1, 3) n ON CONFLICT DO NOTHING;
CREATE OR REPLACE FUNCTION palisade.rows_1() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
DECLARE
  was text;
  became text;
  beat timestamptz;
  became_beat timestamptz;
  key text;
  became_key text;
  reason text;
  reason_was text;
  content text;
  mark text;
  mine boolean := true;
  ran boolean;
  runs boolean;
  readable boolean := true;
  done boolean;
BEGIN
  -- Columns are read here and nowhere else, so that whatever was altered since is caught here.
  BEGIN
    IF TG_OP = 'UPDATE' THEN
      -- A beat: the common case, decided in one expression.
      IF OLD."status"::text = ANY (ARRAY['running']::text[]) AND NEW."status"::text = ANY (ARRAY['running']::text[])
        AND OLD."id"::text = NEW."id"::text AND NEW."heartbeat_at" BETWEEN OLD."heartbeat_at" AND clock_timestamp() THEN
        RETURN NULL;
      END IF;
    END IF;
    IF TG_OP <> 'INSERT' THEN
      was := OLD."status"::text;
      ran := was = ANY (ARRAY['running']::text[]);
    END IF;
    IF TG_OP <> 'DELETE' THEN
      became := NEW."status"::text;
      runs := became = ANY (ARRAY['running']::text[]);
    END IF;
    IF ran THEN
      beat := OLD."heartbeat_at";
      key := OLD."id"::text;
      reason_was := OLD."error"::text;
    END IF;
    IF TG_OP <> 'DELETE' AND (ran OR runs) THEN
      became_beat := NEW."heartbeat_at";
      became_key := NEW."id"::text;
      reason := NEW."error"::text;
      mark := NEW."cancelled_by"::text;
    END IF;
    IF ran AND TG_OP = 'UPDATE' THEN
      mine := true;
    END IF;
    -- Some libraries and every change of partition move a job by deleting it and putting it back in one statement.
    IF ran AND TG_OP = 'DELETE' THEN
      SELECT t."status"::text, t."heartbeat_at", t."id"::text, t."error"::text, t."cancelled_by"::text, palisade.content(t)
      INTO became, became_beat, became_key, reason, mark, content FROM "public"."backfill_jobs" t WHERE t."id" = OLD."id";
      runs := became = ANY (ARRAY['running']::text[]);
    END IF;
    -- Enough to give the job back, where it is not done. Settings that change how a row is written are changed only where
    -- they have to be.
    IF ran AND TG_OP = 'UPDATE' AND runs IS NOT TRUE AND became <> ALL (ARRAY['completed']::text[]) THEN
      content := CASE WHEN current_setting('TimeZone') IN ('UTC', 'Etc/UTC') AND current_setting('IntervalStyle') = 'postgres'
        AND current_setting('bytea_output') = 'hex' THEN md5(to_jsonb(NEW)::text) ELSE palisade.content(NEW) END;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    IF TG_OP <> 'INSERT' THEN
      SELECT r.status, r.beat, r.key, r.reason, r.readable INTO was, beat, key, reason_was, readable
      FROM palisade.read(1, to_jsonb(OLD)) r;
      ran := was = ANY (ARRAY['running']::text[]);
    END IF;
    IF TG_OP <> 'DELETE' THEN
      SELECT r.status, r.beat, r.key, r.reason, r.mark INTO became, became_beat, became_key, reason, mark
      FROM palisade.read(1, to_jsonb(NEW)) r;
      runs := became = ANY (ARRAY['running']::text[]);
    END IF;
    IF ran AND TG_OP = 'UPDATE' AND runs IS NOT TRUE THEN
      content := palisade.content(NEW);
    END IF;
  END;
  -- Once this transaction has written, it holds what a lock of somebody else could keep from it: what can be caught is caught
  -- the first time, and a large update makes one subtransaction and not one for each row. Who forges the mark only does
  -- without that itself.
  IF current_setting('palisade.written', true) = pg_current_xact_id()::text THEN
    done := CASE
      WHEN ran AND runs THEN palisade.keep(1, TG_OP = 'DELETE', readable, key, became_key, was, beat, became_beat)
      WHEN ran THEN palisade.leave(1, key, was, coalesce(became, TG_OP), beat, reason, mark, readable, reason_was, content,
        mine, coalesce(became, TG_OP) = ANY (ARRAY['completed']::text[]))
      WHEN runs THEN palisade.come(1, became_key, was, became, became_beat) END;
    RETURN NULL;
  END IF;
  BEGIN
    done := CASE
      WHEN ran AND runs THEN palisade.keep(1, TG_OP = 'DELETE', readable, key, became_key, was, beat, became_beat)
      WHEN ran THEN palisade.leave(1, key, was, coalesce(became, TG_OP), beat, reason, mark, readable, reason_was, content,
        mine, coalesce(became, TG_OP) = ANY (ARRAY['completed']::text[]))
      WHEN runs THEN palisade.come(1, became_key, was, became, became_beat) END;
    IF done THEN
      PERFORM set_config('palisade.written', pg_current_xact_id()::text, true);
    END IF;
  EXCEPTION WHEN OTHERS THEN
    -- A refusal is meant, and a conflict of transactions is the app's to repeat. Anything else is the guard's own trouble,
    -- which stops nothing but an exit that cannot be judged.
    IF SQLSTATE LIKE 'PL3__' OR SQLSTATE LIKE '40___' THEN
      RAISE;
    END IF;
    RAISE LOG 'palisade: the guard of % could not do its work: % (%)', TG_RELID::regclass, SQLERRM, SQLSTATE;
    IF ran AND runs IS NOT TRUE AND coalesce(became, TG_OP) <> ALL (ARRAY['completed']::text[]) AND palisade.enforces(1) THEN
      RAISE EXCEPTION USING ERRCODE = 'PL307',
        MESSAGE = format('Palisade: %s -> %s refused: the guard of %s cannot judge', was, coalesce(became, TG_OP),
          TG_RELID::regclass),
        HINT = 'What it means and how to go on: palisade explain PAL-307';
    END IF;
  END;
  RETURN NULL;
END $palisade$;
CREATE OR REPLACE FUNCTION palisade.truncate_1() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  PERFORM palisade.empty(1, TG_RELID);
  RETURN NULL;
END $palisade$;
GRANT USAGE ON SCHEMA palisade TO "app";
GRANT SELECT ON ALL TABLES IN SCHEMA palisade TO "app";
GRANT SELECT ON ALL SEQUENCES IN SCHEMA palisade TO "app";
REVOKE ALL ON palisade.secret FROM "app";
RESET ROLE;

CREATE OR REPLACE TRIGGER palisade_rows AFTER INSERT OR UPDATE OR DELETE ON "public"."backfill_jobs"
  FOR EACH ROW EXECUTE FUNCTION palisade.rows_1();
CREATE OR REPLACE TRIGGER palisade_truncate BEFORE TRUNCATE ON "public"."backfill_jobs"
  FOR EACH STATEMENT EXECUTE FUNCTION palisade.truncate_1();
ALTER TABLE "public"."backfill_jobs" ENABLE ALWAYS TRIGGER palisade_rows;
ALTER TABLE "public"."backfill_jobs" ENABLE ALWAYS TRIGGER palisade_truncate;
COMMIT;
