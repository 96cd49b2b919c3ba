CREATE SCHEMA palisade;
COMMENT ON SCHEMA palisade IS 'Guards of Palisade, format 4. Take them away with: palisade guard remove table';
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
EXCEPTION WHEN statement_too_complex THEN
  RAISE;
WHEN OTHERS THEN
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
