//! Grants rights by Kafka's `CreateAcls` request, written by hand: librdkafka's call is not in rdkafka's safe interface, and
//! Kafka's own program starts a JVM for each right.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What a right is about. The name `*` stands for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A topic.
    Topic(&'a str),
    /// A consumer group.
    Group(&'a str),
    /// A producer's transactional id.
    TransactionalId(&'a str),
    /// All transactional ids that begin so.
    TransactionalIdPrefix(&'a str),
    /// The cluster.
    Cluster,
}

/// What one may do with it. The values are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Operation {
    /// Everything.
    All = 2,
    /// Read records, join a group, commit offsets.
    Read = 3,
    /// Write records, use a transactional id.
    Write = 4,
    /// Create a topic.
    Create = 5,
    /// See that it is there.
    Describe = 8,
    /// See its settings.
    DescribeConfigs = 10,
}

const TIMEOUT: Duration = Duration::from_secs(20);
const CREATE_ACLS: i16 = 30;
const VERSION: i16 = 1;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const ALLOW: i8 = 3;

/// Grants a user rights, by a listener on which everyone may.
pub(crate) fn create_acls(
    server: &str,
    user: &str,
    resource: Resource<'_>,
    operations: &[Operation],
) {
    let (kind, name, pattern) = resource.encoded();
    let mut body = Vec::new();
    body.extend(
        i32::try_from(operations.len())
            .expect("a few operations")
            .to_be_bytes(),
    );
    for operation in operations {
        body.extend(kind.to_be_bytes());
        string(&mut body, name);
        body.extend(pattern.to_be_bytes());
        string(&mut body, &format!("User:{user}"));
        string(&mut body, "*");
        body.extend((*operation as i8).to_be_bytes());
        body.extend(ALLOW.to_be_bytes());
    }
    let response = call(server, &body).unwrap_or_else(|error| panic!("rights for {user}: {error}"));
    // Correlation id, throttle time, number of results; then an error code and a text for each.
    let mut rest = response.get(12..).expect("a whole response");
    for operation in operations {
        let (code, after) = rest.split_at_checked(2).expect("an error code");
        let (length, after) = after.split_at_checked(2).expect("a length");
        let code = i16::from_be_bytes([code[0], code[1]]);
        // The text is null, with length -1, where all is well.
        let length = usize::try_from(i16::from_be_bytes([length[0], length[1]])).unwrap_or(0);
        let (text, after) = after.split_at_checked(length).expect("a text");
        assert_eq!(
            code,
            0,
            "{operation:?} of {resource:?} for {user}: {}",
            String::from_utf8_lossy(text)
        );
        rest = after;
    }
}

impl<'a> Resource<'a> {
    fn encoded(self) -> (i8, &'a str, i8) {
        match self {
            Self::Topic(name) => (2, name, LITERAL),
            Self::Group(name) => (3, name, LITERAL),
            Self::Cluster => (4, "kafka-cluster", LITERAL),
            Self::TransactionalId(name) => (5, name, LITERAL),
            Self::TransactionalIdPrefix(name) => (5, name, PREFIXED),
        }
    }
}

fn call(server: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    request.extend(CREATE_ACLS.to_be_bytes());
    request.extend(VERSION.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    string(&mut request, "testbed");
    request.extend(body);
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(
        &u32::try_from(request.len())
            .expect("a small request")
            .to_be_bytes(),
    )?;
    stream.write_all(&request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut response =
        vec![0; usize::try_from(u32::from_be_bytes(length)).expect("a small response")];
    stream.read_exact(&mut response)?;
    Ok(response)
}

fn string(buffer: &mut Vec<u8>, text: &str) {
    buffer.extend(
        i16::try_from(text.len())
            .expect("a short text")
            .to_be_bytes(),
    );
    buffer.extend(text.as_bytes());
}
