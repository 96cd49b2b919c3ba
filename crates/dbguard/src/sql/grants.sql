
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA palisade FROM PUBLIC;

-- Every role may see which environment this is, say who it is, and hold a lease.
GRANT USAGE ON SCHEMA palisade TO PUBLIC;
GRANT SELECT ON palisade.stamp, palisade.beacon TO PUBLIC;
GRANT EXECUTE ON FUNCTION palisade.begin(text, text, text, text, bigint, bigint),
  palisade.acquire(text, text, interval), palisade.renew(text, text, bigint, interval), palisade.release(text, text, bigint),
  palisade.bare_partitions(), palisade.cover(regclass, integer, boolean) TO PUBLIC;
