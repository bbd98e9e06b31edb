use crate::{free_port, wait_until};
use std::collections::BTreeMap;
use std::io::{Error, Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The keys by which Kafka's protocol tells requests apart, as far as tests name them.
pub mod api {
    /// Records to append.
    pub const PRODUCE: i16 = 0;
    /// Records to read.
    pub const FETCH: i16 = 1;
    /// What topics there are and who leads them.
    pub const METADATA: i16 = 3;
    /// A classic member lives.
    pub const HEARTBEAT: i16 = 12;
    /// A producer's id and epoch; fences its predecessor.
    pub const INIT_PRODUCER_ID: i16 = 22;
    /// A transaction writes to these partitions.
    pub const ADD_PARTITIONS_TO_TXN: i16 = 24;
    /// A transaction commits offsets of this group.
    pub const ADD_OFFSETS_TO_TXN: i16 = 25;
    /// Commit or abort.
    pub const END_TXN: i16 = 26;
    /// The offsets that a transaction commits.
    pub const TXN_OFFSET_COMMIT: i16 = 28;
    /// A member of the consumer protocol lives.
    pub const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
}

/// A TCP proxy in front of a broker or a database, which can misbehave as networks do.
///
/// It passes bytes on as they are; of Kafka's protocol it knows the frame of a request (length, then API key), to count and to
/// hold requests of one kind. Everything that it holds up it lets go when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    network: Arc<Network>,
}

/// A request held back on its way to the broker; let go when dropped.
#[derive(Debug)]
pub struct Hold {
    id: u64,
    network: Arc<Network>,
}

impl Proxy {
    /// A proxy for Kafka's protocol on a free port of 127.0.0.1, in front of another port there, which need not be open yet.
    pub fn in_front_of(upstream: u16) -> Self {
        Self::listen(upstream, Protocol::Kafka)
    }

    /// A proxy for any other protocol: it can do everything but hold and count requests.
    pub fn of_bytes(upstream: u16) -> Self {
        Self::listen(upstream, Protocol::Bytes)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections stay open, and nothing gets through until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.network.change(|state| state.paused = true);
    }

    /// Lets go what was paused, in order.
    pub fn resume(&self) {
        self.network.change(|state| state.paused = false);
    }

    /// Breaks every connection and every new one until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.network.change(|state| {
            state.cut = true;
            state.disconnect();
        });
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.network.change(|state| state.cut = false);
    }

    /// Every request takes that much longer to get to the broker.
    pub fn delay(&self, delay: Duration) {
        self.network.change(|state| state.delay = delay);
    }

    /// Holds the next request of that kind until released, and with it whatever follows on its connection; other connections go on,
    /// and so does a retry of the same request on one of them. It reaches the broker even if the client has given it up.
    pub fn hold_next(&self, api_key: i16) -> Hold {
        self.hold(api_key, 1)
    }

    /// Holds every request of that kind until released.
    pub fn hold_every(&self, api_key: i16) -> Hold {
        self.hold(api_key, usize::MAX)
    }

    /// How many requests of that kind have come from clients.
    pub fn requests(&self, api_key: i16) -> usize {
        self.network
            .state()
            .requests
            .get(&api_key)
            .copied()
            .unwrap_or(0)
    }

    fn hold(&self, api_key: i16, left: usize) -> Hold {
        let mut state = self.network.state();
        let id = state.next_id();
        state.holds.insert(
            id,
            Held {
                api_key,
                left,
                caught: 0,
            },
        );
        Hold {
            id,
            network: Arc::clone(&self.network),
        }
    }

    fn listen(upstream: u16, protocol: Protocol) -> Self {
        let port = free_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .unwrap_or_else(|error| panic!("the proxy can't listen on port {port}: {error}"));
        let network = Arc::new(Network {
            upstream,
            protocol,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&network);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { port, network }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.change(|state| {
            state.closed = true;
            state.paused = false;
            state.holds.clear();
            state.disconnect();
        });
        // Wakes the thread that accepts. If it can't be reached it has ended already.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl Hold {
    /// Has a request been caught?
    pub fn caught(&self) -> bool {
        self.network
            .state()
            .holds
            .get(&self.id)
            .is_some_and(|held| held.caught > 0)
    }

    /// Waits until one is.
    ///
    /// # Panics
    /// If none is within `deadline`.
    pub fn wait_until_caught(&self, deadline: Duration) {
        wait_until(deadline, "a request to hold has come", || self.caught());
    }

    /// Lets it go on to the broker.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.network.change(|state| state.holds.remove(&self.id));
    }
}

// Kafka's own limit for a request.
const FRAME_MAX: usize = 100 * 1024 * 1024;
const CHUNK: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Kafka,
    Bytes,
}

#[derive(Debug)]
struct Network {
    upstream: u16,
    protocol: Protocol,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    paused: bool,
    cut: bool,
    closed: bool,
    delay: Duration,
    holds: BTreeMap<u64, Held>,
    requests: BTreeMap<i16, usize>,
    connections: BTreeMap<u64, [TcpStream; 2]>,
    ids: u64,
}

#[derive(Debug)]
struct Held {
    api_key: i16,
    left: usize,
    caught: usize,
}

impl Network {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn wait_while(&self, condition: impl FnMut(&mut State) -> bool) {
        drop(
            self.changed
                .wait_while(self.state(), condition)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Returns when a request may go on.
    fn admit(&self, api_key: Option<i16>) {
        let mut state = self.state();
        let delay = state.delay;
        let mut holding = None;
        if let Some(api_key) = api_key {
            *state.requests.entry(api_key).or_default() += 1;
            for (id, held) in &mut state.holds {
                if held.api_key == api_key && held.left > 0 {
                    held.left -= 1;
                    held.caught += 1;
                    holding = Some(*id);
                    break;
                }
            }
        }
        drop(state);
        std::thread::sleep(delay);
        self.wait_while(|state| {
            state.paused || holding.is_some_and(|id| state.holds.contains_key(&id))
        });
    }
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn disconnect(&mut self) {
        for [client, upstream] in std::mem::take(&mut self.connections).into_values() {
            // Either end may be gone already.
            drop(client.shutdown(Shutdown::Both));
            drop(upstream.shutdown(Shutdown::Both));
        }
    }
}

fn accept(listener: &TcpListener, network: &Arc<Network>) {
    loop {
        let accepted = listener.accept();
        if network.state().closed {
            return;
        }
        let Ok((client, _)) = accepted else { continue };
        if network.state().cut {
            continue;
        }
        // While the broker is down its port refuses, and so do we: by closing.
        if let Ok(upstream) = TcpStream::connect((Ipv4Addr::LOCALHOST, network.upstream)) {
            drop(connect(&client, &upstream, network));
        }
    }
}

fn connect(client: &TcpStream, upstream: &TcpStream, network: &Arc<Network>) -> Result<()> {
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let id = {
        let mut state = network.state();
        let id = state.next_id();
        state
            .connections
            .insert(id, [client.try_clone()?, upstream.try_clone()?]);
        id
    };
    let (from, to, there) = (
        client.try_clone()?,
        upstream.try_clone()?,
        Arc::clone(network),
    );
    std::thread::spawn(move || {
        let _ended = pass_requests(&from, &to, &there);
        // The answers to what was sent may still come.
        drop(to.shutdown(Shutdown::Write));
    });
    let (from, to, back) = (
        upstream.try_clone()?,
        client.try_clone()?,
        Arc::clone(network),
    );
    std::thread::spawn(move || {
        pass_responses(&from, &to, &back);
        drop(to.shutdown(Shutdown::Both));
        back.state().connections.remove(&id);
    });
    Ok(())
}

fn pass_requests(mut from: &TcpStream, mut to: &TcpStream, network: &Network) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let (bytes, api_key) = match network.protocol {
            Protocol::Kafka => {
                let frame = read_frame(from)?;
                // After the length: the API key, its version, the correlation id.
                let api_key = frame
                    .get(4..6)
                    .map(|key| i16::from_be_bytes([key[0], key[1]]));
                (frame, api_key)
            }
            Protocol::Bytes => match from.read(&mut chunk)? {
                0 => return Ok(()),
                read => (chunk[..read].to_vec(), None),
            },
        };
        network.admit(api_key);
        to.write_all(&bytes)?;
    }
}

/// Length and content of one request.
fn read_frame(mut from: &TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let size = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if size > FRAME_MAX {
        return Err(Error::other("not a Kafka request"));
    }
    let mut frame = length.to_vec();
    frame.resize(4 + size, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}

fn pass_responses(mut from: &TcpStream, mut to: &TcpStream, network: &Network) {
    let mut chunk = vec![0; CHUNK];
    let mut client_listens = true;
    while let Ok(read) = from.read(&mut chunk) {
        if read == 0 {
            return;
        }
        network.wait_while(|state| state.paused);
        // A client that has given up shall not keep its late request from the broker: read on, to no one.
        client_listens = client_listens && to.write_all(&chunk[..read]).is_ok();
    }
}
