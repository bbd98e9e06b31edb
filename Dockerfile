# syntax=docker/dockerfile:1
# One image a program: docker build --build-arg SERVICE=validator .
# SERVICE is a service's name, or topics, or fleet-sim.

FROM rust:1.95.0-bookworm AS build
# The image's own compiler; rust-toolchain.toml also names tools that only developers need.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
# All programs at once and without SERVICE, so that this layer is the same for every image: ten images cost one build. The
# caches keep what has been downloaded and compiled from one build to the next.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    set -eu; \
    programs="collector validator asset-lookup enricher aggregator anomaly-detector health-scorer tsdb-sink auditor topics fleet-sim"; \
    cargo build --release --locked $(printf -- ' -p %s' $programs); \
    mkdir /out; \
    for program in $programs; do cp "target/release/$program" /out/; done

FROM debian:bookworm-slim
ARG SERVICE
RUN test -n "$SERVICE" || { echo "name a program: --build-arg SERVICE=validator" >&2; exit 64; }
# librdkafka links OpenSSL and zlib dynamically; the certificates are for TLS to brokers and databases.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 nonroot \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nonroot \
    && install --directory --owner=65532 --group=65532 /var/lib/gpu-health-monitor
COPY --from=build /out/${SERVICE} /usr/local/bin/service
LABEL org.opencontainers.image.title="gpu-health-monitor/${SERVICE}" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/service"]
