#!/bin/bash
# A real Slurm of one node, for tests:
#   slurm.sh install        Debian's packages, as root
#   slurm.sh start FOLDER   controller, node and munge of its own, on loopback
#   slurm.sh stop FOLDER
# All its files are in FOLDER; SLURM_CONF=FOLDER/slurm.conf makes sbatch, squeue ... use
# it. A Slurm that the machine has is left alone.
set -euo pipefail
what=$1
folder=${2:-}

install() {
    local missing=0
    for program in sbatch slurmctld slurmd munged parallel; do
        command -v "$program" >/dev/null || missing=1
    done
    [ $missing = 1 ] || return 0
    [ "$(id -u)" = 0 ] || { echo "only root can install Slurm" >&2; return 1; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends slurm-wlm munge parallel
}

configure() {
    local host port
    host=$(hostname -s)
    # two free ports
    port=$(python3 -c '
import socket
ends = [socket.socket() for _ in range(2)]
for one in ends:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in ends))')
    mkdir -p "$folder"/{munge,state,spool,log}
    chmod 700 "$folder"/munge "$folder"/state
    head -c 128 /dev/urandom >"$folder/munge/key"
    chmod 400 "$folder/munge/key"
    cat >"$folder/slurm.conf" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${port% *}
SlurmdPort=${port#* }
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
# what a container has no rights for, or does not need
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
KillWait=5
MinJobAge=600
# more processors than there may be: the jobs of the tests are small
NodeName=$host NodeAddr=127.0.0.1 CPUs=${SLURM_TEST_CPUS:-4} RealMemory=${SLURM_TEST_MB:-16000}
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
END
}

start() {
    configure
    export SLURM_CONF="$folder/slurm.conf"
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munge/pid" --log-file="$folder/log/munge" \
        --seed-file="$folder/munge/seed" 2>>"$folder/log/start"
    slurmctld -c 2>>"$folder/log/start"
    slurmd 2>>"$folder/log/start"
    for _ in $(seq 150); do
        if [ "$(sinfo -h -o %T 2>>"$folder/log/start")" = idle ]; then
            return 0
        fi
        sleep 0.2
    done
    echo "Slurm did not come up within 30 s" >&2
    tail -n 20 "$folder"/log/* >&2
    stop
    return 1
}

stop() {
    export SLURM_CONF="$folder/slurm.conf"
    scancel --full --signal=KILL --state=RUNNING -u "$(id -un)" 2>/dev/null || true
    for file in slurmd.pid slurmctld.pid munge/pid; do
        [ -s "$folder/$file" ] && kill "$(cat "$folder/$file")" 2>/dev/null || true
    done
}

case $what in
    install) install ;;
    start) start ;;
    stop) stop ;;
    *) echo "install, start or stop" >&2; exit 64 ;;
esac
