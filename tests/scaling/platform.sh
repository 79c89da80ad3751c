#!/usr/bin/env bash
# A cluster for SimGrid from a parameter file (fat_tree.txt explains the names):
#   platform.sh PARAMETERS RANKS OUT      writes OUT.xml and OUT.hosts, a line a rank, nodes filled one after the other
# One node: its cores and the memory between them. More: a fat tree of two levels.
set -euo pipefail
[ $# -eq 3 ] || { echo "usage: platform.sh PARAMETERS RANKS OUT" >&2; exit 2; }
parameters=$1 ranks=$2 out=$3
[ -r "$parameters" ] || { echo "platform.sh: cannot read '$parameters'" >&2; exit 1; }
NODES='' CORES='' NODE_BANDWIDTH='' NODE_LATENCY=''
# shellcheck disable=SC1090,SC1091 # the user's
source "$parameters"
for name in NODES CORES NODE_BANDWIDTH NODE_LATENCY; do
  [ -n "${!name:-}" ] || { echo "platform.sh: $parameters does not say $name" >&2; exit 1; }
done

topology='' nodes=$NODES links="bw=\"${BANDWIDTH:-12.5e9}Bps\" lat=\"${LATENCY:-1e-6}s\""
if [ "$NODES" -gt 1 ]; then
  leaves=$(((NODES + LEAF - 1) / LEAF))
  nodes=$((leaves * LEAF)) # a tree has no incomplete leaves
  topology="topology=\"FAT_TREE\" topo_parameters=\"2;$LEAF,$leaves;1,$SPINES;1,1\""
fi
cat >"$out.xml" <<XML
<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <cluster id="cluster" prefix="node" suffix="" radical="0-$((nodes - 1))" speed="1Gf" core="$CORES" $links $topology
           loopback_bw="${NODE_BANDWIDTH}Bps" loopback_lat="${NODE_LATENCY}s"/>
</platform>
XML
for ((rank = 0; rank < ranks; rank++)); do
  echo "node$((rank / CORES % NODES))" # beyond the last core the ranks share cores
done >"$out.hosts"
