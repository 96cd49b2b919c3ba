
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA palisade FROM PUBLIC;

-- Every role may see which environment this is, say who it is, and hold a lease.
GRANT USAGE ON SCHEMA palisade TO PUBLIC;
GRANT SELECT ON palisade.stamp, palisade.beacon TO PUBLIC;
GRANT EXECUTE ON FUNCTION palisade.begin(text, text, text, text, bigint, bigint),
  palisade.acquire(text, text, interval), palisade.renew(text, text, bigint, interval), palisade.release(text, text, bigint),
  palisade.bare_partitions(), palisade.cover(regclass, integer, boolean) TO PUBLIC;

-- A table's own functions run as a role that reads all of this, keeps what is known of jobs, and changes nothing else.
DO $palisade$ BEGIN
  IF (SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'palisade') = to_regrole('palisade_owner') THEN
    GRANT SELECT ON ALL TABLES IN SCHEMA palisade TO palisade_hand;
    GRANT INSERT ON palisade.history TO palisade_hand;
    GRANT INSERT, UPDATE, DELETE ON palisade.job TO palisade_hand;
    GRANT UPDATE ON palisade.slot TO palisade_hand;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA palisade TO palisade_hand;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA palisade TO palisade_hand;
  END IF;
END $palisade$;
