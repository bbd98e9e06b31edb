//! How deep a JSON text is nested, found without parsing it.

/// The deepest nesting that `serde_json` reads into a tree: its recursion limit of 128 refuses the level after it.
/// Other readers have limits too, so that a deeper record would be somebody else's poison.
pub const MAX_DEPTH: usize = 127;

/// Whether `text` nests arrays and objects deeper than [`MAX_DEPTH`].
pub fn is_too_deep(text: &[u8]) -> bool {
    // A sound record has some fifteen opening brackets in all; counting them is much cheaper than following strings.
    let opening: usize = text.chunks(CHUNK).map(count_opening).sum();
    opening > MAX_DEPTH && depth(text) > MAX_DEPTH
}

/// So few bytes that their count fits into one, which lets the compiler count many at once.
const CHUNK: usize = 255;

fn count_opening(chunk: &[u8]) -> usize {
    let count = chunk.iter().fold(0_u8, |count, byte| {
        // `[` and `{` differ in one bit.
        count + u8::from(byte | 0x20 == b'{')
    });
    usize::from(count)
}

fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => {
                        bytes.next();
                    }
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn the_limit_is_where_serde_json_stops() {
        for depth in [1, MAX_DEPTH, MAX_DEPTH + 1, 10_000] {
            let text = nested(depth);
            assert_eq!(
                is_too_deep(text.as_bytes()),
                serde_json::from_str::<serde_json::Value>(&text).is_err(),
                "{depth}"
            );
        }
    }

    #[test]
    fn brackets_side_by_side_or_in_strings_are_not_deep() {
        let side_by_side = format!("[{}[]]", "{},".repeat(1_000));
        assert!(!is_too_deep(side_by_side.as_bytes()));
        let in_a_string = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1_000));
        assert!(!is_too_deep(in_a_string.as_bytes()));
        let after_a_string = format!(r#"{{"a":"\\","b":{}}}"#, nested(MAX_DEPTH));
        assert!(is_too_deep(after_a_string.as_bytes()));
    }
}
