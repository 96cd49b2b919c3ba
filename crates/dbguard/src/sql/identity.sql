
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
