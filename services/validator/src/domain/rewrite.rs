//! Changes to a record that touch only the bytes that must change.

use std::ops::Range;

/// A change: the bytes at `span` are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What goes, as offsets into the record.
    pub span: Range<usize>,
    /// What comes in its place.
    pub replacement: &'static str,
}

/// Where an item of a JSON object or array stands: from its first byte (a member's name, an element) to its end,
/// without the comma and white space around it.
pub type Item = Range<usize>;

/// The edits that take `removed` (ascending indexes into `items`) out of their container, with one comma each.
pub fn remove(items: &[Item], removed: &[usize], edits: &mut Vec<Edit>) {
    let mut kept_before = false;
    for (index, item) in items.iter().enumerate() {
        if removed.binary_search(&index).is_err() {
            kept_before = true;
            continue;
        }
        let span = if kept_before {
            // From the end of the item before, so that the comma between them goes.
            items[index - 1].end..item.end
        } else if let Some(next) = items.get(index + 1) {
            item.start..next.start
        } else {
            item.clone()
        };
        edits.push(Edit {
            span,
            replacement: "",
        });
    }
}

/// `record` with `edits`, which must not overlap.
pub fn apply(record: &str, mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|edit| edit.span.start);
    let mut out = Vec::with_capacity(record.len());
    let mut from = 0;
    for edit in edits {
        out.extend_from_slice(&record.as_bytes()[from..edit.span.start]);
        out.extend_from_slice(edit.replacement.as_bytes());
        from = edit.span.end;
    }
    out.extend_from_slice(&record.as_bytes()[from..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edits_change_their_bytes_and_no_other() {
        let edit = |span: Range<usize>, replacement| Edit { span, replacement };
        let out = apply("abcdef", vec![edit(4..5, "null"), edit(1..3, "")]);
        assert_eq!(out, b"adnullf");
        assert_eq!(apply("abc", Vec::new()), b"abc");
    }

    proptest! {
        #[test]
        fn what_remains_after_a_removal_is_the_list_without_it(
            keep in proptest::collection::vec(any::<bool>(), 0..12),
            space in "[ ]{0,2}",
        ) {
            let mut text = format!("[{space}");
            let comma = format!("{space},{space}");
            let mut items = Vec::new();
            for index in 0..keep.len() {
                if index > 0 {
                    text += &comma;
                }
                let start = text.len();
                text += &index.to_string();
                items.push(start..text.len());
            }
            text += &space;
            text.push(']');
            let removed: Vec<usize> = (0..keep.len()).filter(|i| !keep[*i]).collect();
            let mut edits = Vec::new();
            remove(&items, &removed, &mut edits);
            let left: Vec<usize> = serde_json::from_slice(&apply(&text, edits)).unwrap();
            let expected: Vec<usize> = (0..keep.len()).filter(|i| keep[*i]).collect();
            prop_assert_eq!(left, expected);
        }
    }
}
