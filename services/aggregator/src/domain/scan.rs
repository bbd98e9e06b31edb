//! The fast way to read a record: plain JSON, as the pipeline writes it.
//!
//! Whatever is not plain (an escape, an unusual time or number, a wrong type, a member that is there twice, deep nesting)
//! is left to the general reader in [`super::reading`], which also says what is wrong. What is passed over is checked as
//! the general reader checks it, so that both give the same for whatever bytes, and a record does not become a dead
//! letter or escape being one by how it is laid out.

use super::column::{BANK_REMAP, BANK_REMAP_MEMBERS, COLUMN_OF_METRIC};
use super::reading::{GROUPS, Group, LabelsView, Reading, xid_code};
use super::row::Row;
use super::time_text;
use schema::{METRICS, Text};

/// Reads `bytes`, the numbers to `row`, which must be empty. None when the general reader must have a look.
pub fn scan<'a>(bytes: &'a [u8], row: &mut Row) -> Option<Reading<'a>> {
    str::from_utf8(bytes).ok()?;
    let mut scanner = Scanner { rest: bytes };
    let mut reading = Reading::default();
    let (mut time, mut ingest) = (None, None);
    let mut asset = LabelsView::default();
    let (mut gpu, mut host, mut metrics, mut assets) = <(Once, Once, Once, Once)>::default();
    scanner.space();
    scanner.object(|scanner, name| {
        match name {
            b"timestamp" => time = Some(scanner.time()?),
            b"validation_timestamp" => ingest = Some(scanner.time()?),
            b"gpu" => {
                gpu.mark()?;
                scanner.gpu(&mut reading)?;
            }
            b"host" => {
                host.mark()?;
                scanner.host(&mut reading.labels)?;
            }
            b"metrics" => {
                metrics.mark()?;
                scanner.metrics(row, &mut reading.xid_counts)?;
            }
            b"asset" => {
                assets.mark()?;
                scanner.asset(&mut asset)?;
            }
            _ => scanner.skip(DEPTH)?,
        }
        Some(())
    })?;
    if !(scanner.is_at_end() && gpu.is_marked && metrics.is_marked) {
        return None;
    }
    reading.time = time?;
    reading.ingest = ingest?;
    let labels = &mut reading.labels;
    labels.model = labels.model.take().or(asset.model);
    labels.rack = asset.rack.or(labels.rack.take());
    labels.cluster = asset.cluster.or(labels.cluster.take());
    Some(reading)
}

/// What is passed over may be nested so deep. The general reader allows 127 in all.
const DEPTH: usize = 32;

/// A member that plain records have once.
#[derive(Default)]
struct Once {
    is_marked: bool,
}

impl Once {
    /// None the second time.
    #[inline]
    fn mark(&mut self) -> Option<()> {
        (!std::mem::replace(&mut self.is_marked, true)).then_some(())
    }
}

struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    fn gpu(&mut self, reading: &mut Reading<'a>) -> Option<()> {
        let (mut uuid, mut model) = <(Once, Once)>::default();
        self.object(|scanner, name| {
            match name {
                b"gpu_uuid" => {
                    uuid.mark()?;
                    reading.gpu_uuid = scanner.text()??;
                }
                b"name" => {
                    model.mark()?;
                    reading.labels.model = scanner.text()?;
                }
                _ => scanner.skip(DEPTH)?,
            }
            Some(())
        })?;
        uuid.is_marked.then_some(())
    }

    fn host(&mut self, labels: &mut LabelsView<'a>) -> Option<()> {
        let (mut hostname, mut rack, mut cluster) = <(Once, Once, Once)>::default();
        self.object_or_null(|scanner, name| {
            match name {
                b"hostname" => {
                    hostname.mark()?;
                    labels.hostname = scanner.text()?;
                }
                b"rack" => {
                    rack.mark()?;
                    labels.rack = scanner.text()?;
                }
                b"cluster" => {
                    cluster.mark()?;
                    labels.cluster = scanner.text()?;
                }
                _ => scanner.skip(DEPTH)?,
            }
            Some(())
        })
    }

    fn asset(&mut self, labels: &mut LabelsView<'a>) -> Option<()> {
        let (mut model, mut rack, mut cluster) = <(Once, Once, Once)>::default();
        self.object_or_null(|scanner, name| {
            match name {
                b"model" => {
                    model.mark()?;
                    labels.model = scanner.text()?;
                }
                b"rack_id" => {
                    rack.mark()?;
                    labels.rack = scanner.text()?;
                }
                b"cluster_id" => {
                    cluster.mark()?;
                    labels.cluster = scanner.text()?;
                }
                _ => scanner.skip(DEPTH)?,
            }
            Some(())
        })
    }

    fn metrics(&mut self, row: &mut Row, xid_counts: &mut Vec<(u32, f64)>) -> Option<()> {
        self.object(|scanner, name| {
            match GROUPS.iter().find(|group| group.name.as_bytes() == name) {
                Some(group) => scanner.group(*group, row, xid_counts),
                None => scanner.skip(DEPTH),
            }
        })
    }

    fn group(
        &mut self,
        group: Group,
        row: &mut Row,
        xid_counts: &mut Vec<(u32, f64)>,
    ) -> Option<()> {
        // Writers keep the schema's order: mostly the next name is the one at the cursor, and need not be looked for.
        let mut cursor = group.from;
        if self.null() {
            return Some(());
        }
        self.expect(b'{')?;
        if self.accept(b'}') {
            return Some(());
        }
        loop {
            self.space();
            let at = if self.expected_name(&mut cursor, group.to) {
                Some(cursor)
            } else {
                let name = self.plain_string()?;
                self.expect(b':')?;
                let at = (group.from..group.to).find(|at| METRICS[*at].name.as_bytes() == name);
                if at.is_none() {
                    self.space();
                    match (group.name, name) {
                        ("memory", b"bank_remap_avail") => self.bank_remap(row)?,
                        ("errors", b"xid_counts") => self.xid_counts(xid_counts)?,
                        _ => self.skip(DEPTH)?,
                    }
                }
                at
            };
            if let Some(at) = at {
                cursor = at + 1;
                self.space();
                match COLUMN_OF_METRIC[at] {
                    Some(column) => row.set(usize::from(column), self.number_or_null()?),
                    None => self.skip(DEPTH)?,
                }
            }
            if !self.accept(b',') {
                return self.expect(b'}');
            }
        }
    }

    /// Passes over the name of the metric at `cursor`, or of one of the next two, with its colon.
    #[inline]
    fn expected_name(&mut self, cursor: &mut usize, end: usize) -> bool {
        let Some(body) = self.rest.strip_prefix(b"\"") else {
            return false;
        };
        for (at, metric) in (*cursor..end).zip(&METRICS[*cursor..]).take(3) {
            if let Some(after) = body.strip_prefix(metric.name.as_bytes())
                && let Some(rest) = after.strip_prefix(b"\":")
            {
                *cursor = at;
                self.rest = rest;
                return true;
            }
        }
        false
    }

    fn bank_remap(&mut self, row: &mut Row) -> Option<()> {
        self.object_or_null(|scanner, name| {
            let member = BANK_REMAP_MEMBERS.iter().position(|m| m.as_bytes() == name);
            match member {
                Some(at) => row.set(BANK_REMAP + at, scanner.number_or_null()?),
                None => scanner.skip(DEPTH)?,
            }
            Some(())
        })
    }

    fn xid_counts(&mut self, counts: &mut Vec<(u32, f64)>) -> Option<()> {
        // Null leaves what stood before it, as the general reader does.
        if self.null() {
            return Some(());
        }
        counts.clear();
        self.object(|scanner, name| {
            let code = str::from_utf8(name).ok().and_then(xid_code);
            let count = scanner.number_or_null()?;
            if let (Some(code), Some(count)) = (code, count) {
                match counts.binary_search_by_key(&code, |entry| entry.0) {
                    Ok(at) => counts[at].1 = count,
                    Err(at) => counts.insert(at, (code, count)),
                }
            }
            Some(())
        })
    }

    // === JSON ===

    #[inline]
    fn object(&mut self, mut member: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.accept(b'}') {
            return Some(());
        }
        loop {
            self.space();
            let name = self.plain_string()?;
            self.expect(b':')?;
            self.space();
            member(self, name)?;
            if self.accept(b',') {
                continue;
            }
            return self.expect(b'}');
        }
    }

    #[inline]
    fn object_or_null(
        &mut self,
        member: impl FnMut(&mut Self, &'a [u8]) -> Option<()>,
    ) -> Option<()> {
        if self.null() {
            return Some(());
        }
        self.object(member)
    }

    fn is_at_end(&mut self) -> bool {
        self.space();
        self.rest.is_empty()
    }

    #[inline]
    fn space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    #[inline]
    fn accept(&mut self, byte: u8) -> bool {
        self.space();
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.accept(byte).then_some(())
    }

    #[inline]
    fn null(&mut self) -> bool {
        match self.rest.strip_prefix(b"null") {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The bytes of a string without escapes and control characters.
    #[inline]
    fn plain_string(&mut self) -> Option<&'a [u8]> {
        let body = self.rest.strip_prefix(b"\"")?;
        let n = special(body)?;
        if body[n] != b'"' {
            return None;
        }
        self.rest = &body[n + 1..];
        Some(&body[..n])
    }

    /// A string, or null.
    #[expect(clippy::option_option, reason = "null is a value, and none is none")]
    fn text(&mut self) -> Option<Option<Text<'a>>> {
        if self.null() {
            return Some(None);
        }
        let text = str::from_utf8(self.plain_string()?).ok()?;
        Some(Some(Text::from(text)))
    }

    fn time(&mut self) -> Option<i64> {
        time_text::parse(self.plain_string()?)
    }

    #[expect(clippy::option_option, reason = "null is a value, and none is none")]
    #[inline]
    fn number_or_null(&mut self) -> Option<Option<f64>> {
        if self.null() {
            return Some(None);
        }
        self.number().map(Some)
    }

    /// A number of up to 15 significant digits: an integer of that size and a power of ten up to 22 are both exact, so that
    /// one division rounds once, which is as right as it can be (Clinger, 1990). All others are for the general reader.
    #[inline]
    fn number(&mut self) -> Option<f64> {
        let (is_negative, mut rest) = match self.rest {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let start = rest;
        let mut digits = 0_u64;
        while let [digit @ b'0'..=b'9', after @ ..] = rest {
            digits = digits
                .wrapping_mul(10)
                .wrapping_add(u64::from(digit - b'0'));
            rest = after;
        }
        let whole = start.len() - rest.len();
        let mut decimals = 0;
        if let [b'.', after @ ..] = rest {
            rest = after;
            let fraction = rest;
            while let [digit @ b'0'..=b'9', after @ ..] = rest {
                digits = digits
                    .wrapping_mul(10)
                    .wrapping_add(u64::from(digit - b'0'));
                rest = after;
            }
            decimals = fraction.len() - rest.len();
            if decimals == 0 {
                return None;
            }
        }
        let has_leading_zero = whole > 1 && start[0] == b'0';
        let has_exponent = matches!(rest, [b'e' | b'E', ..]);
        if whole == 0 || whole + decimals > 15 || has_leading_zero || has_exponent {
            return None;
        }
        self.rest = rest;
        let value = digits as f64 / POWERS_OF_TEN[decimals];
        Some(if is_negative { -value } else { value })
    }

    /// Passes over a value; none for one that is not JSON, has an escape, or is nested deeper than that.
    fn skip(&mut self, depth: usize) -> Option<()> {
        match self.rest.first()? {
            b'"' => self.plain_string().map(drop),
            b'{' => {
                let depth = depth.checked_sub(1)?;
                self.object(|scanner, _| scanner.skip(depth))
            }
            b'[' => self.skip_array(depth.checked_sub(1)?),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.skip_number(),
        }
    }

    fn skip_array(&mut self, depth: usize) -> Option<()> {
        self.expect(b'[')?;
        if self.accept(b']') {
            return Some(());
        }
        loop {
            self.space();
            self.skip(depth)?;
            if !self.accept(b',') {
                return self.expect(b']');
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    /// RFC 8259, section 6.
    fn skip_number(&mut self) -> Option<()> {
        self.skip_byte(b"-");
        if !self.skip_byte(b"0") {
            self.skip_digits()?;
        }
        if self.skip_byte(b".") {
            self.skip_digits()?;
        }
        if self.skip_byte(b"eE") {
            self.skip_byte(b"+-");
            self.skip_digits()?;
        }
        Some(())
    }

    #[inline]
    fn skip_byte(&mut self, any_of: &[u8]) -> bool {
        match self.rest {
            [first, rest @ ..] if any_of.contains(first) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn skip_digits(&mut self) -> Option<()> {
        let before = self.rest.len();
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
        (self.rest.len() < before).then_some(())
    }
}

const POWERS_OF_TEN: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The place of the first quote, backslash or control character, eight bytes at a time.
#[inline]
fn special(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        // A byte below n borrows from its high bit; false alarms come only after a true one.
        let zero = |word: u64| word.wrapping_sub(LOW_BITS) & !word;
        let quote = zero(word ^ (LOW_BITS * u64::from(b'"')));
        let backslash = zero(word ^ (LOW_BITS * u64::from(b'\\')));
        let control = word.wrapping_sub(LOW_BITS * 0x20) & !word;
        let found = (quote | backslash | control) & HIGH_BITS;
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    let n = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
    Some(at + n)
}

#[cfg(test)]
mod tests;
