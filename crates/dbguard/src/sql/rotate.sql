-- Every right that role $1 has by name in this database, as statements that give it to role $2. What the owner of an
-- object has by owning it counts too.
WITH source AS (SELECT oid, rolname FROM pg_catalog.pg_roles WHERE rolname = $1),
given AS (
  SELECT 1 AS place, format('GRANT %s ON DATABASE %I TO %I', a.privilege_type, d.datname, $2) AS statement,
    a.is_grantable
  FROM pg_catalog.pg_database d, source s, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
  WHERE d.datname = current_database() AND a.grantee = s.oid
  UNION ALL
  SELECT 2, format('GRANT %s ON SCHEMA %I TO %I', a.privilege_type, n.nspname, $2), a.is_grantable
  FROM pg_catalog.pg_namespace n, source s, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
  WHERE a.grantee = s.oid AND n.nspname !~ '^pg_(toast|temp)'
  UNION ALL
  SELECT 3, format('GRANT %s ON %s %I.%I TO %I', a.privilege_type,
    CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname, $2), a.is_grantable
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, source s,
    aclexplode(coalesce(c.relacl, acldefault(CASE WHEN c.relkind = 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))) a
  WHERE a.grantee = s.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_(toast|temp)'
    AND ($3 = '' OR c.oid = to_regclass($3))
  UNION ALL
  SELECT 4, format('GRANT %s (%I) ON TABLE %I.%I TO %I', a.privilege_type, t.attname, n.nspname, c.relname, $2),
    a.is_grantable
  FROM pg_catalog.pg_attribute t JOIN pg_catalog.pg_class c ON c.oid = t.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, source s, aclexplode(t.attacl) a
  WHERE a.grantee = s.oid AND NOT t.attisdropped AND ($3 = '' OR c.oid = to_regclass($3))
  UNION ALL
  SELECT 5, format('GRANT %s ON ROUTINE %I.%I(%s) TO %I', a.privilege_type, n.nspname, p.proname,
    pg_get_function_identity_arguments(p.oid), $2), a.is_grantable
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace, source s,
    aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
  WHERE a.grantee = s.oid
  UNION ALL
  SELECT 6, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s GRANT %s ON %s TO %I', pg_get_userbyid(d.defaclrole),
    coalesce(' IN SCHEMA ' || quote_ident(n.nspname), ''), a.privilege_type,
    CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
      WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END, $2), a.is_grantable
  FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace, source s,
    aclexplode(d.defaclacl) a
  WHERE a.grantee = s.oid AND d.defaclrole <> s.oid
  UNION ALL
  SELECT 7, format('GRANT %I TO %I', pg_get_userbyid(m.roleid), $2), m.admin_option
  FROM pg_catalog.pg_auth_members m, source s
  WHERE m.member = s.oid
)
SELECT statement || CASE WHEN NOT is_grantable THEN '' WHEN place = 7 THEN ' WITH ADMIN OPTION'
  ELSE ' WITH GRANT OPTION' END
FROM given WHERE $3 = '' OR place IN (3, 4) ORDER BY place, statement
