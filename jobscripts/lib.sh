# shellcheck shell=bash
# What the job scripts share; they source it first of all. A script calls begin, then train or run, then finish.
# From the environment, beside what site.sh says:
#   EVENKEEL_HOME  the source tree, if it is not the directory of submission
#   EVENKEEL       the program (EVENKEEL_HOME/build/evenkeel)
#   LAUNCH         the launcher with its options; goes before site_launch
#   MAX_RESTARTS   after so many a job gives up (100): a run that never reaches a checkpoint must not go round for ever
#   SETTLE         seconds that a run needs until its ranks listen to signals (10); earlier ones wait: a launcher on its way up loses them
#   CHAIN          set by chain.sh: never queue again, the next job of the chain goes on; CHAIN.finished says that none has to

readonly STOPPED=75 # evenkeel's exit status after a checkpoint on request
readonly MARGIN=15  # seconds before the limit at which train_max_wall stops; the program keeps its own reserve for the checkpoint

# The last task of an array has the number of the array, which by itself means all tasks.
readonly job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-${SLURM_JOB_ID:-}}

home=${EVENKEEL_HOME:-.}
evenkeel=${EVENKEEL:-$home/build/evenkeel}
launch=()
child='' started='' timer=''
stop=
status=0

# The trap is set before anything is started, so that an early signal does not end the script. A launcher that dies of signals gets none:
# the run stops by itself.
pass_on() {
  local early
  if [ "${site_signals:-yes}" = no ]; then return; fi
  stop=1
  if [ -z "$child" ]; then return; fi # run looks at stop
  early=$((started + ${SETTLE:-10} - SECONDS))
  if [ "$early" -gt 0 ]; then
    (sleep "$early" && echo "SIGUSR1: asking for a checkpoint" && kill -USR1 "$child" 2>/dev/null) &
    timer=$!
  else
    echo "SIGUSR1: asking for a checkpoint"
    kill -USR1 "$child" 2>/dev/null
  fi
}
trap pass_on USR1

# shellcheck source=jobscripts/site.sh
. "${EVENKEEL_SITE:-$home/jobscripts/site.sh}" || exit 2

usage() {
  echo "usage: $*" >&2
  exit 2
}

# Sets launch. Open MPI starts under srun only through PMIx. The list of plugins also names one that cannot be loaded, so a task is tried.
choose_launcher() {
  local told=${LAUNCH:-$site_launch}
  if [ -n "$told" ]; then
    read -r -a launch <<<"$told"
  elif timeout 60 srun --mpi=pmix --nodes=1 --ntasks=1 printenv PMIX_RANK >/dev/null 2>&1; then
    # A crashed task ends the others after 30 s; at once (--kill-on-bad-exit) would spoil status 75 of those still on their way out.
    launch=(srun --mpi=pmix --wait=30)
  else
    launch=(mpirun)
    # Up to two ranks it binds each to a core, and a rank's threads with it.
    if [ "$OMP_NUM_THREADS" -gt 1 ]; then launch+=(--bind-to none); fi
  fi
}

begin() {
  if [ -n "${CHAIN:-}" ] && [ -e "$CHAIN.finished" ]; then
    echo "job $SLURM_JOB_ID: nothing left to do, $(<"$CHAIN.finished")"
    exit 0
  fi
  if [ -n "${CHAIN:-}" ] && [ -e "$CHAIN.failed" ]; then
    echo "job $SLURM_JOB_ID: not tried again, $(<"$CHAIN.failed")" >&2
    exit 1
  fi
  site_setup
  # A job submitted with --export=NONE hands that on to srun, and the ranks would see nothing of what site_setup has set.
  export SLURM_EXPORT_ENV=ALL
  export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"
  # srun gives srun what sbatch was told only through this, since SLURM 22.05.
  export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
  # SLURM's default fence lets some Open MPI jobs die in MPI_Init (open-mpi/ompi issue 12495).
  export SLURM_PMIX_FENCE="${SLURM_PMIX_FENCE:-ring}"
  unset STOP_BY
  if [ "$site_signals" = no ]; then STOP_BY=$(stop_by); fi
  export STOP_BY # to experiment.py, too
  choose_launcher
  echo "job $SLURM_JOB_ID${SLURM_ARRAY_TASK_ID:+ (task $SLURM_ARRAY_TASK_ID)}, start $((${SLURM_RESTART_COUNT:-0} + 1))," \
    "$(date -u +%Y-%m-%dT%H:%M:%SZ): ${launch[*]} on $SLURM_JOB_NODELIST"
}

# Starts a command, passes SIGUSR1 on to it and waits; status becomes its exit status.
run() {
  status=$STOPPED
  if [ -n "$stop" ]; then return; fi
  started=$SECONDS
  "$@" &
  child=$!
  if [ -n "$stop" ]; then pass_on; fi # the signal came between the two lines
  # A trap interrupts wait with a status above 128 while the run is still on its way to the checkpoint.
  wait "$child"
  status=$?
  while [ "$status" -gt 128 ] && kill -0 "$child" 2>/dev/null; do
    wait "$child"
    status=$?
  done
  child=
  if [ -n "$timer" ]; then kill "$timer" 2>/dev/null; fi
  # Killed by the signal before it could listen: nothing new is lost, the last checkpoint stands.
  if [ -n "$stop" ] && [ "$status" -eq $((128 + $(kill -l USR1))) ]; then status=$STOPPED; fi
}

# The time, in seconds since 1970, by which training has to stop; nothing where there is no limit. A busy controller does not always
# answer; what newer SLURMs told the job at its start comes second, for it may have been changed since.
stop_by() {
  local left days=0 seconds=0 part
  for _ in 1 2 3; do left=$(squeue --noheader --jobs="$job" --format=%L 2>/dev/null) && break; done
  case $left in
    *-*) days=${left%%-*} left=${left#*-} ;;
    *:*) ;;
    '')
      if [ "${SLURM_JOB_END_TIME:-0}" -gt 0 ]; then echo $((SLURM_JOB_END_TIME - MARGIN)); fi
      return
      ;;
    *) return ;;
  esac
  for part in ${left//:/ }; do seconds=$((60 * seconds + 10#$part)); done
  echo $(($(date +%s) + 86400 * days + seconds - MARGIN))
}

# STOP_BY as train_max_wall wants it
time_left() {
  local seconds=$((STOP_BY - $(date +%s)))
  if [ "$seconds" -lt 1 ]; then seconds=1; fi
  printf '%02d:%02d:%02d\n' $((seconds / 3600)) $((seconds / 60 % 60)) $((seconds % 60))
}

# DECK [-key value ...]: a training run, new or continued.
train() {
  local deck=$1
  local -a wall=()
  shift
  if [ -n "${STOP_BY:-}" ]; then wall=(-train_max_wall "$(time_left)"); fi
  run "${launch[@]}" "$evenkeel" train "$deck" ${wall[@]+"${wall[@]}"} "$@" -train_resume auto
}

# A busy controller does not always answer; what it answers counts.
requeue() {
  local answer
  for _ in 1 2 3; do
    answer=$(scontrol requeue "$job" 2>&1) && return
    echo "$answer" >&2
    case $answer in *"timed out"* | *"contact slurm controller"*) sleep 10 ;; *) return 1 ;; esac
  done
  return 1
}

queue_again() {
  local restarts=${SLURM_RESTART_COUNT:-0}
  if [ -n "${CHAIN:-}" ]; then
    echo "stopped after a checkpoint, the next job of the chain goes on"
  elif [ "$restarts" -ge "${MAX_RESTARTS:-100}" ]; then
    echo "stopped after a checkpoint; $restarts restarts are enough, not queueing again" >&2
  else
    echo "stopped after a checkpoint, queueing again"
    requeue || echo "the job may not queue again: submit it again, or use jobscripts/chain.sh" >&2
  fi
}

finish() {
  if [ "$status" -eq 0 ] && [ -n "${CHAIN:-}" ]; then
    echo "job $SLURM_JOB_ID finished the run at $(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$CHAIN.finished"
  fi
  if [ "$status" -eq 1 ] && [ -n "${CHAIN:-}" ]; then
    echo "job $SLURM_JOB_ID ended with an error that a repetition would not change" >"$CHAIN.failed"
  fi
  if [ "$status" -eq "$STOPPED" ]; then queue_again; fi
  exit "$status"
}
