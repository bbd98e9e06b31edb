//! What the fleet stands on: brokers, the ways to them, a database, its disk.

use crate::disk::Disk;
use crate::evidence::Evidence;
use crate::plan::{Action, Layout, Poison};
use crate::role::{Role, System};
use crate::run::make_topics;
use crate::streams;
use crate::supervisor::{Program, Settings};
use fleet_sim::FleetConfig;
use schema::topic::ORIGINAL_APPEND_TIME;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use testbed::{Broker, Cluster, Hold, NewRecord, Postgres, Proxy};

/// The header of a record that the suite put between the others.
pub(crate) const POISON_HEADER: &str = "chaos-poison";
/// The simulated fleet lives at a time of its own: nothing of it may be too old to be kept.
const FOR_EVER_DAYS: &str = "36500";
const FOR_EVER_MS: &str = "3155760000000";
/// Snapshots so often that some are written between the blows, and so seldom that there is something to replay.
const ROLLING: [(&str, &str); 2] = [
    ("PIPELINE__STATE", "rolling"),
    ("PIPELINE__SNAPSHOT_INTERVAL_MS", "5000"),
];
/// What the loop decides is what has to be understood of a red run.
pub(crate) const LOG_FILTER: (&str, &str) = ("LOG__FILTER", "info,chassis=debug");
/// Small transactions, so that there is always something open to strike at.
const TRANSACTION_RECORDS: &str = "500";

/// Of a broker that has others beside it: they take over when it has been silent for so long.
const BROKER_SESSION_MS: &str = "6000";
/// What a broker says when it drops the markers of a transaction.
const DROPPED: &str = "these partitions are likely deleted already";

/// Brokers and database.
#[derive(Debug)]
pub(crate) struct Ground {
    kafka: Kafka,
    /// A way for each role, in the order of [`Role::ALL`]; none in a cluster.
    ways: Vec<Proxy>,
    holds: Mutex<BTreeMap<Role, Hold>>,
    postgres: Postgres,
    /// Where the sink's rows are.
    rows: String,
    assets: String,
    disk: Option<Disk>,
}

#[derive(Debug)]
enum Kafka {
    One(Broker),
    Three(Cluster),
}

impl Ground {
    /// Starts everything, and makes the topics.
    pub(crate) fn start(brokers: usize, binaries: &Path) -> Self {
        let builder = Broker::builder().full_size();
        let (kafka, ways) = if brokers == 1 {
            let (broker, ways) = builder.start_with_ways(Role::ALL.len());
            (Kafka::One(broker), ways)
        } else {
            let builder = builder.property("broker.session.timeout.ms", BROKER_SESSION_MS);
            (Kafka::Three(Cluster::start_with(&builder)), Vec::new())
        };
        let postgres = Postgres::start();
        let (server, _) = postgres
            .url()
            .rsplit_once('/')
            .unwrap_or((postgres.url(), ""));
        let (rows, assets) = (format!("{server}/rows"), format!("{server}/assets"));
        let owner = std::fs::metadata(postgres.data()).map_or(0, |metadata| metadata.uid());
        let disk = Disk::make(owner);
        let place = disk.as_ref().map_or_else(String::new, |disk| {
            let folder = disk.folder().display();
            postgres.sql(&format!("CREATE TABLESPACE small LOCATION '{folder}'"));
            " TABLESPACE small".to_owned()
        });
        postgres.sql(&format!("CREATE DATABASE rows{place}"));
        postgres.sql("CREATE DATABASE assets");
        let ground = Self {
            kafka,
            ways,
            holds: Mutex::new(BTreeMap::new()),
            postgres,
            rows,
            assets,
            disk,
        };
        make_topics(binaries, ground.bootstrap(), brokers);
        ground
    }

    /// What of it can be struck, with `roles` on it.
    pub(crate) fn layout(
        roles: &[Role],
        brokers: usize,
        backlog_minutes: u64,
        only: &[String],
    ) -> Layout {
        Layout {
            roles: roles.to_vec(),
            brokers,
            network: brokers == 1,
            database: roles.contains(&Role::TsdbSink),
            backlog_minutes,
            only: only.to_vec(),
        }
    }

    /// The way of the suite itself, which nothing strikes but what strikes the brokers.
    pub(crate) fn bootstrap(&self) -> &str {
        match &self.kafka {
            Kafka::One(broker) => broker.bootstrap(),
            Kafka::Three(cluster) => cluster.bootstrap(),
        }
    }

    /// How each of `roles` is started, with the stages of `system`; its local state goes to `state`. The state of those in
    /// `rolling` is written in rolling snapshots.
    pub(crate) fn settings(
        &self,
        roles: &[Role],
        rolling: &[Role],
        system: System,
        state: &Path,
    ) -> BTreeMap<Role, Settings> {
        roles
            .iter()
            .map(|role| {
                let mut settings = self.settings_of(*role);
                if rolling.contains(role) {
                    let further = ROLLING.map(|(key, value)| (key.to_owned(), value.to_owned()));
                    settings.further.extend(further);
                }
                if system == System::KafkaStreams && Role::COMPARED.contains(role) {
                    settings.program = Program::Streams {
                        jar: streams::jar(),
                        state: state.to_owned(),
                    };
                }
                (*role, settings)
            })
            .collect()
    }

    fn settings_of(&self, role: Role) -> Settings {
        let bootstrap = self.way(role).map_or_else(
            || self.bootstrap().to_owned(),
            |way| format!("127.0.0.1:{}", way.port()),
        );
        let further: Vec<(&str, &str)> = match role {
            Role::AssetLookup => vec![("DATABASE__URL", &self.assets)],
            Role::TsdbSink => vec![
                ("DATABASE__URL", &self.rows),
                ("SINK__MAX_RECORDS", TRANSACTION_RECORDS),
                ("RETENTION__READINGS_DAYS", FOR_EVER_DAYS),
                ("RETENTION__ONE_MINUTE_DAYS", FOR_EVER_DAYS),
                ("RETENTION__FIFTEEN_MINUTES_DAYS", FOR_EVER_DAYS),
                ("RETENTION__ALERTS_DAYS", FOR_EVER_DAYS),
                ("RETENTION__HEALTH_SCORES_DAYS", FOR_EVER_DAYS),
            ],
            // It audits from the first record on, and looks into the tables often.
            Role::Auditor => vec![
                ("DATABASE__URL", &self.rows),
                ("AUDIT__START", "earliest"),
                ("SINK__INTERVAL_MS", "2000"),
                ("SINK__MAX_AGE_MS", FOR_EVER_MS),
            ],
            // Ticks of a silent partition come from the clock, and event time runs faster than it.
            Role::Validator => vec![
                ("PIPELINE__MAX_TRANSACTION_RECORDS", TRANSACTION_RECORDS),
                ("PIPELINE__IDLE_AFTER_MS", "0"),
            ],
            _ => vec![("PIPELINE__MAX_TRANSACTION_RECORDS", TRANSACTION_RECORDS)],
        };
        let further = further.into_iter().chain([LOG_FILTER]);
        Settings {
            program: Program::Ours,
            is_static: false,
            bootstrap,
            further: further
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    fn way(&self, role: Role) -> Option<&Proxy> {
        let place = Role::ALL.iter().position(|other| *other == role)?;
        self.ways.get(place)
    }

    /// Rows of a query on the sink's database.
    ///
    /// # Errors
    /// What the server said.
    pub(crate) fn sql(&self, sql: &str) -> Result<String, String> {
        testbed::try_sql(&self.rows, sql)
    }

    /// The folder of the disk, to be given back if the suite can't do it in good order.
    pub(crate) fn disk(&self) -> Option<PathBuf> {
        self.disk.as_ref().map(|disk| disk.folder().to_owned())
    }

    /// Leaves to `evidence` what is not the fleet's: the logs of PostgreSQL and the brokers, and the brokers' internal topics.
    pub(crate) fn testify(&self, evidence: &Evidence) {
        evidence.copy("postgres.log", &self.postgres.log_path());
        for (number, broker) in (1..).zip(self.brokers()) {
            let number: usize = number;
            evidence.copy(&format!("kafka-{number}.log"), &broker.log_path());
        }
        if let Err(error) = self.keep_internal_topics(evidence.folder()) {
            evidence.say(&format!(
                "the brokers' internal topics can't be kept: {error}"
            ));
        }
    }

    /// How many times the brokers have dropped the markers of a transaction, which no client can make good: its outputs are
    /// then neither committed nor aborted, or its offsets lost.
    pub(crate) fn dropped_markers(&self) -> usize {
        self.brokers()
            .iter()
            .filter_map(|broker| std::fs::read_to_string(broker.log_path()).ok())
            .map(|log| log.matches(DROPPED).count())
            .sum()
    }

    /// Copies what the brokers know of transactions and groups into `folder`: the logs of their internal topics.
    ///
    /// # Errors
    /// If a file can't be read or written.
    fn keep_internal_topics(&self, folder: &Path) -> std::io::Result<()> {
        for (number, broker) in (1..).zip(self.brokers()) {
            let number: usize = number;
            let data = broker.log_path().with_file_name("data");
            for entry in std::fs::read_dir(data)? {
                let partition = entry?;
                let name = partition.file_name();
                if !name.to_string_lossy().starts_with("__") {
                    continue;
                }
                let kept = folder.join(format!("kafka-{number}")).join(name);
                std::fs::create_dir_all(&kept)?;
                for segment in std::fs::read_dir(partition.path())? {
                    let segment = segment?;
                    if segment.path().extension().is_some_and(|kind| kind == "log") {
                        std::fs::copy(segment.path(), kept.join(segment.file_name()))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn brokers(&self) -> &[Broker] {
        match &self.kafka {
            Kafka::One(broker) => std::slice::from_ref(broker),
            Kafka::Three(cluster) => cluster.nodes(),
        }
    }

    /// Does what concerns the ground; false for what concerns the fleet.
    ///
    /// # Errors
    /// If it can't be done: then the suite is at fault, and not the fleet.
    pub(crate) fn strike(&self, action: Action) -> Result<bool, String> {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        match action {
            Action::KillBroker(node) => self.brokers()[node].kill(),
            Action::StartBroker(node) => self.brokers()[node].restart(),
            Action::SleepBroker(node) => self.brokers()[node].pause(),
            Action::WakeBroker(node) => self.brokers()[node].resume(),
            Action::Cut(role) => self.on_way(role, Proxy::cut),
            Action::Mend(role) => self.on_way(role, Proxy::mend),
            Action::Delay(role, by_ms) => {
                self.on_way(role, |way| way.delay(Duration::from_millis(by_ms)));
            }
            Action::Hold(role, api_key) => {
                if let Some(way) = self.way(role) {
                    holds.insert(role, way.hold_next(api_key));
                }
            }
            Action::Release(role) => drop(holds.remove(&role)),
            Action::KillDatabase => self.postgres.kill(),
            Action::StartDatabase => self.postgres.restart(),
            Action::FillDisk => self.fill_disk()?,
            Action::EmptyDisk => self.empty_disk()?,
            Action::Spoil(topic, partition, poison) => {
                // Appended now it would be months after the fleet's readings, and every later one of its partition too
                // late for its window.
                let appended = FleetConfig::default().start.as_millis().to_string();
                let record = NewRecord::new("chaos", spoiled(poison))
                    .partition(partition)
                    .header(POISON_HEADER, "1")
                    .header(ORIGINAL_APPEND_TIME, appended);
                testbed::produce(self.bootstrap(), topic.name, [record]);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn on_way(&self, role: Role, strike: impl FnOnce(&Proxy)) {
        if let Some(way) = self.way(role) {
            strike(way);
        }
    }

    fn fill_disk(&self) -> Result<(), String> {
        if let Some(disk) = &self.disk {
            return disk.fill();
        }
        // Without the right to mount: a trigger says what a server with a full disk says.
        self.sql(
            "CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE EXCEPTION USING ERRCODE = ''53100'', MESSAGE = ''No space left on device''; END'; \
             CREATE TRIGGER full_disk BEFORE INSERT ON gpu_metrics FOR EACH ROW EXECUTE FUNCTION full_disk()",
        )
        .map(drop)
    }

    fn empty_disk(&self) -> Result<(), String> {
        match &self.disk {
            Some(disk) => disk.empty(),
            None => self.sql("DROP TRIGGER full_disk ON gpu_metrics").map(drop),
        }
    }
}

fn spoiled(poison: Poison) -> Vec<u8> {
    /// Below the broker's limit for a record of 1 MiB.
    const LARGE: usize = 900_000;
    const DEEP: usize = 10_000;
    match poison {
        Poison::Malformed => vec![0xff, 0x00, b'{', 0xc3, 0x28, b'"'],
        Poison::Large => {
            let mut text = b"\"".to_vec();
            text.resize(LARGE, b'x');
            text.push(b'"');
            text
        }
        Poison::Deep => {
            let mut text = vec![b'['; DEEP];
            text.resize(2 * DEEP, b']');
            text
        }
    }
}
