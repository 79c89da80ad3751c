#!/usr/bin/env bash
# What a training step would take on a described cluster:
#   predict.sh STEP PARAMETERS RANKS BATCH
# STEP: name=value lines, those of build/scaling/describe and the seconds of a measured step (postproc/scaling.py costs).
# PARAMETERS: of the cluster (fat_tree.txt); its CROWD goes before that of STEP. Prints `ranks,batch,step,forward,backward,allreduce,optimizer,io,spectra`.
# PIECES: of a long sum so many are simulated, the rest take as long as the last (2; 0: all).
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -eq 4 ] || { echo "usage: predict.sh STEP PARAMETERS RANKS BATCH" >&2; exit 2; }
step=$1 parameters=$2 ranks=$3 batch=$4
program=${BUILD:-build/}scaling/skeleton_sim
[ -x "$program" ] || { echo "predict.sh: no $program; 'make scaling-programs' builds it, with SimGrid's smpicc" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tests/scaling/platform.sh "$parameters" "$ranks" "$scratch/cluster"
mapfile -t arguments < <(grep -v '^#' "$step")
parameter() { sed -nE "s/^$1=([^ ]*).*/\1/p" "$parameters"; }
add=$(parameter ADD) crowd=$(parameter CROWD)
arguments+=(cores="$(parameter CORES)")
if [ -n "$crowd" ]; then arguments+=(crowd="$crowd"); fi
# Only the pauses count as arithmetic; messages take what the links say (SimGrid's own factors are those of TCP over Ethernet);
# which algorithm a collective takes is decided as Open MPI does.
if ! smpirun -np "$ranks" -platform "$scratch/cluster.xml" -hostfile "$scratch/cluster.hosts" \
  --cfg=smpi/privatization:no --cfg=smpi/simulate-computation:no --cfg=smpi/host-speed:1Gf --cfg=smpi/coll-selector:ompi \
  --cfg=smpi/bw-factor:0:1 --cfg=smpi/lat-factor:0:1 --cfg=smpi/display-timing:0 --log=root.thres:warning \
  "$program" "${arguments[@]}" batch="$batch" pieces="${PIECES:-2}" add="${add:-0}" >"$scratch/out" 2>"$scratch/err"; then
  echo "predict.sh: the simulation of $ranks ranks failed:" >&2
  tail -3 "$scratch/err" >&2
  exit 1
fi
grep -E '^[0-9]+,' "$scratch/out"
