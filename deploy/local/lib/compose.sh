# shellcheck shell=bash
# The same stack in containers, where an engine runs. compose.yaml publishes the ports that the native stack prefers, so that
# the table, the endpoints and the SQL are the same.

# use_compose: is there an engine, and shall it be used? What has been started one way is shown and ended that way.
use_compose() {
    case $(state_get GHM_MODE) in
        compose) return 0 ;;
        native) return 1 ;;
    esac
    [[ "${GHM_NATIVE:-0}" != 1 ]] && docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1
}

compose() { docker compose --file "$repo_dir/compose.yaml" "$@"; }

compose_up() {
    local name
    local -a names=()
    mapfile -t names < <(service_names)
    say "${bold}GPU Health Monitor${plain}, local stack in containers (GHM_NATIVE=1 runs it without)"
    state_set GHM_MODE compose
    state_set GHM_KAFKA 127.0.0.1:9092
    state_set GHM_HEALTH_URL postgres://postgres@127.0.0.1:5432/gpu_health
    state_set GHM_ASSETS_URL postgres://postgres@127.0.0.1:5432/gpu_assets
    state_set GHM_FLEET_SIM_PORT "$FLEET_SIM_PORT"
    for name in "${names[@]}"; do
        state_set "GHM_$(variable_of "$name")_PORT" "$(service_field "$name" 2)"
    done
    # The jobs that they depend on end by themselves; to wait for those too would be to wait for ever.
    compose up --detach --build --wait --wait-timeout 300 fleet-sim "${names[@]}"
    compose run --rm --no-deps fleet-sim assets --gpus "${GHM_GPUS:-64}" --format csv >"$state_dir/assets.csv"
    step "The fleet's assets, imported" up_assets
    up_results
    say
    status
}

compose_down() {
    compose down
    state_set GHM_MODE ''
}

compose_clean() {
    compose down --volumes
    rm -f "$state_dir"/{env,lock,assets.csv}
    rmdir "$state_dir" 2>/dev/null || true
}

compose_logs() {
    if [[ -t 1 ]]; then compose logs --follow --tail 50 "$@"; else compose logs --tail 200 "$@"; fi
}
