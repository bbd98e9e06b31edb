# shellcheck shell=bash
# What a person reads: one line a step with its duration, colours on a terminal only.

# shellcheck disable=SC2034 # not every colour is used in every part
if [[ -t 1 && -z "${NO_COLOR:-}" && "${TERM:-dumb}" != dumb ]]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
    live=1
else
    bold='' dim='' red='' green='' yellow='' plain=''
    live=0
fi

# Milliseconds since the epoch.
now_ms() {
    local now=${EPOCHREALTIME/,/.}
    printf '%d' "$((${now%.*} * 1000 + 10#${now#*.} / 1000))"
}

# seconds_since MS: "2.3 s".
seconds_since() {
    local tenths=$((($(now_ms) - $1 + 50) / 100))
    printf '%d.%d s' "$((tenths / 10))" "$((tenths % 10))"
}

say() { printf '%s\n' "$*"; }
note() { printf '  %s%s%s\n' "$dim" "$*" "$plain"; }
warn() { printf '%s%s%s\n' "$yellow" "$*" "$plain" >&2; }

# fail TEXT [CODE]: one line on stderr, then the end. Codes are those of sysexits(3).
fail() {
    printf '%s%s%s\n' "$red" "$1" "$plain" >&2
    exit "${2:-1}"
}

# The line of a step that is under way; only a terminal can overwrite it.
step_begin() {
    ((live)) && printf '  %s…%s %s' "$dim" "$plain" "$1"
    return 0
}

# step_end MARK TEXT STARTED_MS
step_end() {
    ((live)) && printf '\r\e[K'
    printf '  %s %-62s %s%8s%s\n' "$1" "$2" "$dim" "$(seconds_since "$3")" "$plain"
}

# step TEXT COMMAND...: runs the command out of sight, in a subshell of its own; shows what it said only if it fails.
# Never call this in a condition: bash would then carry on after an error inside the command.
step() {
    local text=$1 started rc
    shift
    started=$(now_ms)
    # Not local: whoever is interrupted removes it.
    step_said=$(mktemp "${TMPDIR:-/tmp}/ghm-step.XXXXXX")
    step_begin "$text"
    set +e
    (
        set -e
        "$@"
    ) >"$step_said" 2>&1 </dev/null
    rc=$?
    set -e
    if ((rc != 0)); then
        step_end "${red}✗${plain}" "$text" "$started"
        tail -n 30 "$step_said" | sed 's/^/      /' >&2
        rm -f "$step_said"
        fail "$text: failed (exit status $rc)" "$rc"
    fi
    rm -f "$step_said"
    step_end "${green}✓${plain}" "$text" "$started"
}
