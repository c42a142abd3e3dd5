set -u; umask 077; mkdir -p "$HOME/stratus" && d=$(mktemp -d "$HOME/stratus/.bundle.XXXXXX") && IFS= read -r n && head -c "$n" | tar -xzf - -C "$d" && exec sh "$d/$0" "$d" "$@"
