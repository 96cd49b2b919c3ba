#!/bin/sh
# The massacre of ADR-061 on a real PM2 daemon with eight real apps, in a scratch folder of its own.
# Exits 0 only if each act went as told, and leaves nothing running.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
palisade=$root/target/release/palisade
pm2=$root/.cache/pm2/7.0.4/node_modules/.bin/pm2
scratch=$(mktemp -d /tmp/palisade-demo.XXXXXX)

export PM2_HOME=$scratch/pm2 HOME=$scratch XDG_CONFIG_HOME=$scratch/config XDG_STATE_HOME=$scratch/state
export PM2_DISCRETE_MODE=true NO_COLOR=1
unset PM2_DAEMON_RPC_PORT PM2_DAEMON_PUB_PORT PALISADE_APP PALISADE_ENVIRONMENT 2>/dev/null || true
mkdir -p "$PM2_HOME" "$scratch/apps"
cd "$scratch/apps"

cleanup() {
  daemon=$(cat "$PM2_HOME/pm2.pid" 2>/dev/null || true)
  [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
  # SIGTERM makes the daemon end its apps before itself; wait until it is gone.
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

act() { printf '\n== %s\n' "$*"; }
show() { printf '   $ %s\n' "$*"; }
wrong() { printf '\nDEMO FAILED: %s\n' "$*" >&2; exit 1; }
alive() { "$palisade" pm2 list --json --quiet | node -e '
  const list = JSON.parse(require("fs").readFileSync(0));
  process.stdout.write(String(list.filter(p => p.process.status === "online").length));'; }
expect_alive() { n=$(alive); [ "$n" = "$1" ] || wrong "expected $1 apps alive, found $n"; printf '   %s apps alive\n' "$n"; }
# expect_exit CODE COMMAND...: runs the command, shows what it says, and insists on its exit code.
expect_exit() {
  wanted=$1; shift
  show "palisade $*"
  code=0
  "$palisade" --quiet "$@" >"$scratch/out" 2>&1 || code=$?
  sed 's/^/   /' "$scratch/out"
  [ "$code" = "$wanted" ] || wrong "palisade $* ended with $code instead of $wanted"
}

cat >app.js <<'APP'
setInterval(() => {}, 1000);
APP
cat >ecosystem.json <<'APPS'
{ "apps": [
  { "name": "flyer-crawler-api", "script": "app.js", "env": { "NODE_ENV": "production" } },
  { "name": "flyer-crawler-worker", "script": "app.js", "env": { "NODE_ENV": "production" } },
  { "name": "flyer-crawler-analytics-worker", "script": "app.js", "env": { "NODE_ENV": "production" } },
  { "name": "flyer-crawler-api-test", "script": "app.js", "env": { "NODE_ENV": "test" } },
  { "name": "flyer-crawler-worker-test", "script": "app.js", "env": { "NODE_ENV": "test" } },
  { "name": "flyer-crawler-analytics-worker-test", "script": "app.js", "env": { "NODE_ENV": "test" } },
  { "name": "stock-alert", "script": "app.js" },
  { "name": "projectium-site", "script": "app.js" }
] }
APPS
# The old workflow's clean-up step, as a cached copy still has it: its filter matches everything.
cat >stale-cleanup.sh <<'STALE'
"$PM2" jlist --silent | node -e '
  const list = JSON.parse(require("fs").readFileSync(0));
  console.log(list.filter(() => true).map(p => p.name).join("\n"));' |
while read -r name; do "$PM2" delete "$name" >/dev/null; done
STALE

act "Eight apps of three teams on one real PM2 daemon"
"$pm2" start ecosystem.json >/dev/null
expect_exit 0 pm2 list

act "1. Unguarded: a cached old workflow runs its clean-up step"
show "sh stale-cleanup.sh"
PM2=$pm2 sh stale-cleanup.sh
expect_alive 0
echo "   Every app of every team is gone, and the script ended with 0."

act "2. The same eight again; Palisade writes a policy from what runs"
"$pm2" start ecosystem.json >/dev/null
expect_exit 0 init
expect_exit 0 config check

act "3. Through Palisade an over-broad request is refused, with everything alive"
expect_exit 3 pm2 delete all --app flyer-crawler --environment production
expect_exit 3 pm2 delete --app flyer-crawler --environment production flyer-crawler-api stock-alert
expect_alive 8

act "4. The right request is carried out: three of eight, and only those"
expect_exit 0 pm2 delete --app flyer-crawler --environment production
expect_alive 5

act "5. It was a mistake? It is undone"
expect_exit 0 pm2 restore
expect_alive 8

act "6. Who did what is in the journal, and a flipped byte in it is found"
expect_exit 0 journal tail
expect_exit 0 journal verify
segment=$(ls "$XDG_STATE_HOME"/palisade/journal/*.plj | head -n 1)
node -e '
  const fs = require("fs"), file = process.argv[1], bytes = fs.readFileSync(file);
  bytes[Math.floor(bytes.length / 2)] ^= 1;
  fs.writeFileSync(file, bytes);' "$segment"
show "(one bit of $(basename "$segment") is flipped)"
expect_exit 8 journal verify

act "What this does not stop yet"
cat <<'END'
   A script that calls pm2 itself, and not through Palisade, still wins until the firewall is there: act 1 would
   end the same way now. docs/firewall.md shows the guard at the daemon's socket, whose first slice runs by hand.
END
printf '\nEach act went as told.\n'
