use crate::unique::random;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

// Below the range from which Linux takes the local ports of outgoing connections: a port that a stopped server will use
// again must not become some client's meanwhile.
const FIRST: u16 = 15_000;
const PORTS: u64 = 17_000;
const TRIES: usize = 1_000;

/// A TCP port of 127.0.0.1 that nobody listens on, and that this process gets only once.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    for _ in 0..TRIES {
        let offset = u16::try_from(random() % PORTS).expect("the range of ports fits u16");
        let port = FIRST + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && GIVEN
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(port)
        {
            return port;
        }
    }
    panic!("no free port among {TRIES} tried")
}
