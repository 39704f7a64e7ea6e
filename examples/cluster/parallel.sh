#!/bin/bash
# GNU parallel, on this machine or with --sshlogin on several: parallel.sh ARCHIVE
# RESULTS. Eight parts, one worker each.
exec parallel tgo-spectra retrieve "$1" --out "$2" --shard {}/8 --workers 1 ::: {1..8}
