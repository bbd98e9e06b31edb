//! Records that tests begin with.

use serde_json::Value;

/// Version 1.0 with the required fields alone.
pub(super) const MINIMAL: &str =
    include_str!("../../testdata/payloads/metric_event_1_0_minimal.json");
/// Version 1.0 with every field.
pub(super) const FULL_1_0: &str =
    include_str!("../../testdata/payloads/metric_event_1_0_full.json");
/// Version 1.1 with every field, and some that no version knows.
pub(super) const FULL_1_1: &str =
    include_str!("../../testdata/payloads/metric_event_1_1_full.json");

/// `record` with the value at `pointer` (RFC 6901) set to the JSON text `value`.
pub(super) fn with(record: &str, pointer: &str, value: &str) -> String {
    const PLACE: &str = "@@place@@";
    let mut tree: Value = serde_json::from_str(record).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = tree.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = PLACE.into(),
        parent => parent[name] = PLACE.into(),
    }
    // As text, since a tree could not hold all that tests put there (1e999).
    tree.to_string().replace(&format!("\"{PLACE}\""), value)
}

/// `record` without the member at `pointer`.
pub(super) fn without(record: &str, pointer: &str) -> String {
    let mut tree: Value = serde_json::from_str(record).unwrap();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let removed = tree
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .unwrap()
        .shift_remove(name);
    assert!(removed.is_some(), "{pointer}");
    tree.to_string()
}
