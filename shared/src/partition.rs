//! The partition of a key, as every Java client computes it.

/// Java-compatible murmur2 (seed 0x9747b28c) with the sign bit cleared.
pub fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the hash is defined on the length modulo 2^32"
    )]
    let mut h = SEED ^ key.len() as u32;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        for (shift, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * shift);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h & 0x7fff_ffff
}

/// The partition of `key` among `partitions`, the same that Kafka's Java clients choose.
///
/// Because 8 divides 16 divides 32, `partition_for(k, 16) == partition_for(k, 32) % 16`: later stages use
/// `input partition % output partitions` and never hash again.
pub fn partition_for(key: &[u8], partitions: i32) -> i32 {
    #[expect(clippy::cast_possible_wrap, reason = "the sign bit is cleared")]
    let hash = murmur2(key) as i32;
    hash % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_equal_those_of_the_java_client() {
        // Taken from a Java client: org.apache.kafka.common.utils.Utils.murmur2 & 0x7fffffff.
        assert_eq!(murmur2(b"abc"), 479_470_107);
        assert_eq!(
            murmur2(b"GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11"),
            1_776_239_208
        );
    }

    #[test]
    fn a_partition_among_fewer_is_the_remainder() {
        for n in 0..2_000 {
            let key = format!("GPU-{n}");
            let of_32 = partition_for(key.as_bytes(), 32);
            assert_eq!(partition_for(key.as_bytes(), 16), of_32 % 16);
            assert_eq!(partition_for(key.as_bytes(), 8), of_32 % 8);
        }
    }
}
