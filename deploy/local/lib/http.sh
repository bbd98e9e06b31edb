# shellcheck shell=bash
# Just enough HTTP for endpoints on this machine, without a program to install.

readonly HTTP_SECONDS=3

# http_request PORT METHOD PATH [FILE [TYPE]]: the whole answer, header and body; fails if nobody answers.
http_request() {
    local port=$1 method=$2 path=$3 file=${4:-} type=${5:-application/octet-stream} connection
    { exec {connection}<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 1
    {
        # HTTP/1.0: the answer ends with the connection, and is not cut into chunks.
        printf '%s %s HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n' "$method" "$path" "$port"
        if [[ -n "$file" ]]; then
            printf 'Content-Type: %s\r\nContent-Length: %d\r\n\r\n' "$type" "$(stat -c %s "$file")"
            cat "$file"
        else
            printf '\r\n'
        fi
    } 1>&"$connection" || true
    timeout "$HTTP_SECONDS" cat <&"$connection" || true
    exec {connection}>&-
}

# http_status PORT PATH: 200, 503, .., or nothing.
http_status() {
    http_request "$1" GET "$2" 2>/dev/null | sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p' || true
}

# http_body: from an answer on standard input.
http_body() { sed '1,/^\r\{0,1\}$/d'; }
