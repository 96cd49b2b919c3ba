#!/bin/sh
# Shows that each check is needed: with the check switched off, its own canonical test must fail, and with every
# check on, all of them must pass. One build; the switch is a variable at run time.
set -eu
cd "$(dirname "$0")/.."

# run FILTER: the tests whose name contains it.
if cargo nextest --version >/dev/null 2>&1; then
  run() { cargo nextest run --workspace --features palisade-cli/ablation,palisade-firewall/ablation --no-fail-fast -E "test($1)" $tries >"$log" 2>&1; }
else
  run() { cargo test --workspace --features palisade-cli/ablation,palisade-firewall/ablation --no-fail-fast "$1" >"$log" 2>&1; }
fi
tries=
log=$(mktemp)
trap 'rm -f "$log"' EXIT INT TERM

if ! run canonical_; then
  cat "$log"
  echo "ablation: the canonical tests do not pass with every check on" >&2
  exit 1
fi
# A test that has to fail is not tried twice.
cargo nextest --version >/dev/null 2>&1 && tries="--retries 0"
passed=0 failed=0
for check in $(sed -n 's/^ *(Self::[A-Za-z]*, "\([a-z-]*\)"),$/\1/p' crates/core/src/ablation.rs); do
  name=canonical_$(printf %s "$check" | tr - _)
  if PALISADE_ABLATE=$check run "$name"; then
    echo "MISSED  $check: $name passes with the check off"
    failed=$((failed + 1))
  elif ! grep -q "$name" "$log"; then
    echo "MISSING $check: there is no test called $name..."
    failed=$((failed + 1))
  else
    echo "ok      $check: $name fails with the check off"
    passed=$((passed + 1))
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
