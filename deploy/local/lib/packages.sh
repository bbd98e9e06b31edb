# shellcheck shell=bash
# Packages of the system.

# install_packages NAME...: by apt-get, as root or through sudo; else names them and stops. A NAME may be several, with bars
# between them: the first that this release of the system has.
install_packages() {
    local -a as_root=() chosen=()
    local name
    if ! command -v apt-get >/dev/null; then
        fail "missing: $*. These are Debian's names; install your system's and try again" 69
    fi
    if ((EUID != 0)); then
        if command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
            as_root=(sudo)
        else
            fail "missing: $*. Install them as root: apt-get install $*" 69
        fi
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    for name in "$@"; do chosen+=("$(available_package "$name")"); done
    say "Installing ${chosen[*]}"
    # RUNLEVEL=1 keeps the packages from starting services of their own.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "${chosen[@]}" >/dev/null
}

# available_package NAME|NAME..: the first that can be installed, or the first of all.
available_package() {
    local name
    local -a names
    IFS='|' read -ra names <<<"$1"
    for name in "${names[@]}"; do
        if apt-cache policy "$name" 2>/dev/null | grep -q 'Candidate: [0-9]'; then
            printf '%s' "$name"
            return 0
        fi
    done
    printf '%s' "${names[0]}"
}
