# shellcheck shell=bash
# A PostgreSQL cluster of our own, on 127.0.0.1 only.
#
# DIR/postgres.pid  see process.sh      DIR/postgres.log
# DIR/data          a folder, or a link where root's folders can't be entered by the user that PostgreSQL runs as

readonly POSTGRES_START_SECONDS=60
readonly POSTGRES_STOP_SECONDS=20
# A longer path to a socket is refused by the kernel.
readonly SOCKET_PATH_MAX=90

postgres_pidfile() { printf '%s/postgres.pid' "$1"; }

# postgres_user: PostgreSQL refuses to run as root; then another user runs it.
postgres_user() {
    local user
    for user in postgres nobody; do
        id "$user" >/dev/null 2>&1 && printf '%s' "$user" && return 0
    done
    fail "PostgreSQL refuses to run as root, and there is no user 'postgres' or 'nobody' to run it" 69
}

# as_postgres COMMAND...: becomes that command, as the right user. setpriv and env replace the process: no pid is in between.
as_postgres() {
    if ((EUID == 0)); then
        local user
        user=$(postgres_user)
        set -- setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups env HOME=/ "$@"
    fi
    (cd / && exec "$@")
}

# postgres_data DIR: makes the folder that holds the cluster, owned by who will run it, and prints its real path.
postgres_data() {
    local dir=$1 user real
    if [[ ! -e "$dir/data" ]]; then
        if ((EUID != 0)); then
            mkdir -m 700 "$dir/data"
        else
            user=$(postgres_user)
            mkdir -m 700 "$dir/data" && chown "$user:" "$dir/data"
            if ! as_postgres test -w "$dir/data/."; then
                # Some folder above, such as /root, is closed to that user.
                rmdir "$dir/data"
                real=$(mktemp -d /var/tmp/gpu-health-monitor-postgres.XXXXXX)
                chown "$user:" "$real"
                ln -s "$real" "$dir/data"
            fi
        fi
    fi
    readlink -f "$dir/data"
}

# postgres_start [--small] [--setting NAME=VALUE]... DIR PORT: makes the cluster if DIR is new, starts it, waits until it answers.
# --small: for tests; nothing is forced to the disk, which only a crash of the machine would tell. (Without synchronous_commit
# a kill -9 would lose what was committed last.)
postgres_start() {
    local small=0
    local -a settings=()
    while [[ "${1:-}" == --* ]]; do
        case $1 in
            --small) small=1 && shift ;;
            --setting) settings+=(-c "$2") && shift 2 ;;
            *) fail "postgres-start: unknown option $1" 64 ;;
        esac
    done
    (($# == 2)) || fail "usage: postgres-start [--small] [--setting NAME=VALUE]... DIR PORT" 64
    local port=$2 dir bin data pidfile pid socket log offset
    bin=$(postgres_bin) || fail "PostgreSQL >= $POSTGRES_MINIMUM is missing: run 'stack.sh install' first" 69
    mkdir -p "$1" && dir=$(cd "$1" && pwd -P)
    pidfile=$(postgres_pidfile "$dir")
    log=$dir/postgres.log
    if pid=$(running "$pidfile"); then
        say "PostgreSQL runs already, pid $pid"
        return 0
    fi
    wait_for_port_free "$port" "$PORT_GRACE_SECONDS" || fail "port $port is taken: PostgreSQL can't listen on it" 69
    data=$(postgres_data "$dir")

    if [[ ! -d "$data/cluster" ]]; then
        # Under another name until it is whole: initdb may be interrupted.
        rm -rf "$data/new"
        # Local connections are trusted; pg_hba.conf then knows no address but 127.0.0.1 and ::1.
        as_postgres "$bin/initdb" -D "$data/new" -U postgres -A trust -E UTF8 --locale=C --no-sync >>"$log" 2>&1 || {
            tail -n 5 "$log" >&2
            fail "initdb failed; see $log" 70
        }
        as_postgres mkdir -p "$data/socket"
        mv "$data/new" "$data/cluster"
    fi
    socket=$data/socket
    ((${#socket} <= SOCKET_PATH_MAX)) || socket=
    settings=(-c "port=$port" -c listen_addresses=127.0.0.1 -c "unix_socket_directories=$socket"
        -c max_connections=200 -c timezone=UTC -c log_line_prefix='%m [%p] %d ' -c log_timezone=UTC "${settings[@]}")
    if ((small)); then
        settings=(-c fsync=off -c full_page_writes=off -c shared_buffers=32MB "${settings[@]}")
    fi
    if [[ -f "$("$bin/pg_config" --pkglibdir 2>/dev/null)/timescaledb.so" ]]; then
        settings=(-c shared_preload_libraries=timescaledb -c timescaledb.telemetry_level=off "${settings[@]}")
    fi
    postgres_unlock "$data" "$port"

    local -a command=("$bin/postgres" -D "$data/cluster" "${settings[@]}")
    if ((EUID == 0)); then
        local user
        user=$(postgres_user)
        command=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups env HOME=/ "${command[@]}")
    fi
    touch "$log"
    offset=$(stat -c %s "$log")
    spawn "$pidfile" "$log" "$data/cluster" "${command[@]}"
    postgres_await "$dir" "$port" "$bin" "$spawned" "$offset"
    disown "$spawned"
}

# postgres_unlock DATA PORT: a server that was killed leaves its lock files, and PostgreSQL refuses them when their pid has been
# given to another process. They go once no process works in the cluster's folder any more.
postgres_unlock() {
    local data=$1 port=$2 tries=$((POSTGRES_STOP_SECONDS * 20))
    while postgres_inhabited "$data/cluster"; do
        ((tries-- > 0)) || fail "a PostgreSQL that this stack did not start works in $data/cluster" 69
        sleep 0.05
    done
    rm -f "$data/cluster/postmaster.pid" "$data/socket/.s.PGSQL.$port.lock"
}

# postgres_inhabited FOLDER: every process of a server has it as its working folder.
postgres_inhabited() {
    local process
    for process in /proc/[0-9]*; do
        [[ "$(readlink "$process/cwd" 2>/dev/null)" == "$1" ]] && return 0
    done
    return 1
}

# postgres_await DIR PORT BIN PID LOG_OFFSET
postgres_await() {
    local dir=$1 port=$2 bin=$3 pid=$4 offset=$5 rc tries=$((POSTGRES_START_SECONDS * 20))
    until "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" -U postgres; do
        if ! start_time "$pid" >/dev/null; then
            rc=0
            wait "$pid" || rc=$?
            rm -f "$(postgres_pidfile "$dir")"
            tail -c "+$((offset + 1))" "$dir/postgres.log" | tail -n 15 >&2
            fail "PostgreSQL ended at start (exit status $rc); its log: $dir/postgres.log" 69
        fi
        if [[ ! -e "$(postgres_pidfile "$dir")" ]]; then
            kill -s QUIT "$pid" 2>/dev/null || true
            fail "PostgreSQL's folder $dir was removed while it started" 69
        fi
        if ((tries-- <= 0)); then
            postgres_stop "$dir"
            fail "PostgreSQL did not start within $POSTGRES_START_SECONDS s; its log: $dir/postgres.log" 69
        fi
        sleep 0.05
    done
}

# postgres_stop DIR: ends sessions, writes a checkpoint.
postgres_stop() { stop_process "$(postgres_pidfile "$1")" INT "$POSTGRES_STOP_SECONDS"; }

# postgres_kill DIR: at once, all its processes, when its data is thrown away anyway.
postgres_kill() { stop_process "$(postgres_pidfile "$1")" QUIT 10; }

# postgres_remove DIR: also the data, where a link leads to it.
postgres_remove() {
    local real
    if [[ -L "$1/data" ]]; then
        real=$(readlink -f "$1/data")
        [[ "$real" == /var/tmp/gpu-health-monitor-postgres.* ]] && rm -rf "$real"
    fi
    rm -rf "$1"
}
