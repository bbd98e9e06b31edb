# shellcheck shell=bash
# The end of it: services, then the broker and the database that they need to drain.

down() {
    if [[ ! -f "$STATE_FILE" ]]; then
        say "Nothing has been started in $state_dir."
        return 0
    fi
    step "Services drained and stopped" stop_services
    step "Kafka stopped" kafka_stop "$state_dir/kafka"
    step "PostgreSQL stopped" postgres_stop "$state_dir/postgres"
    # What comes next may be started the other way.
    state_set GHM_MODE ''
}

# Removes only what this stack made: its own folder, known by its state file.
clean() {
    if [[ ! -d "$state_dir" ]]; then
        say "There is nothing in $state_dir."
        return 0
    fi
    down
    postgres_remove "$state_dir/postgres"
    rm -rf "${state_dir:?}"/{kafka,postgres,logs,env,targets.json,assets.csv,ground-truth.jsonl} "$state_dir"/*.pid
    rm -f "$state_dir/lock"
    rmdir "$state_dir" 2>/dev/null || note "$state_dir holds other files; they stay"
    say "Data removed."
}

# logs [NAME]: follows on a terminal, else the last lines.
logs() {
    local name=${1:-}
    local -a files=()
    case $name in
        '') files=("$state_dir"/logs/*.log "$state_dir/kafka/kafka.log" "$state_dir/postgres/postgres.log") ;;
        kafka | postgres) files=("$state_dir/$name/$name.log") ;;
        *) files=("$(service_log "$name")") ;;
    esac
    if [[ ! -e "${files[0]}" ]]; then
        fail "there is no log ${files[0]}; the services are: $(service_names | tr '\n' ' ')fleet-sim kafka postgres" 66
    fi
    if [[ -t 1 ]]; then
        exec tail -n 50 -F "${files[@]}"
    fi
    exec tail -n 200 "${files[@]}"
}
