# Sourced by every command in scripts/, after cd to the repository root.
#
#   . scripts/lib/help.sh
#   answer_help "$@"    with -h or --help as the first argument: print the comment at the head of the command and exit

answer_help() {
    case "${1:-}" in
    -h | --help)
        awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "scripts/${0##*/}"
        exit 0
        ;;
    esac
}
