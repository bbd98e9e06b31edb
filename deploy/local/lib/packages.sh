# shellcheck shell=bash
# Packages of the system.

# install_packages NAME...: by apt-get, as root or through sudo; else names them and stops.
install_packages() {
    local -a as_root=()
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
    say "Installing $*"
    # RUNLEVEL=1 keeps the packages from starting services of their own.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
