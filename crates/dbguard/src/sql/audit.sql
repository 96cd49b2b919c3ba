CREATE SCHEMA palisade_audit;
COMMENT ON SCHEMA palisade_audit IS 'Who is expected here, kept by Palisade, format 1. Take it away with: palisade db expect forget';
REVOKE ALL ON SCHEMA palisade_audit FROM PUBLIC;

-- One row: which environment this database is, and what its schema was when an audit last looked.
CREATE TABLE palisade_audit.database (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  environment text,
  schema_hash text,
  schema_at timestamptz
);
INSERT INTO palisade_audit.database DEFAULT VALUES;

-- Apps that are expected. An empty list stands for any.
CREATE TABLE palisade_audit.app (
  app text PRIMARY KEY CHECK (app <> ''),
  roles text[] NOT NULL DEFAULT '{}',
  networks text[] NOT NULL DEFAULT '{}',
  ddl boolean NOT NULL DEFAULT false,
  writes text[] NOT NULL DEFAULT '{}'
);

-- Addresses of poolers, behind which the address of a client is not known.
CREATE TABLE palisade_audit.pooler (network text PRIMARY KEY);

-- Names that an audit has seen, without their epochs.
CREATE TABLE palisade_audit.seen (
  app text PRIMARY KEY,
  first_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Rotations of roles, each with the step that it has reached.
CREATE TABLE palisade_audit.rotation (
  old text PRIMARY KEY,
  new text NOT NULL,
  step text NOT NULL CHECK (step IN ('prepared', 'restricted', 'retired')),
  moved oid[] NOT NULL DEFAULT '{}',
  begun_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Who changed which expectation.
CREATE TABLE palisade_audit.change (
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  what text NOT NULL,
  role text NOT NULL DEFAULT session_user,
  address inet DEFAULT inet_client_addr()
);
