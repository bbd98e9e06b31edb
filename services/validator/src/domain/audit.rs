//! The thorough reader: looks at a record field by field, names everything that is wrong with it, and finds what must be
//! rewritten. It sees the same table of fields as the fast one.
//!
//! It works on slices of the text (`RawValue`), so that it knows where each value stands, meets numbers that no double
//! holds, and is not stopped by the first misfit.

use super::blank::{is_blank, is_blank_text};
use super::layout::{Keep, Object, Role, Shape};
use super::reading::{Given, Numbers, Reading};
use super::reason::{Code, Reasons, shown};
use super::rewrite::{self, Edit, Item};
use schema::Text;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What the thorough reader found, besides reasons.
#[derive(Debug)]
pub struct Audit<'a> {
    /// What the checks need to know.
    pub reading: Reading<'a>,
    /// What must change in the text: blank sentinels, reserved names.
    pub edits: Vec<Edit>,
    /// A blank sentinel is among what must change.
    pub blank: bool,
}

/// Reads `text`, a record of form `layout`, leaves its metrics in `numbers` and adds what is wrong to `reasons`. None
/// when it is no JSON object at all.
pub fn audit<'a>(
    layout: &Object,
    text: &'a str,
    numbers: &mut Numbers,
    reasons: &mut Reasons,
) -> Option<Audit<'a>> {
    numbers.clear();
    let root = match serde_json::from_str::<&'a RawValue>(text) {
        Ok(root) => root.get(),
        Err(error) => {
            reasons.add(Code::MalformedJson, error.to_string());
            return None;
        }
    };
    let kind = Kind::of(root);
    if kind != Kind::Object {
        reasons.add(
            Code::NotAnObject,
            format!("must be an object, is {kind} {}", shown(root)),
        );
        return None;
    }
    let mut auditor = Auditor {
        text,
        reading: Reading::default(),
        edits: Vec::new(),
        blank: false,
        numbers,
        reasons,
    };
    auditor.object(layout, root, &Path::Root);
    Some(Audit {
        reading: auditor.reading,
        edits: auditor.edits,
        blank: auditor.blank,
    })
}

/// What a value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    fn of(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Bool,
            Some(b'"') => Self::String,
            Some(b'[') => Self::Array,
            Some(b'{') => Self::Object,
            _ => Self::Number,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "the boolean",
            Self::Number => "the number",
            Self::String => "the string",
            Self::Array => "the array",
            Self::Object => "the object",
        })
    }
}

/// A dotted path, written only when something is wrong there.
#[derive(Clone, Copy)]
enum Path<'p> {
    Root,
    Member(&'p Self, &'p str),
    Element(&'p Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(Self::Root, name) => f.write_str(name),
            Self::Member(parent, name) => write!(f, "{parent}.{name}"),
            Self::Element(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The members of an object as slices of the text, repeated names included.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// Why a value does not fit.
struct Misfit {
    code: Code,
    message: String,
}

impl Misfit {
    fn wrong_type(expected: &str, value: &str) -> Self {
        let kind = Kind::of(value);
        let message = if kind == Kind::Null {
            format!("must be {expected}, is null")
        } else {
            format!("must be {expected}, is {kind} {}", shown(value))
        };
        Self {
            code: Code::WrongType,
            message,
        }
    }
}

/// The misfits among the items of one container: the first is named, the others counted, so that a record can't make
/// its dead letter grow without bound.
#[derive(Default)]
struct Misfits {
    first: Option<(Misfit, String)>,
    more: usize,
}

impl Misfits {
    fn add(&mut self, misfit: Misfit, path: &Path<'_>) {
        if self.first.is_none() {
            self.first = Some((misfit, path.to_string()));
        } else {
            self.more += 1;
        }
    }

    fn report(self, reasons: &mut Reasons) {
        let Some((misfit, path)) = self.first else {
            return;
        };
        let message = match self.more {
            0 => misfit.message,
            more => format!("{} (and {more} more)", misfit.message),
        };
        reasons.add_field(misfit.code, path, message);
    }
}

/// A value that fits.
enum Fit<T> {
    Value(T),
    /// A blank sentinel.
    Blank,
}

struct Auditor<'n, 'r, 'a> {
    text: &'a str,
    reading: Reading<'a>,
    edits: Vec<Edit>,
    blank: bool,
    numbers: &'n mut Numbers,
    reasons: &'r mut Reasons,
}

impl<'a> Auditor<'_, '_, 'a> {
    fn object(&mut self, object: &Object, value: &'a str, path: &Path<'_>) {
        match Kind::of(value) {
            Kind::Object => {
                if object.role == Role::Metrics {
                    self.reading.metrics = Given::Value(());
                }
                self.members(object, value, path);
            }
            Kind::Null => {}
            _ => {
                match object.role {
                    Role::Plain => {}
                    Role::Gpu => self.reading.gpu_uuid = Given::Misfit,
                    Role::Metrics => self.reading.metrics = Given::Misfit,
                }
                self.misfit(Misfit::wrong_type("an object", value), path);
            }
        }
    }

    fn members(&mut self, object: &Object, value: &'a str, path: &Path<'_>) {
        let Some(members) = self.parse::<Members<'a>>(value, path) else {
            return;
        };
        let (mut items, mut removed) = (Vec::with_capacity(members.0.len()), Vec::new());
        let (mut hint, mut seen) = (0, 0_u64);
        for (position, (name, value)) in members.0.iter().enumerate() {
            items.push(self.item(name, value));
            let Some(name) = self.parse::<Text<'a>>(name.get(), path) else {
                continue;
            };
            let Some(index) = object.find(&name, hint) else {
                continue;
            };
            hint = index + 1;
            let field = &object.fields[index];
            let path = Path::Member(path, field.name);
            if seen & (1 << index) != 0 && !matches!(field.shape, Shape::Reserved) {
                self.reasons
                    .add_field(Code::DuplicateField, path, "is there more than once");
            }
            seen |= 1 << index;
            match &field.shape {
                Shape::Reserved => removed.push(position),
                shape => self.value(shape, value.get(), &path),
            }
        }
        rewrite::remove(&items, &removed, &mut self.edits);
    }

    fn value(&mut self, shape: &Shape, value: &'a str, path: &Path<'_>) {
        if let Shape::Object(object) = shape {
            return self.object(object, value, path);
        }
        if Kind::of(value) == Kind::Null {
            return;
        }
        match shape {
            Shape::Kept(keep) => self.kept(*keep, value, path),
            Shape::Texts { blankable } => self.texts(*blankable, value, path),
            Shape::Counts => self.counts(value, path),
            Shape::Metric(index) => match number(value, true) {
                Ok(Fit::Value(number)) => self.numbers.push((*index, number)),
                other => self.settle(other.map(|fit| fit.map(drop)), value, path),
            },
            Shape::Sequence => match value.parse() {
                Ok(sequence) => self.reading.sequence = Some(sequence),
                Err(_) => self.misfit(
                    Misfit::wrong_type("an integer from 0 to 18446744073709551615", value),
                    path,
                ),
            },
            shape => self.settle(plain(shape, value), value, path),
        }
    }

    fn kept(&mut self, keep: Keep, value: &'a str, path: &Path<'_>) {
        let blankable = matches!(keep, Keep::GpuUuid | Keep::ModelName);
        match text(value, blankable) {
            Ok(Fit::Value(text)) => self.reading.keep(keep, text),
            // A UUID stands for nobody when it is blank: absent.
            Ok(Fit::Blank) if keep == Keep::GpuUuid => {}
            Ok(Fit::Blank) => self.make_null(value),
            Err(misfit) => {
                match keep {
                    Keep::Timestamp => self.reading.timestamp = Given::Misfit,
                    Keep::GpuUuid => self.reading.gpu_uuid = Given::Misfit,
                    Keep::ModelName | Keep::BootId => {}
                }
                self.misfit(misfit, path);
            }
        }
    }

    fn texts(&mut self, blankable: bool, value: &'a str, path: &Path<'_>) {
        if Kind::of(value) != Kind::Array {
            return self.settle(text(value, blankable).and_then(no_container), value, path);
        }
        let Some(elements) = self.parse::<Vec<&'a RawValue>>(value, path) else {
            return;
        };
        let (mut items, mut removed) = (Vec::with_capacity(elements.len()), Vec::new());
        let mut misfits = Misfits::default();
        for (index, element) in elements.iter().enumerate() {
            items.push(self.item(element, element));
            match text(element.get(), blankable) {
                Ok(Fit::Value(_)) => {}
                Ok(Fit::Blank) => removed.push(index),
                Err(misfit) => misfits.add(misfit, &Path::Element(path, index)),
            }
        }
        self.take_out(&items, &removed);
        misfits.report(self.reasons);
    }

    fn counts(&mut self, value: &'a str, path: &Path<'_>) {
        if Kind::of(value) != Kind::Object {
            return self.settle(text(value, true).and_then(no_container), value, path);
        }
        let Some(members) = self.parse::<Members<'a>>(value, path) else {
            return;
        };
        let (mut items, mut removed) = (Vec::with_capacity(members.0.len()), Vec::new());
        let mut misfits = Misfits::default();
        for (index, (name, value)) in members.0.iter().enumerate() {
            items.push(self.item(name, value));
            let shown_name = shown(name.get().trim_matches('"'));
            let path = Path::Member(path, &shown_name);
            if let Err(misfit) = text(name.get(), false) {
                misfits.add(misfit, &path);
            }
            match plain(&Shape::Count, value.get()) {
                Ok(Fit::Value(())) => {}
                Ok(Fit::Blank) => removed.push(index),
                Err(misfit) => misfits.add(misfit, &path),
            }
        }
        self.take_out(&items, &removed);
        misfits.report(self.reasons);
    }

    /// Takes out items that are blank: null would not fit where they stand.
    fn take_out(&mut self, items: &[Item], removed: &[usize]) {
        self.blank |= !removed.is_empty();
        rewrite::remove(items, removed, &mut self.edits);
    }

    fn settle(&mut self, found: Result<Fit<()>, Misfit>, value: &'a str, path: &Path<'_>) {
        match found {
            Ok(Fit::Value(())) => {}
            Ok(Fit::Blank) => self.make_null(value),
            Err(misfit) => self.misfit(misfit, path),
        }
    }

    fn make_null(&mut self, value: &'a str) {
        self.blank = true;
        let start = self.offset(value);
        self.edits.push(Edit {
            span: start..start + value.len(),
            replacement: "null",
        });
    }

    fn misfit(&mut self, misfit: Misfit, path: &Path<'_>) {
        self.reasons.add_field(misfit.code, path, misfit.message);
    }

    /// Parses a slice that is well-formed already; what is left to go wrong is a string that is no Unicode text (half a
    /// surrogate pair).
    fn parse<T: Deserialize<'a>>(&mut self, value: &'a str, path: &Path<'_>) -> Option<T> {
        match serde_json::from_str(value) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let message = format!("{error} in {}", shown(value));
                match path {
                    Path::Root => self.reasons.add(Code::MalformedJson, message),
                    path => self.reasons.add_field(Code::MalformedJson, path, message),
                }
                None
            }
        }
    }

    fn item(&self, first: &'a RawValue, last: &'a RawValue) -> Item {
        self.offset(first.get())..self.offset(last.get()) + last.get().len()
    }

    /// Where `part`, a slice of the text, starts in it.
    fn offset(&self, part: &'a str) -> usize {
        part.as_ptr().addr() - self.text.as_ptr().addr()
    }
}

impl<T> Fit<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Fit<U> {
        match self {
            Self::Value(value) => Fit::Value(change(value)),
            Self::Blank => Fit::Blank,
        }
    }
}

/// A value of one of the plain shapes, not null.
fn plain(shape: &Shape, value: &str) -> Result<Fit<()>, Misfit> {
    match shape {
        Shape::Text { blankable } => text(value, *blankable).map(|fit| fit.map(drop)),
        Shape::Number => number(value, false).map(|fit| fit.map(drop)),
        Shape::Count => match number(value, true)? {
            Fit::Value(number) if number < 0.0 => Err(Misfit {
                code: Code::NegativeCounter,
                message: format!("is {}, a count can't be negative", shown(value)),
            }),
            fit => Ok(fit.map(drop)),
        },
        Shape::Unsigned { blankable } => {
            if *blankable && matches!(number(value, true), Ok(Fit::Blank)) {
                return Ok(Fit::Blank);
            }
            value
                .parse::<u32>()
                .map(|_| Fit::Value(()))
                .map_err(|_| Misfit::wrong_type("an integer from 0 to 4294967295", value))
        }
        _ => match Kind::of(value) {
            Kind::Bool => Ok(Fit::Value(())),
            _ => Err(Misfit::wrong_type("true or false", value)),
        },
    }
}

fn text(value: &str, blankable: bool) -> Result<Fit<Cow<'_, str>>, Misfit> {
    if Kind::of(value) != Kind::String {
        return Err(Misfit::wrong_type("a string", value));
    }
    let text = serde_json::from_str::<Text<'_>>(value).map_err(|error| Misfit {
        code: Code::MalformedJson,
        message: format!("{error} in {}", shown(value)),
    })?;
    Ok(if blankable && is_blank_text(&text) {
        Fit::Blank
    } else {
        Fit::Value(text.into_cow())
    })
}

fn number(value: &str, blankable: bool) -> Result<Fit<f64>, Misfit> {
    match Kind::of(value) {
        Kind::Number => {
            let number: f64 = value
                .parse()
                .map_err(|_| Misfit::wrong_type("a number", value))?;
            if number.is_infinite() {
                return Err(Misfit {
                    code: Code::NotFinite,
                    message: format!("is {}, more than a double holds", shown(value)),
                });
            }
            Ok(if blankable && is_blank(number) {
                Fit::Blank
            } else {
                Fit::Value(number)
            })
        }
        Kind::String if blankable && matches!(text(value, true), Ok(Fit::Blank)) => Ok(Fit::Blank),
        _ => Err(Misfit::wrong_type("a number", value)),
    }
}

/// A container may be blank as a whole; no other string will do in its place.
fn no_container(fit: Fit<Cow<'_, str>>) -> Result<Fit<()>, Misfit> {
    match fit {
        Fit::Blank => Ok(Fit::Blank),
        Fit::Value(text) => Err(Misfit {
            code: Code::WrongType,
            message: format!("must be a container, is the string \"{}\"", shown(&text)),
        }),
    }
}

#[cfg(test)]
mod tests;
