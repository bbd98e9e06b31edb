//! The Prometheus text format (0.0.4), line by line.
//!
//! A line that is not well-formed is skipped and counted: one odd row must not cost a host its readings. Rows of no
//! interest are told by their name and are not looked into further, so that their labels cost nothing.

use std::borrow::Cow;

/// A row: one sample.
#[derive(Debug, PartialEq)]
pub struct Sample<'a, 'l> {
    /// The labels in the order of the text.
    pub labels: &'l [(&'a str, Cow<'a, str>)],
    /// The value; may be NaN or infinite.
    pub value: f64,
    /// The exporter's time in milliseconds since the epoch, when the row carries one.
    pub timestamp_ms: Option<i64>,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// It does not begin with a metric name.
    Name,
    /// Its labels are not `name="value"` between braces.
    Labels,
    /// Its value is not a number.
    Value,
    /// What follows the value is not a timestamp.
    Timestamp,
}

impl LineError {
    /// A word for logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "metric name",
            Self::Labels => "labels",
            Self::Value => "value",
            Self::Timestamp => "timestamp",
        }
    }
}

/// How a text was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows that were visited.
    pub visited: usize,
    /// Rows of no interest.
    pub skipped: usize,
    /// Lines that are not well-formed.
    pub malformed: usize,
    /// The first of them (its number from 1, and what is wrong).
    pub first_malformed: Option<(usize, LineError)>,
}

/// Reads `text`. `wanted` tells by its name whether a row is of interest, and as what; `visit` then gets it.
pub fn read<'a, T>(
    text: &'a str,
    mut wanted: impl FnMut(&'a str) -> Option<T>,
    mut visit: impl FnMut(T, &Sample<'a, '_>),
) -> Summary {
    let mut summary = Summary::default();
    let mut labels = Vec::with_capacity(16);
    for (number, line) in text.split('\n').enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let outcome = read_name(line).and_then(|(name, rest)| match wanted(name) {
            None => {
                summary.skipped += 1;
                Ok(())
            }
            Some(what) => {
                labels.clear();
                let (value, timestamp_ms) = read_rest(rest, &mut labels)?;
                visit(
                    what,
                    &Sample {
                        labels: &labels,
                        value,
                        timestamp_ms,
                    },
                );
                summary.visited += 1;
                Ok(())
            }
        });
        if let Err(error) = outcome {
            summary.malformed += 1;
            summary.first_malformed.get_or_insert((number + 1, error));
        }
    }
    summary
}

/// Splits a line after its metric name.
fn read_name(line: &str) -> Result<(&str, &str), LineError> {
    let bytes = line.as_bytes();
    if !bytes
        .first()
        .is_some_and(|byte| is_name_byte(*byte) && !byte.is_ascii_digit())
    {
        return Err(LineError::Name);
    }
    let end = bytes
        .iter()
        .position(|byte| !is_name_byte(*byte))
        .unwrap_or(bytes.len());
    if !matches!(bytes.get(end), Some(b'{' | b' ' | b'\t')) {
        return Err(LineError::Name);
    }
    Ok(line.split_at(end))
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

/// Reads labels, value and timestamp.
fn read_rest<'a>(
    rest: &'a str,
    labels: &mut Vec<(&'a str, Cow<'a, str>)>,
) -> Result<(f64, Option<i64>), LineError> {
    let mut rest = rest.trim_start_matches([' ', '\t']);
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, labels)?;
    }
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let value = words.next().and_then(read_number).ok_or(LineError::Value)?;
    let timestamp = words
        .next()
        .map(|word| word.parse::<i64>().map_err(|_| LineError::Timestamp))
        .transpose()?;
    match words.next() {
        None => Ok((value, timestamp)),
        Some(_) => Err(LineError::Timestamp),
    }
}

/// What Go's `ParseFloat` takes and Rust's parser too: decimal numbers, `NaN`, `Inf` with a sign or without.
fn read_number(word: &str) -> Option<f64> {
    word.parse().ok()
}

/// Reads labels up to the closing brace and returns what follows it.
fn read_labels<'a>(
    mut rest: &'a str,
    labels: &mut Vec<(&'a str, Cow<'a, str>)>,
) -> Result<&'a str, LineError> {
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let end = rest
            .bytes()
            .position(|byte| !is_name_byte(byte))
            .ok_or(LineError::Labels)?;
        if end == 0 {
            return Err(LineError::Labels);
        }
        let (name, after) = rest.split_at(end);
        let after = after
            .trim_start_matches([' ', '\t'])
            .strip_prefix('=')
            .ok_or(LineError::Labels)?;
        let quoted = after
            .trim_start_matches([' ', '\t'])
            .strip_prefix('"')
            .ok_or(LineError::Labels)?;
        let (value, after) = read_quoted(quoted)?;
        labels.push((name, value));
        rest = after.trim_start_matches([' ', '\t']);
        match rest.as_bytes().first() {
            Some(b',') => rest = &rest[1..],
            Some(b'}') => {}
            _ => return Err(LineError::Labels),
        }
    }
}

/// Reads a label value up to its closing quote. Escapes are `\\`, `\"` and `\n`; a backslash before anything else stands
/// for itself, as Prometheus reads it.
fn read_quoted(text: &str) -> Result<(Cow<'_, str>, &str), LineError> {
    let stop = text
        .bytes()
        .position(|byte| matches!(byte, b'"' | b'\\'))
        .ok_or(LineError::Labels)?;
    if text.as_bytes()[stop] == b'"' {
        return Ok((Cow::Borrowed(&text[..stop]), &text[stop + 1..]));
    }
    let mut value = text[..stop].to_owned();
    let mut rest = text[stop..].char_indices();
    while let Some((at, character)) = rest.next() {
        match character {
            '"' => return Ok((Cow::Owned(value), &text[stop + at + 1..])),
            '\\' => match rest.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                Some((_, other)) => {
                    value.push('\\');
                    value.push(other);
                }
                None => return Err(LineError::Labels),
            },
            other => value.push(other),
        }
    }
    Err(LineError::Labels)
}

#[cfg(test)]
mod tests;
