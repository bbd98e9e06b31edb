# shellcheck shell=bash
# From nothing to a pipeline at work; what runs already stays.

readonly KAFKA_PORT=9092
readonly POSTGRES_PORT=5432
# The first scores come seconds after the first readings; windows need a minute and their grace.
readonly FIRST_RESULTS_SECONDS=90

up() {
    local started
    started=$(now_ms)
    say "${bold}GPU Health Monitor${plain}, native local stack in $state_dir"
    state_set GHM_MODE native
    trap 'rm -f "${step_said:-}"; echo; fail "interrupted; make down ends what was started" 130' INT TERM
    up_install
    up_build
    up_kafka
    up_postgres
    step "Topics from the catalogue" up_topics
    step "Databases $DATABASES" up_databases
    up_services
    up_results
    say
    status
    say
    say "Up after $(seconds_since "$started")."
}

up_install() {
    local missing
    missing=$(missing_packages | tr '\n' ' ')
    if [[ -n "$missing" ]] || ! kafka_fetched || ! command -v cargo >/dev/null; then
        install_missing
    else
        step "Java, PostgreSQL, Apache Kafka $KAFKA_VERSION, Rust are there" install_missing
    fi
}

# The compiler shows its own progress on a terminal; a first build takes minutes.
up_build() {
    local started name rc=0 text="Services built ($PROFILE)"
    local -a build=(cargo build --profile "$PROFILE" --locked -p topics -p fleet-sim)
    while read -r name; do build+=(-p "$name"); done < <(service_names)
    started=$(now_ms)
    cd "$repo_dir"
    if ((live)); then
        "${build[@]}" 9>&- || rc=$?
    else
        say "  Building the services ($PROFILE); the first time takes minutes"
        "${build[@]}" --quiet 9>&- || rc=$?
    fi
    ((rc == 0)) || fail "the services do not build" "$rc"
    step_end "${green}✓${plain}" "$text" "$started"
}

up_kafka() {
    local pid port dir=$state_dir/kafka
    if pid=$(running "$(kafka_pidfile "$dir")"); then
        step "Kafka $KAFKA_VERSION runs already at $(state_get GHM_KAFKA), pid $pid" true
        return 0
    fi
    port=$(state_port GHM_KAFKA_PORT "$KAFKA_PORT")
    state_set GHM_KAFKA "127.0.0.1:$port"
    step "Kafka $KAFKA_VERSION at 127.0.0.1:$port" kafka_start "$dir" "$port"
}

up_postgres() {
    local pid port base dir=$state_dir/postgres
    if pid=$(running "$(postgres_pidfile "$dir")"); then
        step "PostgreSQL runs already at 127.0.0.1:$(state_get GHM_POSTGRES_PORT), pid $pid" true
        return 0
    fi
    port=$(state_port GHM_POSTGRES_PORT "$POSTGRES_PORT")
    base=postgres://postgres@127.0.0.1:$port
    state_set GHM_POSTGRES "$base/postgres"
    state_set GHM_ASSETS_URL "$base/gpu_assets"
    state_set GHM_HEALTH_URL "$base/gpu_health"
    step "PostgreSQL at 127.0.0.1:$port" postgres_start "$dir" "$port"
}

up_topics() {
    "$(program topics)" apply --bootstrap-servers "$(state_get GHM_KAFKA)" --replication-factor 1
}

up_databases() {
    local database
    for database in $DATABASES; do
        if [[ -z "$(sql_value GHM_POSTGRES "SELECT 1 FROM pg_database WHERE datname = '$database'")" ]]; then
            sql_value GHM_POSTGRES "CREATE DATABASE $database" >/dev/null
        fi
    done
}

# sql KEY ARGUMENT...: psql on the database whose URL the state holds under KEY; SQL on standard input.
sql() {
    local url
    local -a client=(psql)
    url=$(state_get "$1")
    [[ -n "$url" ]] || return 1
    # In its container the server is at the same address.
    [[ "$(state_get GHM_MODE)" != compose ]] || client=(compose exec -T postgres psql)
    "${client[@]}" --no-psqlrc --quiet --set ON_ERROR_STOP=1 --file - "${@:2}" "$url"
}

# sql_value KEY SQL: one value, bare.
sql_value() { sql "$1" --no-align --tuples-only <<<"$2"; }

# Starts what does not run, then waits until all are ready. In this shell, whose children they are: that is how the exit
# status of one that ends at once is known.
up_services() {
    local name started deadline waiting reason dead
    local -a names=() pending=() next=()
    local -A child=()
    mapfile -t names < <(service_names)
    started=$(now_ms)
    # The list of endpoints must be there before the collector is.
    start_fleet
    [[ -z "$spawned" ]] || child[fleet-sim]=$spawned
    for name in "${names[@]}"; do
        start_service "$name"
        [[ -z "$spawned" ]] || child[$name]=$spawned
    done
    if ((${#child[@]} == 0)); then
        step_end "${green}✓${plain}" "${#names[@]} services and the simulated fleet run already" "$started"
    fi
    pending=("${names[@]}")
    deadline=$(($(now_ms) + READY_SECONDS * 1000))
    while ((${#pending[@]} > 0)); do
        next=()
        dead=0
        for name in "${!child[@]}"; do
            if ! start_time "${child[$name]}" >/dev/null; then
                died "$name" "${child[$name]}"
                dead=1
            fi
        done
        if ((dead)); then
            fail "not everything started; the rest runs on ('make status' shows it, 'make down' ends it)"
        fi
        for name in "${pending[@]}"; do
            if ! ready "$name"; then
                next+=("$name")
                continue
            fi
            [[ -n "${child[$name]:-}" ]] || continue
            step_end "${green}✓${plain}" "$name ready at 127.0.0.1:$(service_port "$name")" "$started"
            # As soon as there is someone to take them: until then the fleet's GPUs are unknown ones.
            [[ "$name" != asset-lookup ]] || step "The fleet's assets, imported" up_assets
        done
        pending=("${next[@]}")
        ((${#pending[@]} > 0)) || break
        waiting=${pending[*]}
        ((live)) && printf '\r\e[K  %s… waiting for %s%s' "$dim" "$waiting" "$plain"
        if (($(now_ms) > deadline)); then
            ((live)) && printf '\r\e[K'
            for name in "${pending[@]}"; do
                reason=$(http_request "$(service_port "$name")" GET /readyz 2>/dev/null | http_body | head -n 1 || true)
                warn "$name is not ready after $READY_SECONDS s: ${reason:-no answer}; its log: $(service_log "$name")"
            done
            fail "not everything is ready; the rest runs on ('make status', 'make logs SERVICE=${pending[0]}', 'make down')" 75
        fi
        sleep 0.2
    done
    if [[ -n "${child[fleet-sim]:-}" ]]; then
        step_end "${green}✓${plain}" "${GHM_GPUS:-64} simulated GPUs with faults at 127.0.0.1:$(state_get GHM_FLEET_SIM_PORT)" "$started"
    fi
    # They are on their own from here.
    for name in "${!child[@]}"; do disown "${child[$name]}" 2>/dev/null || true; done
}

up_assets() {
    local answer
    answer=$(http_request "$(service_port asset-lookup)" POST /api/v1/assets/import "$state_dir/assets.csv" text/csv)
    if [[ ! "$answer" =~ ^HTTP[^\ ]*\ 2 ]]; then
        printf '%s\n' "$answer" >&2
        return 1
    fi
}

# The pipeline is at work when the far end has something to show.
up_results() {
    local started rows deadline
    local question='SELECT EXISTS (SELECT FROM alerts) AND EXISTS (SELECT FROM health_scores)'
    started=$(now_ms)
    deadline=$((started + FIRST_RESULTS_SECONDS * 1000))
    step_begin "Waiting for the first alerts and scores in the database"
    until rows=$(sql_value GHM_HEALTH_URL "$question" 2>/dev/null) && [[ "$rows" == t ]]; do
        if (($(now_ms) > deadline)); then
            step_end "${yellow}!${plain}" "No alerts and scores in the database yet" "$started"
            return 0
        fi
        sleep 0.5
    done
    step_end "${green}✓${plain}" "Alerts and scores have reached the database" "$started"
}
