
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
  home text := (SELECT s.environment FROM palisade.stamp s);
  bound text;
  claim text[];
  why text;
BEGIN
  IF home IS NULL THEN
    RETURN NULL;
  END IF;
  SELECT b.environment INTO bound FROM palisade.binding b WHERE b.role = session_user;
  claim := palisade.claimed();
  why := CASE
    WHEN bound <> home THEN format('its role %s belongs to %s', session_user, bound)
    WHEN me.environment <> home THEN format('it proved to be of %s', me.environment)
    WHEN bound IS NOT NULL OR me.environment IS NOT NULL THEN NULL
    WHEN claim[2] <> home THEN format('it says that it is of %s', claim[2])
    WHEN claim[2] IS NULL AND palisade.told(claim[1]) NOT IN (home, coalesce(palisade.told('-' || home), home))
      THEN format('its name %s tells of %s', claim[1], palisade.told(claim[1])) END;
  IF why IS NULL OR palisade.flaw() = 'copy' THEN
    RETURN NULL;
  END IF;
  RETURN format('a client of another environment may not claim a job of %s: %s', home, why);
END $palisade$;
