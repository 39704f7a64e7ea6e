#!/bin/bash
# GNU parallel, on this machine or with --sshlogin on several: parallel.sh ARCHIVE
# RESULTS [OPTIONS]. Eight parts of one worker, as many at a time as there are cores.
# The exit code is the number of parts with failed products, or that failed.
exec parallel --quote tgo-spectra retrieve "$1" --out "$2" "${@:3}" \
    --shard {}/8 --workers 1 ::: {1..8}
