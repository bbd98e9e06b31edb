//! What waits for Kafka: bounded, and the oldest goes first when it is full.

use std::collections::VecDeque;

/// A queue bounded by records and by bytes.
#[derive(Debug)]
pub struct Buffer<T> {
    queue: VecDeque<(usize, T)>,
    /// Handed back by the client, older than everything in `queue`.
    returned: VecDeque<(usize, T)>,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

impl<T> Buffer<T> {
    /// An empty buffer that holds at most `max_records` records of together `max_bytes` bytes.
    pub const fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            returned: VecDeque::new(),
            bytes: 0,
            max_records,
            max_bytes,
        }
    }

    /// Adds a record of `bytes` bytes and returns how many of the oldest had to go for it. A record that is larger than the
    /// whole buffer goes itself.
    pub fn push(&mut self, bytes: usize, record: T) -> usize {
        self.queue.push_back((bytes, record));
        self.bytes += bytes;
        self.shrink()
    }

    /// Puts back a record that the client could not deliver. Call it in the order in which the records were taken.
    pub fn put_back(&mut self, bytes: usize, record: T) -> usize {
        self.returned.push_back((bytes, record));
        self.bytes += bytes;
        self.shrink()
    }

    /// Takes the oldest record.
    pub fn pop(&mut self) -> Option<T> {
        let (bytes, record) = self
            .returned
            .pop_front()
            .or_else(|| self.queue.pop_front())?;
        self.bytes -= bytes;
        Some(record)
    }

    /// Records waiting.
    pub fn len(&self) -> usize {
        self.returned.len() + self.queue.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes waiting.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn shrink(&mut self) -> usize {
        let mut dropped = 0;
        while (self.len() > self.max_records || self.bytes > self.max_bytes) && self.pop().is_some()
        {
            dropped += 1;
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(buffer: &mut Buffer<u32>) -> Vec<u32> {
        std::iter::from_fn(|| buffer.pop()).collect()
    }

    #[test]
    fn the_oldest_goes_when_it_is_full() {
        let mut buffer = Buffer::new(3, 100);
        let dropped: usize = (0..5).map(|record| buffer.push(10, record)).sum();
        assert_eq!(dropped, 2);
        assert_eq!(drain(&mut buffer), [2, 3, 4]);
        assert_eq!(
            (0..3).map(|record| buffer.push(60, record)).sum::<usize>(),
            2
        );
        assert_eq!(buffer.push(101, 9), 2, "too large for the whole buffer");
        assert!(buffer.is_empty());
        assert_eq!(buffer.bytes(), 0);
    }

    #[test]
    fn what_was_put_back_is_older_than_what_waits() {
        let mut buffer = Buffer::new(10, 1_000);
        for record in 0..4 {
            buffer.push(1, record);
        }
        let (first, second) = (buffer.pop().unwrap(), buffer.pop().unwrap());
        buffer.put_back(1, first);
        buffer.put_back(1, second);
        assert_eq!(drain(&mut buffer), [0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_what_stays_is_the_newest_in_order(
            sizes in prop::collection::vec(0_usize..50, 0..200),
            max_records in 1_usize..20,
            max_bytes in 1_usize..200,
        ) {
            let mut buffer = Buffer::new(max_records, max_bytes);
            let mut dropped = 0;
            for (record, size) in (0_u32..).zip(&sizes) {
                dropped += buffer.push(*size, record);
                prop_assert!(buffer.len() <= max_records && buffer.bytes() <= max_bytes);
            }
            let left = drain(&mut buffer);
            prop_assert_eq!(left.len() + dropped, sizes.len());
            let all: Vec<_> = (0..).take(sizes.len()).collect();
            prop_assert_eq!(left, &all[dropped..]);
        }
    }
}
