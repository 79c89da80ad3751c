#!/bin/bash
# A run in a chain of jobs, for sites where a job may not queue again: each starts when the one before has ended, however it ended, and goes
# on from its checkpoint. What is left of the chain when the run is finished ends at once.
#
#   jobscripts/chain.sh N [OPTIONS OF sbatch] jobscripts/train.sbatch DECK [-key value ...]
#
# Also with finetune.sbatch. All jobs append to NAME.out; NAME.finished appears when the run is, NAME.failed when it met an error that a
# repetition would not change: then, too, what is left ends at once.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1
if [[ ! ${1:-} =~ ^[1-9][0-9]*$ ]] || [ $# -lt 3 ]; then
  echo "usage: jobscripts/chain.sh N [OPTIONS OF sbatch] jobscripts/train.sbatch DECK [-key value ...]" >&2
  exit 2
fi
count=$1
shift

CHAIN=$PWD/${CHAIN_NAME:-chain-$(date +%Y%m%d-%H%M%S)-$$}
export CHAIN
after=()
for ((i = 1; i <= count; i++)); do
  job=$("$here/submit.sh" --parsable --no-requeue --output="$CHAIN.out" --open-mode=append ${after[@]+"${after[@]}"} "$@") || exit
  job=${job%%;*}
  after=(--dependency=afterany:"$job")
  echo "$job"
done
