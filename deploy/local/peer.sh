#!/usr/bin/env bash
# Builds the peer on Kafka Streams, bench/peers/kafka-streams, if it is not built or its sources are newer. Installs Maven where
# it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../bench/peers/kafka-streams"

readonly JAR=target/kafka-streams-peer.jar

if [[ -f "$JAR" && -z "$(find pom.xml src -newer "$JAR" -print -quit)" ]]; then
    exit 0
fi
if ! command -v mvn >/dev/null; then
    # shellcheck source=lib/say.sh
    source ../../../deploy/local/lib/say.sh
    # shellcheck source=lib/packages.sh
    source ../../../deploy/local/lib/packages.sh
    install_packages maven
fi
echo "peer: building Kafka Streams' stages with Maven"
mvn -q -B package
