#!/bin/bash
# Generates a data set in an array of jobs and joins their files: OUT.hdf5 holds the trajectories of OUT.1.hdf5, then those of OUT.2.hdf5 ...
#
#   jobscripts/generate.sh --array=1-8 [OTHER OPTIONS OF sbatch] DECK OUT.hdf5 [-key value ...]
#
# Task K has seed K; every task makes generate_samples trajectories. Options of sbatch as --name=value; those that say how large, how long
# and where to print are for the array alone. The merge waits for all tasks; if one fails, repeat it with generate.sbatch and join with merge.sbatch.
# The parts stay. The same command again makes what is missing.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 1

options=() where=() array=
while [[ ${1:-} == --* ]]; do
  case $1 in
    --array=*) array=${1#--array=} ;;
    --nodes=* | --ntasks* | --cpus-per-task=* | --mem* | --time=* | --exclusive* | --output=* | --error=* | --job-name=* | --signal=* | --dependency=*) ;;
    *) where+=("$1") ;;
  esac
  options+=("$1")
  shift
done
case ${2:-} in *?.hdf5 | *?.h5) ;; *) array= ;; esac
if [ -z "$array" ]; then
  echo "usage: jobscripts/generate.sh --array=1-8 [--name=value ...] DECK OUT.hdf5 [-key value ...]" >&2
  exit 2
fi
out=$2

# The tasks of an array, 1-8, 1,3,5 or 0-6:2, without how many may run at once
parts=()
for range in $(tr , ' ' <<<"${array%%%*}"); do
  step=1
  case $range in *:*) step=${range#*:} range=${range%:*} ;; esac
  for seed in $(seq "${range%-*}" "$step" "${range#*-}"); do parts+=("${out%.*}.$seed.${out##*.}"); done
done

job=$("$here/submit.sh" --parsable ${options[@]+"${options[@]}"} "$here/generate.sbatch" "$@") || exit
job=${job%%;*} # a federation adds the cluster's name
echo "array $job: ${#parts[@]} files"
merge=$("$here/submit.sh" --parsable --dependency=afterok:"$job" --kill-on-invalid-dep=yes --ntasks-per-node=1 --cpus-per-task=1 \
  ${where[@]+"${where[@]}"} "$here/merge.sbatch" "$out" "${parts[@]}") || exit
echo "merge ${merge%%;*}: $out"
