# shellcheck shell=bash
# What the local stack remembers, in STATE_DIR/env: KEY=VALUE lines that another shell can source.

readonly STATE_FILE=$state_dir/env

# state_get KEY: empty if it is not known.
state_get() {
    [[ -f "$STATE_FILE" ]] || return 0
    sed -n "s/^$1=//p" "$STATE_FILE" | tail -n 1
}

# state_set KEY VALUE
state_set() {
    mkdir -p "$state_dir"
    {
        if [[ -f "$STATE_FILE" ]]; then grep -v "^$1=" "$STATE_FILE" || true; fi
        printf '%s=%s\n' "$1" "$2"
    } >"$STATE_FILE.new"
    mv -f "$STATE_FILE.new" "$STATE_FILE"
}

# state_port KEY DEFAULT: the port kept under KEY, or the first free one from DEFAULT on if there is none or another has taken it.
# Only for what does not run: whoever runs keeps its port.
state_port() {
    local port
    port=$(state_get "$1")
    if [[ -z "$port" ]] || port_taken "$port"; then
        # Ports of our own that do not listen yet are given away too.
        local -a given
        mapfile -t given < <(sed -n 's/^GHM_[A-Z_]*PORT=//p' "$STATE_FILE" 2>/dev/null)
        port=$(free_port "$2" "${given[@]}")
        state_set "$1" "$port"
    fi
    printf '%s' "$port"
}

# with_lock COMMAND...: one at a time; two `up` side by side would start everything twice.
with_lock() {
    mkdir -p "$state_dir"
    exec 9>"$state_dir/lock"
    if ! flock -n 9; then
        fail "another 'up', 'down' or 'clean' is at work on $state_dir" 75
    fi
    "$@"
    exec 9>&-
}
