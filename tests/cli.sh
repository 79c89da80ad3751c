#!/usr/bin/env bash
# Black-box tests of the program: bad input gives one plain line, exit 1 and no hang at 1 and 3 ranks; a stop request gives exit 75 and a run that continues.
set -u
cd "$(dirname "$0")/.."
program=${BUILD:-build/}evenkeel launch="${MPIRUN:-mpirun} --oversubscribe"
case_dir=tests/data/cases/runs/fno1d_linear_map
dir=build/scratch/cli
rm -rf "$dir" && mkdir -p "$dir"
passed=0 failed=0
good() { echo "ok   cli $1"; passed=$((passed + 1)); }
bad() { echo "FAIL cli $1: $2"; failed=$((failed + 1)); }

cat >"$dir/deck.yaml" <<YAML
data: {file: $case_dir/data.hdf5, test: 3, train: 10, initial_step: 4}
model: {type: fno1d, width: 4, modes: 3}
train: {epochs: 3, batch: 4}
out: {dir: $dir/run}
YAML
head -c 3000 $case_dir/data.hdf5 >"$dir/short.hdf5"
echo "just words" >"$dir/words.hdf5"
touch "$dir/file"

# refuses NAME TEXT ARGUMENTS...: exit status 1 and TEXT in a line of ours
refuses() {
  local name=$1 text=$2 n status
  shift 2
  for n in 1 3; do
    timeout 60 $launch -n $n "$program" "$@" >"$dir/log" 2>&1
    status=$?
    if [ $status -ne 1 ]; then bad "$name ($n)" "exit status $status"
    elif ! grep '^evenkeel: ' "$dir/log" | grep -qF -- "$text"; then bad "$name ($n)" "no line with '$text'"
    elif [ "$(grep -c '^evenkeel: ' "$dir/log")" -ne 1 ]; then bad "$name ($n)" "more than one line"
    else good "$name ($n)"; fi
  done
}
deck=$dir/deck.yaml
refuses command "command 'trian' is not known" trian
refuses no-deck "needs a deck" train
refuses missing-deck "cannot be read" train "$dir/none.yaml"
refuses unknown-key "nearest known one is train_lr" train "$deck" -train_lrr 1
refuses unused-key "generate_nx is not used" train "$deck" -generate_nx 3
refuses unknown-member "there is: none" train "$deck" -balance_rule tb_odd
refuses range "train_batch" train "$deck" -train_batch 0
refuses missing-data "none.hdf5" train "$deck" -data_file "$dir/none.hdf5"
refuses foreign-data "words.hdf5" train "$deck" -data_file "$dir/words.hdf5"
refuses short-data "short.hdf5" train "$deck" -data_file "$dir/short.hdf5"
refuses too-many "13" train "$deck" -data_train 100
refuses modes "model_modes" train "$deck" -model_modes 40
refuses dimension "model_type" train "$deck" -model_type fno2d
refuses mesh "mesh_data" train "$deck" -mesh_data 7
refuses space "mesh_space" train "$deck" -mesh_space 2
refuses out-file "out_dir" train "$deck" -out_dir "$dir/file"

# a stop request: checkpoint, exit 75, continued to the same weights as an uninterrupted run
long="-train_epochs 400 -train_eval_interval 0 -train_checkpoint_interval 0"
timeout 120 $launch -n 2 "$program" train "$deck" $long -out_dir "$dir/whole" >"$dir/log" 2>&1 || bad whole "exit status $?"
timeout 120 $launch -n 2 "$program" train "$deck" $long -out_dir "$dir/parts" -train_resume auto >"$dir/log" 2>&1 &
job=$!
for i in $(seq 100); do [ -s "$dir/parts/metrics.csv" ] && [ "$(wc -l <"$dir/parts/metrics.csv")" -gt 3 ] && break; sleep 0.05; done
pkill -USR1 -f "^$program train"
wait $job
status=$?
if [ $status -eq 75 ] && [ -f "$dir/parts/checkpoint.h5" ]; then good stop; else bad stop "exit status $status"; fi
timeout 120 $launch -n 2 "$program" train "$deck" $long -out_dir "$dir/parts" -train_resume auto >"$dir/log" 2>&1 || bad continue "exit status $?"
if cmp -s "$dir/whole/final.safetensors" "$dir/parts/final.safetensors"; then good continued-equals-whole; else bad continued-equals-whole "other weights"; fi

timeout 60 $launch -n 2 "$program" train "$dir/whole/resolved.yaml" -out_dir "$dir/again" >"$dir/log" 2>&1
if cmp -s "$dir/whole/final.safetensors" "$dir/again/final.safetensors"; then good resolved-reproduces; else bad resolved-reproduces "other weights"; fi
"$program" export "$dir/whole/checkpoint.h5" "$dir/exported.safetensors" >"$dir/log" 2>&1
timeout 60 $launch -n 3 "$program" evaluate "$deck" -model_weights "$dir/exported.safetensors" >"$dir/log" 2>&1
status=$?
[ $status -eq 0 ] && [ -s "$dir/run/evaluate.json" ] && good evaluate || bad evaluate "exit status $status"
refuses occupied "holds a run already" train "$deck" -out_dir "$dir/whole"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
