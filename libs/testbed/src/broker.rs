use crate::acl::{Operation, Resource, create_acls};
use crate::guard::Guard;
use crate::proxy::Proxy;
use crate::signal::signal;
use crate::stack::stack;
use crate::{create_topic, free_port, unique};
use rdkafka::ClientConfig;
use std::path::PathBuf;

// Another process may take a free port before the broker does.
const START_TRIES: usize = 3;

/// A private broker: one node, KRaft, transactions on, log-append time, no automatic topics. It and its data end with this value.
#[derive(Debug)]
pub struct Broker {
    guard: Guard,
    options: BrokerBuilder,
    port: u16,
    bootstrap: String,
}

/// What a private broker shall be.
#[derive(Clone, Debug, Default)]
pub struct BrokerBuilder {
    properties: Vec<(String, String)>,
    users: Vec<(String, String)>,
    port: Option<u16>,
    advertised: Option<u16>,
    ways: Vec<Way>,
    full_size: bool,
    pub(crate) node: Option<Node>,
}

/// A further listener: where the broker listens, and which port it tells the clients that come this way.
#[derive(Clone, Debug)]
struct Way {
    port: u16,
    advertised: u16,
}

/// What a broker of a cluster must know of it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: usize,
    pub(crate) cluster: String,
    pub(crate) controller: u16,
    /// `controller.quorum.voters`.
    pub(crate) voters: String,
}

impl Broker {
    /// A broker as it comes.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A broker to configure first.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// Where clients begin: the proxy, if there is one.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The port that the broker itself listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A listener without passwords on which everyone may do everything, also on a secured broker; no proxy is in front of it.
    pub fn internal(&self) -> String {
        let path = self.guard.folder().join("internal.port");
        let port = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        format!("127.0.0.1:{port}")
    }

    /// The settings of a client that logs in as `user`, one of those that the broker was built with.
    pub fn client(&self, user: &str) -> ClientConfig {
        let known = self.options.users.iter().find(|(name, _)| name == user);
        let (name, password) = known.unwrap_or_else(|| panic!("the broker has no user {user}"));
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("security.protocol", "SASL_PLAINTEXT")
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", name)
            .set("sasl.password", password);
        config
    }

    /// Lets a user do something.
    pub fn allow(&self, user: &str, resource: Resource<'_>, operations: &[Operation]) {
        create_acls(&self.internal(), user, resource, operations);
    }

    /// A new topic with log-append time, and its name, which begins with `prefix`.
    pub fn topic(&self, prefix: &str, partitions: i32) -> String {
        let name = unique(prefix);
        create_topic(&self.internal(), &name, partitions, &[]);
        name
    }

    /// Stops it in good order (SIGTERM), and waits until it is gone.
    pub fn stop(&self) {
        stack([("kafka-stop").as_ref(), self.guard.folder().as_os_str()])
            .unwrap_or_else(|error| panic!("the broker does not stop: {error}"));
    }

    /// kill -9.
    pub fn kill(&self) {
        signal(&self.pidfile(), "KILL");
    }

    /// Stops its process in its tracks (SIGSTOP): connections stay open, nobody answers.
    pub fn pause(&self) {
        signal(&self.pidfile(), "STOP");
    }

    /// Lets a paused one go on (SIGCONT).
    pub fn resume(&self) {
        signal(&self.pidfile(), "CONT");
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), on the same port with the same data, and waits until it serves.
    pub fn restart(&self) {
        self.options
            .launch(&self.guard, self.port)
            .unwrap_or_else(|error| panic!("the broker does not start again: {error}"));
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let path = self.log_path();
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Where it logs.
    pub fn log_path(&self) -> PathBuf {
        self.guard.folder().join("kafka.log")
    }

    pub(crate) fn new(guard: Guard, options: BrokerBuilder, port: u16) -> Self {
        Self {
            guard,
            options,
            port,
            bootstrap: format!("127.0.0.1:{port}"),
        }
    }

    fn pidfile(&self) -> PathBuf {
        self.guard.folder().join("kafka.pid")
    }
}

impl BrokerBuilder {
    /// Sets one of the broker's properties.
    #[must_use]
    pub fn property(mut self, key: &str, value: &str) -> Self {
        self.properties.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Adds a user. With at least one, clients log in (`SASL_PLAINTEXT`, `SCRAM-SHA-512`; see [`Broker::client`]), and only
    /// `admin` may do what nobody has been [allowed](Broker::allow).
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// Starts it and waits until it serves.
    pub fn start(self) -> Broker {
        let guard = Guard::new("kafka");
        let mut failure = String::new();
        for _ in 0..START_TRIES {
            let port = self.port.unwrap_or_else(free_port);
            match self.launch(&guard, port) {
                Ok(()) => {
                    let bootstrap = format!("127.0.0.1:{}", self.advertised.unwrap_or(port));
                    return Broker {
                        guard,
                        options: self,
                        port,
                        bootstrap,
                    };
                }
                Err(error) => failure = error,
            }
        }
        panic!("no broker after {START_TRIES} tries: {failure}");
    }

    /// Starts it with a proxy in front, which is the only way that clients know.
    pub fn start_behind_proxy(mut self) -> (Broker, Proxy) {
        let port = free_port();
        let proxy = Proxy::in_front_of(port);
        self.port = Some(port);
        self.advertised = Some(proxy.port());
        (self.start(), proxy)
    }

    /// Starts it with further ways in, each through a proxy of its own: whoever begins at one of these proxies is told of no
    /// other way, so that the network can be bad for some clients and good for the rest.
    pub fn start_with_ways(mut self, count: usize) -> (Broker, Vec<Proxy>) {
        let proxies = (0..count)
            .map(|_| {
                let port = free_port();
                let proxy = Proxy::in_front_of(port);
                self.ways.push(Way {
                    port,
                    advertised: proxy.port(),
                });
                proxy
            })
            .collect();
        (self.start(), proxies)
    }

    /// With the memory and the compiler of `make up`, for load; otherwise it is as small as tests need it.
    #[must_use]
    pub fn full_size(mut self) -> Self {
        self.full_size = true;
        self
    }

    pub(crate) fn launch(&self, guard: &Guard, port: u16) -> Result<(), String> {
        let mut arguments = vec!["kafka-start".to_owned()];
        if !self.full_size {
            arguments.push("--small".to_owned());
        }
        for (key, value) in self.topology(guard, port) {
            arguments.extend(["--property".to_owned(), format!("{key}={value}")]);
        }
        for (name, password) in &self.users {
            arguments.extend(["--user".to_owned(), format!("{name}={password}")]);
        }
        for (key, value) in &self.properties {
            arguments.extend(["--property".to_owned(), format!("{key}={value}")]);
        }
        if let Some(advertised) = self.advertised {
            arguments.extend(["--advertise".to_owned(), advertised.to_string()]);
        }
        arguments.extend([guard.folder().display().to_string(), port.to_string()]);
        stack(&arguments).map(drop)
    }

    /// The settings that further listeners and further nodes need.
    fn topology(&self, guard: &Guard, port: u16) -> Vec<(&'static str, String)> {
        if self.ways.is_empty() && self.node.is_none() {
            return Vec::new();
        }
        let controller = kept_port(
            guard,
            "controller",
            self.node.as_ref().map(|n| n.controller),
        );
        let internal = kept_port(guard, "internal", None);
        let advertised = self.advertised.unwrap_or(port);
        // Name, port, and the port that clients are told; nobody is told of the controller.
        let mut all = vec![
            ("CLIENT".to_owned(), port, Some(advertised)),
            ("INTERNAL".to_owned(), internal, Some(internal)),
            ("CONTROLLER".to_owned(), controller, None),
        ];
        all.extend((0..).zip(&self.ways).map(|(number, way): (usize, _)| {
            (format!("WAY{number}"), way.port, Some(way.advertised))
        }));
        let listed = |entries: Vec<String>| entries.join(",");
        let listeners = all
            .iter()
            .map(|(name, port, _)| format!("{name}://127.0.0.1:{port}"));
        let told = all
            .iter()
            .filter_map(|(name, _, told)| Some(format!("{name}://127.0.0.1:{}", (*told)?)));
        let protocols = all.iter().map(|(name, ..)| format!("{name}:PLAINTEXT"));
        let mut settings = vec![
            ("listeners", listed(listeners.collect())),
            ("advertised.listeners", listed(told.collect())),
            (
                "listener.security.protocol.map",
                listed(protocols.collect()),
            ),
        ];
        if let Some(node) = &self.node {
            settings.extend([
                ("node.id", node.id.to_string()),
                ("controller.quorum.voters", node.voters.clone()),
            ]);
        }
        settings
    }
}

/// A port that `stack.sh` finds in the broker's folder, where it would choose one itself: chosen once, since a restarted
/// broker must find its own controller again.
fn kept_port(guard: &Guard, name: &str, wanted: Option<u16>) -> u16 {
    let path = guard.folder().join(format!("{name}.port"));
    let kept = std::fs::read_to_string(&path).ok();
    if let Some(port) = kept.and_then(|text| text.trim().parse().ok()) {
        return port;
    }
    let port = wanted.unwrap_or_else(free_port);
    std::fs::write(&path, port.to_string())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    port
}
