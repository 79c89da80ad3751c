#!/usr/bin/env bash
# The scaling study of this machine: strong (the global batch stays), weak (samples per rank stay) and rebalancing over a list of
# rank counts, with the program as a user runs it: reading, training steps, sums over ranks, Adam, spectra.
#
#   [NAME=value ...] jobscripts/scaling.sh [--simulate]          on a laptop or inside an allocation (jobscripts/scaling.sbatch)
#
# Writes OUT/scaling.csv (a row a run; a row measured again replaces the old one, so that rank counts may come from several jobs),
# OUT/report/*.png and a table with the fits. From the environment:
#   RANKS     "1 2"                      rank counts; the first of "1 ..." is what a simulation starts from
#   MODELS    "fno2d unet2d dpot_tiny"   KINDS  "strong weak rebalance"
#   REPEATS   3                          runs of each point, the fastest counts; STEPS  12   training steps of a run
#   BATCH, PER_RANK                      samples of a strong step, of a weak step and rank (each model has its own)
#   OUT       runs/scaling               DATA   runs/data   where the samples are kept that it generates
#   LAUNCH    "mpirun --oversubscribe"   the launcher with its options, `-n RANKS` is added
#   CORES     SLURM_NTASKS or nproc      runs with more ranks are marked and left out of the fits
#   SIMULATE  1, as --simulate           adds what SimGrid predicts for SIMULATE_RANKS ("1 2 4 ... 1024") ranks of the cluster in
#   CLUSTER   tests/scaling/fat_tree.txt
#   PYTHON    a python3 with numpy, scipy and matplotlib
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }
fail() { echo "scaling.sh: $*" >&2; exit 1; }
positive() { [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1: '$2' is not a positive whole number"; }

# model: points along an axis, samples of a strong step, samples per rank of a weak step
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
  for name in evenkeel scaling/describe bench/bench_balance; do [ -x "$build$name" ] || fail "no $build$name: 'make scaling-programs' builds it"; done
  [ -r "$cluster" ] || fail "CLUSTER: cannot read '$cluster'"
}

find_python() {
  for python in ${PYTHON:-} python3 /usr/bin/python3; do
    "$python" -c 'import numpy, scipy, matplotlib' 2>/dev/null && return
  done
  fail "no python3 with numpy, scipy and matplotlib; PYTHON names one"
}

largest() { printf '%s\n' "$@" | sort -n | tail -1; }

# The same samples for all runs of a grid: two steps' worth for the largest of them.
make_data() { # points samples
  local points=$1 samples=$2 file=$data/scaling_$1_$2.hdf5
  [ -f "$file" ] && [ ! -f "$file.progress" ] && return
  say "generating $samples samples on $points x $points"
  printf 'generate: {type: cfd2d, nx: %d, frames: 11, dt_save: 0.002, samples: %d, file: "%s"}\n' "$points" "$samples" "$file" >"$out/data.yaml"
  "${launch[@]}" -n "$(largest "${ranks[@]}")" "${build}evenkeel" generate "$out/data.yaml" >"$out/log" 2>&1 || fail "generate: $(tail -3 "$out/log")"
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
  "${launch[@]}" -n "$6" "${build}evenkeel" train "$out/$1.yaml" >"$out/log" 2>&1 || fail "$1 on $6 ranks: $(tail -3 "$out/log")"
  record summary="$scratch/summary.json" model="$1" kind="$2" source=measured ranks="$6" repeat="$7" batch="$5" \
    steps=$((2 * ((steps + 1) / 2))) refreshes=2 oversubscribed=$(($6 > cores))
  say "$1 $2: $6 ranks, batch $5, run $7 of $repeats"
}

measure_model() { # model
  local points batch each p samples repeat
  read -r points batch each <<<"${study[$1]}"
  batch=${BATCH:-$batch} each=${PER_RANK:-$each}
  samples=$((2 * $(largest "$batch" $((each * $(largest "${ranks[@]}"))))))
  make_data "$points" "$samples"
  # rank counts in turn, so that a machine's slow quarter of an hour does not become one rank count's speed-up
  for ((repeat = 1; repeat <= repeats; repeat++)); do
    for p in "${ranks[@]}"; do
      if [[ " ${kinds[*]} " == *" strong "* ]]; then measure_step "$1" strong "$points" "$samples" "$batch" "$p" "$repeat"; fi
      if [[ " ${kinds[*]} " == *" weak "* ]]; then measure_step "$1" weak "$points" "$samples" $((each * p)) "$p" "$repeat"; fi
    done
  done
  write_deck "$1" "$points" "$samples" "$batch" # for describe
}

measure_rebalancing() {
  local p repeat name seconds set
  for ((repeat = 1; repeat <= repeats; repeat++)); do
    for p in "${ranks[@]}"; do
      "${launch[@]}" -n "$p" "${build}bench/bench_balance" models >"$out/log" 2>&1 || fail "bench_balance on $p ranks: $(tail -3 "$out/log")"
      while read -r name seconds; do
        name=${name#rebalance_} set=published
        if [[ $name == *_all ]]; then set=all; fi
        record model="${name%_all}" kind="refresh_$set" source=measured ranks="$p" repeat="$repeat" step="$seconds" oversubscribed=$((p > cores))
      done < <(grep '^rebalance_' "$out/log")
      say "rebalancing: $p ranks, run $repeat of $repeats"
    done
  done
}

# What a step sends and how long its parts took on one rank: all that a prediction needs.
describe() { # model
  "${launch[@]}" -n 1 "${build}scaling/describe" "${simulated_ranks[*]}" "$out/$1.yaml" >"$out/$1.step" 2>"$out/log" || fail "describe $1: $(tail -3 "$out/log")"
  "$python" postproc/scaling.py costs "$csv" "$1" >>"$out/$1.step" || exit 1
}

predict() { # model kind ranks batch
  local row step forward backward allreduce optimizer io spectra
  row=$(tests/scaling/predict.sh "$out/$1.step" "$cluster" "$3" "$4") || fail "no prediction of $1 on $3 ranks"
  IFS=, read -r _ _ step forward backward allreduce optimizer io spectra <<<"$row"
  record model="$1" kind="$2" source=simulated ranks="$3" repeat=1 batch="$4" step="$step" forward="$forward" backward="$backward" \
    allreduce="$allreduce" optimizer="$optimizer" io="$io" spectra="$spectra" oversubscribed=0
  if [ "$2" = strong ]; then record model="$1" kind=refresh_published source=simulated ranks="$3" repeat=1 step="$spectra" oversubscribed=0; fi
}

simulate_model() { # model
  local batch each p
  read -r _ batch each <<<"${study[$1]}"
  # enough samples for every simulated rank: strong scaling beyond the measured batch starts from the same seconds per sample
  batch=${SIMULATE_BATCH:-$(largest "${BATCH:-$batch}" "${simulated_ranks[@]}")} each=${PER_RANK:-$each}
  describe "$1"
  for p in "${simulated_ranks[@]}"; do
    predict "$1" strong "$p" "$batch"
    predict "$1" weak "$p" $((each * p))
    say "$1: $p ranks simulated"
  done
}

main() {
  local model
  case ${1:-} in --simulate) SIMULATE=1 ;; '') ;; *) fail "'$1' is not known; see the head of this script" ;; esac
  settings
  check_settings
  find_python
  mkdir -p "$out" "$data"
  trap 'rm -rf "$scratch"' EXIT
  for model in "${models[@]}"; do measure_model "$model"; done
  if [[ " ${kinds[*]} " == *" rebalance "* ]]; then measure_rebalancing; fi
  if [ -n "$simulate" ]; then for model in "${models[@]}"; do simulate_model "$model"; done; fi
  "$python" postproc/scaling.py report "$csv" --out "$out/report"
}
main "$@"
