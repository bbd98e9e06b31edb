//! Scrapes dcgm-exporter endpoints and produces one record per GPU and scrape to Kafka.

fn main() -> std::process::ExitCode {
    chassis::main(collector::SERVICE, collector::run)
}
