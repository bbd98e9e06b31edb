use crate::free_port;
use crate::guard::Guard;
use crate::signal::signal;
use crate::stack::stack;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const START_TRIES: usize = 3;

/// A private server on 127.0.0.1 that trusts everyone. It and its data end with this value.
#[derive(Debug)]
pub struct Postgres {
    guard: Guard,
    options: PostgresBuilder,
    port: u16,
    url: String,
}

/// What a private server shall be.
#[derive(Clone, Debug, Default)]
pub struct PostgresBuilder {
    settings: Vec<(String, String)>,
}

/// A database of one test; dropped with this value, whoever is still connected.
#[derive(Debug)]
pub struct Database {
    server: String,
    name: String,
    url: String,
}

impl Postgres {
    /// A server as it comes.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server to configure first.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// The URL of its database `postgres`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that holds the cluster's files.
    pub fn data(&self) -> PathBuf {
        self.guard.folder().join("data/cluster")
    }

    /// Runs SQL and returns the rows, one a line, with `|` between columns.
    pub fn sql(&self, sql: &str) -> String {
        psql(&self.url, sql)
    }

    /// Stops it in good order (its "fast" shutdown: sessions are ended), and waits until it is gone.
    pub fn stop(&self) {
        stack([("postgres-stop").as_ref(), self.guard.folder().as_os_str()])
            .unwrap_or_else(|error| panic!("PostgreSQL does not stop: {error}"));
    }

    /// kill -9. Sessions end a moment later, when they notice.
    pub fn kill(&self) {
        signal(&self.pidfile(), "KILL");
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), on the same port with the same data, and waits until it answers.
    pub fn restart(&self) {
        self.options
            .launch(&self.guard, self.port)
            .unwrap_or_else(|error| panic!("PostgreSQL does not start again: {error}"));
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let path = self.log_path();
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Where it logs.
    pub fn log_path(&self) -> PathBuf {
        self.guard.folder().join("postgres.log")
    }

    fn pidfile(&self) -> PathBuf {
        self.guard.folder().join("postgres.pid")
    }
}

impl PostgresBuilder {
    /// Sets one of the server's parameters.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> Postgres {
        let guard = Guard::new("postgres");
        let mut failure = String::new();
        for _ in 0..START_TRIES {
            let port = free_port();
            match self.launch(&guard, port) {
                Ok(()) => {
                    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
                    return Postgres {
                        guard,
                        options: self,
                        port,
                        url,
                    };
                }
                Err(error) => failure = error,
            }
        }
        panic!("no PostgreSQL after {START_TRIES} tries: {failure}");
    }

    fn launch(&self, guard: &Guard, port: u16) -> Result<(), String> {
        let mut arguments = vec!["postgres-start".to_owned(), "--small".to_owned()];
        for (name, value) in &self.settings {
            arguments.extend(["--setting".to_owned(), format!("{name}={value}")]);
        }
        arguments.extend([guard.folder().display().to_string(), port.to_string()]);
        stack(&arguments).map(drop)
    }
}

impl Database {
    pub(crate) fn new(server: String, name: String) -> Self {
        let (base, _) = server
            .rsplit_once('/')
            .expect("a server's URL ends with a database");
        let url = format!("{base}/{name}");
        Self { server, name, url }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL and returns the rows, one a line, with `|` between columns.
    pub fn sql(&self, sql: &str) -> String {
        psql(&self.url, sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let outcome = try_sql(
            &self.server,
            &format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name),
        );
        // A test that fails while it has the server down shall fail for its own reason.
        if let Err(error) = outcome
            && !std::thread::panicking()
        {
            panic!("database {} can't be dropped: {error}", self.name);
        }
    }
}

/// A session that does what it is sent on its standard input, and lives until that or it is ended.
///
/// # Panics
/// When the program psql can't be started.
pub fn session(url: &str) -> Child {
    Command::new(psql_program())
        .args(["--no-psqlrc", "--quiet", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("psql starts")
}

fn psql_program() -> PathBuf {
    let beside_server =
        std::env::var("GHM_TEST_POSTGRES_BIN").map(|bin| Path::new(&bin).join("psql"));
    beside_server
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("psql"))
}

/// Runs SQL by the program psql, which comes with the server: whoever needs a broker only builds no database driver.
pub(crate) fn psql(url: &str, sql: &str) -> String {
    try_sql(url, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Runs SQL on a server that may be away: the rows, one a line, with `|` between columns.
///
/// # Errors
/// What the server or the program psql said.
pub fn try_sql(url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new(psql_program())
        .args([
            "--no-psqlrc",
            "--quiet",
            "--no-align",
            "--tuples-only",
            "--set",
            "ON_ERROR_STOP=1",
            "--command",
            sql,
            url,
        ])
        .output()
        .map_err(|error| format!("psql: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
