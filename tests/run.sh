#!/usr/bin/env bash
# Runs every unit test at the rank counts its first comment names, then the black-box and post-processing tests; counts the ok and FAIL lines.
# ONLY=name runs one of them.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build/}
launch="${MPIRUN:-mpirun} --oversubscribe"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0} UBSAN_OPTIONS=print_stacktrace=1

passed=0 failed=0
count() { # output of one program: its lines are shown when something failed, else only counted; what it has left out is always shown
  local status=$1 name=$2 ok bad
  ok=$(grep -c '^ok ' "$log") bad=$(grep -c '^FAIL ' "$log")
  [ "$status" -ne 0 ] && [ "$bad" -eq 0 ] && { bad=1; echo "FAIL $name: exit status $status"; }
  [ "$bad" -gt 0 ] && cat "$log"
  passed=$((passed + ok)) failed=$((failed + bad))
  printf '%-28s %3d ok %3d failed  %s s\n' "$name" "$ok" "$bad" "$3"
  grep '^left out: ' "$log"
}

for source in tests/test_*.c; do
  name=$(basename "$source" .c)
  [ -n "${ONLY:-}" ] && [ "$ONLY" != "$name" ] && continue
  ranks=$(sed -nE '1s,.*ranks: *([0-9 ]+).*,\1,p' "$source")
  for n in ${ranks:-1}; do
    start=$SECONDS
    # shellcheck disable=SC2086
    timeout 600 $launch -n "$n" "${build}tests/$name" >"$log" 2>&1
    count $? "$name ($n)" $((SECONDS - start))
  done
done
if [ -z "${ONLY:-}" ] || [ "${ONLY:-}" = cli ]; then
  start=$SECONDS
  [ -x tests/cli.sh ] && { timeout 900 tests/cli.sh >"$log" 2>&1; count $? cli $((SECONDS - start)); }
fi
for source in tests/test_*.py; do
  name=$(basename "$source" .py)
  [ -n "${ONLY:-}" ] && [ "$ONLY" != "$name" ] && continue
  start=$SECONDS
  timeout 300 "${PYTHON:-python3}" "$source" >"$log" 2>&1
  count $? "$name" $((SECONDS - start))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
