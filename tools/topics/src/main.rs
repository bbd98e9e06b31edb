//! Creates the topic catalogue on a broker, checks it, or renders it for Kubernetes.

use clap::{Parser, Subcommand};
use rdkafka::ClientConfig;
use std::io::Write;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create the topics that are missing.
    Apply {
        #[command(flatten)]
        broker: Broker,
        /// Replicas of each topic; `min.insync.replicas` is 2, or this where it is less.
        #[arg(long, default_value_t = schema::topic::Topic::REPLICATION_FACTOR)]
        replication_factor: i32,
    },
    /// Say how the topics on the broker differ from the catalogue; exit 1 when they do.
    Check {
        #[command(flatten)]
        broker: Broker,
    },
    /// Print the catalogue.
    Render {
        /// As Strimzi `KafkaTopic`s, or as a Markdown table.
        #[arg(long, value_enum, default_value_t = Format::Strimzi)]
        format: Format,
        /// The label `strimzi.io/cluster`.
        #[arg(long, default_value = "kafka")]
        cluster: String,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Strimzi,
    Markdown,
}

#[derive(Debug, clap::Args)]
struct Broker {
    /// host:port, comma-separated.
    #[arg(
        long,
        env = "KAFKA_BOOTSTRAP_SERVERS",
        default_value = "127.0.0.1:9092"
    )]
    bootstrap_servers: String,
    /// A further librdkafka setting, key=value (security.protocol=ssl); may be repeated.
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = parse_property)]
    properties: Vec<(String, String)>,
}

impl Broker {
    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", "topics");
        for (key, value) in &self.properties {
            client.set(key, value);
        }
        client
    }
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok((text, code)) => {
            drop(std::io::stdout().lock().write_all(text.as_bytes()));
            code
        }
        Err(error) => {
            drop(writeln!(std::io::stderr().lock(), "topics: {error}"));
            ExitCode::from(69)
        }
    }
}

async fn run(arguments: Arguments) -> Result<(String, ExitCode), String> {
    Ok(match arguments.command {
        Command::Apply {
            broker,
            replication_factor,
        } => {
            let applied = topics::apply(&broker.client(), replication_factor).await?;
            let text = format!(
                "{} topics created, {} present\n",
                applied.created.len(),
                applied.present.len()
            );
            (text, ExitCode::SUCCESS)
        }
        Command::Check { broker } => {
            let lines = topics::differences(&broker.client()).await?;
            let code = if lines.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
            (lines.iter().map(|line| line.clone() + "\n").collect(), code)
        }
        Command::Render {
            format: Format::Strimzi,
            cluster,
        } => (topics::render_strimzi(&cluster)?, ExitCode::SUCCESS),
        Command::Render {
            format: Format::Markdown,
            ..
        } => (topics::render_markdown(), ExitCode::SUCCESS),
    })
}
