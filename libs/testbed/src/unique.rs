use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

/// `prefix-` and a suffix that no other call has had, in this process or in another at the same time.
pub fn unique(prefix: &str) -> String {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    format!(
        "{prefix}-{:x}-{call}-{:08x}",
        std::process::id(),
        random() >> 32
    )
}

/// 64 random bits: the standard library seeds every `RandomState` from the operating system.
pub(crate) fn random() -> u64 {
    static DRAWS: AtomicU32 = AtomicU32::new(0);
    RandomState::new().hash_one(DRAWS.fetch_add(1, Ordering::Relaxed))
}
