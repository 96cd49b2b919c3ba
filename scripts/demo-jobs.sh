#!/bin/sh
# A job whose worker is killed goes on elsewhere from its last checkpoint: real processes, jobs in one SQLite file, in a
# scratch folder of its own. Exits 0 only if each act went as told, and leaves nothing running. PALISADE names another
# binary than the release.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
palisade=${PALISADE:-$root/target/release/palisade}
scratch=$(mktemp -d /tmp/palisade-demo.XXXXXX)
export HOME=$scratch XDG_CONFIG_HOME=$scratch/config XDG_STATE_HOME=$scratch/state NO_COLOR=1
# The handler says what it says by the command that runs it.
mkdir "$scratch/bin" && ln -s "$palisade" "$scratch/bin/palisade"
export PATH="$scratch/bin:$PATH"
unset PALISADE_APP PALISADE_ENVIRONMENT PALISADE_DATABASE_URL PALISADE_REAP_AFTER DATABASE_URL 2>/dev/null || true
cd "$scratch"

worker=
gone() { for _ in $(seq 100); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done; }
cleanup() {
  [ -z "$worker" ] || { kill -TERM "$worker" 2>/dev/null && gone "$worker"; } || true
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

act() { printf '\n== %s\n' "$*"; }
show() { printf '   $ %s\n' "$*"; }
wrong() { printf '\nDEMO FAILED: %s\n' "$*" >&2; cat "$scratch"/worker-* >&2 2>/dev/null || true; exit 1; }
expect() {
  show "palisade $*"
  palisade "$@" >"$scratch/out" 2>&1 || wrong "palisade $* failed: $(cat "$scratch/out")"
  sed 's/^/   /' "$scratch/out"
}
says() { grep -q -e "$1" "$scratch/out" || wrong "$2"; }
# work NAME: a worker of that name, in the background.
work() {
  show "palisade worker --queue backfill --name $1 -- sh sum.sh &"
  palisade worker --queue backfill --name "$1" --sweep-every 500ms --lease 2s -- sh sum.sh >"worker-$1" 2>&1 &
  worker=$!
}

# Adds up the numbers from 1 to 20, with a checkpoint after each.
cat >sum.sh <<'HANDLER'
n=0 sum=0
if [ -n "${PALISADE_RESUME_FILE:-}" ]; then
  read -r n sum <"$PALISADE_RESUME_FILE"
  echo "goes on after $n" >>"$HOME/said"
fi
while [ "$n" -lt 20 ]; do
  n=$((n + 1)) sum=$((sum + n))
  echo "$n $sum" >"state.$PALISADE_TOKEN"
  palisade job progress "$n"
  palisade job checkpoint "state.$PALISADE_TOKEN"
  echo "$n" >>"$HOME/steps"
  sleep 0.05
done
echo "sum $sum" >>"$HOME/said"
HANDLER

act "1. A job, and a worker that runs a shell script for it"
expect job enqueue --queue backfill --payload '{"day":"2026-02-17"}'
job=$(tail -n 1 out)
work one
for _ in $(seq 200); do [ "$(cat steps 2>/dev/null | wc -l)" -ge 6 ] && break; sleep 0.05; done
[ -s steps ] || wrong "the script does not begin"

act "2. The worker is killed in the middle, as by the kernel when memory is short"
show "kill -9 $worker"
kill -9 "$worker" && wait "$worker" 2>/dev/null || true
expect job list --queue backfill
says running "the store does not know yet that its worker is dead"

act "3. Another worker sees that it is dead, and goes on from the last checkpoint"
work two
expect job wait "$job" --timeout 30s
sed 's/^/   the script: /' said
grep -q 'goes on after' said || wrong "it began anew"
grep -q 'sum 210' said || wrong "the sum is wrong"
again=$(sort -n steps | uniq -d | wc -l)
[ "$again" -le 1 ] || wrong "$again steps were done twice"
echo "   20 steps, of which $again was done twice: at most the one between its effect and its checkpoint."

act "4. Who had it, who took it and why"
show "palisade explain job $job"
palisade explain job "$job" >out || wrong "the job cannot be explained"
grep -v -e 'checkpoint [0-9]* \[' out | sed -e 's/^/   /'
says 'reaped' "the history does not say that it was taken from the dead worker"
expect verify history
printf '\nEach act went as told.\n'
