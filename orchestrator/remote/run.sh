#!/bin/sh
# Prepares a run on this host, starts it once all hosts are prepared, and streams its output, all in one session.
#
#   sh run.sh BUNDLE RUN CODE VENV RUNTIME [SOURCE=DEST...]      with the upload channel on standard input
#
# BUNDLE is that of install.sh and of start.sh together. After "@@ready", the caller writes a line: "go", or "follow MARK"
# for the output of the task main afterwards, as follow.sh prints it. Without either, nothing is started: the caller is
# gone, or another host lacks something. The outcome of start.sh is "@@start STATUS".
set -u
bundle=$1
shift
trap 'rm -rf "$bundle"' EXIT
trap 'exit 143' HUP INT TERM
sh "$bundle/install.sh" "$bundle" keep || exit
[ -e "$bundle/missing" ] && exit 0
echo "@@ready"
# Longer than an install on another host may take; a caller that is gone closes the input.
line=$(timeout 3600 head -n 1)
case $line in
go) mark= ;;
"follow "*) mark=${line#follow } ;;
*) exit 0 ;;
esac
sh "$bundle/start.sh" "$bundle" "$@" </dev/null
status=$?
echo "@@start $status"
[ "$status" -eq 0 ] && [ -n "$mark" ] || exit "$status"
exec sh "$HOME/stratus/runs/$1/bin/follow.sh" "$1" main 0 "$mark" </dev/null
