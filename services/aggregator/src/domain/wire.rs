//! Numbers in state: LEB128 variable length, signed ones zigzag first.

/// Bytes that are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Appends `value`.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends `value` so that small ones of either sign are short.
#[inline]
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// 0, -1, 1, -2, … become 0, 1, 2, 3, …
#[inline]
pub const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The opposite of [`zigzag`].
#[inline]
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Reads from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed("cut short"))?;
        self.rest = rest;
        Ok(*first)
    }

    /// `n` bytes.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or(Malformed("cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The lowest `n` (up to 8) bytes of a number.
    #[inline]
    pub fn low_bytes(&mut self, n: usize) -> Result<u64, Malformed> {
        if n > 8 {
            return Err(Malformed("a number of more than eight bytes"));
        }
        if let Some(eight) = self.rest.first_chunk::<8>() {
            let mask = if n == 8 { u64::MAX } else { (1 << (8 * n)) - 1 };
            let value = u64::from_le_bytes(*eight) & mask;
            self.rest = &self.rest[n..];
            return Ok(value);
        }
        let mut bytes = [0; 8];
        bytes[..n].copy_from_slice(self.take(n)?);
        Ok(u64::from_le_bytes(bytes))
    }

    /// What [`put_varint`] wrote.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a number of more than ten bytes"))
    }

    /// What [`put_signed`] wrote.
    #[inline]
    pub fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    /// What [`put_varint`] wrote, as a length or a count.
    #[inline]
    pub fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.varint()?).map_err(|_| Malformed("a length beyond memory"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back(values in proptest::collection::vec(any::<i64>(), 0..20)) {
            let mut bytes = Vec::new();
            for value in &values {
                put_signed(&mut bytes, *value);
                put_varint(&mut bytes, value.cast_unsigned());
            }
            let mut reader = Reader::new(&bytes);
            for value in values {
                prop_assert_eq!(reader.signed(), Ok(value));
                prop_assert_eq!(reader.varint(), Ok(value.cast_unsigned()));
            }
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..20), n in 0..9_usize) {
            let mut reader = Reader::new(&bytes);
            let read = reader.varint();
            let before = reader.rest();
            prop_assert!(read.is_err() || before.len() < bytes.len());
            match reader.low_bytes(n) {
                Ok(value) => {
                    let mut padded = [0; 8];
                    padded[..n].copy_from_slice(&before[..n]);
                    prop_assert_eq!(value, u64::from_le_bytes(padded));
                }
                Err(_) => prop_assert!(before.len() < n),
            }
        }
    }
}
