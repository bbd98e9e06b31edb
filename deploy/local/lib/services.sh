# shellcheck shell=bash
# The services: one line each.
#
# name | first choice of a port | environment beyond what every service gets, blank-separated; its keys are below SERVICE__
# @assets_url@, @health_url@, @state@ and @interval@ are replaced.
readonly SERVICE_TABLE='
collector        | 8081 | TARGETS_FILE=@state@/targets.json SCRAPE__INTERVAL_MS=@interval@ SCRAPE__TIMEOUT_MS=@interval@
validator        | 8082 |
asset-lookup     | 8083 | DATABASE__URL=@assets_url@
enricher         | 8084 |
aggregator       | 8085 |
anomaly-detector | 8086 |
health-scorer    | 8087 |
tsdb-sink        | 8088 | DATABASE__URL=@health_url@
auditor          | 8089 | DATABASE__URL=@health_url@
'
readonly FLEET_SIM_PORT=9400
# Quicker than a real exporter's 10 s or more, so that there is something to see soon.
readonly INTERVAL_MS=${GHM_INTERVAL_MS:-2000}
readonly PROFILE=${GHM_PROFILE:-release}
readonly DATABASES='gpu_assets gpu_health'
readonly READY_SECONDS=90
# The services drain within 20 s of SIGTERM.
readonly SERVICE_STOP_SECONDS=25
# A log that has grown beyond this is set aside at the next start, in place of the one set aside before.
readonly LOG_BYTES_MAX=$((50 * 1024 * 1024))

service_names() { awk -F '|' 'NF > 1 { gsub(/ /, "", $1); print $1 }' <<<"$SERVICE_TABLE"; }

# service_field NAME COLUMN
service_field() {
    awk -F '|' -v name="$1" -v column="$2" \
        '{ key = $1; gsub(/ /, "", key) } key == name { gsub(/^ +| +$/, "", $column); print $column }' <<<"$SERVICE_TABLE"
}

# program NAME: where cargo puts it.
program() { printf '%s/target/%s/%s' "$repo_dir" "${PROFILE/#dev/debug}" "$1"; }

# variable_of NAME: asset-lookup is ASSET_LOOKUP in the environment.
variable_of() {
    local upper=${1^^}
    printf '%s' "${upper//-/_}"
}

service_pidfile() { printf '%s/%s.pid' "$state_dir" "$1"; }
service_log() { printf '%s/logs/%s.log' "$state_dir" "$1"; }
service_port() { state_get "GHM_$(variable_of "$1")_PORT"; }

# service_environment NAME PORT: KEY=VALUE lines.
service_environment() {
    local name=$1 port=$2 prefix pair
    prefix=$(variable_of "$name")
    printf '%s\n' "${prefix}__HTTP__LISTEN=127.0.0.1:$port" "${prefix}__LOG__FORMAT=text" \
        "${prefix}__KAFKA__BOOTSTRAP_SERVERS=$(state_get GHM_KAFKA)"
    for pair in $(service_field "$name" 3); do
        pair=${pair//@interval@/$INTERVAL_MS}
        pair=${pair//@assets_url@/$(state_get GHM_ASSETS_URL)}
        pair=${pair//@health_url@/$(state_get GHM_HEALTH_URL)}
        printf '%s__%s\n' "$prefix" "${pair//@state@/$state_dir}"
    done
}

# start_process NAME COMMAND...: in the background, with a log and a pid file of its own.
start_process() {
    local name=$1 log
    shift
    log=$(service_log "$name")
    mkdir -p "${log%/*}"
    if [[ -f "$log" ]] && (($(stat -c %s "$log") > LOG_BYTES_MAX)); then mv -f "$log" "$log.1"; fi
    spawn "$(service_pidfile "$name")" "$log" "$1" "${@:2}"
}

# start_service NAME: unless it runs. Sets `spawned`, empty if it ran already.
start_service() {
    local name=$1 port program
    program=$(program "$1")
    local -a environment
    spawned=
    running "$(service_pidfile "$name")" >/dev/null && return 0
    port=$(state_port "GHM_$(variable_of "$name")_PORT" "$(service_field "$name" 2)")
    mapfile -t environment < <(service_environment "$name" "$port")
    start_process "$name" "$program" env "${environment[@]}" "$program"
}

# start_fleet: the simulated one, behind dcgm-exporter endpoints, and the list of them for the collector.
start_fleet() {
    local port program
    program=$(program fleet-sim)
    local -a fleet=(--gpus "${GHM_GPUS:-64}" --interval "${INTERVAL_MS}ms")
    spawned=
    running "$(service_pidfile fleet-sim)" >/dev/null && return 0
    port=$(state_port GHM_FLEET_SIM_PORT "$FLEET_SIM_PORT")
    "$program" targets "${fleet[@]}" --address "127.0.0.1:$port" >"$state_dir/targets.json.new"
    mv -f "$state_dir/targets.json.new" "$state_dir/targets.json"
    "$program" assets "${fleet[@]}" --format csv >"$state_dir/assets.csv"
    start_process fleet-sim "$program" "$program" serve "${fleet[@]}" --listen "127.0.0.1:$port" --faults "${GHM_FAULTS:-default}" \
        --ground-truth "$state_dir/ground-truth.jsonl"
}

# died NAME PID: says how and why. Only for a child of this shell.
died() {
    local name=$1 rc=0 log
    wait "$2" 2>/dev/null || rc=$?
    log=$(service_log "$name")
    rm -f "$(service_pidfile "$name")"
    ((live)) && printf '\r\e[K'
    printf '  %s✗%s %s ended at start, exit status %d: %s. The end of %s:\n' "$red" "$plain" "$name" "$rc" "$(exit_meaning "$rc")" "$log" >&2
    if [[ -s "$log" ]]; then tail -n 15 "$log" | sed 's/^/      /' >&2; else echo '      (it said nothing)' >&2; fi
}

exit_meaning() {
    case $1 in
        0) echo 'it ended without an error' ;;
        64) echo 'wrong configuration' ;;
        65) echo 'unusable data: wrong partition count or unreadable state' ;;
        69) echo 'something that it needs is not there' ;;
        70) echo 'an error of its own' ;;
        75) echo 'a temporary failure' ;;
        77) echo 'a right is missing' ;;
        126 | 127) echo 'the program could not be run' ;;
        137) echo 'killed' ;;
        *) ((${1} > 128)) && echo "signal $(($1 - 128))" || echo 'see its log' ;;
    esac
}

# ready NAME: does it answer that it is?
ready() {
    local port
    port=$(service_port "$1")
    [[ -n "$port" ]] && [[ "$(http_status "$port" /readyz)" == 200 ]]
}

# stop_services: what feeds the pipeline first, then all stages at once.
stop_services() {
    local name
    local -a names=()
    mapfile -t names < <(service_names)
    stop_process "$(service_pidfile fleet-sim)" TERM 5
    for name in "${names[@]}"; do stop_process "$(service_pidfile "$name")" TERM "$SERVICE_STOP_SECONDS" & done
    wait
}
