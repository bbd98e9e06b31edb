# shellcheck shell=bash
# Kafka and PostgreSQL for the length of one command or one process, and never longer.

# test_services_end DIR: stops and removes everything below, whatever state it is in.
test_services_end() {
    kafka_kill "$1/kafka"
    postgres_kill "$1/postgres"
    postgres_remove "$1/postgres"
    rm -rf "$1"
}

# with_test_services COMMAND...: its exit status is the command's.
#
# A process of its own waits on a pipe whose only other end is held here, and cleans up when that closes: after the
# command, after Ctrl-C, and after kill -9 of this shell alike.
with_test_services() {
    (($# > 0)) || fail "usage: with-test-services COMMAND..." 64
    local dir kafka postgres
    dir=$(mktemp -d "${TMPDIR:-/tmp}/ghm-test.XXXXXX")
    chmod 755 "$dir"
    exec 9> >(
        trap '' INT TERM HUP
        cat >/dev/null
        test_services_end "$dir"
    )
    cleaner=$!
    trap 'exec 9>&-; wait "$cleaner"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    kafka=$(random_free_port)
    postgres=$(random_free_port)
    kafka_start --small "$dir/kafka" "$kafka"
    postgres_start --small "$dir/postgres" "$postgres"
    export GHM_TEST_KAFKA=127.0.0.1:$kafka
    export GHM_TEST_POSTGRES=postgres://postgres@127.0.0.1:$postgres/postgres
    GHM_TEST_KAFKA_CLASSPATH=$(kafka_classpath)
    GHM_TEST_POSTGRES_BIN=$(postgres_bin)
    export GHM_TEST_KAFKA_CLASSPATH GHM_TEST_POSTGRES_BIN
    local rc=0
    "$@" 9>&- || rc=$?
    exit "$rc"
}

# guard KIND DIR: waits until standard input closes, that is, until whoever holds the other end is gone, however it ended;
# then stops the service of that kind in DIR and removes DIR. Nothing but a pipe's end is needed to own a service.
guard() {
    (($# == 2)) || fail "usage: guard kafka|postgres DIR" 64
    # The owner's terminal may send Ctrl-C to this process too; the pipe decides.
    trap '' INT TERM HUP
    cat >/dev/null
    case $1 in
        kafka) kafka_kill "$2" && rm -rf "$2" ;;
        postgres) postgres_kill "$2" && postgres_remove "$2" ;;
        *) fail "guard: unknown kind $1" 64 ;;
    esac
}
