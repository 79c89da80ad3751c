# shellcheck shell=bash
# A SLURM cluster on this machine, as root, without systemd: munged, slurmctld and a slurmd for each of several nodes that exist in name only.
# Sourced. `cluster_up DIR` starts it, `cluster_down` stops all of it and everything its jobs left; SLURM_CONF is set. Everything is in DIR
# and listens on 127.0.0.1 only.

NODES=7           # of 4 processors each, whatever the machine has
LOSE="node[5-7]"  # partition "lose" is these, "main" the others: a test that loses a node must not lose another one's
cluster=

cluster_packages() {
  local package missing=() policy=/usr/sbin/policy-rc.d made=
  # SLURM's plugin for PMIx loads a library that only libpmix-dev has.
  for package in slurmctld slurmd slurm-client munge libpmix-dev; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  echo "installing ${missing[*]}"
  # The packages would start daemons of their own.
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    made=1
  fi
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$cluster/apt.log" 2>&1
  local status=$?
  [ -n "$made" ] && rm -f $policy
  [ $status -eq 0 ] || tail -n 5 "$cluster/apt.log"
  return $status
}

# A block of ports that nobody listens on: the controller's, then one a node.
free_port() {
  local port i
  while :; do
    port=$((20000 + RANDOM % 10000))
    for ((i = 0; i <= NODES; i++)); do (: <>/dev/tcp/127.0.0.1/$((port + i))) 2>/dev/null && break; done
    [ "$i" -gt "$NODES" ] && break
  done
  echo $port
}

configure() {
  local port host node
  port=$(free_port)
  cat >"$cluster/slurm.conf" <<CONF
ClusterName=evenkeel
SlurmctldHost=$(if $namespaces; then echo control; else hostname; fi)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
# cred_expire is also how long a job waits before it starts again, 120 s by default.
AuthType=auth/munge
AuthInfo=socket=$cluster/munge.socket,cred_expire=10
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool/%n
TmpFS=$cluster/tmp/%n
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/slurmd-%n.pid
SlurmctldLogFile=$cluster/log/slurmctld.log
SlurmdLogFile=$cluster/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog=$cluster/task_prolog
MpiDefault=none
# More processors than the machine has
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=5
MinJobAge=86400
KillWait=10
ReturnToService=0
SlurmdTimeout=60
InactiveLimit=0
MessageTimeout=30
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
$(for ((node = 1; node <= NODES; node++)); do
    host=$(if $namespaces; then echo "node$node"; else hostname; fi)
    echo "NodeName=node$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + node)) Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 State=UNKNOWN"
  done)
PartitionName=main Nodes=node[1-4] Default=YES MaxTime=INFINITE
PartitionName=lose Nodes=$LOSE MaxTime=INFINITE
CONF
  echo "CgroupPlugin=cgroup/v1" >"$cluster/cgroup.conf" # loaded though nothing uses it; this one starts everywhere
  # What Open MPI needs on one machine that plays several: every value goes into the scripts' and the tasks' environment.
  cat >"$cluster/task_prolog" <<PROLOG
#!/bin/sh
echo export OMPI_MCA_btl_tcp_if_include=lo
echo export OMPI_MCA_oob_tcp_if_include=lo
echo export OMPI_MCA_mpi_yield_when_idle=1
echo export OMPI_MCA_hwloc_base_binding_policy=none
echo export OMPI_MCA_btl_base_warn_component_unused=0
echo export OMPI_MCA_btl_vader_single_copy_mechanism=none
# Debian switches off what one-sided communication between nodes over TCP needs; generate shares out its trajectories by it.
echo export OMPI_MCA_osc=^ucx
echo export OMPI_ALLOW_RUN_AS_ROOT=1
echo export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
$($namespaces || echo echo export OMPI_MCA_btl=self,tcp)
PROLOG
  chmod 755 "$cluster/task_prolog"
  echo "127.0.0.1 localhost control $(seq -s ' ' -f 'node%g' $NODES)" >"$cluster/hosts"
  cat /etc/hosts >>"$cluster/hosts"
}

# NAME COMMAND...: a daemon in a session of its own, under hostname NAME. Open MPI names its shared memory by the host, so nodes need names of
# their own; every step up to the daemon is an exec, so $! is its process.
start_daemon() {
  local name=$1
  shift
  if $namespaces; then
    # shellcheck disable=SC2016
    set -- unshare --mount --propagation slave --uts -- sh -c 'mount --bind "$1" /etc/hosts && hostname "$0" && shift && exec "$@"' "$name" "$cluster/hosts" "$@"
  fi
  setsid "$@" </dev/null >"$cluster/log/$name.out" 2>&1 &
  echo $! >"$cluster/run/$name"
  disown
}

# Not there, or waiting for its parent to notice its end
dead() { [ ! -e "/proc/$1" ] || grep -q '^State:[[:space:]]*[ZX]' "/proc/$1/status" 2>/dev/null; }

# SECONDS COMMAND...: until the command succeeds
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

all_idle() { [ "$(sinfo -h -N -t idle -o %N | sort -u | wc -l)" -eq $NODES ]; }

cluster_up() {
  local node
  cluster=$1
  mkdir -p "$cluster"/{log,run,state,spool,tmp}
  chmod 755 "$cluster" # a daemon insists on its socket being in reach
  for ((node = 1; node <= NODES; node++)); do mkdir -p "$cluster/tmp/node$node"; done
  cluster_packages || return
  namespaces=false
  # shellcheck disable=SC2016
  unshare --mount --propagation slave --uts -- sh -c 'mount --bind "$0" /etc/hosts && hostname x' /etc/hosts 2>/dev/null && namespaces=true
  configure
  export SLURM_CONF=$cluster/slurm.conf
  (umask 077 && head -c 128 /dev/urandom >"$cluster/munge.key")
  start_daemon munged munged -F --num-threads=2 --key-file="$cluster/munge.key" --socket="$cluster/munge.socket" --pid-file="$cluster/munged.pid" \
    --log-file="$cluster/log/munged.log" --seed-file="$cluster/munged.seed"
  wait_until 20 munge -n -S "$cluster/munge.socket" || { tail -n 3 "$cluster/log/munged.out"; return 1; }
  start_daemon control slurmctld -D -f "$SLURM_CONF"
  wait_until 30 scontrol ping || { tail -n 3 "$cluster/log/control.out" "$cluster/log/slurmctld.log"; return 1; }
  for ((node = 1; node <= NODES; node++)); do start_daemon "node$node" slurmd -D -N "node$node" -f "$SLURM_CONF"; done
  wait_until 30 all_idle || { sinfo -N; tail -n 3 "$cluster"/log/node*.out; return 1; }
  for ((node = 1; node <= NODES; node++)); do readlink "/proc/$(<"$cluster/run/node$node")/ns/uts" | sed 's/[][]/\\&/g' >"$cluster/run/node$node.namespace"; done
}

# NODE: all processes on it. They share its namespace; where there are none, the environment says where a process is.
processes_on() {
  if $namespaces; then
    find /proc/[0-9]*/ns/uts -maxdepth 0 -lname "$(<"$cluster/run/$1.namespace")" 2>/dev/null
  else
    grep -lzxF -- "SLURMD_NODENAME=$1" /proc/[0-9]*/environ 2>/dev/null | xargs -r grep -lzxF -- "SLURM_CONF=$SLURM_CONF" 2>/dev/null
  fi | cut -d/ -f3
}

stop_daemon() {
  local process
  [ -f "$cluster/run/$1" ] || return 0
  process=$(<"$cluster/run/$1")
  kill -TERM "$process" 2>/dev/null
  wait_until 10 dead "$process" || kill -KILL "$process" 2>/dev/null
}

jobs_gone() {
  local left
  left=$(squeue -h) && [ -z "$left" ]
}

cluster_down() {
  local node process job
  [ -n "$cluster" ] || return
  if scontrol ping >/dev/null 2>&1; then
    for job in $(squeue -h -o %A | sort -u); do scancel --full --signal=KILL "$job" 2>/dev/null; scancel "$job" 2>/dev/null; done
    wait_until 15 jobs_gone
  fi
  for ((node = 1; node <= NODES; node++)); do stop_daemon "node$node"; done
  stop_daemon control
  stop_daemon munged
  for ((node = 1; node <= NODES; node++)); do
    if [ -f "$cluster/run/node$node.namespace" ]; then
      for process in $(processes_on "node$node"); do kill -KILL "$process" 2>/dev/null; done
    fi
    rm -rf "/dev/shm/vader_segment.node$node".* "/tmp/ompi.node$node".*
  done
  rm -rf "$cluster"
  cluster=
}
