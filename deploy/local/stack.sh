#!/usr/bin/env bash
# The native local stack: Kafka, PostgreSQL, every service and a simulated fleet, without a container engine.
# `stack.sh help` says what it can do; lib/ holds one file a concern.
set -euo pipefail
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 501)); then
    echo "stack.sh needs bash 5.1 or newer; this is $BASH_VERSION" >&2
    exit 69
fi
shopt -s inherit_errexit

local_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
readonly local_dir
repo_dir=$(cd "$local_dir/../.." && pwd -P)
readonly repo_dir
state_dir=$(realpath -m "${GHM_LOCAL_DIR:-$repo_dir/.local}")
# shellcheck disable=SC2034 # read by the parts
readonly state_dir

source "$local_dir/lib/say.sh"
source "$local_dir/lib/process.sh"
source "$local_dir/lib/port.sh"
source "$local_dir/lib/kafka.sh"
source "$local_dir/lib/packages.sh"
source "$local_dir/lib/install.sh"
source "$local_dir/lib/postgres.sh"
source "$local_dir/lib/test_services.sh"
source "$local_dir/lib/state.sh"
source "$local_dir/lib/http.sh"
source "$local_dir/lib/services.sh"
source "$local_dir/lib/status.sh"
source "$local_dir/lib/up.sh"
source "$local_dir/lib/down.sh"
source "$local_dir/lib/compose.sh"

usage() {
    cat <<'USAGE'
usage: stack.sh COMMAND

  up                          build and start everything that does not run, show it at work
  status                      the table of services, rows, latest alerts, lowest scores
  logs [SERVICE]              follow one log or all
  down                        stop everything; data stays
  clean                       stop everything and remove its data
  install                     install what is missing on this machine, fetch Apache Kafka
  with-test-services CMD...   run CMD with a Kafka and a PostgreSQL of its own; its exit status is CMD's

  kafka-classpath             print the class path of Apache Kafka's programs (quote it)
  kafka-start [--small] [--user NAME=PASSWORD]... [--advertise PORT] [--property KEY=VALUE]... DIR PORT
  kafka-stop DIR
  postgres-start [--small] [--setting NAME=VALUE]... DIR PORT
  postgres-stop DIR
  guard kafka|postgres DIR    when standard input closes: stop it, remove DIR

environment:
  GHM_LOCAL_DIR   where the local stack lives (.local)      GHM_NATIVE=1   never use a container engine
  GHM_GPUS        simulated GPUs (64)                       GHM_INTERVAL_MS  from reading to reading (2000)
  GHM_FAULTS      none, rates, default or a file            GHM_PROFILE    cargo profile: release or dev
USAGE
}

subcommand=${1:-help}
(($# == 0)) || shift
case $subcommand in
    up) if use_compose; then with_lock compose_up; else with_lock up; fi ;;
    status) status ;;
    logs) if use_compose; then compose_logs "$@"; else logs "$@"; fi ;;
    down) if use_compose; then with_lock compose_down; else with_lock down; fi ;;
    clean) if use_compose; then with_lock compose_clean; else with_lock clean; fi ;;
    install) install_missing ;;
    with-test-services) with_test_services "$@" ;;
    kafka-classpath) kafka_classpath && echo ;;
    kafka-start) kafka_start "$@" ;;
    kafka-stop) kafka_stop "${1:?DIR is missing}" ;;
    postgres-start) postgres_start "$@" ;;
    postgres-stop) postgres_stop "${1:?DIR is missing}" ;;
    guard) guard "$@" ;;
    help | -h | --help) usage ;;
    *)
        usage >&2
        fail "stack.sh: unknown command '$subcommand'" 64
        ;;
esac
