#!/usr/bin/env bash
# The speed table. Each line of the programs is `name value unit ...`; build/bench.json holds the same. Machines are noisy: every figure is a median of its
# program's repetitions, ratios come from one run. NP: ranks (default 2).
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build/} np=${NP:-2}
launch="${MPIRUN:-mpirun} --oversubscribe"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
title() { printf '\n%s\n' "$*"; }

title "kernels, one core"
"${build}bench/bench_kernels" | tee -a "$out"
title "training steps, $np ranks (forward, backward, allreduce, Adam)"
$launch -n "$np" "${build}bench/bench_step" | tee -a "$out"
title "the same on 1 rank"
$launch -n 1 "${build}bench/bench_step" | sed 's/^\([a-z0-9_]*\) /\1_1rank /' | tee -a "$out"
title "$np ranks over 1, steps by turns; side by side: ranks that share nothing but the machine"
$launch -n "$np" "${build}bench/bench_step" 9 0 all speedup | sed -n 's/^\([a-z0-9_]*_[0-9a-z]*\) /\1_speedup /p' | tee -a "$out"
title "memory and time of train_recompute, 1 rank (quotients over none)"
$launch -n 1 "${build}bench/bench_recompute" 5 | tee -a "$out"
title "rebalancing, $np ranks"
tables=$($launch -n "$np" "${build}bench/bench_balance") && echo "$tables"
grep '^rebalance_' <<< "$tables" >> "$out" # the rest says who computes what
title "reading, $np ranks"
$launch -n "$np" "${build}bench/bench_io" | tee -a "$out"
if [ -x "${build}bench/bench_generate" ]; then
  title "generating, $np ranks"
  $launch -n "$np" "${build}bench/bench_generate" | tee -a "$out"
fi
"${PYTHON:-python3}" - "$out" "${build}bench.json" <<'PY'
import json, re, sys
figures = {}
for line in open(sys.argv[1]):
    found = re.match(r"([a-z][a-z0-9_]*)\s+([-+0-9.eE]+)(?:\s+(\S+))?", line)
    if found:
        figures[found[1]] = {"value": float(found[2]), "unit": found[3] or ""}
        share = re.search(r"(\d+) % of sgemm", line)
        if share:
            figures[found[1] + "_share"] = {"value": float(share[1]), "unit": "% of sgemm"}
json.dump(figures, open(sys.argv[2], "w"), indent=1)
print("written to", sys.argv[2])
PY
