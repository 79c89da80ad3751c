#!/bin/bash
# Runs the rows of an experiment in an array of jobs.
#
#   jobscripts/experiment.sh [OPTIONS OF sbatch] FILE
#
# Options as --name=value. --array=0-149%20 instead of all rows at once: twenty at a time, where a site limits how many jobs may queue.
# Rows that are finished end at once, so the same command takes up what is left. PYTHON names the Python for experiment.py.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1

options=()
while [[ ${1:-} == --* ]]; do
  options+=("$1")
  shift
done
if [ $# -ne 1 ]; then
  echo "usage: jobscripts/experiment.sh [--name=value ...] FILE" >&2
  exit 2
fi
count=$("${PYTHON:-python3}" "${EXPERIMENT:-$here/../postproc/experiment.py}" count "$1") || exit
exec "$here/submit.sh" --array=0-$((count - 1)) ${options[@]+"${options[@]}"} "$here/experiment.sbatch" "$1"
