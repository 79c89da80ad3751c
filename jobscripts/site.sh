# shellcheck shell=bash disable=SC2034
# Settings of this site: the one file to edit. submit.sh, generate.sh and chain.sh hand the first five to sbatch, whose own command line
# goes before them; a job takes the others from here. EVENKEEL_SITE names another file of this kind, so that the tree stays as it is.

site_partition=  # empty: the site's default
site_account=    # empty: yours
site_ranks=      # MPI ranks a node, times threads the cores of one; empty: 4, the scripts' own
site_threads=    # OpenMP threads a rank; empty: 1
site_sbatch=()   # whatever else sbatch has to be told, an option an element
site_launch=     # the launcher with its options; empty: `srun --mpi=pmix` where that can start Open MPI, else mpirun
site_signals=yes # no: the launcher keeps signals to itself. Training then stops by train_max_wall, set from the time the job has left
site_setup() { :; } # modules and variables, in the job

# Examples, from what these machines' documentation and other projects' scripts say; none was run there. PETSc, oneDNN and cJSON have to be
# added to the modules, or built by hand and named in config.mk.
#
# Perlmutter, CPU nodes (two AMD EPYC 7763, Cray MPICH; a "CPU" of SLURM is half a core):
#   site_account=m1234
#   site_ranks=128
#   site_sbatch=(--constraint=cpu --qos=regular --cpus-per-task=2)
#   site_launch="srun --cpu-bind=cores"
#   site_setup() { module load cpu PrgEnv-gnu cray-fftw cray-hdf5-parallel cray-python; export OMP_NUM_THREADS=1; }
#
# LUMI-C (two AMD EPYC 7763, Cray MPICH):
#   site_partition=standard
#   site_account=project_465000000
#   site_ranks=128
#   site_sbatch=(--exclusive --mem=0)
#   site_launch="srun --cpu-bind=cores"
#   site_setup() { module load LUMI partition/C cpeGNU cray-fftw cray-hdf5-parallel cray-python; }
#
# Frontera (two Xeon 8280, Intel MPI; ibrun is a script that dies of a signal instead of passing it on):
#   site_partition=normal
#   site_account=PHY12345
#   site_ranks=56
#   site_launch=ibrun
#   site_signals=no
#   site_setup() { module load intel impi phdf5 petsc python3; }
