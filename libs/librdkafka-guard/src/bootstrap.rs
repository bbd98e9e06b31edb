//! Gives a client that knows no broker any more those that it began with.

use rdkafka::bindings::{
    rd_kafka_brokers_add, rd_kafka_brokers_learned_ids, rd_kafka_conf, rd_kafka_conf_get,
    rd_kafka_conf_res_t, rd_kafka_mem_free, rd_kafka_t,
};
use std::ffi::{CStr, c_char, c_int};
use std::ptr::null_mut;

const BOOTSTRAP_SERVERS: &CStr = c"bootstrap.servers";

unsafe extern "C" {
    /// librdkafka's own: the linker gives it this name.
    fn __real_rd_kafka_rebootstrap_tmr_stop(client: *mut rd_kafka_t) -> c_int;
}

/// Called by librdkafka's main thread, which holds no lock then, when it has applied an answer to a metadata request.
///
/// # Safety
/// `client` is a client that has not been destroyed.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_rd_kafka_rebootstrap_tmr_stop(
    client: *mut rd_kafka_t,
) -> c_int {
    // SAFETY: the client is alive, and the function is the one that this one stands for.
    let was_started = unsafe { __real_rd_kafka_rebootstrap_tmr_stop(client) };
    // SAFETY: the client is alive.
    if unsafe { learned_brokers(client) } == 0
        // SAFETY: as above.
        && let Some(servers) = unsafe { bootstrap_servers(client) }
    {
        // Those that it still has are not added again.
        // SAFETY: the client is alive, `servers` ends with a zero, and librdkafka copies it.
        unsafe { rd_kafka_brokers_add(client, servers.as_ptr().cast()) };
    }
    was_started
}

/// How many of the cluster's brokers a client that is alive knows.
unsafe fn learned_brokers(client: *mut rd_kafka_t) -> usize {
    let mut count = 0;
    // SAFETY: the client is alive.
    let ids = unsafe { rd_kafka_brokers_learned_ids(client, &raw mut count) };
    // SAFETY: the list is ours to free, with the allocator that librdkafka has taken.
    unsafe { rd_kafka_mem_free(null_mut(), ids.cast()) };
    count
}

/// The setting of a client that is alive, with the zero at its end.
unsafe fn bootstrap_servers(client: *mut rd_kafka_t) -> Option<Vec<u8>> {
    let get = |into: *mut c_char, size: &mut usize| {
        // SAFETY: the client is alive, and `into` is null, to ask for the size, or as long as `size` says.
        unsafe {
            rd_kafka_conf_get(
                rd_kafka_conf(client),
                BOOTSTRAP_SERVERS.as_ptr(),
                into,
                size,
            )
        }
    };
    let mut size = 0;
    if get(null_mut(), &mut size) != rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
        return None;
    }
    let mut servers = vec![0; size];
    (get(servers.as_mut_ptr().cast(), &mut size) == rd_kafka_conf_res_t::RD_KAFKA_CONF_OK)
        .then_some(servers)
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::producer::{BaseProducer, Producer};
    use std::io::{Read, Result, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    /// Long, since librdkafka reckons the memory for an answer by its length, and falls short with a very small one.
    const TOPIC: &str =
        "a-topic-whose-leader-is-not-available-yet-as-right-after-the-start-of-its-broker";

    /// Answers to metadata requests of version 0, as a broker does that names itself, or nobody while `alone`.
    fn answer(mut client: TcpStream, port: u16, alone: &AtomicBool) -> Result<()> {
        loop {
            let mut length = [0; 4];
            client.read_exact(&mut length)?;
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            client.read_exact(&mut request)?;
            let mut body = request[4..8].to_vec();
            if alone.load(Ordering::SeqCst) {
                body.extend(0_i32.to_be_bytes());
            } else {
                body.extend(1_i32.to_be_bytes());
                body.extend(7_i32.to_be_bytes());
                body.extend(9_i16.to_be_bytes());
                body.extend(b"127.0.0.1");
                body.extend(i32::from(port).to_be_bytes());
            }
            // One topic, "leader not available", without partitions.
            body.extend(1_i32.to_be_bytes());
            body.extend(5_i16.to_be_bytes());
            body.extend(i16::try_from(TOPIC.len()).unwrap().to_be_bytes());
            body.extend(TOPIC.as_bytes());
            body.extend(0_i32.to_be_bytes());
            client.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes())?;
            client.write_all(&body)?;
        }
    }

    #[test]
    fn a_client_whose_broker_named_nobody_asks_again() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let alone = Arc::new(AtomicBool::new(false));
        let answering = Arc::clone(&alone);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let alone = Arc::clone(&answering);
                std::thread::spawn(move || answer(client, port, &alone));
            }
        });
        let client: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", format!("127.0.0.1:{port}"))
            // Metadata is asked for in version 0, and no other request is sent.
            .set("api.version.request", "false")
            .set("broker.version.fallback", "0.8.2")
            .create()
            .unwrap();
        let named = || {
            let asked = client
                .client()
                .fetch_metadata(Some(TOPIC), Duration::from_secs(2));
            asked.map(|metadata| metadata.brokers().len())
        };
        assert_eq!(named(), Ok(1));
        alone.store(true, Ordering::SeqCst);
        assert_eq!(named(), Ok(0));
        alone.store(false, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(20);
        while named() != Ok(1) {
            assert!(Instant::now() < deadline, "the client asks nobody any more");
        }
    }
}
