//! Names that are derived, so that a replay gives the same ones.

/// FNV-1a with 128 bits (offset basis and prime of the FNV draft, draft-eastlake-fnv).
fn fnv1a(parts: &[&[u8]]) -> u128 {
    const OFFSET_BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash = OFFSET_BASIS;
    for part in parts {
        for byte in *part {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
        // A part's end counts too, or ("ab", "c") and ("a", "bc") would be one.
        hash = (hash ^ 0xff).wrapping_mul(PRIME);
    }
    hash
}

/// The finaliser of 64-bit `MurmurHash3`: every bit in changes half of the bits out, and no two inputs meet.
const fn mix(mut half: u64) -> u64 {
    half ^= half >> 33;
    half = half.wrapping_mul(0xff51_afd7_ed55_8ccd);
    half ^= half >> 33;
    half = half.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    half ^ (half >> 33)
}

fn halves(hash: u128) -> (u64, u64) {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half is what is wanted"
    )]
    let (high, low) = ((hash >> 64) as u64, hash as u64);
    let low = mix(low ^ mix(high));
    (mix(high ^ low), low)
}

/// The same for one rule on one GPU, over all incidents: 32 hexadecimal digits.
pub fn fingerprint(rule_id: &str, gpu_uuid: &str) -> String {
    let (high, low) = halves(fnv1a(&[rule_id.as_bytes(), gpu_uuid.as_bytes()]));
    format!("{high:016x}{low:016x}")
}

/// The same for every record of one incident: a UUID of version 8 (RFC 9562: its content is the maker's own).
pub fn alert_id(fingerprint: &str, first_seen_ms: i64) -> String {
    let (high, low) = halves(fnv1a(&[
        fingerprint.as_bytes(),
        &first_seen_ms.to_be_bytes(),
    ]));
    let high = (high & !0xf000) | 0x8000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// A short number for a text, to tell two jobs apart without keeping their names.
pub fn short_hash(parts: &[&[u8]]) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "32 bits tell two jobs apart"
    )]
    {
        halves(fnv1a(parts)).1 as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_never_change() {
        // These stand in alerts that were written; a change here breaks the link to them.
        let print = fingerprint("ecc_dbe", "GPU-8f3c2a10-1b7e-4c55-9d20-6a1e0b7c4d11");
        assert_eq!(print, "53dd15bbc3d8bb1e6af32b8da010510a");
        assert_eq!(
            alert_id(&print, 1_770_805_800_000),
            "c8b80b75-1e5f-8e1e-98d3-28b96277929d"
        );
    }

    #[test]
    fn an_alert_id_has_the_form_of_a_uuid_of_version_8() {
        let id = alert_id("f", 0);
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "8");
        assert!("89ab".contains(&id[19..20]), "{id}");
    }

    #[test]
    fn different_incidents_have_different_names() {
        let mut seen = BTreeSet::new();
        for gpu in 0..50 {
            for rule in ["a", "b"] {
                let print = fingerprint(rule, &format!("GPU-{gpu}"));
                for time in 0..50 {
                    seen.insert(alert_id(&print, time));
                }
                seen.insert(print);
            }
        }
        assert_eq!(seen.len(), 100 * 51);
        assert_ne!(fingerprint("ab", "c"), fingerprint("a", "bc"));
    }
}
