CREATE OR REPLACE FUNCTION palisade.truncate_{id}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $palisade$
BEGIN
  PERFORM palisade.empty({id}, TG_RELID);
  RETURN NULL;
END $palisade$;
