#!/bin/bash
# sbatch with what site.sh says; options on the command line go before it.
#
#   jobscripts/submit.sh [OPTIONS OF SBATCH] jobscripts/train.sbatch DECK [-key value ...]
#
# From any directory: the jobs find the source tree.
set -u
EVENKEEL_HOME=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
export EVENKEEL_HOME
# shellcheck source=jobscripts/site.sh
. "${EVENKEEL_SITE:-$EVENKEEL_HOME/jobscripts/site.sh}" || exit 2

# From a task of an array sbatch would hand these on, and the job would take itself for the task.
unset "${!SLURM_ARRAY_@}"

options=() # bash before 4.4 takes an empty array for one that is not set
if [ -n "$site_partition" ]; then options+=(--partition="$site_partition"); fi
if [ -n "$site_account" ]; then options+=(--account="$site_account"); fi
if [ -n "$site_ranks" ]; then options+=(--ntasks-per-node="$site_ranks"); fi
if [ -n "$site_threads" ]; then options+=(--cpus-per-task="$site_threads"); fi
exec sbatch ${options[@]+"${options[@]}"} ${site_sbatch[@]+"${site_sbatch[@]}"} "$@"
