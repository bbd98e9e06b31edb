//! The kinds of blows, and what each is made of.

use super::{Action, Layout};
use crate::random::Random;
use crate::role::Role;
use schema::topic::{self, Topic};
use std::fmt;
use testbed::api;

/// Session timeout of the fleet (its default, and the broker's least).
const SESSION_MS: u64 = 6_000;
/// How long a further instance takes until it has its share of the partitions.
const JOIN_MS: u64 = 4_000;
/// A slow consumer sleeps for this much of each [`SLOW_TURN_MS`].
const SLOW_SLEEP_MS: u64 = 450;
const SLOW_TURN_MS: u64 = 500;

/// A record that no stage can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poison {
    /// Bytes that are no text.
    Malformed,
    /// Nearly a megabyte.
    Large,
    /// Ten thousand arrays in each other.
    Deep,
}

/// One blow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// kill -9, and a restart so much later.
    Kill { role: Role, down_ms: u64 },
    /// A second instance; SIGSTOP of the first past its session; SIGCONT.
    Zombie { role: Role, sleep_ms: u64 },
    /// Two instances, each restarted in turn.
    Rolling { role: Role },
    /// One instance, three, two, one.
    Scale { role: Role },
    /// kill -9 of a broker, and a restart so much later. Of three: one is lost.
    BrokerKill {
        node: usize,
        down_ms: u64,
        of: usize,
    },
    /// SIGSTOP of a broker.
    BrokerSleep {
        node: usize,
        sleep_ms: u64,
        of: usize,
    },
    /// No connection between a service and the broker.
    Cut { role: Role, for_ms: u64 },
    /// Each request takes longer.
    Delay { role: Role, for_ms: u64, by_ms: u64 },
    /// One request of a kind gets to the broker late, when the client has perhaps long given it up.
    Hold {
        role: Role,
        for_ms: u64,
        api_key: i16,
    },
    /// kill -9 of PostgreSQL, and a restart so much later.
    DatabaseKill { down_ms: u64 },
    /// No room on the database's disk.
    DiskFull { for_ms: u64 },
    /// A consumer that gets a tenth of the time.
    Slow { role: Role, for_ms: u64 },
    /// A record that no stage can take, in the middle of the others.
    Poison {
        topic: &'static Topic,
        partition: i32,
        poison: Poison,
    },
    /// Every stage is away while a backlog is written at full speed, and catches up at full speed.
    Backlog { for_ms: u64, event_minutes: u64 },
}

/// What a blow strikes: two blows at a time strike two different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Role(Role),
    Broker,
    Database,
    Topic,
    /// Everything that consumes.
    Fleet,
}

/// Makes a blow of one kind.
pub(super) type Make = fn(&mut Random, &Layout) -> Blow;

impl Blow {
    /// What can be drawn in `layout`.
    pub(super) fn kinds(layout: &Layout) -> Vec<Make> {
        let mut kinds: Vec<Make> = vec![
            |random, layout| Self::Kill {
                role: random.of(&layout.roles),
                down_ms: random.between(0, 3_000),
            },
            |random, layout| Self::Zombie {
                role: a_stage(random, layout),
                sleep_ms: random.between(SESSION_MS + 2_000, SESSION_MS + 5_000),
            },
            |random, layout| Self::Rolling {
                role: a_stage(random, layout),
            },
            |random, layout| Self::Scale {
                role: a_stage(random, layout),
            },
            |random, layout| Self::Slow {
                role: a_consumer(random, layout),
                for_ms: random.between(6_000, 10_000),
            },
            |random, layout| Self::Backlog {
                for_ms: random.between(8_000, 12_000),
                event_minutes: layout.backlog_minutes,
            },
            |random, _| Self::Poison {
                topic: random.of(&[&topic::RAW, &topic::VALIDATED, &topic::ENRICHED]),
                partition: i32::try_from(random.between(0, topic::RAW.partitions as u64 - 1))
                    .unwrap_or(0),
                poison: random.of(&[Poison::Malformed, Poison::Large, Poison::Deep]),
            },
        ];
        // A broker that is alone leaves its partitions without a leader for a moment when it comes back, and Kafka 4.3.1
        // then drops the markers of transactions (KAFKA-20734, docs/adr/0011): no client can make that good.
        if layout.brokers > 1 || !layout.only.is_empty() {
            kinds.extend::<[Make; 2]>([
                |random, layout| Self::BrokerKill {
                    node: broker(random, layout),
                    down_ms: random.between(1_000, 6_000),
                    of: layout.brokers,
                },
                |random, layout| Self::BrokerSleep {
                    node: broker(random, layout),
                    sleep_ms: random.between(3_000, 12_000),
                    of: layout.brokers,
                },
            ]);
        }
        if layout.network {
            kinds.extend::<[Make; 4]>([
                |random, layout| Self::Cut {
                    role: a_consumer(random, layout),
                    for_ms: random.between(3_000, 10_000),
                },
                |random, layout| Self::Delay {
                    role: a_consumer(random, layout),
                    for_ms: random.between(6_000, 10_000),
                    by_ms: random.between(50, 400),
                },
                // Longer than `kafka.socket_timeout_ms`, 10 s: the client makes the request again, the first comes late.
                |random, layout| Self::Hold {
                    role: a_stage(random, layout),
                    for_ms: random.between(10_500, 14_000),
                    api_key: api::END_TXN,
                },
                |random, layout| Self::Hold {
                    role: a_stage(random, layout),
                    for_ms: random.between(3_000, 12_000),
                    api_key: random.of(&HELD.map(|(api_key, _)| api_key)),
                },
            ]);
        }
        if layout.database {
            kinds.extend::<[Make; 2]>([
                |random, _| Self::DatabaseKill {
                    down_ms: random.between(1_000, 6_000),
                },
                |random, _| Self::DiskFull {
                    for_ms: random.between(4_000, 8_000),
                },
            ]);
        }
        kinds
    }

    pub(crate) fn target(&self) -> Target {
        match *self {
            Self::Kill { role, .. }
            | Self::Zombie { role, .. }
            | Self::Rolling { role }
            | Self::Scale { role }
            | Self::Cut { role, .. }
            | Self::Delay { role, .. }
            | Self::Hold { role, .. }
            | Self::Slow { role, .. } => Target::Role(role),
            Self::BrokerKill { .. } | Self::BrokerSleep { .. } => Target::Broker,
            Self::DatabaseKill { .. } | Self::DiskFull { .. } => Target::Database,
            Self::Poison { .. } => Target::Topic,
            Self::Backlog { .. } => Target::Fleet,
        }
    }

    /// Can both go on at the same time?
    pub(super) fn can_overlap(&self, other: &Self) -> bool {
        let (one, two) = (self.target(), other.target());
        // Who is away can't be struck; and poison needs a broker that takes it.
        let fleet = one == Target::Fleet || two == Target::Fleet;
        let unheard = [one, two].contains(&Target::Broker) && [one, two].contains(&Target::Topic);
        one != two && !fleet && !unheard
    }

    /// From the first step to the last.
    pub(super) fn length_ms(&self) -> u64 {
        self.steps().last().map_or(0, |(at_ms, _)| *at_ms)
    }

    /// What is done, each with its time after the beginning; in that order.
    pub(super) fn steps(&self) -> Vec<(u64, Action)> {
        match *self {
            Self::Kill { role, down_ms } => {
                vec![
                    (0, Action::Kill(role, 0)),
                    (down_ms, Action::Start(role, 0)),
                ]
            }
            Self::Zombie { role, sleep_ms } => vec![
                (0, Action::Start(role, 1)),
                (JOIN_MS, Action::Sleep(role, 0)),
                (JOIN_MS + sleep_ms, Action::Wake(role, 0)),
                (2 * JOIN_MS + sleep_ms, Action::Stop(role, 1)),
            ],
            Self::Rolling { role } => vec![
                (0, Action::Start(role, 1)),
                (JOIN_MS, Action::Restart(role, 0)),
                (2 * JOIN_MS, Action::Restart(role, 1)),
                (3 * JOIN_MS, Action::Stop(role, 1)),
            ],
            Self::Scale { role } => vec![
                (0, Action::Start(role, 1)),
                (0, Action::Start(role, 2)),
                (JOIN_MS + 1_000, Action::Stop(role, 2)),
                (2 * JOIN_MS + 1_000, Action::Stop(role, 1)),
            ],
            Self::BrokerKill { node, down_ms, .. } => vec![
                (0, Action::KillBroker(node)),
                (down_ms, Action::StartBroker(node)),
            ],
            Self::BrokerSleep { node, sleep_ms, .. } => vec![
                (0, Action::SleepBroker(node)),
                (sleep_ms, Action::WakeBroker(node)),
            ],
            Self::Cut { role, for_ms } => {
                vec![(0, Action::Cut(role)), (for_ms, Action::Mend(role))]
            }
            Self::Delay {
                role,
                for_ms,
                by_ms,
            } => vec![
                (0, Action::Delay(role, by_ms)),
                (for_ms, Action::Delay(role, 0)),
            ],
            Self::Hold {
                role,
                for_ms,
                api_key,
            } => vec![
                (0, Action::Hold(role, api_key)),
                (for_ms, Action::Release(role)),
            ],
            Self::DatabaseKill { down_ms } => {
                vec![(0, Action::KillDatabase), (down_ms, Action::StartDatabase)]
            }
            Self::DiskFull { for_ms } => {
                vec![(0, Action::FillDisk), (for_ms, Action::EmptyDisk)]
            }
            Self::Slow { role, for_ms } => (0..for_ms / SLOW_TURN_MS)
                .flat_map(|turn| {
                    let from = turn * SLOW_TURN_MS;
                    [
                        (from, Action::Sleep(role, 0)),
                        (from + SLOW_SLEEP_MS, Action::Wake(role, 0)),
                    ]
                })
                .collect(),
            Self::Poison {
                topic,
                partition,
                poison,
            } => vec![(0, Action::Spoil(topic, partition, poison))],
            Self::Backlog {
                for_ms,
                event_minutes,
            } => {
                let away = Role::CONSUMERS.map(|role| (0, Action::Stop(role, 0)));
                let back = Role::CONSUMERS.map(|role| (for_ms, Action::Start(role, 0)));
                let flood = [(1_000, Action::Flood(event_minutes))];
                away.into_iter().chain(flood).chain(back).collect()
            }
        }
    }
}

/// Requests whose delay is a blow of its own, with their names.
const HELD: [(i16, &str); 6] = [
    (api::TXN_OFFSET_COMMIT, "TxnOffsetCommit"),
    (api::ADD_PARTITIONS_TO_TXN, "AddPartitionsToTxn"),
    (api::ADD_OFFSETS_TO_TXN, "AddOffsetsToTxn"),
    (api::PRODUCE, "Produce"),
    (api::FETCH, "Fetch"),
    (api::HEARTBEAT, "Heartbeat"),
];

fn broker(random: &mut Random, layout: &Layout) -> usize {
    usize::try_from(random.between(0, layout.brokers as u64 - 1)).unwrap_or(0)
}

fn a_stage(random: &mut Random, layout: &Layout) -> Role {
    one_of(random, layout, &Role::STAGES)
}

fn a_consumer(random: &mut Random, layout: &Layout) -> Role {
    one_of(random, layout, &Role::CONSUMERS)
}

fn one_of(random: &mut Random, layout: &Layout, wanted: &[Role]) -> Role {
    let some: Vec<Role> = wanted
        .iter()
        .copied()
        .filter(|role| layout.roles.contains(role))
        .collect();
    random.of(&some)
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1_000.0);
        let one = |node: usize, of: usize| match of {
            1 => "broker".to_owned(),
            of => format!("broker {} of {of}", node + 1),
        };
        match *self {
            Self::Kill { role, down_ms } => {
                write!(f, "kill -9 {role}, back after {}", seconds(down_ms))
            }
            Self::Zombie { role, sleep_ms } => write!(
                f,
                "zombie {role}: SIGSTOP for {}, its partitions go to a second",
                seconds(sleep_ms)
            ),
            Self::Rolling { role } => write!(f, "rolling restart of two {role}"),
            Self::Scale { role } => write!(f, "scale {role} 1 -> 3 -> 2 -> 1"),
            Self::BrokerKill { node, down_ms, of } => write!(
                f,
                "kill -9 {}, back after {}",
                one(node, of),
                seconds(down_ms)
            ),
            Self::BrokerSleep { node, sleep_ms, of } => {
                write!(f, "SIGSTOP {} for {}", one(node, of), seconds(sleep_ms))
            }
            Self::Cut { role, for_ms } => {
                write!(f, "network of {role} cut for {}", seconds(for_ms))
            }
            Self::Delay {
                role,
                for_ms,
                by_ms,
            } => write!(
                f,
                "network of {role} slower by {by_ms} ms for {}",
                seconds(for_ms)
            ),
            Self::Hold {
                role,
                for_ms,
                api_key,
            } => {
                let name = HELD
                    .iter()
                    .find(|(key, _)| *key == api_key)
                    .map_or("EndTxn", |(_, name)| *name);
                write!(f, "{name} of {role} held for {}", seconds(for_ms))
            }
            Self::DatabaseKill { down_ms } => {
                write!(f, "kill -9 PostgreSQL, back after {}", seconds(down_ms))
            }
            Self::DiskFull { for_ms } => write!(f, "database disk full for {}", seconds(for_ms)),
            Self::Slow { role, for_ms } => write!(
                f,
                "slow {role}: a tenth of the time for {}",
                seconds(for_ms)
            ),
            Self::Poison {
                topic,
                partition,
                poison,
            } => write!(f, "poison ({poison:?}) into {}/{partition}", topic.name),
            Self::Backlog {
                for_ms,
                event_minutes,
            } => write!(
                f,
                "all consumers away for {}, {event_minutes} minutes of backlog",
                seconds(for_ms)
            ),
        }
    }
}
