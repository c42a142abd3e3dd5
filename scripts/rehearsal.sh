# Sourced by scripts that play on the embedded cloud: homes of their own, scenes to work on, and nothing left at the end.
#
#   . scripts/rehearsal.sh
#   rehearse            sets STRATUS_HOME, LOCALCLOUD_HOME and REHEARSAL_CONFIG; makes scenes when there are none
#   rehearsal_over      ends the embedded cloud and removes those homes

REHEARSAL_HOME=

rehearse() {
    mkdir -p .home
    REHEARSAL_HOME=$(mktemp -d "$PWD/.home/rehearsal.XXXXXX")
    export STRATUS_HOME="$REHEARSAL_HOME/stratus" LOCALCLOUD_HOME="$REHEARSAL_HOME/localcloud"
    REHEARSAL_CONFIG=config/local.ini
    if [ ! -d examples/cloud_retrieval/data ]; then
        .venv/bin/python examples/cloud_retrieval/synthesize.py --scenes 4 --size 144 --seed 1 --out examples/cloud_retrieval/data
    fi
}

rehearsal_over() {
    [ -n "$REHEARSAL_HOME" ] || return 0
    .venv/bin/python -m localcloud down || return 1
    rm -rf "$REHEARSAL_HOME"
    REHEARSAL_HOME=
}
