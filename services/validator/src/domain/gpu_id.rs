//! A GPU's UUID, in sixteen bytes where it is a plain one.

/// Identifies a GPU. Two ids are equal exactly when their texts are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuId {
    /// `GPU-` and a UUID in lower case, as NVIDIA's driver writes it.
    Plain(u128),
    /// Anything else (`MIG-…`).
    Other(Box<str>),
}

/// The most bytes of a `gpu_uuid`. NVIDIA's have 40, those of MIG instances up to 80.
pub const MAX_BYTES: usize = 128;

const PREFIX: &[u8] = b"GPU-";
const LEN: usize = 40;
/// Where the dashes of a UUID stand.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// The number of a plain id; none for every other text.
#[inline]
pub fn parse_plain(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    if bytes.len() != LEN || !bytes.starts_with(PREFIX) {
        return None;
    }
    let mut number = 0_u128;
    for (i, byte) in bytes[PREFIX.len()..].iter().enumerate() {
        if DASHES.contains(&i) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        // Upper case would not come back as it was written, so that it counts as another text.
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        number = number << 4 | u128::from(digit);
    }
    Some(number)
}

impl GpuId {
    /// The id that `text` names.
    pub fn parse(text: &str) -> Self {
        parse_plain(text).map_or_else(|| Self::Other(text.into()), Self::Plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_drivers_own_form_is_plain() {
        let plain = "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52";
        assert_eq!(
            GpuId::parse(plain),
            GpuId::Plain(0x604a_c76c_d9cf_fef3_62e9_d920_44ab_6e52)
        );
        for other in [
            "",
            "GPU-",
            "GPU-604AC76C-d9cf-fef3-62e9-d92044ab6e52",
            "MIG-604ac76c-d9cf-fef3-62e9-d92044ab6e52",
            "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e5",
            "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e522",
            "GPU-604ac76cd-9cf-fef3-62e9-d92044ab6e52",
            "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e5g",
            "GPU-abc123def456-789ghi-012jkl",
        ] {
            assert_eq!(GpuId::parse(other), GpuId::Other(other.into()), "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_id_comes_from_one_text_only(number in any::<u128>()) {
            let hex = format!("{number:032x}");
            let text = format!(
                "GPU-{}-{}-{}-{}-{}",
                &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]
            );
            prop_assert_eq!(parse_plain(&text), Some(number));
        }
    }
}
