//! The fast reader: one pass over a record whose form is as it should be, without allocation.
//!
//! It gives up on anything unusual (wrong type, a field twice, a blank string, malformed JSON) and says nothing about it:
//! [`super::audit`] then looks again and names everything. What it accepts, `schema::MetricEvent` reads, with the same
//! values.
//!
//! Why not `serde_json` alone: half of a record is names, a producer writes them in the same order every time, and this
//! reader expects the next one instead of parsing and looking it up, which takes less than half the time. All that
//! it does itself is names, plain strings and plain numbers; whatever takes more (escapes, exponents, unknown values) it
//! hands to `serde_json` at that place.

use super::blank::{is_blank, is_blank_text};
use super::layout::{Keep, Object, Role, Shape};
use super::reading::{Given, Numbers, Reading};
use schema::Text;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// Reads `text`, a record of form `layout`, and leaves its metrics in `numbers`. None when anything is unusual.
pub fn scan<'a>(layout: &Object, text: &'a str, numbers: &mut Numbers) -> Option<Reading<'a>> {
    numbers.clear();
    let mut scanner = Scanner {
        text,
        at: 0,
        reading: Reading::default(),
        numbers,
    };
    scanner.skip_space();
    scanner.eat(b'{')?;
    scanner.members(layout)?;
    scanner.skip_space();
    (scanner.at == text.len()).then_some(scanner.reading)
}

struct Scanner<'n, 'a> {
    text: &'a str,
    /// How far it has come; always on the border of a character.
    at: usize,
    reading: Reading<'a>,
    numbers: &'n mut Numbers,
}

/// The name of a member.
enum Name {
    /// The field with this index.
    Known(usize),
    Unknown,
}

/// A number as it is written.
struct Number {
    value: f64,
    /// The value, if it is written as an integer that is not negative.
    integer: Option<u64>,
}

impl<'a> Scanner<'_, 'a> {
    /// The members of an object, from behind its opening brace.
    fn members(&mut self, object: &Object) -> Option<()> {
        if object.role == Role::Metrics {
            self.reading.metrics = Given::Value(());
        }
        self.skip_space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        let (mut hint, mut seen) = (0, 0_u64);
        loop {
            self.skip_space();
            if let Name::Known(index) = self.name(object, hint)? {
                if seen & (1 << index) != 0 {
                    return None;
                }
                seen |= 1 << index;
                hint = index + 1;
                self.skip_space();
                self.value(&object.fields[index].shape)?;
            } else {
                self.hand_over::<IgnoredAny>()?;
            }
            self.skip_space();
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A member's name and its colon.
    #[inline]
    fn name(&mut self, object: &Object, hint: usize) -> Option<Name> {
        if let Some(expected) = object.fields.get(hint)
            && self.rest().starts_with(expected.token.as_bytes())
        {
            self.at += expected.token.len();
            return Some(Name::Known(hint));
        }
        let name = self.string()?;
        self.skip_space();
        self.eat(b':')?;
        Some(object.find(&name, hint).map_or(Name::Unknown, Name::Known))
    }

    fn value(&mut self, shape: &Shape) -> Option<()> {
        if self.peek()? == b'n' && !matches!(shape, Shape::Reserved) {
            return self.literal(b"null");
        }
        match shape {
            // Sentinels among metrics are found with their ranges, by `super::checks`.
            Shape::Metric(index) => {
                let number = self.number()?;
                self.numbers.push((*index, number.value));
            }
            Shape::Text { blankable } => {
                let text = self.string()?;
                if *blankable && is_blank_text(&text) {
                    return None;
                }
            }
            Shape::Kept(keep) => {
                let text = self.string()?;
                if matches!(keep, Keep::GpuUuid | Keep::ModelName) && is_blank_text(&text) {
                    return None;
                }
                self.reading.keep(*keep, text);
            }
            Shape::Object(object) => {
                self.eat(b'{')?;
                self.members(object)?;
            }
            Shape::Texts { blankable } => self.texts(*blankable)?,
            Shape::Counts => self.counts()?,
            Shape::Count => self.count()?,
            Shape::Number => {
                self.number()?;
            }
            Shape::Bool => match self.peek()? {
                b't' => self.literal(b"true")?,
                _ => self.literal(b"false")?,
            },
            Shape::Unsigned { blankable } => {
                let integer = u32::try_from(self.number()?.integer?).ok()?;
                if *blankable && is_blank(f64::from(integer)) {
                    return None;
                }
            }
            Shape::Sequence => self.reading.sequence = Some(self.number()?.integer?),
            Shape::Reserved => return None,
        }
        Some(())
    }

    fn texts(&mut self, blankable: bool) -> Option<()> {
        self.eat(b'[')?;
        self.skip_space();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.skip_space();
            let text = self.string()?;
            if blankable && is_blank_text(&text) {
                return None;
            }
            self.skip_space();
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn counts(&mut self) -> Option<()> {
        self.eat(b'{')?;
        self.skip_space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.skip_space();
            self.string()?;
            self.skip_space();
            self.eat(b':')?;
            self.skip_space();
            self.count()?;
            self.skip_space();
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn count(&mut self) -> Option<()> {
        let Number { value, .. } = self.number()?;
        (value >= 0.0 && !is_blank(value)).then_some(())
    }

    /// A string, its quotes included.
    #[inline]
    fn string(&mut self) -> Option<Cow<'a, str>> {
        if self.peek()? != b'"' {
            return None;
        }
        let from = self.at + 1;
        let len = plain_len(&self.text.as_bytes()[from..]);
        match self.text.as_bytes().get(from + len)? {
            b'"' => {
                self.at = from + len + 1;
                self.text.get(from..from + len).map(Cow::Borrowed)
            }
            // An escape; a control character, too, which is then refused.
            _ => self.hand_over::<Text<'a>>().map(Text::into_cow),
        }
    }

    #[inline]
    fn number(&mut self) -> Option<Number> {
        let from = self.at;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let (mut mantissa, whole) = self.digits(0)?;
        // Zero stands alone: 01 is no number.
        let leading_zero = whole > 1 && self.text.as_bytes()[self.at - whole] == b'0';
        let mut decimals = 0;
        if self.peek() == Some(b'.') {
            self.at += 1;
            (mantissa, decimals) = self.digits(mantissa)?;
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if leading_zero || exponent || whole + decimals > MAX_DIGITS {
            self.at = from;
            return self.hand_over().map(|value| Number {
                value,
                integer: None,
            });
        }
        let magnitude = if decimals == 0 {
            mantissa as f64
        } else if mantissa <= MAX_EXACT && decimals < POWERS_OF_TEN.len() {
            // Both are exact doubles, so that the one rounding of the division gives the nearest double
            // (Clinger 1990, "How to read floating point numbers accurately").
            mantissa as f64 / POWERS_OF_TEN[decimals]
        } else {
            self.text
                .get(from + usize::from(negative)..self.at)?
                .parse()
                .ok()?
        };
        Some(Number {
            value: if negative { -magnitude } else { magnitude },
            integer: (!negative && decimals == 0).then_some(mantissa),
        })
    }

    /// At least one digit: `mantissa` with the digits added, and their number. More than a `u64` holds give a wrong
    /// mantissa; the caller goes by their number.
    #[inline]
    fn digits(&mut self, mut mantissa: u64) -> Option<(u64, usize)> {
        let from = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            mantissa = mantissa
                .wrapping_mul(10)
                .wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let count = self.at - from;
        (count > 0).then_some((mantissa, count))
    }

    #[inline]
    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest().starts_with(literal).then(|| {
            self.at += literal.len();
        })
    }

    /// The value that stands here, read by `serde_json`.
    #[cold]
    fn hand_over<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let rest = self.text.get(self.at..)?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<T>();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn eat(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }
}

/// So many digits always fit into a `u64`.
const MAX_DIGITS: usize = 19;
/// Doubles hold every integer up to 2^53.
const MAX_EXACT: u64 = 1 << 53;
/// The powers of ten that doubles hold exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// How many bytes at the start of `bytes` are neither a quote nor a backslash nor a control character.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut len = 0;
    for chunk in bytes.chunks_exact(8) {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        // The usual test for a zero byte, of the word and of two xors; a false alarm can only follow a true one, and the
        // first is what counts.
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = word ^ (ONES * 0x22);
        let quote = quote.wrapping_sub(ONES) & !quote;
        let backslash = word ^ (ONES * 0x5c);
        let backslash = backslash.wrapping_sub(ONES) & !backslash;
        let found = (control | quote | backslash) & HIGHS;
        if found != 0 {
            return len + (found.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    len + bytes[len..]
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
        .unwrap_or(bytes.len() - len)
}

#[cfg(test)]
mod tests;
