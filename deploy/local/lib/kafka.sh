# shellcheck shell=bash
# A one-node Apache Kafka in KRaft mode, broker and controller in one process.
#
# DIR/server.properties  what it was started with     DIR/data   its log
# DIR/kafka.pid          see process.sh               DIR/kafka.log

KAFKA_VERSION=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$local_dir/kafka/pom.xml")
readonly KAFKA_VERSION
readonly KAFKA_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/gpu-health-monitor/kafka-$KAFKA_VERSION
readonly KAFKA_CLASSES=$KAFKA_CACHE/classes.jsa
readonly KAFKA_START_SECONDS=60
readonly KAFKA_STOP_SECONDS=20

kafka_fetched() { [[ -f "$KAFKA_CACHE/lib/kafka_2.13-$KAFKA_VERSION.jar" ]]; }

# A class path with a star: Java expands it, so quote it.
kafka_classpath() { printf '%s/lib/*' "$KAFKA_CACHE"; }

# kafka_fetch: from Maven Central into the cache, whole or not at all. Two at a time wait for each other.
kafka_fetch() {
    kafka_fetched && [[ -f "$KAFKA_CLASSES" ]] && return 0
    mkdir -p "$KAFKA_CACHE"
    (
        flock 9
        if kafka_fetched; then
            [[ -f "$KAFKA_CLASSES" ]] || kafka_preload
            exit 0
        fi
        say "Fetching Apache Kafka $KAFKA_VERSION with Maven into $KAFKA_CACHE"
        rm -rf "$KAFKA_CACHE"/new.*
        new=$(mktemp -d "$KAFKA_CACHE/new.XXXXXX")
        if ! mvn -q -B -Dstyle.color=never -f "$local_dir/kafka/pom.xml" dependency:copy-dependencies -DoutputDirectory="$new" </dev/null; then
            rm -rf "$new"
            fail "Maven could not fetch Apache Kafka $KAFKA_VERSION" 69
        fi
        chmod 755 "$new"
        rm -rf "${KAFKA_CACHE:?}/lib"
        mv "$new" "$KAFKA_CACHE/lib"
        rm -f "$KAFKA_CLASSES"
        kafka_preload
    ) 9>"$KAFKA_CACHE/lock"
}

# kafka_preload: starts a broker once and keeps its loaded classes as an archive, which halves the CPU that every later start
# takes. Java ignores an archive of another Java or of other jars, so it is never wrong, at worst of no use.
kafka_preload() {
    local dir
    dir=$(mktemp -d "${TMPDIR:-/tmp}/ghm-preload.XXXXXX")
    KAFKA_DUMP_CLASSES=$dir/classes.jsa kafka_start --small "$dir/kafka" "$(random_free_port)"
    kafka_stop "$dir/kafka"
    # The archive is whole when the process has ended; where Java could make none, an empty file says not to try again.
    mv -f "$dir/classes.jsa" "$KAFKA_CLASSES" 2>/dev/null || : >"$KAFKA_CLASSES"
    rm -rf "$dir"
}

# kafka_java ARGUMENT...: sets java_command, with what all of Kafka's programs here have in common.
kafka_java() {
    local -a flags=(-XX:-UsePerfData -Djava.awt.headless=true -Dorg.slf4j.simpleLogger.defaultLogLevel=warn)
    if [[ -s "$KAFKA_CLASSES" ]]; then
        flags+=("-XX:SharedArchiveFile=$KAFKA_CLASSES" -Xshare:auto)
    fi
    java_command=(java "${flags[@]}" -cp "$(kafka_classpath)" "$@")
}

kafka_pidfile() { printf '%s/kafka.pid' "$1"; }

# kafka_format DIR [NAME=PASSWORD...]: writes the metadata of an empty cluster, with SCRAM-SHA-512 users.
kafka_format() {
    local dir=$1 user id
    local -a scram=()
    shift
    # What an interrupted attempt has left.
    rm -rf "$dir/data"
    for user in "$@"; do
        scram+=(--add-scram "SCRAM-SHA-512=[name=${user%%=*},password=${user#*=}]")
    done
    # 16 random bytes in URL-safe base64. A leading dash would read as an option.
    id=A$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n' | cut -c 2-)
    kafka_java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        kafka.tools.StorageTool format --cluster-id "$id" --config "$dir/server.properties" "${scram[@]}"
    "${java_command[@]}" >>"$dir/kafka.log" 2>&1 </dev/null || {
        tail -n 2 "$dir/kafka.log" >&2
        fail "Kafka's storage could not be formatted; see $dir/kafka.log" 70
    }
    touch "$dir/formatted"
}

# kafka_start [--small] [--user NAME=PASSWORD]... [--advertise PORT] [--property KEY=VALUE]... DIR PORT
#
# Formats DIR if it is new, starts the broker on 127.0.0.1:PORT and waits until it serves.
# --user: PORT speaks SASL_PLAINTEXT with SCRAM-SHA-512, StandardAuthorizer decides, and the user `admin`, if there is one, may
# do everything.
# --advertise: the port that clients are told to use, for a proxy in front.
# --small: for tests; less memory, at less throughput.
# The broker talks to itself on a listener of its own, in plain text and with every right; its port is in DIR/internal.port.
kafka_start() {
    local small=0 advertised=''
    local -a users=() properties=()
    while [[ "${1:-}" == --* ]]; do
        case $1 in
            --small) small=1 && shift ;;
            --user) users+=("$2") && shift 2 ;;
            --advertise) advertised=$2 && shift 2 ;;
            --property) properties+=("$2") && shift 2 ;;
            *) fail "kafka-start: unknown option $1" 64 ;;
        esac
    done
    (($# == 2)) || fail "usage: kafka-start [--small] [--user NAME=PASSWORD]... [--advertise PORT] [--property KEY=VALUE]... DIR PORT" 64
    kafka_fetched || fail "Apache Kafka is not there yet: run 'stack.sh install' first" 69
    local port=$2 dir pidfile offset pid
    mkdir -p "$1" && dir=$(cd "$1" && pwd -P)
    pidfile=$(kafka_pidfile "$dir")
    if pid=$(running "$pidfile"); then
        say "Kafka runs already, pid $pid"
        return 0
    fi
    wait_for_port_free "$port" "$PORT_GRACE_SECONDS" || fail "port $port is taken: Kafka can't listen on it" 69

    # Ports chosen once: a restart must find its own controller again.
    [[ -s "$dir/controller.port" ]] || random_free_port >"$dir/controller.port"
    [[ -s "$dir/internal.port" ]] || random_free_port >"$dir/internal.port"
    kafka_properties "$dir" "$port" "${advertised:-$port}" "$small" "$((${#users[@]} > 0))" >"$dir/server.properties"
    # The last line of a key wins.
    ((${#properties[@]} == 0)) || printf '%s\n' "${properties[@]}" >>"$dir/server.properties"
    [[ -f "$dir/formatted" ]] || kafka_format "$dir" "${users[@]}"

    local -a memory=(-Xmx512m -Xms128m -XX:+UseG1GC)
    ((small)) && memory=(-Xmx256m -Xms48m -XX:+UseSerialGC -XX:TieredStopAtLevel=1)
    [[ -z "${KAFKA_DUMP_CLASSES:-}" ]] || memory+=("-XX:ArchiveClassesAtExit=$KAFKA_DUMP_CLASSES")
    # Native libraries are unpacked there; a broker that is killed leaves them.
    rm -rf "$dir/tmp" && mkdir "$dir/tmp"
    kafka_java "${memory[@]}" "-Djava.io.tmpdir=$dir/tmp" -XX:+ExitOnOutOfMemoryError -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
        -Dorg.slf4j.simpleLogger.log.kafka.coordinator.transaction.TransactionMarkerChannelManager=info \
        -Dorg.slf4j.simpleLogger.showDateTime=true "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX" \
        kafka.Kafka "$dir/server.properties"
    # Each partition holds a handful of files open; the usual soft limit of 1024 is soon reached.
    ulimit -S -n "$(ulimit -H -n)"
    touch "$dir/kafka.log"
    offset=$(stat -c %s "$dir/kafka.log")
    spawn "$pidfile" "$dir/kafka.log" "$dir/server.properties" \
        "${java_command[@]}"
    kafka_await "$dir" "$offset" "$spawned"
    # It is on its own from here: this shell shall not tell how it ends.
    disown "$spawned"
}

# kafka_await DIR LOG_OFFSET PID: until it says that it has started.
kafka_await() {
    local dir=$1 offset=$2 pid=$3 rc tries=$((KAFKA_START_SECONDS * 20))
    until tail -c "+$((offset + 1))" "$dir/kafka.log" 2>/dev/null | grep -q 'Kafka Server started'; do
        if ! start_time "$pid" >/dev/null; then
            rc=0
            wait "$pid" || rc=$?
            rm -f "$(kafka_pidfile "$dir")"
            tail -c "+$((offset + 1))" "$dir/kafka.log" | tail -n 15 >&2
            fail "Kafka ended at start (exit status $rc); its log: $dir/kafka.log" 69
        fi
        if [[ ! -e "$(kafka_pidfile "$dir")" ]]; then
            # Whoever asked for it has gone and removed the folder.
            kill -s KILL "$pid" 2>/dev/null || true
            fail "Kafka's folder $dir was removed while it started" 69
        fi
        if ((tries-- <= 0)); then
            kafka_stop "$dir"
            fail "Kafka did not start within $KAFKA_START_SECONDS s; its log: $dir/kafka.log" 69
        fi
        sleep 0.05
    done
}

# kafka_properties DIR PORT ADVERTISED SMALL SECURED
kafka_properties() {
    local dir=$1 port=$2 advertised=$3 small=$4 secured=$5 controller internal protocol=PLAINTEXT
    controller=$(<"$dir/controller.port")
    internal=$(<"$dir/internal.port")
    ((secured)) && protocol=SASL_PLAINTEXT
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=CLIENT://127.0.0.1:$port,INTERNAL://127.0.0.1:$internal,CONTROLLER://127.0.0.1:$controller
advertised.listeners=CLIENT://127.0.0.1:$advertised,INTERNAL://127.0.0.1:$internal
listener.security.protocol.map=CLIENT:$protocol,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
log.dirs=$dir/data

# Event time travels in the record; retention must look at the time of writing.
log.message.timestamp.type=LogAppendTime
# A misspelt topic is an error, not a new topic.
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1

# Nobody waits for further members of a group here.
group.initial.rebalance.delay.ms=0
# Members of both protocols may choose a session as short as the tests need.
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=250
group.consumer.session.timeout.ms=6000
group.consumer.heartbeat.interval.ms=1000
broker.heartbeat.interval.ms=500
# An abandoned transaction holds its readers up for its timeout plus this interval.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
PROPERTIES
    if ((secured)); then
        cat <<PROPERTIES
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
PROPERTIES
    fi
    if ((small)); then
        cat <<PROPERTIES
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
# Segments are preallocated in memory maps; small indexes keep hundreds of test topics cheap.
log.index.size.max.bytes=1048576
# A restart after kill -9 waits until the old registration expires, after 9 s by default. A broker that is silent for so long
# is fenced, and one that is alone then loses markers of transactions (KAFKA-20734): not shorter than any machine stalls.
broker.session.timeout.ms=6000
PROPERTIES
    else
        cat <<PROPERTIES
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=8
log.cleaner.dedupe.buffer.size=33554432
PROPERTIES
    fi
}

# kafka_stop DIR: in good order.
kafka_stop() { stop_process "$(kafka_pidfile "$1")" TERM "$KAFKA_STOP_SECONDS"; }

# kafka_kill DIR: at once, when its data is thrown away anyway.
kafka_kill() { stop_process "$(kafka_pidfile "$1")" KILL 10; }
