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
        let path = self.guard.folder().join("kafka.log");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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

    fn launch(&self, guard: &Guard, port: u16) -> Result<(), String> {
        let mut arguments = vec!["kafka-start".to_owned(), "--small".to_owned()];
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
}
