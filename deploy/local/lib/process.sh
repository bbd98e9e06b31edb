# shellcheck shell=bash
# Daemons, each known by a pid file of three lines: pid, start time in clock ticks since boot, and a text that its command
# line contains. All three must agree before a signal is sent: a recycled pid is never hit.

[[ -r /proc/self/stat ]] || fail "the native stack needs /proc, that is, Linux; use a container engine elsewhere" 69

# start_time PID: field 22 of /proc/PID/stat; fails if there is no such process, or only its exit status is left of it.
start_time() {
    local stat
    local -a fields threads
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The second field is the program's name in brackets, which may hold spaces and brackets.
    read -ra fields <<<"${stat##*) }"
    if [[ "${fields[0]}" == Z ]]; then
        # Its first thread has ended. Until the others have too, its ports are not free.
        threads=("/proc/$1/task"/*)
        ((${#threads[@]} > 1)) || return 1
    fi
    printf '%s' "${fields[19]}"
}

# running PIDFILE: prints the pid if the very process that wrote it runs.
running() {
    local pid started marker now line
    { { read -r pid && read -r started && read -r marker; } <"$1"; } 2>/dev/null || return 1
    now=$(start_time "$pid") && [[ "$now" == "$started" ]] || return 1
    line=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) && [[ "$line" == *"$marker"* ]] || return 1
    printf '%s' "$pid"
}

# spawn PIDFILE LOGFILE MARKER COMMAND...: starts a daemon in a session of its own, so that Ctrl-C at the terminal leaves
# it for `down`. Sets `spawned` to its pid; it is a child of this shell, which can `wait` for its exit status.
spawn() {
    local pidfile=$1 log=$2 marker=$3
    shift 3
    # A background child of this shell leads no process group, so setsid(1) does not fork and $! is the daemon itself.
    # Descriptor 9 is a lock or the end of a pipe that says that this shell lives: a daemon must not hold it open.
    setsid "$@" </dev/null >>"$log" 2>&1 9>&- &
    spawned=$!
    # The lines are there before anyone reads them: a reader of half a pid file would find nothing running.
    printf '%s\n%s\n%s\n' "$spawned" "$(start_time "$spawned" || echo 0)" "$marker" >"$pidfile.new"
    mv -f "$pidfile.new" "$pidfile"
}

# gone_within PID START_TIME SECONDS
gone_within() {
    local tries=$(($3 * 20))
    while [[ "$(start_time "$1")" == "$2" ]]; do
        ((tries-- > 0)) || return 1
        sleep 0.05
    done
}

# stop_process PIDFILE SIGNAL SECONDS: the signal, a deadline, then SIGKILL. Quiet if nothing runs.
stop_process() {
    local pidfile=$1 signal=$2 seconds=$3 pid started
    if pid=$(running "$pidfile") && started=$(start_time "$pid"); then
        kill -s "$signal" "$pid" 2>/dev/null || true
        # A stopped process (SIGSTOP) cannot act on a signal before it goes on.
        kill -s CONT "$pid" 2>/dev/null || true
        if ! gone_within "$pid" "$started" "$seconds"; then
            warn "pid $pid did not end within $seconds s of SIG$signal: SIGKILL"
            kill -s KILL "$pid" 2>/dev/null || true
            gone_within "$pid" "$started" 10 || fail "pid $pid outlives SIGKILL" 71
        fi
    fi
    rm -f "$pidfile"
}
