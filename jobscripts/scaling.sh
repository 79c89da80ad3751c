#!/usr/bin/env bash
# The scaling study of this machine: strong (the global batch stays), weak (samples per rank stay) and rebalancing over a list of
# rank counts, with the program as a user runs it: reading, training steps, sums over ranks, Adam, spectra.
#
#   [NAME=value ...] jobscripts/scaling.sh [--simulate]          on a laptop or inside an allocation (jobscripts/scaling.sbatch)
#
# Writes OUT/scaling.csv (a row a run; a row measured again replaces the old one, so that rank counts may come from several jobs),
# OUT/report: figures, points.csv and scaling.txt, a table with the fits. From the environment:
#   RANKS     "1 2"                      rank counts; the first of "1 ..." is what a simulation starts from
#   MODELS    "fno2d unet2d dpot_tiny"   rebalancing unless told also dpot_small; KINDS  "strong weak rebalance"
#   REPEATS   3                          runs of each point, the fastest counts, the median is told; STEPS  12   training steps of a run
#   BATCH     each model's own           samples of a strong step, the same on all RANKS: 32 (fno2d) or 16, or as many as the largest of RANKS
#                                        if that is more; has to be given where the rank counts come from several jobs with other largest ones
#   PER_RANK  each model's own           samples of a weak step and rank: 8 (fno2d) or 4
#   OUT       runs/scaling               DATA   runs/data   where the samples are kept that it generates
#   LAUNCH    "mpirun --oversubscribe"   the launcher with its options, `-n RANKS` is added; to srun, which would spread few ranks over
#                                        all nodes of the allocation, also `-N`: the nodes that they fill (unless it is there)
#   CORES     SLURM_NTASKS or nproc      runs with more ranks are marked and left out of the fits
#   SIMULATE  1, as --simulate           adds what SimGrid predicts for SIMULATE_RANKS ("1 2 4 ... 1024") ranks of the cluster in
#   CLUSTER   tests/scaling/fat_tree.txt; ranks beyond its cores are marked and left out of the fits, too. A strong step has
#             SIMULATE_BATCH samples, BATCH or as many as the largest of SIMULATE_RANKS. Wants SimGrid and `make scaling-programs` after it
#   PYTHON    a python3 with numpy, scipy and matplotlib
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }
fail() { echo "scaling.sh: $*" >&2; exit 1; }
positive() { [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1: '$2' is not a positive whole number"; }
largest() { printf '%s\n' "$@" | sort -n | tail -1; }
wants() { [[ " ${kinds[*]} " == *" $1 "* ]]; } # strong, weak or rebalance

# model: points along an axis, samples of a strong step (at least), samples per rank of a weak step
declare -A study=([fno2d]="64 32 8" [unet2d]="64 16 4" [dpot_tiny]="128 16 4")
declare -A model_keys=([fno2d]="type: fno2d" [unet2d]="type: unet2d" [dpot_tiny]="type: dpot, preset: tiny")
declare -A mesh_keys=([fno2d]="shard: none" [unet2d]="shard: optimizer" [dpot_tiny]="shard: optimizer")

settings() {
  build=${BUILD:-build/} out=${OUT:-runs/scaling} data=${DATA:-runs/data}
  repeats=${REPEATS:-3} steps=${STEPS:-12}
  # nproc would count OpenMP's threads where their number is set
  cores=${CORES:-${SLURM_NTASKS:-$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)}}
  cluster=${CLUSTER:-tests/scaling/fat_tree.txt} simulate=${SIMULATE:-}
  read -r -a ranks <<<"${RANKS:-1 2}"
  read -r -a models <<<"${MODELS:-fno2d unet2d dpot_tiny}"
  read -r -a kinds <<<"${KINDS:-strong weak rebalance}"
  read -r -a launch <<<"${LAUNCH:-${MPIRUN:-mpirun} --oversubscribe}"
  read -r -a simulated_ranks <<<"${SIMULATE_RANKS:-1 2 4 8 16 32 64 128 256 512 1024}"
  csv=$out/scaling.csv scratch=$out/run-$$
  # what the Makefile sets for its own runs
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1} HWLOC_HIDE_ERRORS=1
  if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
}

check_settings() {
  local name
  [ ${#ranks[@]} -gt 0 ] || fail "RANKS is empty"
  for name in "${ranks[@]}"; do positive RANKS "$name"; done
  for name in "${simulated_ranks[@]}"; do positive SIMULATE_RANKS "$name"; done
  positive REPEATS "$repeats"
  positive STEPS "$steps"
  positive CORES "$cores"
  for name in "${models[@]}"; do [ -n "${study[$name]:-}" ] || fail "MODELS: no '$name', there are: ${!study[*]}"; done
  for name in "${kinds[@]}"; do [[ " strong weak rebalance " == *" $name "* ]] || fail "KINDS: no '$name', there are: strong weak rebalance"; done
  for name in evenkeel scaling/describe bench/bench_balance bench/bench_step; do [ -x "$build$name" ] || fail "no $build$name: 'make scaling-programs' builds it"; done
  [ -r "$cluster" ] || fail "CLUSTER: cannot read '$cluster'"
  check_batches
  if [ -n "$simulate" ]; then check_simulation; fi
}

# Every rank of a strong step gets a sample.
check_batches() {
  local name model most
  for name in BATCH PER_RANK SIMULATE_BATCH; do [ -z "${!name:-}" ] || positive "$name" "${!name}"; done
  wants strong || return 0
  most=$(largest "${ranks[@]}")
  [ "${BATCH:-$most}" -ge "$most" ] || fail "BATCH=$BATCH leaves some of $most ranks without a sample: BATCH=$most or more, or fewer RANKS"
  for model in "${models[@]}"; do check_rows "$model" measured "$repeats" "$(strong_batch "$model")" "${ranks[@]}"; done
}

# Rows that stay have to have the same batch, or the report would refuse the table after all the runs.
check_rows() { # model source repeats batch ranks...
  local model=$1 source=$2 repeats=$3 batch=$4 other
  shift 4
  [ -f "$csv" ] || return 0
  other=$(awk -F, -v key="$model,strong,$source" -v batch="$batch" -v ranks=" $* " -v repeats="$repeats" \
    '$1 "," $2 "," $3 == key && $7 != batch && !(index(ranks, " " $4 " ") && $6 <= repeats) {print $7; exit}' "$csv")
  [ -z "$other" ] || fail "$csv has strong steps of $model, $source, with a batch of $other, now it would be $batch: strong scaling keeps one." \
    "BATCH (SIMULATE_BATCH) sets it, OUT names another directory"
}

check_simulation() {
  local model most
  if [ ! -x "${build}scaling/skeleton_sim" ] || ! command -v smpirun >/dev/null; then
    fail "SIMULATE: no ${build}scaling/skeleton_sim or no smpirun: install SimGrid ('apt-get install simgrid libsimgrid-dev'), then 'make scaling-programs'"
  fi
  # shellcheck disable=SC1090 # the user's
  cluster_cores=$(NODES=0 CORES=0; source "$cluster"; echo $((NODES * CORES)))
  positive "CLUSTER: NODES x CORES of $cluster" "$cluster_cores"
  most=$(largest "${simulated_ranks[@]}")
  [ "${SIMULATE_BATCH:-$most}" -ge "$most" ] || fail "SIMULATE_BATCH=$SIMULATE_BATCH leaves some of $most ranks without a sample: SIMULATE_BATCH=$most or more"
  for model in "${models[@]}"; do
    if ! wants strong || [[ " ${ranks[*]} " != *" 1 "* ]]; then
      grep -qs "^$model,strong,measured,1," "$csv" || fail "SIMULATE starts from a strong step of $model on one rank: RANKS has to have 1 and KINDS strong"
    fi
    if wants strong; then check_rows "$model" simulated 1 "$(simulated_batch "$model")" "${simulated_ranks[@]}"; fi
  done
}

# The same on all rank counts of a study, and with BATCH on those of several.
strong_batch() { # model
  local batch
  read -r _ batch _ <<<"${study[$1]}"
  if [ -n "${BATCH:-}" ]; then echo "$BATCH"; else largest "$batch" "${ranks[@]}"; fi
}

# Enough for every simulated rank: strong scaling beyond the measured batch starts from the same seconds per sample.
simulated_batch() { # model
  if [ -n "${SIMULATE_BATCH:-}" ]; then echo "$SIMULATE_BATCH"; else largest "$(strong_batch "$1")" "${simulated_ranks[@]}"; fi
}

# As many ranks a node as in the allocation, where that is even; empty: the launcher decides.
find_ranks_per_node() {
  per_node=
  [[ ${launch[0]##*/} == srun && ! " ${launch[*]}" =~ \ (-N|--nodes) ]] || return 0
  if [[ ${SLURM_NTASKS_PER_NODE:-${SLURM_TASKS_PER_NODE:-}} =~ ^([1-9][0-9]*)(\(x[0-9]+\))?$ ]]; then per_node=${BASH_REMATCH[1]}; fi
}

# Starts a program on ranks that fill one node after the other, as mpirun's do.
start() { # ranks program ...
  local p=$1 nodes
  local -a fill=()
  shift
  if [ -n "$per_node" ]; then
    nodes=$(((p + per_node - 1) / per_node))
    if [ "$nodes" -gt "${SLURM_JOB_NUM_NODES:-$nodes}" ]; then nodes=$SLURM_JOB_NUM_NODES; fi
    fill=(-N "$nodes")
  fi
  "${launch[@]}" "${fill[@]}" -n "$p" "$@"
}

find_python() {
  for python in ${PYTHON:-} python3 /usr/bin/python3; do
    "$python" -c 'import numpy, scipy, matplotlib' 2>/dev/null && return
  done
  fail "no python3 with numpy, scipy and matplotlib; PYTHON names one"
}

# The same samples for all runs of a grid: two steps' worth for the largest of them.
make_data() { # points samples
  local points=$1 samples=$2 file=$data/scaling_$1_$2.hdf5
  [ -f "$file" ] && [ ! -f "$file.progress" ] && return
  say "generating $samples samples on $points x $points"
  printf 'generate: {type: cfd2d, nx: %d, frames: 11, dt_save: 0.002, samples: %d, file: "%s"}\n' "$points" "$samples" "$file" >"$out/data.yaml"
  start "$(largest "${ranks[@]}")" "${build}evenkeel" generate "$out/data.yaml" >"$out/log" 2>&1 || fail "generate: $(tail -3 "$out/log")"
}

# One predicted frame a step; read from the file every time; evaluated never, spectra before the first and after the last step.
write_deck() { # model points samples batch
  local epochs=$(((steps + 1) / 2))
  cat >"$out/$1.yaml" <<YAML
data: {file: "$data/scaling_$2_$3.hdf5", test: 0, train: $((2 * $4)), t_train: 11, cache: 0}
model: {${model_keys[$1]}}
train: {batch: $4, epochs: $epochs, eval_interval: 0, checkpoint_interval: 0}
balance: {interval: $epochs}
mesh: {${mesh_keys[$1]}}
evaluate: {write_predictions: 0}
out: {dir: "$scratch"}
YAML
}

record() { "$python" postproc/scaling.py record "$csv" "$@" || fail "cannot write a row of $csv"; }

measure_step() { # model kind points samples batch ranks repeat
  write_deck "$1" "$3" "$4" "$5"
  rm -rf "$scratch"
  start "$6" "${build}evenkeel" train "$out/$1.yaml" >"$out/log" 2>&1 || fail "$1 on $6 ranks: $(tail -3 "$out/log")"
  record summary="$scratch/summary.json" model="$1" kind="$2" source=measured ranks="$6" repeat="$7" batch="$5" \
    steps=$((2 * ((steps + 1) / 2))) refreshes=2 oversubscribed=$(($6 > cores))
  say "$1 $2: $6 ranks, batch $5, run $7 of $repeats"
}

measure_model() { # model
  local points batch each p samples repeat
  read -r points _ each <<<"${study[$1]}"
  batch=$(strong_batch "$1") each=${PER_RANK:-$each}
  samples=$((2 * $(largest "$batch" $((each * $(largest "${ranks[@]}"))))))
  make_data "$points" "$samples"
  # rank counts in turn, so that a machine's slow quarter of an hour does not become one rank count's speed-up
  for ((repeat = 1; repeat <= repeats; repeat++)); do
    for p in "${ranks[@]}"; do
      if wants strong; then measure_step "$1" strong "$points" "$samples" "$batch" "$p" "$repeat"; fi
      if wants weak; then measure_step "$1" weak "$points" "$samples" $((each * p)) "$p" "$repeat"; fi
    done
  done
  write_deck "$1" "$points" "$samples" "$batch" # for describe
}

measure_rebalancing() {
  local p repeat name seconds set
  for ((repeat = 1; repeat <= repeats; repeat++)); do
    for p in "${ranks[@]}"; do
      start "$p" "${build}bench/bench_balance" models ${MODELS:+"${models[@]}"} >"$out/log" 2>&1 || fail "bench_balance on $p ranks: $(tail -3 "$out/log")"
      while read -r name seconds _; do
        name=${name#rebalance_} set=published
        if [[ $name == *_all ]]; then set=all; fi
        record model="${name%_all}" kind="refresh_$set" source=measured ranks="$p" repeat="$repeat" step="$seconds" oversubscribed=$((p > cores))
      done < <(grep '^rebalance_' "$out/log")
      say "rebalancing: $p ranks, run $repeat of $repeats"
    done
  done
}

# What arithmetic takes with all cores at work over what it takes on one: steps by turns, so that a slow hour slows both.
measure_crowd() { # model
  local gain
  if [ "$cores" -eq 1 ]; then echo 1; return; fi
  start "$cores" "${build}bench/bench_step" 7 0 "${1}_1" speedup >"$out/log" 2>&1 || fail "bench_step ${1}_1 on $cores ranks: $(tail -3 "$out/log")"
  gain=$(sed -nE 's/^.* ([0-9.]+) side by side.*/\1/p' "$out/log")
  awk -v cores="$cores" -v gain="$gain" 'BEGIN {if (gain <= 0) exit 1; printf "%.4g\n", cores / gain}' || fail "bench_step ${1}_1 says nothing: $(tail -3 "$out/log")"
}

# What a step sends, how long its parts took on one rank, what neighbours cost it: all that a prediction needs.
describe() { # model
  local crowd
  start 1 "${build}scaling/describe" "${simulated_ranks[*]}" "$out/$1.yaml" >"$out/$1.step" 2>"$out/log" || fail "describe $1: $(tail -3 "$out/log")"
  "$python" postproc/scaling.py costs "$csv" "$1" >>"$out/$1.step" || exit 1
  crowd=$(measure_crowd "$1") || exit 1
  echo "crowd=$crowd" >>"$out/$1.step"
  say "$1: with a rank on each of $cores cores arithmetic takes $crowd times as long as on one alone"
}

predict() { # model kind ranks batch
  local row step forward backward allreduce optimizer io spectra over=$(($3 > cluster_cores))
  row=$(tests/scaling/predict.sh "$out/$1.step" "$cluster" "$3" "$4") || fail "no prediction of $1 on $3 ranks"
  IFS=, read -r _ _ step forward backward allreduce optimizer io spectra <<<"$row"
  if wants "$2"; then
    record model="$1" kind="$2" source=simulated ranks="$3" repeat=1 batch="$4" step="$step" forward="$forward" backward="$backward" \
      allreduce="$allreduce" optimizer="$optimizer" io="$io" spectra="$spectra" oversubscribed="$over"
  fi
  if [ "$2" = strong ] && wants rebalance; then
    record model="$1" kind=refresh_published source=simulated ranks="$3" repeat=1 step="$spectra" oversubscribed="$over"
  fi
}

simulate_model() { # model
  local batch each p
  read -r _ _ each <<<"${study[$1]}"
  batch=$(simulated_batch "$1") each=${PER_RANK:-$each}
  describe "$1"
  for p in "${simulated_ranks[@]}"; do
    if wants strong || wants rebalance; then predict "$1" strong "$p" "$batch"; fi
    if wants weak; then predict "$1" weak "$p" $((each * p)); fi
    say "$1: $p ranks simulated"
  done
}

main() {
  local model
  case ${1:-} in --simulate) SIMULATE=1 ;; '') ;; *) fail "'$1' is not known; see the head of this script" ;; esac
  settings
  check_settings
  find_ranks_per_node
  find_python
  mkdir -p "$out" "$data"
  trap 'rm -rf "$scratch"' EXIT
  for model in "${models[@]}"; do measure_model "$model"; done
  if wants rebalance; then measure_rebalancing; fi
  if [ -n "$simulate" ]; then for model in "${models[@]}"; do simulate_model "$model"; done; fi
  "$python" postproc/scaling.py report "$csv" --out "$out/report"
}
main "$@"
