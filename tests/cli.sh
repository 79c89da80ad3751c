#!/usr/bin/env bash
# Black-box tests of the program under mpirun. Bad input: exit status 1, one plain line a mistake, no hang, at 1 and 3 ranks. Runs: stopped, continued,
# repeated, evaluated, exported. JOBS tests at a time; ONLY_CLI=name runs those whose name contains it.
# shellcheck disable=SC2015,SC2030,SC2031 # a && b || wrong; a test's dir and why are its own, in a subshell
set -u
cd "$(dirname "$0")/.." || exit 1
program=${BUILD:-build/}evenkeel
launch="${MPIRUN:-mpirun} --oversubscribe"
limit=60 # seconds until a command counts as hanging
jobs_at_once=${JOBS:-6}
export OMPI_MCA_hwloc_base_binding_policy=none # tests side by side share all cores
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_btl_base_warn_component_unused=0
export OMPI_ALLOW_RUN_AS_ROOT=${OMPI_ALLOW_RUN_AS_ROOT:-1} OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:-1}
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
scratch=build/scratch/cli
rm -rf "$scratch"
mkdir -p "$scratch/results"

# ---- the machinery ------------------------------------------------------------------------------------------------------

# One test in the background: its name, a function and arguments. Inside it $dir is an empty directory of its own.
number=0
try() {
  local name=$1 file
  shift
  case $name in *"${ONLY_CLI:-}"*) ;; *) return ;; esac
  number=$((number + 1))
  file=$(printf '%s/results/%03d' "$scratch" $number)
  while [ "$(jobs -rp | wc -l)" -ge "$jobs_at_once" ]; do wait -n; done
  (
    dir=$scratch/$name why=
    mkdir -p "$dir"
    "$@"
    if [ -z "$why" ]; then echo "ok   cli $name"; else echo "FAIL cli $name: $why"; fi >"$file.part"
    mv "$file.part" "$file"
  ) </dev/null &
}

# The first thing that went wrong is what is told.
wrong() { [ -n "$why" ] || why=$*; }

# RANKS ARGUMENTS...: the program's stdout in $dir/out, its own stderr in $dir/err, mpirun's in $dir/mpi; its exit status is the result. BEFORE runs in each
# rank's shell.
launch() {
  local n=$1 status
  shift
  rm -f "$dir/err"
  # shellcheck disable=SC2016,SC2086
  timeout $limit $launch -n "$n" bash -c 'exec 2>>"$0"; eval "${BEFORE:-}"; exec "$@"' "$dir/err" "$program" "$@" >"$dir/out" 2>"$dir/mpi"
  status=$?
  sed -i '/^\[hwloc/d' "$dir/err" 2>/dev/null # MPI's library says so where there is no /sys
  return $status
}

# RANKS WANTED ARGUMENTS...: a run that must end with that exit status.
expect() {
  local n=$1 wanted=$2 status
  shift 2
  launch "$n" "$@"
  status=$?
  [ $status -eq 124 ] && { wrong "hangs on $n ranks: $*"; return 1; }
  [ $status -eq "$wanted" ] && return 0
  wrong "exit status $status, not $wanted, on $n ranks: $* ($(tail -n 1 "$dir/err" 2>/dev/null))"
  return 1
}

# LINES "WORDS|WORDS|..." ARGUMENTS...: refused at 1 and 3 ranks, with so many lines of ours, all words in them, and nothing else of ours on stderr.
refused() {
  local lines=$1 words=$2 n word
  local -a list
  shift 2
  IFS='|' read -r -a list <<<"$words"
  if [ "${1:-}" = train ] && [ "${2:-}" = "$deck" ]; then set -- "$1" "$2" -out_dir "$dir/run" "${@:3}"; fi # tests side by side; a directory has one run at a time
  for n in 1 3; do
    expect $n 1 "$@" || return
    [ "$(wc -l <"$dir/err")" -eq "$lines" ] || wrong "$(wc -l <"$dir/err") lines on $n ranks, not $lines: $(head -n 3 "$dir/err")"
    grep -qv '^evenkeel: ' "$dir/err" && wrong "a line that is not plain on $n ranks: $(grep -v '^evenkeel: ' "$dir/err" | head -n 1)"
    for word in "${list[@]}"; do
      grep -qF -- "$word" "$dir/err" || wrong "'$word' is not in: $(head -n 3 "$dir/err")"
    done
  done
}

# ---- decks and files ----------------------------------------------------------------------------------------------------

case_1d=tests/data/cases/runs/fno1d_linear_map
case_2d=tests/data/cases/runs/fno2d_plain

# deck DIRECTORY: a small run into DIRECTORY/run; prints the deck's name. 1D, 8 trajectories in batches of 3.
deck() {
  cat >"$1/deck.yaml" <<YAML
data: {file: $case_1d/data.hdf5, test: 3, train: 8, initial_step: 2, t_train: 4, reduced_resolution: 3}
model: {type: fno1d, width: 4, modes: 3}
train: {epochs: 3, batch: 3, lr: 5e-3, schedule_step: 2}
balance: {rule: tb_sigmoid, min_eigs: 2}
out: {dir: $1/run}
YAML
  echo "$1/deck.yaml"
}
deck=$(deck "$scratch")

printf 'data: [a\n model: }' >"$scratch/not.yaml"
echo 'just words' >"$scratch/words.yaml"
printf 'data:\n  - file: a\n    test: 1\n  - file: b\n' >"$scratch/maps.yaml"
: >"$scratch/empty.yaml"
printf 'PK\003\004 and so on, and so on' >"$scratch/zip.pth"
head -c 30000 $case_1d/data.hdf5 >"$scratch/cut.hdf5"
head -c 20000 $case_1d/init.safetensors >"$scratch/cut.safetensors"
cp $case_1d/init.safetensors "$scratch/nan.safetensors"
printf '\0\0\300\177' | dd of="$scratch/nan.safetensors" bs=1 seek=$(($(wc -c <$case_1d/init.safetensors) - 4)) conv=notrunc 2>/dev/null
same_size=(-data_initial_step 4 -model_width 12 -model_modes 6) # the network of init.safetensors
long_key=data_this_is_a_key_longer_than_any_key_that_there_is_or_ever_will_be_in_a_deck

# ---- what runs are compared by ------------------------------------------------------------------------------------------

same() { cmp -s "$1" "$2" || wrong "$1 and $2 differ"; }

# Tables without their durations.
timeless() { awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) drop[i] = $i ~ /seconds/ } { for (i = 1; i <= NF; i++) if (drop[i]) $i = ""; print }' "$1"; }
same_tables() {
  for table in metrics layers; do
    [ "$(timeless "$1/$table.csv")" = "$(timeless "$2/$table.csv")" ] || wrong "$table.csv differs between $1 and $2"
  done
}

# FILE FILE TOLERANCE: metrics.csv agree in every cell, relative (figures near zero: to that part of 0.01), durations aside.
near_tables() {
  paste -d, <(timeless "$1") <(timeless "$2") | awk -F, -v tolerance="$3" '
    NR > 1 { for (i = 1; i <= NF / 2; i++) { a = $i; b = $(i + NF / 2); d = a - b; m = b < 0 ? -b : b; if (m < 0.01) m = 0.01; if ((d < 0 ? -d : d) > tolerance * m || (a == "") != (b == "")) bad = 1 } }
    END { exit bad || NR < 2 || NF % 2 }' || wrong "$1 and $2 differ by more than $3"
}

# The figures of a summary.json or evaluate.json, one a line.
figures() { sed -n '/"metrics/,/}/p' "$1" | tr -d ' \t",' | grep -v '[{}]'; }
near_figures() {
  [ "$(figures "$1" | wc -l)" -eq 16 ] || wrong "$1 holds $(figures "$1" | wc -l) figures"
  paste -d: <(figures "$1") <(figures "$2") | awk -F: -v tolerance="$3" '
    $1 != $3 || ($2 == "null") != ($4 == "null") { bad = 1 }
    { d = $2 - $4; m = $4 < 0 ? -$4 : $4; if ((d < 0 ? -d : d) > tolerance * m) bad = 1 }
    END { exit bad }' || wrong "figures of $1 and $2 differ by more than $3"
}

# Name, type, shape and checksum of every tensor of a safetensors file, by name.
tensors() {
  local length name kind from to
  length=$(od -An -tu8 -N8 "$1" | tr -d ' ')
  tail -c +9 "$1" | head -c "$length" | tr '}' '\n' |
    sed -nE 's/.*"([^"]+)":\{(.*),"data_offsets":\[([0-9]+),([0-9]+)\].*/\1 \2 \3 \4/p' | sort |
    while read -r name kind from to; do
      echo "$name $kind $(tail -c +$((9 + length + from)) "$1" | head -c $((to - from)) | cksum)"
    done
}
same_tensors() {
  [ "$(tensors "$1" | wc -l)" -gt 10 ] || wrong "$1 holds $(tensors "$1" | wc -l) tensors"
  [ "$(tensors "$1")" = "$(tensors "$2")" ] || wrong "tensors of $1 and $2 differ"
}

# ---- runs -----------------------------------------------------------------------------------------------------------------

lists() {
  local n ask
  for n in 1 3; do
    expect $n 0 list
    [ "$(grep -c 'balance_rule .*tb_sigmoid' "$dir/out")" -eq 1 ] || wrong "balance_rule is not listed once"
    cp "$dir/out" "$dir/list"
    for ask in help -h -help --help 'train -h' 'train --help' "train $deck -help" "generate -train_lr 1 --help"; do
      # shellcheck disable=SC2086
      expect $n 0 $ask
      same "$dir/list" "$dir/out"
      [ -s "$dir/err" ] && wrong "a line on stderr: $(head -n 1 "$dir/err")"
    done
  done
}

# The file a run leaves loads again and gives the same run, to the bit; also from and into directories with odd names.
reproduces() {
  for n in 1 3; do
    expect $n 0 train "$deck" -out_dir "$dir/a b #$n" -model_transform auto || return
    expect $n 0 train "$dir/a b #$n/resolved.yaml" -out_dir "$dir/again $n" || return
    same "$dir/a b #$n/final.safetensors" "$dir/again $n/final.safetensors"
    same_tables "$dir/a b #$n" "$dir/again $n"
    grep -qF "dir: \"$dir/a b #$n\"" "$dir/a b #$n/resolved.yaml" || wrong "resolved.yaml does not name its directory"
  done
}

evaluates() {
  local weights n
  expect 2 0 train "$deck" -out_dir "$dir/run" || return
  for weights in final.safetensors checkpoint.h5; do
    for n in 1 2 3; do
      rm -f "$dir/run/evaluate.json"
      expect $n 0 evaluate "$deck" -out_dir "$dir/run" -model_weights "$dir/run/$weights" || return
      near_figures "$dir/run/evaluate.json" "$dir/run/summary.json" 1e-6
    done
  done
  expect 1 0 evaluate "$deck" -out_dir "$dir/run" # what the run left is the default
  near_figures "$dir/run/evaluate.json" "$dir/run/summary.json" 1e-6
  rm -f "$dir/run/evaluate.json"
  expect 2 0 evaluate "$deck" -out_dir "$dir/new/place/run" -model_weights "$dir/run/final.safetensors" || return
  near_figures "$dir/new/place/run/evaluate.json" "$dir/run/summary.json" 1e-6
  grep -qE '"evaluate":[[:space:]]*[0-9.e-]*[1-9]' "$dir/new/place/run/evaluate.json" || wrong "no time of evaluation: $(head -n 30 "$dir/new/place/run/evaluate.json")"
  grep -qE '"peak_memory_bytes":[[:space:]]*[0-9]{8,}' "$dir/new/place/run/evaluate.json" || wrong "no memory of evaluation"
  expect 1 0 evaluate "$deck" -out_dir "$dir/run" -model_weights "$dir/run/final.safetensors" -model_load fc0 || return # all of it, whatever the run started from
  near_figures "$dir/run/evaluate.json" "$dir/run/summary.json" 1e-6
}

# The constants of data_normalize come with the weights: those of the run, those in its checkpoint, those exported from that.
evaluates_normalised() {
  local weights n
  expect 2 0 train "$deck" -data_normalize field -out_dir "$dir/run" || return
  expect 1 0 export "$dir/run/checkpoint.h5" "$dir/run/exported.safetensors" || return
  expect 1 0 export "$dir/run/checkpoint.h5" "$dir/run/continued.safetensors" optimizer || return
  for weights in final.safetensors checkpoint.h5 exported.safetensors continued.safetensors; do
    for n in 1 3; do
      rm -f "$dir/run/evaluate.json"
      expect $n 0 evaluate "$deck" -data_normalize field -out_dir "$dir/run" -model_weights "$dir/run/$weights" || return
      near_figures "$dir/run/evaluate.json" "$dir/run/summary.json" 1e-6
    done
  done
}

# As OpenBLAS does on a CPU younger than itself: kernels of a Prescott. The program asks for better ones, but only where nobody has asked.
blas_older_than_the_cpu() {
  grep -q avx2 /proc/cpuinfo && ! ldd "$program" | grep -q libasan || return
  echo 'char *openblas_get_corename(void) { return "Prescott"; }' | gcc -shared -fPIC -x c - -o "$dir/older.so" || wrong "no library"
  BEFORE="unset OPENBLAS_CORETYPE; export LD_PRELOAD=$PWD/$dir/older.so" expect 2 0 train "$deck" -out_dir "$dir/run" || return
  # as who looks for it among the processes knows it
  env -u OPENBLAS_CORETYPE LD_PRELOAD="$PWD/$dir/older.so" "$program" train "$deck" -train_epochs 1000000 -train_eval_interval 0 -out_dir "$dir/endless" >"$dir/endless.out" 2>&1 &
  comes_true test -s "$dir/endless/metrics.csv" || wrong "does not train: $(tail -n 1 "$dir/endless.out")"
  [ "$(cat /proc/$!/comm)" = evenkeel ] || wrong "is called '$(cat /proc/$!/comm)'"
  kill -KILL $!
  wait $! 2>/dev/null
  grep -qE '"blas":.*OpenBLAS.*(SkylakeX|Haswell)' "$dir/run/run.json" || wrong "kernels: $(grep '"blas"' "$dir/run/run.json")"
  BEFORE="export OPENBLAS_CORETYPE=Nehalem LD_PRELOAD=$PWD/$dir/older.so" expect 2 0 train "$deck" -out_dir "$dir/asked" || return
  grep -qE '"blas":.*OpenBLAS.*Nehalem' "$dir/asked/run.json" || wrong "kernels not as asked: $(grep '"blas"' "$dir/asked/run.json")"
}

exports() {
  for n in 1 3; do
    rm -rf "$dir/run"
    expect $n 0 train "$deck" -out_dir "$dir/run" || return
    expect $n 0 export "$dir/run/checkpoint.h5" "$dir/out.safetensors" || return
    same_tensors "$dir/out.safetensors" "$dir/run/final.safetensors"
  done
  tensors "$dir/out.safetensors" | grep -q '^conv0.weights1 .*\[4,4,3,2\]' || wrong "conv0.weights1 is not 4 x 4 x 3 complex"
}

# The same figures on any number of ranks, with the optimizer sharded or not; one trajectory a batch leaves ranks without work.
agrees_on_ranks() {
  local n shard batch
  for batch in 3 1; do
    expect 1 0 train "$deck" -train_batch $batch -out_dir "$dir/1-$batch" || return
    for n in 2 3; do
      for shard in none optimizer; do
        expect $n 0 train "$deck" -train_batch $batch -mesh_shard $shard -out_dir "$dir/$n-$batch-$shard" || return
        near_tables "$dir/1-$batch/metrics.csv" "$dir/$n-$batch-$shard/metrics.csv" 1e-4
      done
    done
  done
}

# Two ranks, two steps by the wall clock; then two, three or one go on.
continues_on_ranks() {
  expect 2 0 train "$deck" -model_transform gemm -out_dir "$dir/whole" || return
  for _ in 1 2; do expect 2 75 train "$deck" -model_transform gemm -out_dir "$dir/stopped" -train_resume auto -train_max_wall 0.001 || return; done
  grep -q 'stopped on request after epoch 0, batch 2' "$dir/out" || wrong "no word of the stop: $(tail -n 1 "$dir/out")"
  for n in 1 2 3; do
    cp -r "$dir/stopped" "$dir/on$n"
    expect $n 0 train "$deck" -out_dir "$dir/on$n" -train_resume auto || return
    near_tables "$dir/whole/metrics.csv" "$dir/on$n/metrics.csv" 1e-5
  done
  same "$dir/whole/final.safetensors" "$dir/on2/final.safetensors"
  same_tables "$dir/whole" "$dir/on2"
}

falls_back() {
  local n
  for n in 1 3; do
    rm -rf "$dir/run"
    expect $n 0 train "$deck" -out_dir "$dir/run" -train_checkpoint_interval 1 || return
    cp -r "$dir/run" "$dir/whole$n"
    truncate -s 5000 "$dir/run/checkpoint.h5"
    echo '4,0.5,0.1' >>"$dir/run/metrics.csv"
    expect $n 0 train "$deck" -out_dir "$dir/run" -train_resume auto || return
    grep -qF "continuing from '$dir/run/checkpoint_prev.h5'" "$dir/out" || wrong "no notice on $n ranks"
    same "$dir/run/final.safetensors" "$dir/whole$n/final.safetensors"
    same_tables "$dir/run" "$dir/whole$n"
  done
}

holds_a_run() {
  expect 1 0 train "$deck" -out_dir "$dir/run" -train_resume auto || return
  refused 1 "train_epochs|has 3 epochs behind it, which cannot be made 2" train "$deck" -out_dir "$dir/run" -train_resume auto -train_epochs 2
  [ -e "$dir/run/summary.json" ] || wrong "summary.json of the finished run has gone"
  expect 1 75 train "$deck" -out_dir "$dir/run" -train_resume auto -train_epochs 5 -train_max_wall 00:00:00.000001 || return
  [ -e "$dir/run/summary.json" ] && wrong "summary.json is that of an earlier end"
  refused 1 "holds a run already|$dir/run" train "$deck" -out_dir "$dir/run"
}

# A continued run says what it does otherwise, and only that.
other_settings() {
  expect 2 0 train "$deck" -train_epochs 1 -train_lr 1e-3 -out_dir "$dir/run" || return
  expect 2 0 train "$deck" -train_epochs 2 -train_lr 1e-3 -train_checkpoint_interval 1 -out_dir "$dir/run" -train_resume auto || return
  ! grep 'other settings' "$dir/out" || wrong "differences where there are none"
  expect 3 0 train "$deck" -train_epochs 3 -train_lr 2e-3 -balance_rule none -data_noise 0.1 -out_dir "$dir/run" -train_resume auto || return
  grep -qxF "continues with other settings: data_noise 0.1 (was 0), train_lr 0.002 (was 0.001), balance_rule none (was tb_sigmoid), \
balance_metric is not set (was alpha), balance_s1 is not set (was 1), balance_s2 is not set (was 1), balance_tau is not set (was 10), balance_fixed is not set (was false)" "$dir/out" ||
    wrong "differences: $(grep 'other settings' "$dir/out")"
  sed 's/, schedule_step: 2//' "$deck" >"$dir/warm.yaml"
  expect 1 0 train "$dir/warm.yaml" -train_epochs 4 -train_lr 2e-3 -balance_rule none -data_noise 0.1 -train_schedule linear_warmup -train_warmup 1 -out_dir "$dir/run" -train_resume auto || return
  grep -qxF "continues with other settings: train_epochs 4 (was 3), train_schedule linear_warmup (was step), train_warmup 1 (was not set), \
train_schedule_step is not set (was 2), train_schedule_gamma is not set (was 0.5)" "$dir/out" || wrong "differences: $(grep 'other settings' "$dir/out")"
}

# More epochs are another schedule where the rate depends on how many there are. A zero that was given stays one in resolved.yaml.
epochs_of_a_schedule() {
  local warm=(-train_schedule linear_warmup -train_warmup 0)
  sed 's/, schedule_step: 2//' "$deck" >"$dir/warm.yaml"
  expect 1 0 train "$dir/warm.yaml" "${warm[@]}" -train_epochs 2 -out_dir "$dir/run" || return
  expect 1 0 train "$dir/run/resolved.yaml" -out_dir "$dir/same" || return
  same_tables "$dir/run" "$dir/same"
  expect 1 0 train "$dir/warm.yaml" "${warm[@]}" -train_epochs 3 -out_dir "$dir/run" -train_resume auto || return
  grep -qxF "continues with other settings: train_epochs 3 (was 2)" "$dir/out" || wrong "no word of the epochs: $(head -n 8 "$dir/out")"
}

# Ratios are those of the rule that the deck has now, from the first step on.
other_rule() {
  local rare=(-balance_interval 50)
  expect 1 0 train "$deck" "${rare[@]}" -train_epochs 1 -out_dir "$dir/run" || return
  cp -r "$dir/run" "$dir/none"
  expect 1 0 train "$deck" "${rare[@]}" -out_dir "$dir/run" -train_resume auto || return
  expect 1 0 train "$deck" "${rare[@]}" -balance_rule none -out_dir "$dir/none" -train_resume auto || return
  ! cmp -s "$dir/run/final.safetensors" "$dir/none/final.safetensors" || wrong "the rule of the checkpoint goes on"
}

# The step before the end spoils the weights: no loss is there to show it any more.
keeps_no_bad_weights() {
  expect 2 1 train "$deck" -train_epochs 1 -train_batch 8 -train_lr 1e39 -balance_interval 10 -train_eval_interval 0 -out_dir "$dir/run"
  grep -qF "the weights are not finite after epoch 1" "$dir/err" || wrong "another error: $(tail -n 1 "$dir/err")"
  [ ! -e "$dir/run/checkpoint.h5" ] && [ ! -e "$dir/run/final.safetensors" ] || wrong "bad weights are kept"
}

# A deck says what its run started from; what that run left is what is evaluated.
evaluates_what_a_run_left() {
  expect 1 0 train "$deck" -train_epochs 1 -data_normalize field -out_dir "$dir/first" || return
  expect 1 0 train "$deck" -model_weights "$dir/first/final.safetensors" -out_dir "$dir/run" || return
  grep -q "notice: .*first/final.safetensors' was trained on normalised data" "$dir/out" || wrong "no word of the other data"
  expect 1 0 evaluate "$dir/run/resolved.yaml" || return
  grep -qxF "weights $dir/run/final.safetensors" "$dir/out" || wrong "$(head -n 1 "$dir/out")"
  near_figures "$dir/run/evaluate.json" "$dir/run/summary.json" 1e-6
}

# What a simulated cluster is told about a step, and that its skeleton takes it: a UNet's sums inside the graph, each way one a BatchNorm.
step_is_described() {
  local build=${BUILD:-build/} deck
  deck=$(deck "$dir")
  sed -i 's/^model:.*/model: {type: unet1d, features: 2}/; s/, reduced_resolution: 3//' "$deck"
  # shellcheck disable=SC2086
  $launch -n 1 "${build}scaling/describe" "1 2" "$deck" -mesh_shard optimizer >"$dir/step" 2>"$dir/err" || { wrong "describe: $(head -1 "$dir/err")"; return; }
  for way in forward backward; do
    [ "$(sed -n "s/^${way}_sums=//p" "$dir/step" | tr ',' '\n' | wc -l)" -eq 36 ] || wrong "${way} sums: $(grep "^${way}_sums" "$dir/step")"
  done
  grep -qx 'sharded=1' "$dir/step" || wrong "not sharded"
  grep -qx 'exchange=[1-9][0-9]*' "$dir/step" || wrong "no word of exchanges"
  for way in "" exchange=0; do # as the step says, and as on many ranks
    # shellcheck disable=SC2046,SC2086
    $launch -n 2 "${build}scaling/skeleton" $(cat "$dir/step") batch=4 steps=2 forward=1e-4 backward=1e-4 $way >"$dir/out" 2>"$dir/err" || wrong "skeleton: $(head -1 "$dir/err")"
    grep -qE '^2,4,([0-9.e-]+,){6}[0-9.e-]+$' "$dir/out" || wrong "no row: $(head -1 "$dir/out")"
  done
  # two samples a rank, on a node with room for three ranks half of whose slowdown they have
  # shellcheck disable=SC2086
  $launch -n 2 "${build}scaling/skeleton" floats=2 batch=4 forward=1e-3 backward=2e-3 optimizer=5e-3 crowd=5 cores=3 >"$dir/out" 2>"$dir/err"
  awk -F, 'NR == 1 && $4 >= 6e-3 && $5 >= 12e-3 && $7 >= 15e-3 {found = 1} END {exit !found}' "$dir/out" || wrong "neighbours cost nothing: $(cat "$dir/out" "$dir/err")"
}

# RANKS OUT [-key value ...]: a run without an end in the background. $job is mpirun's process. A shell has its background jobs ignore SIGINT.
start_endless() {
  local n=$1 out=$2
  shift 2
  # shellcheck disable=SC2086
  env --default-signal=INT $launch -n "$n" "$program" train "$deck" -train_epochs 1000000000 -train_eval_interval 0 -train_checkpoint_interval 0 \
    -model_transform gemm -out_dir "$dir/run" "$@" >"$out" 2>"$dir/err" &
  job=$!
}

# COMMAND ...: waits until it succeeds, 20 s at most.
comes_true() {
  for _ in $(seq 400); do
    "$@" && return 0
    sleep 0.05
  done
  return 1
}
has_an_epoch() { [ -f "$dir/run/metrics.csv" ] && [ "$(wc -l <"$dir/run/metrics.csv")" -gt 1 ]; }

# One on RANKS ranks that has finished an epoch.
begin_endless() {
  start_endless "$1" "$dir/out"
  comes_true has_an_epoch && return
  wrong "no epoch in 20 s: $(tail -n 1 "$dir/err")"
  kill -KILL "$job"
  return 1
}
ranks_of_job() { cat /proc/[0-9]*/stat 2>/dev/null | awk -v parent="$job" '$4 == parent { print $1 }'; } # awk alone ends where a process has

# Waits for $job, SECONDS at most; $status.
end_job() {
  for _ in $(seq $(($1 * 20))); do
    kill -0 "$job" 2>/dev/null || break
    sleep 0.05
  done
  kill -0 "$job" 2>/dev/null && { wrong "still running after $1 s"; kill -KILL "$job"; }
  wait "$job"
  status=$?
}

# SIGUSR1 -> checkpoint and 75; from there to the same weights as a run that nobody stopped.
stops_on_a_signal() {
  local ranks=$1 epoch
  begin_endless "$ranks" || return
  kill -USR1 "$job" # mpirun hands it on to the ranks
  end_job 30
  [ "$status" -eq 75 ] || { wrong "exit status $status, not 75"; return; }
  [ -f "$dir/run/final.safetensors" ] && wrong "final.safetensors of a run that is not done"
  epoch=$(sed -nE 's/^stopped on request after epoch ([0-9]+), .*/\1/p' "$dir/out")
  [ -n "$epoch" ] || { wrong "no word of the stop"; return; }
  [ "$(wc -l <"$dir/run/metrics.csv")" -eq $((epoch + 1)) ] || wrong "metrics.csv has $(wc -l <"$dir/run/metrics.csv") lines after epoch $epoch"
  expect "$ranks" 0 train "$deck" -train_epochs $((epoch + 2)) -train_eval_interval 0 -out_dir "$dir/run" -train_resume auto || return
  expect "$ranks" 0 train "$deck" -train_epochs $((epoch + 2)) -train_eval_interval 0 -model_transform gemm -out_dir "$dir/whole" || return
  same "$dir/whole/final.safetensors" "$dir/run/final.safetensors"
  same_tables "$dir/whole" "$dir/run"
}

# A second job on the directory of a run waits for it to end, and goes on from there.
two_runs_in_a_directory() {
  local first
  begin_endless 1 || return
  first=$job
  start_endless 2 "$dir/second" -train_resume auto
  comes_true grep -qs "^notice: another run is at work in '$dir/run'" "$dir/second" || wrong "the second does not wait: $(tail -n 2 "$dir/second" "$dir/err")"
  kill -USR1 "$first"
  wait "$first" || [ $? -eq 75 ] || wrong "exit status of the first"
  comes_true grep -qs '^resumed after epoch' "$dir/second" || wrong "the second does not go on: $(tail -n 2 "$dir/second" "$dir/err")"
  kill -USR1 "$job"
  end_job 30
  [ "$status" -eq 75 ] || wrong "exit status $status of the second"
  cut -d, -f1 "$dir/run/metrics.csv" | sed 1d | sort -n | uniq -d | grep -q . && wrong "epochs are there twice"
}

# Two signals while the ranks stand still: the first asks, the second ends at once. What is there can be continued.
ends_at_a_second_signal() {
  local ranks
  begin_endless 2 || return
  ranks=$(ranks_of_job)
  [ -n "$ranks" ] || { wrong "no ranks under mpirun"; kill -KILL "$job"; return; }
  # shellcheck disable=SC2086
  kill -STOP $ranks && kill -USR1 $ranks && kill -TERM $ranks && kill -CONT $ranks
  end_job 15
  case $status in 0 | 1 | 75) wrong "exit status $status" ;; esac
  expect 2 0 train "$deck" -train_epochs 1 -out_dir "$dir/run" -train_resume auto
}

# A disk that is full when a checkpoint is written, played by a limit on the size of files: one line, and what was there stays. Shared memory of MPI is off: the
# limit would hit it first.
full_disk() {
  local n before
  export OMPI_MCA_btl=self,tcp PMIX_MCA_gds=hash
  for n in 1 3; do
    rm -rf "$dir/run"
    expect $n 0 train "$deck" -train_epochs 1 -out_dir "$dir/run" || return
    before=$(cksum <"$dir/run/checkpoint.h5")
    BEFORE='ulimit -f 1000' expect $n 1 train "$deck" -out_dir "$dir/run" -train_resume auto || return
    [ "$(grep -c '' "$dir/err")" -eq 1 ] && grep -q '^evenkeel: checkpoint: .*checkpoint.h5.tmp' "$dir/err" || wrong "not one line: $(head -n 3 "$dir/err")"
    [ "$before" = "$(cksum <"$dir/run/checkpoint.h5")" ] || wrong "the checkpoint that was there is not"
    [ -e "$dir/run/checkpoint.h5.tmp" ] && wrong "the half-made file is left"
    expect $n 0 train "$deck" -out_dir "$dir/run" -train_resume auto || return
    BEFORE='ulimit -f 64' expect $n 1 train "$deck" -out_dir "$dir/other-$n" || return
    [ "$(grep -c '' "$dir/err")" -eq 1 ] && grep -q '^evenkeel: .*out_dir: .*spectra.h5' "$dir/err" || wrong "not one line: $(head -n 3 "$dir/err")"
    BEFORE='ulimit -f 64' expect $n 1 evaluate "$deck" -model_weights "$dir/run/checkpoint.h5" -evaluate_write_predictions 3 -out_dir "$dir/full-$n" || return
    [ "$(grep -c '' "$dir/err")" -eq 1 ] && grep -q '^evenkeel: .*out_dir: .*predictions.h5' "$dir/err" || wrong "not one line: $(head -n 3 "$dir/err")"
  done
}

# A reader that goes away is no error, a full disk is one line.
output_that_ends() {
  local status
  "$program" list 2>"$dir/err" | head -1 >/dev/null
  status=${PIPESTATUS[0]}
  [ "$status" -eq 0 ] && [ ! -s "$dir/err" ] || wrong "status $status behind a pipe that closes: $(head -2 "$dir/err")"
  "$program" list >/dev/full 2>"$dir/err"
  status=$?
  [ "$status" -eq 1 ] && [ "$(grep -c '' "$dir/err")" -eq 1 ] || wrong "status $status on a full disk: $(head -2 "$dir/err")"
}

# A key on the keyboard and a terminal that closes end a run with a checkpoint, but not one that was told to ignore them.
signals_of_terminals() {
  local signal
  for signal in INT HUP; do
    rm -rf "$dir/run"
    begin_endless 1 || return
    kill -$signal "$(ranks_of_job)"
    end_job 30
    [ "$status" -eq 75 ] && [ -f "$dir/run/checkpoint.h5" ] || wrong "status $status after SIG$signal"
    rm -rf "$dir/run"
    (trap '' $signal && exec "$program" train "$deck" -train_epochs 1000000000 -train_eval_interval 0 -train_checkpoint_interval 0 -out_dir "$dir/run" >"$dir/out" 2>&1) &
    job=$!
    comes_true has_an_epoch || wrong "no epoch: $(tail -n 1 "$dir/out")"
    kill -$signal "$job"
    sleep 0.5
    kill -0 "$job" || wrong "SIG$signal ends a run that ignores it"
    kill -USR1 "$job"
    end_job 30
    [ "$status" -eq 75 ] || wrong "status $status after SIGUSR1 where SIG$signal is ignored"
  done
}

# Does the process $job catch SIGUSR1?
catches() {
  local key value
  while read -r key value; do
    if [ "$key" = SigCgt: ]; then
      (((16#${value: -8} >> 9) & 1))
      return
    fi
  done <"/proc/$job/status"
  return 1
}

# A signal that comes before MPI and PETSc are there: begun, stopped, to be continued.
signal_at_the_start() {
  "$program" train "$deck" -out_dir "$dir/run" >"$dir/out" 2>&1 &
  job=$!
  until catches 2>/dev/null; do kill -0 "$job" 2>/dev/null || break; done
  [ -e "$dir/run" ] && wrong "signals are caught no sooner than the run has begun"
  kill -USR1 "$job"
  end_job 30
  [ "$status" -eq 75 ] && [ -f "$dir/run/checkpoint.h5" ] || wrong "status $status: $(tail -n 1 "$dir/out")"
  expect 1 0 train "$deck" -out_dir "$dir/run" -train_resume auto
}

# A billion weights in three gigabytes of addresses. The address sanitizer wants more for itself.
memory_that_does_not_suffice() {
  ldd "$program" | grep -q libasan && return
  sed "s/^model:.*/model: {type: dpot, preset: huge, patch_size: 4}/; s|$case_1d|$case_2d|; s/, reduced_resolution: 3//" "$deck" >"$dir/huge.yaml"
  BEFORE='ulimit -v 3000000' expect 1 1 train "$dir/huge.yaml" -data_test 1 -data_train 2 -out_dir "$dir/run" || return
  grep -q '^evenkeel: out of memory: ' "$dir/err" && [ "$(wc -l <"$dir/err")" -eq 1 ] || wrong "$(head -n 2 "$dir/err")"
}

# PETSc's own options reach PETSc: its performance summary follows our table.
petsc_options() {
  expect 2 0 train "$deck" -train_epochs 1 -out_dir "$dir/run" -log_view || return
  grep -q 'PETSc Performance Summary' "$dir/out" || wrong "no performance summary"
}

foreign_checkpoint() {
  expect 1 0 train "$deck" -out_dir "$dir/run" || return
  refused 1 "checkpoint.h5|is of model fno1d, the deck asks for fno2d" train "$deck" -model_type fno2d -data_file $case_2d/data.hdf5 -out_dir "$dir/other" -train_resume "$dir/run/checkpoint.h5"
  refused 1 "fc0.weight|5 x 7" train "$deck" -model_width 5 -out_dir "$dir/other" -train_resume "$dir/run/checkpoint.h5"
  refused 1 "train_batch 3, this run 4" train "$deck" -train_batch 4 -out_dir "$dir/other" -train_resume "$dir/run/checkpoint.h5"
  refused 1 "analysed_layers" train "$deck" -balance_layers all -out_dir "$dir/other" -train_resume "$dir/run/checkpoint.h5"
  refused 1 "not a checkpoint" train "$deck" -out_dir "$dir/other" -train_resume "$dir/run/spectra.h5"
  refused 1 "$dir/none.h5" train "$deck" -out_dir "$dir/other" -train_resume "$dir/none.h5"
}

# A weight file's spectra, without data or deck, are those the run that wrote it has noted last; layers.csv has them to the digit.
spectra_of_a_run() {
  local weights n set
  for set in published all; do
    expect 2 0 train "$deck" -balance_layers $set -out_dir "$dir/$set" || return
    for weights in final.safetensors checkpoint.h5; do
      for n in 1 3; do
        rm -rf "$dir/found"
        expect $n 0 spectrum "$dir/$set/$weights" -balance_layers $set -balance_min_eigs 2 -spectrum_out "$dir/found" || return
        sed -n 's/^3,//p' "$dir/$set/layers.csv" | cut -d, -f1-7 >"$dir/wanted"
        sed -n 's/^0,//p' "$dir/found/layers.csv" | cut -d, -f1-7 | cmp -s - "$dir/wanted" || wrong "$weights, $set, $n ranks: other spectra than the run's"
        [ -s "$dir/wanted" ] && [ -s "$dir/found/spectra.h5" ] || wrong "no spectra"
        grep -q "fno1d, .* parameters; $(wc -l <"$dir/wanted") layers ($set)" "$dir/out" || wrong "not taken for an fno1d: $(head -1 "$dir/out")"
        awk -F, 'NR == FNR {printed[$1] = $2; next} !($1 in printed) || (printed[$1] - $2) ^ 2 > 3e-7 {exit 1}' \
          <(awk '/^(fc|w|conv)[0-9]/ {print $1 "," $4}' "$dir/out") "$dir/wanted" || wrong "the screen has other alphas"
      done
    done
  done
  refused 1 "spectrum_out|holds a run already" spectrum "$dir/all/final.safetensors" -spectrum_out "$dir/all"
  sed 's/"fc1.weight"/"fc9.weight"/' "$dir/all/final.safetensors" >"$dir/other.safetensors"
  expect 1 0 spectrum "$dir/other.safetensors" || return
  grep -qx "much of it is a fno1d, but 'fc1.weight' is missing or has another shape" "$dir/out" || wrong "no word of fc1: $(head -1 "$dir/out")"
  grep -q '^fc9 ' "$dir/out" || wrong "fc9 is left out"
}

# One deck serves all rules: keys of another one are named once and left out of resolved.yaml, which loads again without a word.
keys_of_another_rule() {
  local n notice="notice: balance_rule tb_linear_map has no use for balance_s1, balance_exp_power; it takes lr_min_ratio lr_slope metric fixed"
  sed 's/rule: tb_sigmoid/rule: tb_sigmoid, s1: 0.5/' "$deck" >"$dir/deck.yaml"
  for n in 1 3; do
    expect $n 0 train "$dir/deck.yaml" -balance_rule tb_linear_map -balance_exp_power 2 -out_dir "$dir/$n" || return
    [ "$(grep '^notice: balance_rule' "$dir/out")" = "$notice" ] || wrong "on $n ranks: $(grep '^notice' "$dir/out")"
  done
  grep -qE '^  (s1|s2|tau|exp_power):' "$dir/1/resolved.yaml" && wrong "resolved.yaml has keys of another rule"
  grep -qx '  lr_slope: 1' "$dir/1/resolved.yaml" || wrong "resolved.yaml lacks the rule's own keys"
  expect 1 0 train "$dir/1/resolved.yaml" -out_dir "$dir/again" || return
  grep -q '^notice' "$dir/out" && wrong "a notice of a file that the program wrote: $(grep '^notice' "$dir/out")"
  same "$dir/1/final.safetensors" "$dir/again/final.safetensors"
  expect 1 0 train "$dir/deck.yaml" -balance_rule none -out_dir "$dir/plain" || return
  grep -qxF 'notice: balance_rule none has no use for balance_s1' "$dir/out" || wrong "without a rule: $(grep '^notice' "$dir/out")"
  expect 1 0 train "$dir/deck.yaml" -out_dir "$dir/own" || return
  grep -q '^notice: balance_rule' "$dir/out" && wrong "a notice of its own key"
  expect 2 0 spectrum "$dir/1/final.safetensors" -balance_rule tb_exp -balance_tau 5 || return
  grep -qxF 'notice: balance_rule tb_exp has no use for balance_tau; it takes exp_power metric fixed' "$dir/out" || wrong "spectrum: $(grep '^notice' "$dir/out")"
}

# A rule that has no layer to work on says so once, with the key that leaves them out; with one layer left it says nothing.
balances_nothing() {
  local n header none='notice: balance_rule tb_sigmoid balances no layer of'
  for n in 1 3; do
    expect $n 0 train "$deck" -balance_min_eigs 5 -out_dir "$dir/few-$n" || return
    [ "$(grep '^notice: balance_rule' "$dir/out")" = "$none 7, all train at the base rate; 7 with fewer eigenvalues than balance_min_eigs 5 (4 at most)" ] ||
      wrong "on $n ranks: $(grep '^notice' "$dir/out")"
    expect $n 0 train "$deck" -balance_min_eigs 4 -balance_eig_filter 1e5 -out_dir "$dir/filtered-$n" || return
    [ "$(grep '^notice: balance_rule' "$dir/out")" = "$none 7, all train at the base rate; 1 with fewer eigenvalues than balance_min_eigs 4 (3 at most); 6 with fewer than balance_min_eigs 4 above balance_eig_filter 100000" ] ||
      wrong "on $n ranks: $(grep '^notice' "$dir/out")"
  done
  expect 1 0 train "$deck" -balance_min_eigs 4 -out_dir "$dir/some" || return
  grep -q '^notice: balance_rule' "$dir/out" && wrong "a notice although six layers are balanced"
  expect 1 0 train "$deck" -balance_min_eigs 5 -balance_rule none -out_dir "$dir/none" || return
  grep -q '^notice: balance_rule' "$dir/out" && wrong "a notice without a rule"
  expect 2 0 train "$deck" -balance_min_eigs 5 -train_epochs 4 -out_dir "$dir/few-1" -train_resume auto || return
  grep -q '^notice: balance_rule' "$dir/out" && wrong "a notice in a run that goes on"
  header='{"a.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
  # shellcheck disable=SC2059 # bytes
  { printf "\\x$(printf %x ${#header})\0\0\0\0\0\0\0"; printf '%s' "$header"; printf '\0\0\200\077\0\0\0\0\0\0\0\0\0\0\200\077'; } >"$dir/identity.safetensors"
  expect 2 0 spectrum "$dir/identity.safetensors" -balance_min_eigs 2 || return
  grep -qxF "$none 1, all train at the base rate; 1 without a power law by balance_fit xmin_mid" "$dir/out" || wrong "identity: $(grep '^notice' "$dir/out")"
}

# Of a network that is not ours: a linear weight diag(1, 2), a convolution by the identity, whose eigenvalues count half; no bias, nothing else.
spectra_of_a_foreign_file() {
  local one='\0\0\200\077' two='\0\0\0\100' zero='\0\0\0\0' header
  header='{"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b.c.weight":{"dtype":"F32","shape":[2,2,1,1],"data_offsets":[24,40]},'
  header+='"b.c.bias":{"dtype":"F32","shape":[2],"data_offsets":[40,48]},"scale":{"dtype":"F32","shape":[1,2],"data_offsets":[48,56]},"position_ids":{"dtype":"I64","shape":[1],"data_offsets":[56,64]}}'
  # shellcheck disable=SC2059 # bytes
  {
    printf "\\x$(printf %x $((${#header} % 256)))\\x$(printf %x $((${#header} / 256)))\0\0\0\0\0\0"
    printf '%s' "$header"
    printf "$one$zero$zero$zero$two$zero$one$zero$zero$one$one$two$one$two$zero$zero"
  } >"$dir/foreign.safetensors"
  expect 2 0 spectrum "$dir/foreign.safetensors" -balance_rule none || return
  grep -qE '^a +2 +2 +[^ ]+ +[^ ]+ +5 +4 +1\.25$' "$dir/out" || wrong "a: $(grep '^a' "$dir/out")"
  grep -qE '^b\.c +2 +2 +[^ ]+ +[^ ]+ +1 +0\.5 +2\.00$' "$dir/out" || wrong "b.c: $(grep '^b' "$dir/out")"
  grep -qx "notice: tensor 'position_ids' is left out, it is of type I64" "$dir/out" || wrong "no word of position_ids"
  grep -q '10 parameters; 2 layers' "$dir/out" || wrong "not two layers: $(head -1 "$dir/out")"
}

# A sound file on any number of ranks: the same JSON, everything on the screen. Then one that is not: status 1, and the line says which trajectory.
inspects() {
  local n word
  for n in 1 3; do
    expect $n 0 inspect $case_1d/data.hdf5 -inspect_out "$dir/$n.json" || return
    for word in 'cfd in 1D, 13 trajectories, 8 frames, 48 points, 3 fields' 'contiguous' 't-coordinate' 'momentum' 'data.hdf5: sound'; do
      grep -qF -- "$word" "$dir/out" || wrong "'$word' is not shown on $n ranks"
    done
    expect $n 1 inspect tests/data/bad/nan.h5 || return
    [ -s "$dir/err" ] && wrong "a line on stderr: $(head -n 1 "$dir/err")"
    grep -qF '1 trajectory is not finite: 5 (1 value, first in Vx of frame 3)' "$dir/out" || wrong "trajectory 5 is not named on $n ranks"
  done
  same "$dir/1.json" "$dir/3.json"
  expect 2 1 inspect tests/data/bad/nan.h5 -inspect_frozen 1 || return
  grep -qE '^8 trajectories|^7 trajectories stand still at their end' "$dir/out" && wrong "frames that change stand still"
}

# What a generator wrote is sound, and described for ParaView; so is what it had begun.
inspects_generated() {
  printf 'generate: {type: cfd2d, file: "%s/a.hdf5", samples: 5, nx: 16, frames: 3, M: 0.1}\n' "$dir" >"$dir/deck.yaml"
  expect 1 0 generate "$dir/deck.yaml" || return
  expect 2 0 inspect "$dir/a.hdf5" || return
  [ "$(grep -c 'ItemType="HyperSlab"' "$dir/a.xdmf")" -eq $((3 * 4 * 4)) ] || wrong "not 4 trajectories of 4 fields in 3 frames"
  grep -qF '>a.hdf5:/density<' "$dir/a.xdmf" || wrong "the data are not named relative to the description"
  mv "$dir/a.hdf5" "$dir/a.hdf5.part"
  printf 'generate:\n  seed: 1\n.A.B.\n' >"$dir/a.hdf5.progress"
  refused 1 "a.hdf5' is not finished: inspect|a.hdf5.part" inspect "$dir/a.hdf5"
  expect 2 1 inspect "$dir/a.hdf5.part" || return
  grep -qF '2 of 5 trajectories are there' "$dir/out" || wrong "no word of what is missing"
  expect 1 0 generate inputs/generate/cfd1d_shock_small.yaml -generate_samples 4 -generate_file "$dir/open.hdf5" || return
  expect 2 0 inspect "$dir/open.hdf5" || return
  grep -qF 'as open boundaries allow' "$dir/out" || wrong "no word of the mass that left"
}

# The first trajectories of the test set, whichever rank rolled them out.
writes_predictions() {
  local n
  for n in 1 3; do
    expect $n 0 evaluate "$deck" -model_weights $case_1d/init.safetensors "${same_size[@]}" -data_t_train 8 -model_transform gemm -data_test 5 \
      -evaluate_write_predictions 4 -out_dir "$dir/$n" || return
    [ "$(grep -c 'ItemType="HyperSlab"' "$dir/$n/predictions.xdmf")" -eq $((8 * 3 * 3 * 4)) ] || wrong "not 4 trajectories on $n ranks"
  done
  same "$dir/1/predictions.h5" "$dir/3/predictions.h5"
  same "$dir/1/predictions.xdmf" "$dir/3/predictions.xdmf"
  expect 2 0 evaluate "$deck" -model_weights $case_1d/init.safetensors "${same_size[@]}" -data_t_train 8 -evaluate_write_predictions 0 -out_dir "$dir/none" || return
  [ -e "$dir/none/predictions.h5" ] && wrong "predictions that nobody asked for"
}

# A run's predictions give way to those of other weights with a line, to those of the same weights without one.
tells_what_it_replaces() {
  local n
  expect 1 0 train "$deck" -out_dir "$dir/run" || return
  for n in 1 3; do
    rm -rf "$dir/now" && cp -r "$dir/run" "$dir/now"
    expect $n 0 evaluate "$deck" -out_dir "$dir/now" -model_weights "$dir/run/checkpoint.h5" || return
    [ "$(grep -c '^notice' "$dir/out")" -eq 1 ] && grep -qxF "notice: $dir/now/predictions.h5 of the run is replaced by that of $dir/run/checkpoint.h5" "$dir/out" ||
      wrong "on $n ranks: $(grep '^notice' "$dir/out")"
    expect $n 0 evaluate "$deck" -out_dir "$dir/now" -model_weights "$dir/run/checkpoint.h5" || return
    grep -q '^notice' "$dir/out" && wrong "a notice although nothing is lost"
    expect $n 0 evaluate "$deck" -out_dir "$dir/now" || return
    grep -qxF "notice: $dir/now/predictions.h5 of $dir/run/checkpoint.h5 is replaced by that of $dir/now/final.safetensors" "$dir/out" || wrong "of a checkpoint: $(grep '^notice' "$dir/out")"
    expect $n 0 evaluate "$deck" -out_dir "$dir/now" -model_weights "$dir/run/checkpoint.h5" -evaluate_write_predictions 0 || return
    grep -q '^notice' "$dir/out" && wrong "a notice although nothing is written"
  done
}

# Where MPI has no windows between ranks the line says so; one rank needs none.
no_windows() {
  printf 'generate: {type: cfd2d, file: "%s/a.hdf5", samples: 2, nx: 16, frames: 3, M: 0.1}\n' "$dir" >"$dir/deck.yaml"
  local -x OMPI_MCA_osc=^sm,ucx,pt2pt,rdma,monitoring
  expect 3 1 generate "$dir/deck.yaml" || return
  [ "$(wc -l <"$dir/err")" -eq 1 ] && grep -q 'no one-sided communication.*OMPI_MCA_osc' "$dir/err" || wrong "told: $(cat "$dir/err")"
  expect 1 0 generate "$dir/deck.yaml"
}

# A generator that is stopped ends with 75 and leaves what is needed to go on; after two such sittings the file is that of one. Each rank's shell leaves behind
# somebody who signals the rank once it takes SIGUSR1 (bit 9 of what it catches) and has written a trajectory since.
generates_in_sittings() {
  local ranks finished before=0
  # shellcheck disable=SC2016
  local -x BEFORE='(
    written() { sed -n "s/^wchar: //p" /proc/$$/io; }
    until grep -q "^SigCgt:.*[2367abef]..$" /proc/$$/status; do [ -d /proc/$$ ] || exit; done
    enough=$(($(written) + 49152))
    while [ -d /proc/$$ ] && [ "$(written)" -lt $enough ]; do :; done
    kill -USR1 $$
  ) 2>/dev/null &'
  printf 'generate: {type: cfd2d, file: "%s/a.hdf5", samples: 100, nx: 32, frames: 3, M: 0.1}\n' "$dir" >"$dir/deck.yaml"
  for ranks in 2 1; do
    expect $ranks 75 generate "$dir/deck.yaml" || return
    finished=$(sed -nE "s|^$dir/a.hdf5: ([0-9]+) of 100 trajectories, the same command continues it$|\1|p" "$dir/out")
    [ "${finished:-0}" -gt "$before" ] && [ "$finished" -lt 100 ] || wrong "$finished of 100 trajectories after $before: $(tail -n 1 "$dir/out")"
    [ -e "$dir/a.hdf5.part" ] && [ ! -e "$dir/a.hdf5" ] || wrong "not a file that is begun"
    before=$finished
  done
  BEFORE='' expect 3 0 generate "$dir/deck.yaml" || return
  grep -q "^$((100 - before)) trajectories in" "$dir/out" || wrong "not the $((100 - before)) that were missing: $(head -n 1 "$dir/out")"
  BEFORE='' expect 2 0 generate "$dir/deck.yaml" -generate_file "$dir/whole.hdf5" || return
  same "$dir/a.hdf5" "$dir/whole.hdf5"
}

# Every deck of inputs/generate, at a size of its own: keys and members as they are.
generates_every_deck() {
  local deck name frames
  local -a files
  for deck in inputs/generate/*.yaml; do
    name=$(basename "$deck" .yaml)
    frames="-generate_frames 2"
    grep -q "type: darcy2d" "$deck" && frames=
    # shellcheck disable=SC2086
    expect 2 0 generate "$deck" -generate_samples 2 -generate_nx 32 $frames -generate_file "$dir/${name}_{beta}.hdf5" || return
    files=("$dir/$name"_*.hdf5)
    expect 2 0 inspect "${files[0]}" || return
  done
}

# Every deck for training: keys and members as they are, for nothing but the data is missing.
reads_every_deck() {
  local deck
  for deck in inputs/*.yaml inputs/paper/*.yaml; do
    grep -q '^generate:' "$deck" && continue
    expect 1 1 train "$deck" -data_file "$dir/none.hdf5" -data_weights 1 -out_dir "$dir/run" -train_resume auto || return
    [ "$(wc -l <"$dir/err")" -eq 1 ] && grep -qF "cannot open '$dir/none.hdf5'" "$dir/err" || wrong "$deck: $(head -n 3 "$dir/err")"
  done
}

# ---- the list ---------------------------------------------------------------------------------------------------------------
# The long ones first; each of the others costs a launch on 1 and one on 3 ranks.

try agrees-on-ranks agrees_on_ranks
try stops-on-a-signal-1 stops_on_a_signal 1
try stops-on-a-signal-3 stops_on_a_signal 3
try foreign-checkpoint foreign_checkpoint
try evaluates evaluates
try evaluates-normalised evaluates_normalised
try writes-predictions writes_predictions
try generates-in-sittings generates_in_sittings
try tells-what-it-replaces tells_what_it_replaces
try generates-every-deck generates_every_deck
try reads-every-deck reads_every_deck
try inspects inspects
try spectra-of-a-run spectra_of_a_run
try spectra-of-a-foreign-file spectra_of_a_foreign_file
try balances-nothing balances_nothing
try keys-of-another-rule keys_of_another_rule
try no-windows no_windows
try inspects-generated inspects_generated
try continues-on-ranks continues_on_ranks
try reproduces reproduces
try exports exports
try blas-older-than-the-cpu blas_older_than_the_cpu
try falls-back falls_back
try holds-a-run holds_a_run
try other-settings other_settings
try other-rule other_rule
try epochs-of-a-schedule epochs_of_a_schedule
try keeps-no-bad-weights keeps_no_bad_weights
try evaluates-what-a-run-left evaluates_what_a_run_left
try step-is-described step_is_described
try full-disk full_disk
try petsc-options petsc_options
try output-that-ends output_that_ends
try memory-that-does-not-suffice memory_that_does_not_suffice
try signals-of-terminals signals_of_terminals
try signal-at-the-start signal_at_the_start
try two-runs-in-a-directory two_runs_in_a_directory
try ends-at-a-second-signal ends_at_a_second_signal
try lists lists

try no-command refused 1 "what shall be done|generate train evaluate export inspect spectrum list help"
try unknown-command refused 1 "'trian' is not known|train" trian
try no-deck refused 1 "train needs a deck" train
try missing-deck refused 1 "$scratch/none.yaml|cannot be read" train "$scratch/none.yaml"
try directory-as-deck refused 1 "$scratch|cannot be read" train "$scratch"
try deck-not-yaml refused 1 "not.yaml|is not YAML" train "$scratch/not.yaml"
try deck-of-words refused 1 "words.yaml|is not YAML" train "$scratch/words.yaml"
try deck-with-list-of-maps refused 1 "maps.yaml|is not YAML" train "$scratch/maps.yaml"
try empty-deck refused 3 "data_file is required|model_type is required|out_dir is required" train "$scratch/empty.yaml"
try word-too-many refused 1 "'more' is one argument too many" train "$deck" more
try unknown-key refused 1 "unknown key train_epoch;|train_epochs" train "$deck" -train_epoch 3
try unknown-long-key refused 1 "unknown key $long_key" train "$deck" -$long_key 3
try key-of-another-command refused 1 "generate_nx is not used" train "$deck" -generate_nx 3
try unknown-member refused 1 "balance_rule: 'tb_odd' is not known|tb_linear_map" train "$deck" -balance_rule tb_odd
try out-of-range refused 1 "train_batch: 0 is out of range" train "$deck" -train_batch 0
try not-a-number refused 1 "train_lr: 'fast' is not a number" train "$deck" -train_lr fast
try not-yes-or-no refused 1 "train_shuffle: 'yup' is not yes or no" train "$deck" -train_shuffle yup
try cut-without-rollout refused 1 "train_unroll: train_mode single has no rollout to cut" train "$deck" -train_mode single -train_unroll 2
try unknown-recompute refused 1 "train_recompute|none step block" train "$deck" -train_recompute layer
try key-without-value refused 1 "train_lr has no value" train "$deck" -train_lr
try all-mistakes-at-once refused 5 "train_epochs|train_lr|model_modes: 0|balance_fit|unknown key out_dirr" \
  train "$deck" -train_epochs 1.5 -train_lr -1 -model_modes 0 -balance_fit best -out_dirr x

try missing-data refused 1 "data_file: cannot open '$scratch/none.hdf5'" train "$deck" -data_file "$scratch/none.hdf5"
cp $case_1d/data.hdf5 "$scratch/begun.hdf5.part" && : >"$scratch/begun.hdf5.progress"
try unfinished-data refused 1 "begun.hdf5.part' is not finished" train "$deck" -data_file "$scratch/begun.hdf5.part"
try text-as-data refused 1 "'src/main.c' is not an HDF5 file" train "$deck" -data_file src/main.c
try cut-data refused 1 "cut.hdf5|truncated" train "$deck" -data_file "$scratch/cut.hdf5"
try missing-dataset refused 1 "missing_vx.h5|'Vx' is missing" train "$deck" -data_file tests/data/bad/missing_vx.h5
try wrong-rank refused 1 "wrong_rank.h5|'density' has 2 axes" train "$deck" -data_file tests/data/bad/wrong_rank.h5
try datasets-disagree refused 1 "disagree.h5|'Vx' is 5 x 6 x 16" train "$deck" -data_file tests/data/bad/disagree.h5
try nan-in-the-data refused 1 "nan.h5|dataset 'Vx', trajectory 5" train "$deck" -data_file tests/data/bad/nan.h5 -data_train 5 -data_reduced_resolution 1 -out_dir "$scratch/nan" -train_resume auto
try nan-in-the-test-set refused 1 "nan.h5|dataset 'Vx', trajectory 5" \
  train "$deck" -data_file tests/data/bad/nan.h5 -data_test 6 -data_train 2 -data_reduced_resolution 1 -train_epochs 1 -out_dir "$scratch/nan_test" -train_resume auto
cp tests/data/bad/nan.h5 "$scratch/all_nan.h5"
head -c 3072 /dev/zero | tr '\0' '\377' | dd of="$scratch/all_nan.h5" bs=1 seek=2048 conv=notrunc 2>/dev/null
try nan-on-every-rank-is-one-line refused 1 "all_nan.h5|dataset 'density'" \
  train "$deck" -data_file "$scratch/all_nan.h5" -data_reduced_resolution 1 -data_train 5 -train_batch 5 -out_dir "$scratch/all_nan" -train_resume auto
try too-many-trajectories refused 1 "data_train|103 trajectories asked for|has 13" train "$deck" -data_train 100
try nothing-left-to-train-on refused 1 "data_train" train "$deck" -data_test 13 -data_train 0
try nothing-left-to-predict refused 1 "data_initial_step" train "$deck" -data_initial_step 4
try nothing-to-evaluate refused 1 "data_test" evaluate "$deck" -data_test 0 -model_weights $case_1d/init.safetensors "${same_size[@]}" -data_t_train 8

try missing-weights refused 1 "none.safetensors" evaluate "$deck" -model_weights "$scratch/none.safetensors"
try weights-that-do-not-fit refused 17 "fc0.weight: found F32 12 x 13, wanted F32 4 x 7|conv3.weights1|fc1.weight: found|set model: {width: 12, modes: [6]}|15 of its or the model's tensors do not fit" \
  train "$deck" -model_weights $case_1d/init.safetensors
try pth-weights refused 1 "zip.pth' is a zip archive|postproc/convert.py" spectrum "$scratch/zip.pth"
try list-of-something refused 1 "list: takes nothing more" list models
try cut-weights refused 1 "cut.safetensors' is truncated" train "$deck" "${same_size[@]}" -data_t_train 8 -model_weights "$scratch/cut.safetensors"
try nan-in-the-weights refused 2 "nan.safetensors|is not finite" train "$deck" "${same_size[@]}" -data_t_train 8 -model_weights "$scratch/nan.safetensors"
try text-as-weights refused 1 "src/main.c" train "$deck" -model_weights src/main.c
try export-without-names refused 1 "usage: evenkeel export" export
try export-of-what refused 1 "'moments' is not known; usage: evenkeel export" export $case_1d/init.safetensors "$scratch/x.safetensors" moments
try export-onto-itself refused 1 "would be written over itself" export "$scratch/nan.safetensors" "$scratch/nan.safetensors"
try export-with-a-dash refused 1 "unknown key optimizer; this command takes none" export $case_1d/init.safetensors "$scratch/x.safetensors" -optimizer
try directory-of-a-thousand-letters refused 1 "out_dir: 959 letters at most" train "$deck" -out_dir "$(printf '%0990d' 0)"
try export-without-moments refused 1 "init.safetensors' holds no moments of Adam" export $case_1d/init.safetensors "$scratch/x.safetensors" optimizer
try export-of-nothing refused 1 "none.h5" export "$scratch/none.h5" "$scratch/x.safetensors"
try export-to-nowhere refused 1 "$scratch/none/x.safetensors" export $case_1d/init.safetensors "$scratch/none/x.safetensors"

try spectrum-of-nothing refused 1 "spectrum wants one file of weights" spectrum
try spectrum-missing refused 1 "$scratch/none.safetensors" spectrum "$scratch/none.safetensors"
try spectrum-of-nan refused 1 "nan.safetensors|tensor 'fc2.bias'|is not finite" spectrum "$scratch/nan.safetensors"
try spectrum-key refused 1 "train_lr is not used" spectrum $case_1d/init.safetensors -train_lr 1
try spectrum-to-nowhere refused 1 "spectrum_out|README.md" spectrum $case_1d/init.safetensors -spectrum_out README.md/x

try inspect-nothing refused 1 "inspect wants one data file" inspect
try inspect-missing refused 1 "$scratch/none.hdf5" inspect "$scratch/none.hdf5"
try inspect-text refused 1 "README.md|not an HDF5 file" inspect README.md
try inspect-foreign refused 1 "final.safetensors" inspect $case_1d/final.safetensors
try inspect-cut refused 1 "cut.hdf5|truncated" inspect "$scratch/cut.hdf5"
try inspect-key refused 1 "train_lr is not used" inspect $case_1d/data.hdf5 -train_lr 1
try inspect-to-nowhere refused 1 "inspect_out: cannot write '$scratch/none/x.json'" inspect $case_1d/data.hdf5 -inspect_out "$scratch/none/x.json"

try another-dimension refused 1 "model_type: fno2d is for 2D data" train "$deck" -model_type fno2d
try too-many-modes refused 1 "model_modes: 40" train "$deck" -model_modes 40
try mesh-of-other-size refused 1 "mesh_data 7" train "$deck" -mesh_data 7
try mask-without-rel-l2 refused 1 "data_mask: train_loss mse takes none; rel_l2 does" train "$deck" -data_mask data
try mesh-space refused 1 "mesh_space" train "$deck" -mesh_space 2
try a-file-as-directory refused 1 "out_dir|README.md" train "$deck" -out_dir README.md
try a-file-in-the-path refused 1 "out_dir|README.md/x" train "$deck" -out_dir README.md/x
try a-rate-that-blows-up refused 1 "the loss is not finite in epoch" train "$deck" -train_lr 1e12 -out_dir "$scratch/blown" -train_resume auto
wait

cat "$scratch"/results/[0-9][0-9][0-9]
passed=$(cat "$scratch"/results/[0-9][0-9][0-9] | grep -c '^ok ')
echo "$passed passed, $((number - passed)) failed"
[ "$passed" -eq "$number" ] && [ "$number" -gt 0 ]
