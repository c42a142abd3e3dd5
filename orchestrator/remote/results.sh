#!/bin/sh
# Writes a run's outputs, logs and state to S3, if the run has a place there.   results.sh FOLDER
# FOLDER/results: a presigned URL, then the outputs, one per line. The URL is never an argument: other users of the VM can
# read those.
folder=$1
[ -s "$folder/results" ] || exit 0
# One at a time: the end of the run and a spot notice may come together.
exec 9>"$folder/results.lock"
flock 9 || exit 73
archive="$folder/results.tar.gz"
trap 'rm -f "$archive"' EXIT
sh "$folder/bin/runs.sh" "${folder##*/}" >"$folder/state/listing"
set -- log state
while IFS= read -r output; do
    [ -e "$folder/workdir/$output" ] && set -- "$@" "workdir/$output"
done <<END
$(tail -n +2 "$folder/results")
END
# 1: a file, such as a log, changed while tar read it.
tar -czf "$archive" -C "$folder" -- "$@" 2>>"$folder/log/results.log"
[ $? -le 1 ] || { echo "results: no archive could be written" >>"$folder/log/results.log" && exit 73; }
# curl's progress would fill the log; its errors do not name the URL.
printf 'url = "%s"\n' "$(head -n 1 "$folder/results")" |
    curl -sS --fail --retry 3 --max-time 3600 --config - --upload-file "$archive" >>"$folder/log/results.log" 2>&1 &&
    echo "results: $(wc -c <"$archive") bytes written" >>"$folder/log/results.log"
