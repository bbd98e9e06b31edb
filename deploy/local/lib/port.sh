# shellcheck shell=bash
# Free ports. What listens is read from the kernel: asking by connecting would disturb whoever answers.

readonly PROBED_PORTS=200
# A process that was killed holds its port until its last thread has ended.
readonly PORT_GRACE_SECONDS=3

# port_taken PORT: does anything listen on it, on any address?
port_taken() {
    local hex
    printf -v hex ':%04X' "$1"
    # Column 2 is the local address, column 4 the state; 0A is LISTEN.
    awk -v port="$hex" '$4 == "0A" && substr($2, length($2) - 4) == port { found = 1; exit } END { exit !found }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# free_port FIRST [TAKEN...]: the first free port from FIRST on, none of those already given away.
free_port() {
    local first=$1 port given
    shift
    for ((port = first; port < first + PROBED_PORTS; port++)); do
        for given in "$@"; do [[ "$given" == "$port" ]] && continue 2; done
        port_taken "$port" && continue
        printf '%d' "$port"
        return 0
    done
    fail "no free port from $first to $((first + PROBED_PORTS - 1))" 69
}

# random_free_port: below the range that the kernel hands to outgoing connections, so that no client sits on it by chance.
random_free_port() {
    local port tries
    for ((tries = 0; tries < PROBED_PORTS; tries++)); do
        port=$((15000 + SRANDOM % 17000))
        port_taken "$port" && continue
        printf '%d' "$port"
        return 0
    done
    fail "no free port from 15000 to 31999" 69
}

# wait_for_port_free PORT SECONDS
wait_for_port_free() {
    local tries=$(($2 * 20))
    while port_taken "$1"; do
        ((tries-- > 0)) || return 1
        sleep 0.05
    done
}
