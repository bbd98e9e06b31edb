# shellcheck shell=bash
# Installs what is missing, says so, and touches nothing else.

readonly JAVA_MINIMUM=17
readonly POSTGRES_MINIMUM=15

# java_ok: is there a Java runtime that is new enough?
java_ok() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [[ -n "$version" ]] && ((version >= JAVA_MINIMUM))
}

# postgres_bin: the folder of the newest server that is new enough. Debian keeps it off PATH.
postgres_bin() {
    local folder version best='' newest=0
    for folder in "${GHM_POSTGRES_BIN:-}" "$(dirname "$(command -v postgres || echo /nowhere/postgres)")" \
        /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin /opt/homebrew/bin; do
        [[ -n "$folder" && -x "$folder/postgres" && -x "$folder/initdb" ]] || continue
        # A link such as /usr/local/bin/postgres hides its folder's other programs.
        folder=$(dirname "$(readlink -f "$folder/postgres")")
        version=$("$folder/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
        if ((version >= POSTGRES_MINIMUM && version > newest)); then
            best=$folder newest=$version
        fi
    done
    [[ -n "$best" ]] && printf '%s' "$best"
}

header_ok() {
    printf '#include <%s>\n' "$1" | "${CC:-cc}" -E - >/dev/null 2>&1
}

# missing_packages: Debian's names of what is not there, one a line.
missing_packages() {
    java_ok || echo 'openjdk-17-jre-headless|openjdk-21-jre-headless|openjdk-25-jre-headless'
    kafka_fetched || command -v mvn >/dev/null || echo maven
    postgres_bin >/dev/null || echo postgresql
    command -v psql >/dev/null || echo postgresql-client
    command -v gcc >/dev/null || echo gcc
    command -v g++ >/dev/null || echo g++
    command -v make >/dev/null || echo make
    command -v pkg-config >/dev/null || echo pkg-config
    header_ok openssl/ssl.h || echo libssl-dev
    header_ok zlib.h || echo zlib1g-dev
}

install_missing() {
    local -a missing
    if ! command -v cargo >/dev/null && [[ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    if ! command -v cargo >/dev/null; then
        fail "Rust is missing. Install rustup; it then fetches the toolchain that rust-toolchain.toml pins" 69
    fi
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]} > 0)); then
        install_packages "${missing[@]}"
        mapfile -t missing < <(missing_packages)
        if ((${#missing[@]} > 0)); then
            fail "still missing after the installation: ${missing[*]} (Java >= $JAVA_MINIMUM and PostgreSQL >= $POSTGRES_MINIMUM are needed)" 69
        fi
    fi
    kafka_fetch
}
