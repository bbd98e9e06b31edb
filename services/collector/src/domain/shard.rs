//! Which instance scrapes which target.

/// Whether the instance `index` of `count` scrapes `url`: by the hash of the URL, so that every instance decides alike
/// and a target belongs to exactly one.
pub fn is_mine(url: &str, index: u32, count: u32) -> bool {
    schema::murmur2(url.as_bytes()) % count.max(1) == index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_exactly_one_instance_and_the_shares_are_even() {
        let mut shares = [0; 4];
        for host in 0..4_000 {
            let url = format!("http://gpu-node-{host}:9400/metrics");
            let owners: Vec<_> = (0..4).filter(|index| is_mine(&url, *index, 4)).collect();
            assert_eq!(owners.len(), 1);
            shares[owners[0] as usize] += 1;
        }
        assert!(
            shares.iter().all(|share| (850..1_150).contains(share)),
            "{shares:?}"
        );
    }
}
