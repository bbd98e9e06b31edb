//! A wrong password and each missing right: one clear line, no endless retry.

use crate::support::{Counter, Topics};
use std::time::Duration;
use testbed::{Broker, Operation, Resource};

const GROUP_RIGHTS: [Operation; 1] = [Operation::Read];

struct Secured {
    broker: Broker,
    topics: Topics,
}

impl Secured {
    fn start() -> Self {
        let broker = Broker::builder().user("counter", "right").start();
        let topics = Topics::create(&broker.internal());
        Self { broker, topics }
    }

    fn allow(&self, resource: Resource<'_>, operations: &[Operation]) {
        self.broker.allow("counter", resource, operations);
    }

    fn run(&self, password: &str) -> (i32, String) {
        let extra = [
            ("COUNTER__KAFKA__SECURITY_PROTOCOL", "sasl_plaintext"),
            ("COUNTER__KAFKA__SASL_MECHANISM", "SCRAM-SHA-512"),
            ("COUNTER__KAFKA__SASL_USERNAME", "counter"),
            ("COUNTER__KAFKA__SASL_PASSWORD", password),
        ];
        let counter = Counter::start(self.broker.bootstrap(), &self.topics, "a", &extra);
        counter.wait(Duration::from_secs(40))
    }

    fn assert_refused(&self, password: &str, needle: &str) {
        let (code, log) = self.run(password);
        assert_eq!(code, 77, "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("counter: ") && last.contains(needle),
            "{log}"
        );
        assert!(!log.contains("right\""), "the password is not shown");
    }
}

#[test]
fn a_wrong_password_and_each_missing_right_are_named_and_end_the_service() {
    let secured = Secured::start();
    let Topics {
        input,
        output,
        changelog,
    } = secured.topics.clone();
    secured.assert_refused("wrong", "user name or password");
    secured.assert_refused("right", &format!("no right to describe topic {input}"));

    secured.allow(Resource::Topic(&input), &[Operation::Describe]);
    secured.allow(Resource::Topic(&output), &[Operation::Describe]);
    secured.allow(
        Resource::Topic(&changelog),
        &[Operation::Describe, Operation::Read, Operation::Write],
    );
    secured.assert_refused("right", "Transactional Id authorization failed");

    secured.allow(
        Resource::TransactionalIdPrefix("group-"),
        &[Operation::Describe, Operation::Write],
    );
    secured.assert_refused("right", "no right to read as consumer group");

    secured.allow(Resource::Group("*"), &GROUP_RIGHTS);
    secured.assert_refused("right", &format!("no right to read topic {input}"));

    secured.allow(Resource::Topic(&input), &[Operation::Read]);
    crate::support::produce(&secured.broker.internal(), &input, 4, 10);
    secured.assert_refused("right", &output);

    secured.allow(Resource::Topic(&output), &[Operation::Write]);
    let extra = [
        ("COUNTER__KAFKA__SECURITY_PROTOCOL", "sasl_plaintext"),
        ("COUNTER__KAFKA__SASL_MECHANISM", "SCRAM-SHA-512"),
        ("COUNTER__KAFKA__SASL_USERNAME", "counter"),
        ("COUNTER__KAFKA__SASL_PASSWORD", "right"),
    ];
    let counter = Counter::start(secured.broker.bootstrap(), &secured.topics, "a", &extra);
    counter.wait_ready();
    crate::support::assert_exactly_once(&secured.broker.internal(), &secured.topics, 4, 10);
}
