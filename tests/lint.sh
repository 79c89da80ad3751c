#!/usr/bin/env bash
# What the style guide asks and a compiler does not see: includes point down only, one foreign library a folder, files under 800 lines, no forbidden words.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
say() { echo "lint: $*"; bad=1; }

# layer of each public header: the folder of the sources that implement it
layer_of() {
  case $1 in
    base | keys) echo base ;; mesh) echo mesh ;; dataset | mixture | datafile | weights | checkpoint | results | inspect | xdmf) echo io ;;
    kernel | dft) echo kernel ;; graph) echo graph ;; model) echo model ;; balance) echo balance ;; optim) echo optim ;; pde | cfd | darcy) echo pde ;;
    train | metrics) echo train ;; command) echo command ;; *) echo unknown ;;
  esac
}
rank_of() { grep -nx "$1" src/LAYERS | cut -d: -f1; }
for file in src/*/*.[ch]; do
  mine=$(rank_of "$(basename "$(dirname "$file")")")
  # shellcheck disable=SC2013 # names of letters
  for header in $(sed -nE 's,^#include "evenkeel/([a-z]+)\.h".*,\1,p' "$file"); do
    layer=$(layer_of "$header")
    # src/train/deck.c asks the command table which keys are known at all
    [ "$header" = command ] && [ "$file" = src/train/deck.c ] && continue
    [ "$layer" = unknown ] && { say "$file: header $header has no layer"; continue; }
    [ "$(rank_of "$layer")" -gt "$mine" ] && say "$file includes $header.h, a layer above its own"
  done
done
only() { # pattern, what, folders
  local found
  found=$(grep -lE "$1" src/*/*.[ch] | grep -vE "$3")
  [ -n "$found" ] && say "$2 outside its folder: $found"
}
only '#include <hdf5\.h>' HDF5 '^src/io/'
only '#include <fftw3' FFTW '^src/kernel/'
only '\b(Cblacs|blacs_|p[sd]gesvd|p[sd]syev)' ScaLAPACK '^src/balance/'
only '#include <petsc(dm|ts|ksp|dmda)' 'PETSc solvers' '^src/pde/'
for file in $(git ls-files 'src/*.[ch]' 'include/*.h' 'tests/*.[ch]'); do
  [ "$(wc -l <"$file")" -gt 800 ] && say "$file has more than 800 lines"
done
found=$(grep -nE '\brand\(\)|\bassert\.h|#if 0|TODO|FIXME' src/*/*.[ch] include/evenkeel/*.h src/main.c)
[ -n "$found" ] && say "forbidden: $found"
found=$(grep -nP '\t' src/*/*.[ch] include/evenkeel/*.h | head -3)
[ -n "$found" ] && say "tabs: $found"
if command -v shellcheck >/dev/null; then
  shellcheck -x jobscripts/*.sh jobscripts/*.sbatch tests/*.sh tests/*/*.sh || say "shellcheck"
else
  echo "lint: shellcheck is not installed: the scripts are not checked"
fi
for file in jobscripts/* tests/slurm/*.*; do
  [ "$(wc -l <"$file")" -gt 800 ] && say "$file has more than 800 lines"
done
[ $bad -eq 0 ] && echo "lint: clean"
exit $bad
