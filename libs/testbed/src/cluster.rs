use crate::broker::Node;
use crate::guard::Guard;
use crate::stack::stack;
use crate::topic::{create_replicated_topic, in_sync};
use crate::unique::random;
use crate::{Broker, BrokerBuilder, free_port, unique, wait_until};
use std::process::{Command, Stdio};
use std::time::Duration;

const NODES: usize = 3;

/// Three brokers, each a voter of the controller quorum, too: replication factor 3, `min.insync.replicas` 2, also for the
/// topics of offsets and of transactions. One of them can be lost. They and their data end with this value.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Broker>,
    bootstrap: String,
}

impl Cluster {
    /// A cluster as it comes.
    pub fn start() -> Self {
        Self::start_with(&Broker::builder())
    }

    /// A cluster of brokers that are all like `options`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(options: &BrokerBuilder) -> Self {
        let controllers: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
        let voters: Vec<String> = (1..)
            .zip(&controllers)
            .map(|(id, port)| format!("{id}@127.0.0.1:{port}"))
            .collect();
        // 16 bytes in URL-safe base64, where hexadecimal digits are digits, too.
        let cluster = format!("{:016x}{:05x}A", random(), random() >> 44);
        let nodes: Vec<(Guard, BrokerBuilder, u16)> = (1..)
            .zip(controllers)
            .map(|(id, controller)| {
                let guard = Guard::new("kafka");
                let mut options = REPLICATED
                    .iter()
                    .fold(options.clone(), |options, (key, value)| {
                        options.property(key, value)
                    });
                options.node = Some(Node {
                    id,
                    cluster: cluster.clone(),
                    controller,
                    voters: voters.join(","),
                });
                format(&guard, &options);
                (guard, options, free_port())
            })
            .collect();
        // None of them is done before two of them are: all at once.
        std::thread::scope(|scope| {
            let starting: Vec<_> = nodes
                .iter()
                .map(|(guard, options, port)| scope.spawn(|| options.launch(guard, *port)))
                .collect();
            for node in starting {
                if let Err(error) = node.join().expect("a thread that starts a broker") {
                    panic!("the cluster does not start: {error}");
                }
            }
        });
        let bootstrap: Vec<String> = nodes
            .iter()
            .map(|(_, _, port)| format!("127.0.0.1:{port}"))
            .collect();
        Self {
            nodes: nodes
                .into_iter()
                .map(|(guard, options, port)| Broker::new(guard, options, port))
                .collect(),
            bootstrap: bootstrap.join(","),
        }
    }

    /// Where clients begin: all three.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A new topic with log-append time and three replicas, and its name, which begins with `prefix`.
    pub fn topic(&self, prefix: &str, partitions: i32) -> String {
        let name = unique(prefix);
        create_replicated_topic(&self.bootstrap, &name, partitions, 3, &[]);
        name
    }

    /// Waits until every replica of a topic has what its leader has.
    ///
    /// # Panics
    /// If they don't within `deadline`.
    pub fn wait_until_in_sync(&self, topic: &str, deadline: Duration) {
        wait_until(deadline, "all replicas are in sync", || {
            in_sync(&self.bootstrap, topic)
        });
    }

    /// Its brokers.
    pub fn nodes(&self) -> &[Broker] {
        &self.nodes
    }
}

const REPLICATED: [(&str, &str); 5] = [
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
];

/// Formats a node's storage with the id of its cluster, as `stack.sh` would with an id of its own.
fn format(guard: &Guard, options: &BrokerBuilder) {
    let node = options.node.as_ref().expect("a node of a cluster");
    let folder = guard.folder();
    let properties = folder.join("format.properties");
    let text = format!(
        "process.roles=broker,controller\nnode.id={}\ncontroller.quorum.voters={}\ncontroller.listener.names=CONTROLLER\n\
         listeners=CLIENT://127.0.0.1:0,CONTROLLER://127.0.0.1:{}\nlistener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         inter.broker.listener.name=CLIENT\nlog.dirs={}\n",
        node.id,
        node.voters,
        node.controller,
        folder.join("data").display(),
    );
    std::fs::write(&properties, text).expect("a file in the broker's folder");
    let class_path =
        stack(["kafka-classpath"]).unwrap_or_else(|error| panic!("no Apache Kafka: {error}"));
    let output = Command::new("java")
        .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
        .arg(class_path.trim())
        .args(["kafka.tools.StorageTool", "format", "--cluster-id"])
        .arg(&node.cluster)
        .arg("--config")
        .arg(&properties)
        .stdin(Stdio::null())
        .output()
        .expect("the program `java`");
    assert!(
        output.status.success(),
        "a broker's storage can't be formatted: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::write(folder.join("formatted"), "").expect("a file in the broker's folder");
}
