//! Adding fields to a JSON object without parsing or rewriting it.

use std::fmt;

/// The record is not a JSON object (its first or last byte says so).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnObject;

impl fmt::Display for NotAnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a JSON object")
    }
}

impl std::error::Error for NotAnObject {}

/// Appends to `out` the object `record` with `members` (`"a":1,"b":2`, no leading comma) added before its closing brace.
///
/// Every byte of the original before that brace is kept, unknown fields included. The caller vouches that `record` is
/// well-formed JSON and that none of its top-level names is in `members`.
pub fn splice_into(record: &[u8], members: &[u8], out: &mut Vec<u8>) -> Result<(), NotAnObject> {
    let trimmed = record.trim_ascii_end();
    let body = trimmed.strip_suffix(b"}").ok_or(NotAnObject)?;
    let first = body.trim_ascii_start();
    if !first.starts_with(b"{") {
        return Err(NotAnObject);
    }
    out.reserve(body.len() + members.len() + 2);
    out.extend_from_slice(body);
    if !members.is_empty() {
        let is_empty_object = first[1..].trim_ascii().is_empty();
        if !is_empty_object {
            out.push(b',');
        }
        out.extend_from_slice(members);
    }
    out.push(b'}');
    Ok(())
}

/// [`splice_into`] a new buffer.
pub fn splice(record: &[u8], members: &[u8]) -> Result<Vec<u8>, NotAnObject> {
    let mut out = Vec::new();
    splice_into(record, members, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_go_before_the_closing_brace_and_nothing_else_changes() {
        let check = |record: &str, expected: &str| {
            let spliced = splice(record.as_bytes(), br#""x":1"#).unwrap();
            assert_eq!(String::from_utf8(spliced).unwrap(), expected);
        };
        check(r#"{"a": 2.50}"#, r#"{"a": 2.50,"x":1}"#);
        check("{}", r#"{"x":1}"#);
        check(" { } \n", r#" { "x":1}"#);
        check(r#"{"a":{"b":[]}}"#, r#"{"a":{"b":[]},"x":1}"#);
        assert_eq!(splice(b"[1]", b"\"x\":1"), Err(NotAnObject));
        assert_eq!(splice(b"", b"\"x\":1"), Err(NotAnObject));
        assert_eq!(splice(b"1}", b"\"x\":1"), Err(NotAnObject));
    }
}
