//! Numbers each GPU's readings.

use rustc_hash::FxHashMap;

/// The last number of each GPU in this run.
///
/// One for the whole collector, not one a target: a GPU that moves to another host, or a target that goes and comes back,
/// goes on counting, so that the validator takes its readings neither for repeats nor for another run's.
#[derive(Debug, Default)]
pub struct Sequences(FxHashMap<String, u64>);

impl Sequences {
    /// The number of the next reading of `uuid`, from 1.
    pub fn next(&mut self, uuid: &str) -> u64 {
        if let Some(last) = self.0.get_mut(uuid) {
            *last += 1;
            return *last;
        }
        self.0.insert(uuid.to_owned(), 1);
        1
    }

    /// GPUs seen.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No GPU was seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gpu_counts_from_one_on_its_own() {
        let mut sequences = Sequences::default();
        assert_eq!(
            [
                sequences.next("a"),
                sequences.next("b"),
                sequences.next("a")
            ],
            [1, 1, 2]
        );
        assert_eq!(sequences.len(), 2);
    }
}
