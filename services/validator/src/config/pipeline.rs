//! `[pipeline]` with a default of the validator's own.

use chassis::PipelineConfig;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use std::fmt;

/// The validator is the one stage that acts on idle partitions, so that it is on unless configured otherwise.
const IDLE_AFTER_MS: u64 = 1_000;
const IDLE_AFTER_KEY: &str = "idle_after_ms";

/// `[pipeline]` where nothing is configured.
pub(super) fn default() -> PipelineConfig {
    PipelineConfig {
        idle_after_ms: IDLE_AFTER_MS,
        ..PipelineConfig::default()
    }
}

/// Reads `[pipeline]`; without `idle_after_ms` it is as if it stood there.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<PipelineConfig, D::Error> {
    struct Section;

    impl<'de> Visitor<'de> for Section {
        type Value = PipelineConfig;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a section")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PipelineConfig, A::Error> {
            PipelineConfig::deserialize(MapAccessDeserializer::new(Filled {
                map,
                state: State::Missing,
            }))
        }
    }

    deserializer.deserialize_map(Section)
}

/// A section with [`IDLE_AFTER_KEY`] added at its end where it is missing.
struct Filled<A> {
    map: A,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Missing,
    Adding,
    Given,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Filled<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let key = match self.map.next_key::<String>()? {
            Some(key) => {
                if key == IDLE_AFTER_KEY {
                    self.state = State::Given;
                }
                key
            }
            None if self.state == State::Missing => {
                self.state = State::Adding;
                IDLE_AFTER_KEY.to_owned()
            }
            None => return Ok(None),
        };
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        if self.state == State::Adding {
            self.state = State::Given;
            return seed.deserialize(IDLE_AFTER_MS.into_deserializer());
        }
        self.map.next_value_seed(seed)
    }
}
