#!/usr/bin/env bash
# The job scripts on a real SLURM: runs them small, lets them run out of time, cancels, queues again, loses a node, and compares what comes out
# with what comes out undisturbed. Wants root; installs SLURM where it is missing (Debian); leaves nothing running.
# ONLY=name runs the tests whose name contains it.
# shellcheck disable=SC2030,SC2031 # a test has a subshell of its own
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/slurm/cluster.sh
. tests/slurm/cluster.sh
if [ "$(id -u)" -ne 0 ]; then
  echo "check-slurm starts SLURM's daemons on this machine and needs root for it; nothing was tested"
  exit 1
fi
python=${PYTHON:-python3}
scratch=build/scratch/slurm
rm -rf "$scratch"
mkdir -p "$scratch/results"
export EVENKEEL=$PWD/${BUILD:-build/}evenkeel PYTHON=$python OMP_NUM_THREADS=1 SETTLE=0
unset EVENKEEL_HOME EVENKEEL_SITE LAUNCH MAX_RESTARTS CHAIN EXPERIMENT

# shellcheck disable=SC2317 # called by the trap
leave() {
  local process
  for process in $(jobs -p); do kill -- -"$process" 2>/dev/null; done
  cluster_down
}
trap leave EXIT
trap 'exit 1' INT TERM HUP

# ---- the machinery ------------------------------------------------------------------------------------------------------

# One test in the background: a function, its arguments. Inside it $dir is an empty directory of its own, $dir/out what its jobs print. A run
# whose ranks do not even get started within a minute is Open MPI's doing and is tried once more.
number=0
QUEUE=420 # seconds a job may wait for the others and run: all tests together take half of it where nothing else runs
try() {
  local name=$1 file
  case $name in *"${ONLY:-}"*) ;; *) return ;; esac
  number=$((number + 1))
  file=$(printf '%s/results/%02d' "$scratch" $number)
  set -m # a process group of its own, so that `leave` ends all of it
  (
    set +m
    trap - EXIT
    start=$SECONDS dir=$PWD/$scratch/$name
    for attempt in 1 2; do
      why='' hung='' job=''
      rm -rf "$dir"
      mkdir -p "$dir"
      "$@"
      if [ -z "$hung" ] || [ $attempt -eq 2 ]; then break; fi
      echo "note $name: the ranks did not start, trying once more"
      scancel "$job"
    done
    if [ -z "$why" ]; then echo "ok   $name ($((SECONDS - start)) s)"; else echo "FAIL $name: $why"; fi | tee "$file"
  ) </dev/null &
  set +m
}

# The first thing that went wrong is what is told.
wrong() { [ -n "$why" ] || why=$*; }

# OPTIONS SCRIPT ARGUMENTS: two ranks on two nodes unless the options say otherwise, of two processors each, so that the machine is not asked for
# too much at a time. Sets job.
submit() {
  job=$(sbatch --parsable --nodes=2 --ntasks-per-node=1 --cpus-per-task=2 --time=5 --output="$dir/out" "$@" 2>"$dir/sbatch")
  [ -n "$job" ] || { wrong "sbatch: $(<"$dir/sbatch")"; return 1; }
}

# A controller on a busy machine may not answer: that says nothing about the job.
field() {
  local job
  for _ in 1 2 3; do job=$(scontrol show job "$1" 2>/dev/null) && break; done
  sed -nE "s/(^|.* )$2=([^ ]*).*/\2/p" <<<"$job" | head -n 1
}
ended() {
  local left
  left=$(squeue -h -j "$1" -t pending,running,completing,configuring,suspended 2>/dev/null) && [ -z "$left" ]
}
running() { [ "$(field "$1" JobState)" = RUNNING ]; }
said() { grep -qF -- "$1" "$dir/out" 2>/dev/null; }
# Epochs in the table of a run
rows() { awk 'END { print NR ? NR - 1 : 0 }' "$1/metrics.csv" 2>/dev/null; }
reached() { [ "$(rows "$1" || echo 0)" -ge "$2" ]; }
begun() { case $(field "$1" JobState) in '' | PENDING | CONFIGURING) return 1 ;; esac; }

# RUN EPOCH JOB: until the run is N epochs far
epochs() {
  wait_until $QUEUE begun "$3" || { wrong "job $3 does not start: $(field "$3" Reason)"; return 1; }
  wait_until 60 reached "$1" "$2" && return
  running "$3" && hung=1
  wrong "no epoch $2 within 60 s: $(tail -n 1 "$dir/out" 2>/dev/null)"
  return 1
}

# JOB STATE STATUS RESTARTS: how it must have ended; "1+" restarts are one or more
expect_end() {
  local restarts
  wait_until $QUEUE ended "$1" || { wrong "job $1 does not end: $(field "$1" JobState) $(field "$1" Reason), $(tail -n 1 "$dir/out")"; return 1; }
  [ "$(field "$1" JobState) $(field "$1" ExitCode)" = "$2 $3" ] ||
    wrong "job $1 ended as $(field "$1" JobState) $(field "$1" ExitCode), not as $2 $3: $(tail -n 1 "$dir/out" 2>/dev/null)"
  restarts=$(field "$1" Restarts)
  if [ "$4" = 1+ ] && [ "$restarts" -ge 1 ]; then restarts=1+; fi
  [ "$restarts" = "$4" ] || wrong "job $1 restarted $restarts times, not $4"
  [ -z "$why" ]
}

# Ask the batch script for a checkpoint, as SLURM does before the limit. While other tasks of an array wait, scancel is told "try again later" for
# one that runs, and sends the signal that has arrived once more after five seconds.
ask() { timeout 4.5 scancel --batch --signal=USR1 "$1"; }

# RUN: its ranks
ranks_of() {
  local process
  while read -r process; do
    [ "$(cat "/proc/$process/comm" 2>/dev/null)" = evenkeel ] && echo "$process"
  done < <(grep -lzxF -- "$1" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3)
}

# ---- runs and what they are compared by ---------------------------------------------------------------------------------

data=$PWD/$scratch/data.hdf5
small=(-data_file "$data" -data_test 4 -data_reduced_batch 1 -model_width 8 -model_modes 4 -model_transform gemm -train_batch 7
  -train_eval_interval 25 -train_checkpoint_interval 10) # three steps an epoch, the last of them short
deck=inputs/fno_cfd2d.yaml
whole=$PWD/$scratch/whole

# COMMAND: what starts Open MPI without SLURM
outside() {
  OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_btl_base_warn_component_unused=0 \
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout --foreground 600 "$@"
}

# RANKS ARGUMENTS: the program without SLURM
direct() {
  local n=$1
  shift
  outside "${MPIRUN:-mpirun}" --oversubscribe -n "$n" "$EVENKEEL" "$@"
}

timeless() { awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) drop[i] = $i ~ /seconds|share/ } { for (i = 1; i <= NF; i++) if (drop[i]) $i = ""; print }' "$1"; }

# The disturbed runs have to last some seconds, whatever the machine and whatever else it does now: as many epochs as three seconds hold at the
# speed of the fastest one, and enough for what happens in them.
choose_epochs() {
  direct 2 train "$deck" "${small[@]}" -train_epochs 20 -out_dir "$scratch/trial" >>"$scratch/log" 2>&1
  EPOCHS=$(awk -F, 'NR > 6 && $4 > 0 && (!s || $4 < s) { s = $4 } END { e = s ? int(3 / s) : 40; print (e < 40 ? 40 : e > 400 ? 400 : e) }' \
    "$scratch/trial/metrics.csv")
  small+=(-train_epochs "$EPOCHS")
}

# RUN REFERENCE: weights and tables equal to the last bit
same_run() {
  local table
  cmp -s "$1/final.safetensors" "$2/final.safetensors" || wrong "$1/final.safetensors is not that of the undisturbed run"
  [ -s "$1/summary.json" ] || wrong "no $1/summary.json"
  for table in metrics layers; do
    [ "$(timeless "$1/$table.csv")" = "$(timeless "$2/$table.csv")" ] || wrong "$1/$table.csv is not that of the undisturbed run"
  done
}

# FILE: what ended on request went on from the checkpoint that it wrote then. Without this a run that dies of the signal and begins anew, or
# goes on from an older checkpoint, would pass: its result is the same.
went_on() {
  local after
  after=$(sed -nE 's/^stopped .* after (epoch [0-9]+(, batch [0-9]+)?);.*/\1/p' "$dir/out" | tail -n 1)
  if [ -z "$after" ]; then
    wrong "the run was not stopped after a checkpoint"
  elif ! grep -q "^resumed after $after" "$1"; then
    wrong "stopped after $after, but: $(grep -h '^resumed' "$1" | tail -n 1)"
  fi
}

# OUT FILE ...: every dataset of OUT is those of the files, one after another
same_data() {
  "$python" - "$@" <<'PY' || wrong "$1 is not its parts"
import sys, h5py, numpy as np
out, *parts = [h5py.File(path) for path in sys.argv[1:]]
for name, values in out.items():
    expected = [part[name][:] for part in parts]
    expected = np.concatenate(expected) if values.ndim > 1 else expected[0]
    assert np.array_equal(values[:], expected), name
assert set(out) == set(parts[0]) and dict(out.attrs) == dict(parts[0].attrs)
PY
}

# ---- the tests ----------------------------------------------------------------------------------------------------------

undisturbed() {
  submit jobscripts/train.sbatch "$deck" "${small[@]}" -out_dir "$dir/run" || return
  expect_end "$job" COMPLETED 0:0 0 || return
  said ": srun --mpi=pmix" || wrong "srun was not chosen: $(grep '^job' "$dir/out")"
  same_run "$dir/run" "$whole"
}

requeued_srun() {
  submit jobscripts/train.sbatch "$deck" "${small[@]}" -out_dir "$dir/run" && epochs "$dir/run" 3 "$job" || return
  ask "$job"
  expect_end "$job" COMPLETED 0:0 1 || return
  said "start 2" || wrong "the second start is not in the output"
  went_on "$dir/out"
  same_run "$dir/run" "$whole"
}

# Where srun cannot start Open MPI, and the controller is busy once
requeued_mpirun() {
  mkdir "$dir/bin"
  printf '#!/bin/sh\ncase " $* " in *" --mpi=pmix "*) exit 1 ;; esac\nexec %s "$@"\n' "$(command -v srun)" >"$dir/bin/srun"
  printf '#!/bin/sh\nif [ ! -e %s ]; then >%s; echo "error: Socket timed out on send/recv operation" >&2; exit 1; fi\nexec %s "$@"\n' \
    "$dir/busy" "$dir/busy" "$(command -v scontrol)" >"$dir/bin/scontrol"
  chmod 755 "$dir/bin"/*
  PATH=$dir/bin:$PATH submit jobscripts/train.sbatch "$deck" "${small[@]}" -out_dir "$dir/run" && epochs "$dir/run" 3 "$job" || return
  ask "$job"
  expect_end "$job" COMPLETED 0:0 1 || return
  said ": mpirun on" || wrong "mpirun was not chosen: $(grep '^job' "$dir/out")"
  said "Socket timed out" || wrong "the controller was not busy"
  went_on "$dir/out"
  same_run "$dir/run" "$whole"
}

# RUN CONDITION ...: holds the ranks until the condition is met, so that a run of seconds runs into a limit of a minute. Some may be gone by then.
hold() {
  local of=$1 process
  shift
  local -a ranks
  read -r -d '' -a ranks < <(ranks_of "$of")
  for process in "${ranks[@]}"; do kill -STOP "$process" 2>/dev/null; done
  wait_until 100 "$@" || wrong "the job was not asked to stop before its limit"
  for process in "${ranks[@]}"; do kill -CONT "$process" 2>/dev/null; done
}

# A signal that comes while the launcher is on its way up must not get lost. The ranks are held, so that a run of seconds is still there.
early_signal() {
  SETTLE=10 submit jobscripts/train.sbatch "$deck" "${small[@]}" -out_dir "$dir/run" || return
  wait_until $QUEUE said "start 1" || { wrong "the job does not start"; return; }
  ask "$job"
  epochs "$dir/run" 1 "$job" || return
  hold "$dir/run" said "SIGUSR1: asking"
  expect_end "$job" COMPLETED 0:0 1 || return
  went_on "$dir/out"
  same_run "$dir/run" "$whole"
}

time_limit() {
  submit --time=1 --signal=B:USR1@20 jobscripts/train.sbatch "$deck" "${small[@]}" -out_dir "$dir/run" && epochs "$dir/run" 3 "$job" || return
  hold "$dir/run" said "SIGUSR1: asking"
  expect_end "$job" COMPLETED 0:0 1+ || return
  went_on "$dir/out"
  same_run "$dir/run" "$whole"
}

# A site whose launcher dies of signals: it gets none, though SLURM sends one, and the run watches the time.
# JOB, which runs: when it has to stop as squeue says, and as the job's environment does where squeue does not answer
knows_its_end() {
  local end by
  end=$(date -d "$(field "$1" EndTime)" +%s)
  for by in "$(SLURM_JOB_ID=$1 ask_lib)" "$(SLURM_JOB_ID=$1 SLURM_JOB_END_TIME=$end PATH=$dir/deaf:$PATH ask_lib)"; do
    if [ -z "$by" ] || [ $((end - by)) -lt 13 ] || [ $((end - by)) -gt 17 ]; then wrong "has to stop by '$by', the job ends at $end"; fi
  done
}
ask_lib() { bash -c '. jobscripts/lib.sh && stop_by'; }
ran_for() { [ $((SECONDS - began)) -ge "$1" ]; }
time_limit_without_signals() {
  local began
  sed 's/^site_signals=yes.*/site_signals=no/' jobscripts/site.sh >"$dir/site.sh"
  mkdir "$dir/deaf"
  printf '#!/bin/sh\nexit 1\n' >"$dir/deaf/squeue"
  chmod 755 "$dir/deaf/squeue"
  EVENKEEL_SITE=$dir/site.sh submit --time=1 --signal=B:USR1@40 jobscripts/train.sbatch "$deck" "${small[@]}" -out_dir "$dir/run" || return
  epochs "$dir/run" 3 "$job" || return
  knows_its_end "$job"
  began=$SECONDS
  hold "$dir/run" ran_for 46
  expect_end "$job" COMPLETED 0:0 1+ || return
  said "SIGUSR1: asking" && wrong "the launcher got the signal"
  went_on "$dir/out"
  same_run "$dir/run" "$whole"
}

# A job that may not queue again ends with the program's status, and the run can go on.
requeue_forbidden() {
  submit jobscripts/train.sbatch "$deck" "${small[@]}" -out_dir "$dir/run" && epochs "$dir/run" 3 "$job" || return
  scontrol update jobid="$job" requeue=0
  ask "$job"
  expect_end "$job" FAILED 75:0 0 || return
  said "may not queue again" || wrong "nothing is said about it"
  direct 2 train "$deck" "${small[@]}" -out_dir "$dir/run" -train_resume auto >"$dir/direct" 2>&1 || wrong "$(tail -n 1 "$dir/direct")"
  went_on "$dir/direct"
  same_run "$dir/run" "$whole"
}

chain() {
  local i
  local -a jobs
  read -r -d '' -a jobs < <(CHAIN_NAME=$scratch/chain/chain jobscripts/chain.sh 4 --nodes=2 --ntasks-per-node=1 --cpus-per-task=2 --time=5 \
    jobscripts/train.sbatch "$deck" "${small[@]}" -out_dir "$dir/run" 2>"$dir/sbatch")
  ln -s chain.out "$dir/out"
  [ ${#jobs[@]} -eq 4 ] || { wrong "${#jobs[@]} jobs, not 4: $(<"$dir/sbatch")"; return; }
  for i in 0 1; do
    epochs "$dir/run" $(($(rows "$dir/run") + 3)) "${jobs[i]}" || return # of this job's own: its ranks listen then
    ask "${jobs[i]}"
    expect_end "${jobs[i]}" FAILED 75:0 0 || return
  done
  expect_end "${jobs[2]}" COMPLETED 0:0 0 && expect_end "${jobs[3]}" COMPLETED 0:0 0 || return
  said "job ${jobs[3]}: nothing left to do, job ${jobs[2]} finished the run" || wrong "the last job does not say that nothing is left"
  went_on "$dir/out"
  same_run "$dir/run" "$whole"
}

# EPOCH: cancelled there, the directory is as good as before: another job continues it.
cancelled() {
  local epoch=$1
  submit jobscripts/train.sbatch "$deck" "${small[@]}" -out_dir "$dir/run" && epochs "$dir/run" "$epoch" "$job" || return
  scancel "$job"
  wait_until 60 ended "$job" || wrong "job $job does not end"
  [ "$(field "$job" JobState) $(field "$job" Restarts)" = "CANCELLED 0" ] || wrong "the cancelled job is $(field "$job" JobState)"
  [ ! -e "$dir/run/final.safetensors" ] || wrong "the run had ended before it was cancelled"
  direct 2 train "$deck" "${small[@]}" -out_dir "$dir/run" -train_resume auto >"$dir/direct" 2>&1 || wrong "$(tail -n 1 "$dir/direct")"
  same_run "$dir/run" "$whole"
}
cancelled_before_a_checkpoint() { cancelled 3; }
cancelled_after_a_checkpoint() { cancelled 12; }

# All that runs on a node dies at once, and SLURM is told so (by itself it would notice after SlurmdTimeout).
node_lost() {
  local node process host
  submit --partition=lose jobscripts/train.sbatch "$deck" "${small[@]}" -out_dir "$dir/run" && epochs "$dir/run" 12 "$job" || return
  node=$(scontrol show hostnames "$(field "$job" NodeList)" | tail -n 1)
  for process in $(processes_on "$node"); do kill -KILL "$process" 2>/dev/null; done
  scontrol update nodename="$node" state=down reason=lost
  expect_end "$job" COMPLETED 0:0 1 || return
  host=$(field "$job" NodeList)
  scontrol show hostnames "$host" | grep -qx "$node" && wrong "the job ran on the lost node again"
  same_run "$dir/run" "$whole"
}

finetuned() {
  submit jobscripts/finetune.sbatch "$deck" "$whole/final.safetensors" "${small[@]}" -out_dir "$dir/run" || return
  epochs "$dir/run" 3 "$job" || return
  ask "$job"
  direct 2 train "$deck" "${small[@]}" -out_dir "$dir/direct" -model_weights "$whole/final.safetensors" >"$dir/printed" 2>&1 ||
    wrong "$(tail -n 1 "$dir/printed")"
  expect_end "$job" COMPLETED 0:0 1 || return
  went_on "$dir/out"
  same_run "$dir/run" "$dir/direct"
}

experiment() {
  local file=$dir/rows k=-1
  local -a row
  for k in 2023 2025 2024; do
    echo "$deck ${small[*]} -train_seed $k -out_dir $dir/$k" >>"$file"
  done
  export EXPERIMENT=tests/slurm/experiment.py
  submit --array=0-$(("$("$python" "$EXPERIMENT" count "$file")" - 1)) jobscripts/experiment.sbatch "$file" && epochs "$dir/2024" 3 "${job}_2" || return
  ask "${job}_2" # the last task, whose number is that of the array
  wait_until $QUEUE ended "$job" || wrong "the array does not end"
  for k in 0 1 2; do row+=("$(field "${job}_$k" JobState) $(field "${job}_$k" Restarts)"); done
  [ "${row[*]}" = "COMPLETED 0 COMPLETED 0 COMPLETED 1" ] || wrong "the rows ended as ${row[*]}"
  went_on "$dir/out"
  same_run "$dir/2024" "$whole"
  for k in 2023 2025; do
    reached "$dir/$k" "$EPOCHS" || wrong "row of seed $k is not complete"
    cmp -s "$dir/$k/final.safetensors" "$whole/final.safetensors" && wrong "row of seed $k is that of seed 2024"
  done
}

# DIR DATA: an experiment as experiment.py reads it, two rules with two seeds
four_rows() {
  local i value
  echo "dir: $1"
  echo "deck: $deck"
  echo "set:"
  for ((i = 0; i < ${#small[@]}; i += 2)); do
    case ${small[i]} in
      -data_file) value=$2 ;;
      -train_epochs) value=$((EPOCHS / 2)) ;;
      *) value=${small[i + 1]} ;;
    esac
    echo "  ${small[i]#-}: $value"
  done
  echo "axes:"
  echo "  train_seed: [1, 2]"
  echo "  rule: {plain: {balance_rule: none}, balanced: {balance_rule: tb_sigmoid, balance_min_eigs: 1}}"
  echo "table: {rows: rule, seeds: train_seed, baseline: {rule: plain}}"
}

# JOB: asks, but once, and is true when that has been heard
heard() {
  [ -n "$asked" ] || ask "$1"
  asked=1
  said "SIGUSR1: asking"
}

# From the rows to the table with the real experiment.py: the tasks agree on who makes the data, one row is queued again on its way.
experiment_to_table() {
  local k asked='' row=()
  echo "generate: {type: cfd2d, file: $dir/made.hdf5, nx: 16, samples: 24, frames: 12}" >"$dir/data.yaml"
  { four_rows "$dir/array" "$dir/made.hdf5" && echo "data: $dir/data.yaml"; } >"$dir/array.yaml"
  four_rows "$dir/direct" "$data" >"$dir/direct.yaml"
  job=$(jobscripts/experiment.sh --parsable --nodes=2 --ntasks-per-node=1 --cpus-per-task=2 --time=5 --output="$dir/out" "$dir/array.yaml" 2>"$dir/sbatch")
  [ -n "$job" ] || { wrong "experiment.sh: $(<"$dir/sbatch")"; return; }
  epochs "$dir/array/seed-1_balanced" 1 "${job}_1" || return
  hold "$dir/array/seed-1_balanced" heard "${job}_1"
  LAUNCH="${MPIRUN:-mpirun} --oversubscribe" outside "$python" postproc/experiment.py run "$dir/direct.yaml" --jobs 1 --ranks 2 >"$dir/printed" 2>&1 ||
    wrong "without SLURM: $(tail -n 1 "$dir/printed")"
  wait_until $QUEUE ended "$job" || wrong "the array does not end"
  for k in 0 1 2 3; do row+=("$(field "${job}_$k" JobState) $(field "${job}_$k" Restarts)"); done
  [ "${row[*]}" = "COMPLETED 0 COMPLETED 1 COMPLETED 0 COMPLETED 0" ] || wrong "the rows ended as ${row[*]}"
  cmp -s "$dir/made.hdf5" "$data" || wrong "the data that the array made are not those that the program makes"
  [ "$(grep -c '^making' "$dir/out")" -eq 1 ] || wrong "the data were not made once: $(grep '^making' "$dir/out")"
  grep -q '^resumed after' "$dir/array/seed-1_balanced.log" || wrong "the row that was queued again did not go on from a checkpoint"
  for k in seed-1_plain seed-1_balanced seed-2_plain seed-2_balanced; do same_run "$dir/array/$k" "$dir/direct/$k"; done
  for k in array direct; do
    "$python" postproc/table.py "$dir/$k.yaml" --html "$dir/$k.html" >"$dir/$k.table" 2>&1 || wrong "table.py: $(tail -n 1 "$dir/$k.table")"
    grep -q "4 of 4 rows finished" "$dir/$k.html" || wrong "the page of $k is not that of a finished experiment"
  done
  [ "$(timeless "$dir/array/table/table.csv")" = "$(timeless "$dir/direct/table/table.csv")" ] || wrong "the table is not that of the rows without SLURM"
  awk -F, '$2 == 2 && $4 > 0 && $5 > 0 { cells++; differ += !mean[$4]++ } END { exit cells != 2 || differ != 2 }' "$dir/array/table/table.csv" ||
    wrong "the table lacks runs or does not tell the rules apart: $(<"$dir/array/table/table.csv")"
}

# DECK ARGUMENTS: submitted from outside the tree. Sets array and merge from what generate.sh printed.
generate() {
  (cd "$dir" && "$OLDPWD/jobscripts/generate.sh" --nodes=1 --ntasks-per-node=2 --time=5 --output="$dir/out" "$@") >"$dir/jobs" 2>&1
  array=$(sed -nE 's/^array ([0-9]+):.*/\1/p' "$dir/jobs") merge=$(sed -nE 's/^merge ([0-9]+):.*/\1/p' "$dir/jobs")
  [ -n "$merge" ] || { wrong "$(tail -n 1 "$dir/jobs")"; return 1; }
}

generated() {
  local array merge seed
  local keys=(-generate_nx 48 -generate_samples 96 -generate_frames 12) # long enough for the request to meet task 2 at work
  generate --array=1-3 "$PWD/inputs/generate/cfd2d_rand_small.yaml" set.hdf5 "${keys[@]}" || return
  wait_until $QUEUE test -e "$dir/set.2.hdf5.progress" || { wrong "task 2 does not begin"; return; }
  [ -e "$dir/set.2.hdf5.made" ] || wrong "what task 2 is made with is not noted before it is complete"
  ask "${array}_2"
  for seed in 1 2 3; do
    direct 1 generate inputs/generate/cfd2d_rand_small.yaml "${keys[@]}" -generate_seed $seed -generate_file "$dir/direct$seed.hdf5" >"$dir/printed" 2>&1 ||
      wrong "$(tail -n 1 "$dir/printed")"
  done
  expect_end "${array}_2" COMPLETED 0:0 1 && expect_end "$merge" COMPLETED 0:0 0 || return
  same_data "$dir/set.hdf5" "$dir"/direct[123].hdf5
  grep -q 'set\.hdf5:/density' "$dir/set.xdmf" || wrong "the joined file has no description for ParaView"
  "$EVENKEEL" inspect "$dir/set.hdf5" >"$dir/inspect" 2>&1 || wrong "inspect: $(tail -n 1 "$dir/inspect")"
}

# A file a beta, seeds that are not in a row, and a site's own settings
generated_files() {
  local array merge beta
  sed 's/^site_sbatch=.*/site_sbatch=(--comment=ours)/; s/^site_launch=.*/site_launch="mpirun --oversubscribe"/' jobscripts/site.sh >"$dir/site.sh"
  EVENKEEL_SITE=$dir/site.sh generate --array=3,7-8%2 "$PWD/inputs/generate/advection1d_small.yaml" "b{beta}.hdf5" -generate_samples 5 || return
  expect_end "$merge" COMPLETED 0:0 0 || return
  [ "$(field "$array" Comment) $(field "$merge" Comment)" = "ours ours" ] || wrong "the site's options did not arrive"
  said ": mpirun --oversubscribe on" || wrong "the site's launcher was not taken: $(grep '^job' "$dir/out")"
  for beta in 0.1 1.0; do same_data "$dir/b$beta.hdf5" "$dir/b$beta".{3,7,8}.hdf5; done
}

# WANTED ARGUMENTS: a whole array of two tasks with the deck in $dir; both and the merge must end so, a line each
generate_all() {
  local wanted=$1 one ends=()
  shift
  rm -f "$dir/out"
  generate --array=1-2 "$dir/deck.yaml" "b{beta}.hdf5" "$@" || return
  for one in "${array}_1" "${array}_2" "$merge"; do
    wait_until $QUEUE ended "$one" || wrong "job $one does not end"
    ends+=("$(field "$one" JobState) $(field "$one" ExitCode)")
  done
  [ "${ends[*]}" = "$wanted" ] || { wrong "ended as ${ends[*]}, not as $wanted: $(tail -n 1 "$dir/out")"; return 1; }
}

# What is complete stays, what is missing is made. b0.1.hdf5, joined for beta 0.1, is no part of task 1.
generated_again() {
  local array merge file
  local good="COMPLETED 0:0" bad="FAILED 1:0" keys=(-generate_nx 16 -generate_samples 3)
  cp inputs/generate/advection1d_small.yaml "$dir/deck.yaml"
  generate_all "$good $good $good" "${keys[@]}" || return
  rm "$dir"/b{0.1,1.0}.1.hdf5
  touch -d 2001-07-01 "$dir"/b{0.1,1.0}.2.hdf5
  echo "# a comment, and what the data do not depend on" >>"$dir/deck.yaml"
  generate_all "$good $good $good" "${keys[@]}" -generate_ranks_per_sample 2 || return
  [ "$(grep -c 'was complete before' "$dir/out")" -eq 1 ] || wrong "not one part was complete"
  said "b{beta}.2.hdf5 was complete before" || wrong "part 2 was not complete"
  for file in "$dir"/b{0.1,1.0}.2.hdf5; do [ "$(date -r "$file" +%Y)" = 2001 ] || wrong "$file was made again"; done
  [ "$(grep -c ': kept,' "$dir/evenkeel-merge-$merge.out")" -eq 2 ] || wrong "the joined files are not their parts: $(<"$dir/evenkeel-merge-$merge.out")"
  # Other parameters, in the arguments or in the deck; parts of which nobody knows what made them
  generate_all "$bad $bad CANCELLED 0:0" "${keys[@]}" -generate_frames 31 || return
  said "> -generate_frames 31" || wrong "the other parameters are not told: $(<"$dir/out")"
  sed -i 's/dt_save: 0.05/dt_save: 0.04/' "$dir/deck.yaml"
  generate_all "$bad $bad CANCELLED 0:0" "${keys[@]}" || return
  sed -i 's/dt_save: 0.04/dt_save: 0.05/' "$dir/deck.yaml"
  rm "$dir/b{beta}.1.hdf5.made"
  generate_all "$bad $good CANCELLED 0:0" "${keys[@]}" || return
  said "is there already" || wrong "the program did not refuse the part: $(<"$dir/out")"
}

# From another directory, as little of it as there can be.
scaling() {
  (cd "$dir" && RANKS="1 2" MODELS=fno2d KINDS="strong rebalance" BATCH=2 REPEATS=1 STEPS=2 OUT=$dir/study DATA=$dir "$OLDPWD/jobscripts/submit.sh" --parsable \
    --nodes=2 --ntasks-per-node=1 --cpus-per-task=2 --exclusive=user --time=5 --output="$dir/out" "$OLDPWD/jobscripts/scaling.sbatch") >"$dir/sbatch" 2>&1
  job=$(<"$dir/sbatch")
  [[ $job =~ ^[0-9]+$ ]] || { wrong "submit.sh: $job"; return; }
  expect_end "$job" COMPLETED 0:0 0 || return
  [ "$(awk -F, '$2 == "strong" { printf "%s %s ", $1, $4 }' "$dir/study/scaling.csv")" = "fno2d 1 fno2d 2 " ] || wrong "rows: $(<"$dir/study/scaling.csv")"
  [ "$(awk -F, '$2 ~ /^refresh_/ { print $1, $2, $4 }' "$dir/study/scaling.csv" | sort | tr '\n' ,)" = \
    "fno2d refresh_all 1,fno2d refresh_all 2,fno2d refresh_published 1,fno2d refresh_published 2," ] || wrong "rebalancing: $(<"$dir/study/scaling.csv")"
  grep -q fno2d "$dir/study/report/scaling.txt" || wrong "no report"
}

# An error that a repetition would not change ends what is left of a chain.
chain_of_errors() {
  local -a jobs
  read -r -d '' -a jobs < <(CHAIN_NAME=$scratch/chain_of_errors/chain jobscripts/chain.sh 2 --nodes=1 --ntasks-per-node=1 --time=5 \
    jobscripts/train.sbatch "$deck" "${small[@]}" -model_type nothing -out_dir "$dir/run" 2>"$dir/sbatch")
  ln -s chain.out "$dir/out"
  [ ${#jobs[@]} -eq 2 ] || { wrong "${#jobs[@]} jobs, not 2: $(<"$dir/sbatch")"; return; }
  expect_end "${jobs[0]}" FAILED 1:0 0 && expect_end "${jobs[1]}" FAILED 1:0 0 || return
  said "job ${jobs[1]}: not tried again, job ${jobs[0]} ended with an error" || wrong "the second job does not say why it ends"
}

# The array fails, so nothing is joined and nothing waits for ever.
generate_fails() {
  local array merge
  generate --array=1-2 "$PWD/inputs/generate/advection1d_small.yaml" a.hdf5 -generate_beta 1 -generate_nu nothing || return
  wait_until $QUEUE ended "$merge" || wrong "the merge still waits"
  [ "$(field "$merge" JobState)" = CANCELLED ] || wrong "the merge is $(field "$merge" JobState)"
  [ ! -e "$dir/a.hdf5" ] || wrong "there is a file"
}

# Eight ranks, alone on the machine. The times are printed and not judged. Also: MAX_RESTARTS.
now() { date +%s.%N; }
times() {
  local started first asked written
  MAX_RESTARTS=0 submit --ntasks-per-node=4 --cpus-per-task=1 jobscripts/train.sbatch "$deck" "${small[@]}" -train_batch 20 -train_epochs 2000 \
    -train_checkpoint_interval 0 -out_dir "$dir/run" || return
  until said "start 1" || ended "$job"; do sleep 0.01; done
  started=$(now)
  until reached "$dir/run" 1 || ended "$job"; do sleep 0.01; done
  first=$(now)
  sleep 1
  asked=$(now)
  ask "$job"
  expect_end "$job" FAILED 75:0 0 || return
  said "restarts are enough" || wrong "nothing is said about MAX_RESTARTS"
  written=$(stat -c %.9Y "$dir/run/checkpoint.h5") || { wrong "no checkpoint"; return; }
  awk -v s="$started" -v f="$first" -v a="$asked" -v w="$written" \
    'BEGIN { printf "time start to first step %.2f s, signal to finished checkpoint %.2f s (8 ranks on 2 nodes of this machine)\n", f - s, w - a }'
}

# ---- all of it ----------------------------------------------------------------------------------------------------------

if ! cluster_up "$(mktemp -d /tmp/evenkeel-slurm.XXXXXX)"; then
  echo "FAIL cluster: does not come up"
  echo "0 passed, 1 failed"
  exit 1
fi
direct 2 generate inputs/generate/cfd2d_rand_small.yaml -generate_nx 16 -generate_samples 24 -generate_frames 12 -generate_file "$data" >"$scratch/log" 2>&1
choose_epochs
if ! direct 2 train "$deck" "${small[@]}" -out_dir "$whole" >>"$scratch/log" 2>&1; then
  tail -n 3 "$scratch/log"
  echo "FAIL reference: the program does not run without SLURM"
  echo "0 passed, 1 failed"
  exit 1
fi

try times
wait
for name in time_limit time_limit_without_signals generated experiment_to_table requeued_srun requeued_mpirun early_signal node_lost experiment finetuned chain \
  cancelled_before_a_checkpoint cancelled_after_a_checkpoint requeue_forbidden generated_files generated_again generate_fails undisturbed scaling \
  chain_of_errors; do
  try "$name"
done
wait

passed=$(cat "$scratch"/results/* 2>/dev/null | grep -c '^ok ')
failed=$((number - passed))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
