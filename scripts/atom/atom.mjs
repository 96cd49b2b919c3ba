// Atom, a small app as in the incident of 2026-05-04: a table of its own, a worker and a reaper. It knows nothing of
// Palisade. Every client of it uses production's role and password; what differs is how it calls itself.
//   node atom.mjs prepare | seed | show | work JOB | resume | reap | cancel JOB | compress
import { createRequire } from 'node:module';

const require = createRequire(process.env.ATOM_MODULES + '/');
const { Client } = require('pg');

async function connect(name, url = process.env.ATOM_URL) {
  const client = new Client({ connectionString: url, application_name: name });
  client.on('error', () => process.exit(1));
  await client.connect();
  return client;
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

/** Waits for the server, then makes the role and the database of the app. */
async function prepare() {
  let admin;
  for (let tries = 0; !admin; tries += 1) {
    try {
      admin = await connect('setup', process.env.ATOM_ADMIN_URL);
    } catch (error) {
      if (tries === 100) throw error;
      await sleep(100);
    }
  }
  await admin.query(`CREATE ROLE atom LOGIN PASSWORD 'atom'`);
  await admin.query('CREATE DATABASE atom OWNER atom');
  await admin.end();
  const atom = await connect('atom-saas');
  await atom.query(`CREATE TYPE job_status AS ENUM ('queued', 'running', 'completed', 'failed', 'cancelled')`);
  await atom.query(`CREATE TABLE backfill_jobs (id text PRIMARY KEY, status job_status NOT NULL DEFAULT 'queued',
    started_at timestamptz, heartbeat_at timestamptz, error text, entities integer NOT NULL DEFAULT 0)`);
  await atom.end();
}

/** Four hours of a production day: two jobs whose beats stopped twelve minutes ago, and one that beats. */
async function seed() {
  const atom = await connect('atom-saas');
  await atom.query('DELETE FROM backfill_jobs');
  await atom.query(`INSERT INTO backfill_jobs (id, status, started_at, heartbeat_at, entities) VALUES
    ('f648f968', 'running', now() - interval '4 hours 23 minutes', now() - interval '12 minutes', 100),
    ('0c71e2aa', 'running', now() - interval '2 hours', now() - interval '11 minutes', 61),
    ('9d3b0f44', 'running', now() - interval '5 minutes', now(), 7)`);
  await atom.end();
}

async function show() {
  const atom = await connect('atom-saas');
  const { rows } = await atom.query(`SELECT id, status, coalesce(error, '') AS error, entities,
    to_char(clock_timestamp() - heartbeat_at, 'FMMI "min" SS "s"') AS silent FROM backfill_jobs ORDER BY started_at`);
  for (const job of rows) {
    console.log(`${job.id}  ${job.status.padEnd(10)} ${String(job.entities).padStart(4)} entities   ` +
      `last beat ${job.silent} ago   ${job.error}`);
  }
  await atom.end();
}

/** Production's worker. Its beats do not get through, as in the incident; SIGTERM is the end of its work. */
async function work(job) {
  const atom = await connect('atom-saas');
  let entities = 0;
  setInterval(() => { entities += 1; }, 50);
  await new Promise(resolve => { process.on('SIGTERM', resolve); console.log(`worker of ${job}: at work`); });
  const done = await atom.query(
    `UPDATE backfill_jobs SET status = 'completed', entities = entities + $2 WHERE id = $1 AND status = 'running'`,
    [job, entities]);
  await atom.end();
  console.log(done.rowCount === 1 ? `worker of ${job}: completed` : `worker of ${job}: my job was taken from me`);
  process.exit(done.rowCount === 1 ? 0 : 3);
}

/** A worker that takes the oldest job that waits, and goes on where it was left. */
async function resume() {
  const atom = await connect('atom-saas');
  const { rows: [job] } = await atom.query(`UPDATE backfill_jobs SET status = 'running', heartbeat_at = clock_timestamp()
    WHERE id = (SELECT id FROM backfill_jobs WHERE status = 'queued' ORDER BY started_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, entities`);
  console.log(`worker of ${job.id}: goes on from ${job.entities} entities`);
  await atom.query(`UPDATE backfill_jobs SET status = 'completed', entities = entities + 39 WHERE id = $1`, [job.id]);
  await atom.end();
  console.log(`worker of ${job.id}: completed`);
}

/** Sixty minutes become four seconds, by the owner of the guard: what no flag of Palisade does. */
async function compress() {
  const admin = await connect('setup', process.env.ATOM_ADMIN_URL.replace(/postgres$/, 'atom'));
  await admin.query(`UPDATE palisade.guard SET min_age = '4 seconds', quiet_after = '1 second'`);
  await admin.end();
}

/** The stale test app's reaper: ten minutes in the code, no lock, no leader, production's credentials. */
async function reap() {
  const test = await connect('atom-saas-test');
  try {
    const taken = await test.query(`UPDATE backfill_jobs
      SET status = 'cancelled', error = 'Abandoned (server restart or timeout)'
      WHERE status = 'running' AND heartbeat_at < now() - interval '10 minutes'`);
    console.log(`reaper: ${taken.rowCount} jobs cancelled`);
  } catch (error) {
    console.log(`reaper: ERROR ${error.code}: ${error.message}\n  ${error.detail}\n  hint: ${error.hint}`);
    process.exitCode = 1;
  }
  await test.end();
}

/** A user presses Cancel on a job that beats. */
async function cancel(job) {
  const atom = await connect('atom-saas');
  const done = await atom.query(
    `UPDATE backfill_jobs SET status = 'cancelled', error = 'by its user' WHERE id = $1`, [job]);
  await atom.end();
  console.log(`app: ${done.rowCount} job cancelled by its user`);
}

const verbs = { prepare, seed, show, work, resume, reap, cancel, compress };
const [verb, ...words] = process.argv.slice(2);
await verbs[verb](...words);
