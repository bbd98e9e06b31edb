use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within `deadline`, naming `what` was waited for.
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < deadline,
            "not within {deadline:?}: {what}"
        );
        std::thread::sleep(PAUSE);
    }
}

/// [`wait_until`] for a condition that awaits, and that must not hold up the runtime's thread.
///
/// # Panics
/// If it does not hold within `deadline`, naming `what` was waited for.
pub async fn wait_until_async(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let started = Instant::now();
    while !condition().await {
        assert!(
            started.elapsed() < deadline,
            "not within {deadline:?}: {what}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}
