# Sourced by commands that use the embedded cloud: home folders of their own, sample scenes, and cleanup.
#
#   . scripts/lib/rehearsal.sh
#   rehearsal_start     sets STRATUS_HOME, LOCALCLOUD_HOME and REHEARSAL_CONFIG; creates sample scenes if there are none
#   rehearsal_stop      stops the embedded cloud and removes the home folders

REHEARSAL_HOME=

rehearsal_start() {
    mkdir -p .home
    REHEARSAL_HOME=$(mktemp -d "$PWD/.home/rehearsal.XXXXXX")
    export STRATUS_HOME="$REHEARSAL_HOME/stratus" LOCALCLOUD_HOME="$REHEARSAL_HOME/localcloud"
    REHEARSAL_CONFIG=config/local.ini
    # By its files: an interrupted run leaves an empty folder.
    if ! ls examples/cloud_retrieval/data/*.hdf5 >/dev/null 2>&1; then
        .venv/bin/python examples/cloud_retrieval/synthesize.py --scenes 4 --size 144 --seed 1 --out examples/cloud_retrieval/data
    fi
}

rehearsal_stop() {
    [ -n "$REHEARSAL_HOME" ] || return 0
    .venv/bin/python -m localcloud down || return 1
    rm -rf "$REHEARSAL_HOME"
    REHEARSAL_HOME=
}
