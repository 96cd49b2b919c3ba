
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
