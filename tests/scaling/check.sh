#!/usr/bin/env bash
# Predicted against real training steps on this machine: its own cores and memory are the described cluster, and more ranks than
# cores share them in the simulation as in the run. MODELS, REPEATS, STEPS and the rest as jobscripts/scaling.sh has them.
# Fails if a prediction is missing, or more than TOLERANCE percent (30; 0: only printed) beside what was measured on no more ranks than cores.
# The last lines name the predictions that were not judged, and why.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build/}
if [ ! -x "${build}scaling/skeleton_sim" ]; then
  echo "check-scaling: no SimGrid (smpicc) here: 'apt-get install simgrid libsimgrid-dev'" >&2
  exit 1
fi
export OUT=${OUT:-runs/check_scaling} REPEATS=${REPEATS:-3} STEPS=${STEPS:-6} BATCH=${BATCH:-8} MODELS=${MODELS:-fno2d unet2d dpot_tiny}
export RANKS=${RANKS:-1 2 4} KINDS=strong
export SIMULATE_RANKS=$RANKS SIMULATE_BATCH=$BATCH PIECES=0 CLUSTER=$OUT/here.txt
read -r -a launch <<<"${LAUNCH:-${MPIRUN:-mpirun} --oversubscribe}"
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi

rm -f "$OUT/scaling.csv"
mkdir -p "$OUT"
{
  echo "# This machine, measured by skeleton.c."
  echo "NODES=1"
  echo "CORES=${CORES:-$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)}"
  "${launch[@]}" -n 2 "${build}scaling/skeleton" calibrate | sed -E 's/^(LATENCY|BANDWIDTH)=/NODE_\1=/'
} >"$CLUSTER"
jobscripts/scaling.sh --simulate
"${PYTHON:-python3}" postproc/scaling.py compare "$OUT/scaling.csv" --tolerance "${TOLERANCE:-30}" || {
  echo "check-scaling: other work on the machine (load $(cut -d' ' -f1 /proc/loadavg)) makes measured steps longer; when it is idle, or with more REPEATS, they are a measure" >&2
  exit 1
}
