# shellcheck shell=bash
# The pipeline at work: services, then what the database holds, then where to look next.

# Rates are differences of counters over this long.
readonly RATE_SECONDS=2

# Counters whose sums are a service's input and output, where they are not the chassis's. awk patterns of metric names.
readonly RECORDS_IN='^(chassis_records_consumed_total|collector_readings_total|tsdb_sink_records_total|auditor_records_total)[{ ]'
readonly RECORDS_OUT='^(chassis_records_produced_total|collector_records_delivered_total|asset_lookup_published_total|tsdb_sink_rows_total)[{ ]'
readonly LAG='^(chassis_consumer|tsdb_sink|auditor)_lag_records[{ ]'
# What the database is asked is the business of the service that owns its tables.
readonly overview_dir=$repo_dir/services/tsdb-sink/sql/overview

status() {
    if [[ ! -f "$STATE_FILE" ]]; then
        say "Nothing has been started in $state_dir. 'make up' starts it."
        return 0
    fi
    # Removed also when whoever reads the table has read enough.
    status_work=$(mktemp -d "${TMPDIR:-/tmp}/ghm-status.XXXXXX")
    trap 'rm -rf "$status_work"' EXIT
    status_services
    status_database
    status_next
}

# metric_sum FILE PATTERN: "-" if there is no such metric.
metric_sum() {
    awk -v pattern="$2" '$0 ~ pattern { sum += $NF; found = 1 } END { if (found) printf "%.0f", sum; else printf "-" }' "$1"
}

# rate FIRST SECOND MS: per second.
rate() {
    if [[ "$1" == - || "$2" == - ]]; then printf -- '-'; else printf '%d' "$((($2 - $1) * 1000 / $3))"; fi
}

# scrape FOLDER NAME...: all at once.
scrape() {
    local folder=$1 name port
    shift
    mkdir -p "$folder"
    for name in "$@"; do
        port=$(service_port "$name")
        : >"$folder/$name"
        [[ -z "$port" ]] || { http_request "$port" GET /metrics >"$folder/$name" 2>/dev/null || true; } &
    done
    wait
}

# service_health NAME: one or two words, and a reason.
service_health() {
    local port answer
    if [[ "$(state_get GHM_MODE)" == compose ]]; then
        :
    elif ! running "$(service_pidfile "$1")" >/dev/null; then
        if [[ -e "$(service_pidfile "$1")" ]]; then echo 'died'; else echo 'not started'; fi
        return 0
    fi
    port=$(service_port "$1")
    case $(http_status "$port" /healthz) in
        200) ;;
        '') echo 'no answer' && return 0 ;;
        *) echo "stuck: $(http_request "$port" GET /healthz | http_body | head -n 1)" && return 0 ;;
    esac
    answer=$(http_request "$port" GET /readyz || true)
    if [[ "$answer" =~ ^HTTP[^\ ]*\ 200 ]]; then
        echo 'ready'
    else
        echo "unready: $(http_body <<<"$answer" | head -n 1)"
    fi
}

status_services() {
    local work=$status_work name first second began elapsed health colour lag
    local -a names=()
    mapfile -t names < <(service_names)
    began=$(now_ms)
    scrape "$work/first" "${names[@]}"
    sleep "$RATE_SECONDS"
    elapsed=$(($(now_ms) - began))
    scrape "$work/second" "${names[@]}"
    printf '%s%-17s %8s %8s %8s   %-29s %s%s\n' "$bold" SERVICE 'IN/S' 'OUT/S' LAG URL HEALTH "$plain"
    for name in "${names[@]}"; do
        health=$(service_health "$name")
        colour=$green
        [[ "$health" == ready ]] || colour=$red
        first=$work/first/$name second=$work/second/$name
        lag=$(metric_sum "$second" "$LAG")
        printf '%-17s %8s %8s %8s   %-29s %s%s%s\n' "$name" \
            "$(rate "$(metric_sum "$first" "$RECORDS_IN")" "$(metric_sum "$second" "$RECORDS_IN")" "$elapsed")" \
            "$(rate "$(metric_sum "$first" "$RECORDS_OUT")" "$(metric_sum "$second" "$RECORDS_OUT")" "$elapsed")" \
            "$lag" "http://127.0.0.1:$(service_port "$name")" "$colour" "${health:0:90}" "$plain"
    done
    [[ "$(state_get GHM_MODE)" != compose ]] || return 0
    status_daemon Kafka "$(kafka_pidfile "$state_dir/kafka")" "$(state_get GHM_KAFKA)"
    status_daemon PostgreSQL "$(postgres_pidfile "$state_dir/postgres")" "127.0.0.1:$(state_get GHM_POSTGRES_PORT)"
    status_daemon fleet-sim "$(service_pidfile fleet-sim)" "http://127.0.0.1:$(state_get GHM_FLEET_SIM_PORT)/targets"
}

# status_daemon NAME PIDFILE ADDRESS
status_daemon() {
    local health=running colour=$green
    running "$2" >/dev/null || health='not running' colour=$red
    printf '%-17s %8s %8s %8s   %-29s %s%s%s\n' "$1" '' '' '' "$3" "$colour" "$health" "$plain"
}

status_database() {
    local part said=$status_work/said
    sql_value GHM_HEALTH_URL 'SELECT 1' >/dev/null 2>&1 || return 0
    for part in rows alerts scores; do
        say
        if ! sql GHM_HEALTH_URL --pset pager=off --pset footer=off --pset border=0 --pset null=- \
            <"$overview_dir/$part.sql" 2>"$said"; then
            note "$part: $(head -n 1 "$said" | sed 's/.*ERROR: *//')"
        fi
    done
}

status_next() {
    say
    say "${bold}Where to look next${plain}"
    note "make status                 this again; make logs SERVICE=validator   one service's log"
    note "psql $(state_get GHM_HEALTH_URL)   the data"
    note "curl http://127.0.0.1:$(service_port anomaly-detector)/metrics   a service's metrics"
    note "$state_dir/ground-truth.jsonl   the faults that the simulator injects"
    note "make down                   stops it; make clean removes its data too"
}
