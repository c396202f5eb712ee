//! An event's bytes to its canonical content and its projection: the ones `codec.read` and `projected` give.
//!
//! `None` means that the bytes are not understood, not that they are no event: Python decides.

use crate::rules::{Used, PATHS};
use crate::schema::{Absent, Field, Kind, Schema, Shape, Start};
use crate::span::{Span, MADE, NONE};
use crate::tag::tag_of;
use crate::text;

/// A value's canonical form, and that of what of it may be projected.
#[derive(Clone, Copy)]
struct Value {
    content: Span,
    shown: Span,
}

const ABSENT: Value = Value { content: NONE, shown: NONE };

pub struct Event {
    /// Index into `Schema::types`.
    pub kind: usize,
    pub content: Span,
    /// Equal to `content` where nothing had to be hidden.
    pub shown: Span,
    pub used: Used,
}

/// Reads one record. What it writes goes to the end of `made`.
struct Parser<'a> {
    raw: &'a [u8],
    at: usize,
    made: &'a mut Vec<u8>,
    values: &'a mut Vec<Value>,
    used: Used,
}

/// A stack of the values of the objects that are open, kept between records for its memory.
#[derive(Default)]
pub struct Stack(Vec<Value>);

/// The event in `raw`.
pub fn read(schema: &Schema, raw: &[u8], made: &mut Vec<u8>, stack: &mut Stack) -> Option<Event> {
    if raw.len() > schema.max_record_bytes {
        return None;
    }
    stack.0.clear();
    let kind = schema.type_named(tag_of(raw, &schema.tag)?)?;
    let mut parser = Parser { raw, at: 0, made, values: &mut stack.0, used: [NONE; PATHS.len()] };
    parser.space();
    let found = parser.object(&schema.types[kind].shape)?;
    parser.space();
    (parser.at == raw.len()).then_some(Event { kind, content: found.content, shown: found.shown, used: parser.used })
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.raw.get(self.at).copied()
    }

    /// Passes over white space; whether there was any.
    fn space(&mut self) -> bool {
        let before = self.at;
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.at != before
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.raw.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    fn own(&self, start: usize, end: usize) -> Option<Value> {
        let span = Span::new(0, start, end)?;
        Some(Value { content: span, shown: span })
    }

    /// What was written behind `start`.
    fn written(&self, start: usize) -> Option<Span> {
        Span::new(MADE, start, self.made.len())
    }

    fn copy(&mut self, span: Span) {
        if span.made() {
            self.made.extend_from_within(span.range());
        } else {
            self.made.extend_from_slice(&self.raw[span.range()]);
        }
    }

    fn object(&mut self, shape: &Shape) -> Option<Value> {
        let (start, base) = (self.at, self.values.len());
        self.values.resize(base + shape.fields.len(), ABSENT);
        self.word(b"{")?;
        let mut canonical = !self.space();
        let (mut seen, mut next, mut hides) = (0u64, 0, false);
        if self.peek()? == b'}' {
            self.at += 1;
        } else {
            loop {
                let (index, spaced) = self.key(shape, next)?;
                canonical &= !spaced && index >= next;
                next = index + 1;
                let field = &shape.fields[index];
                if seen & 1 << index != 0 {
                    return None;
                }
                seen |= 1 << index;
                canonical &= !self.space();
                let value = self.field(field)?;
                canonical &= !value.content.made() && !value.content.is_none();
                if !value.content.is_none() {
                    hides |= field.hidden || value.shown != value.content;
                    self.values[base + index] = value;
                }
                canonical &= !self.space();
                self.at += 1;
                match self.raw.get(self.at - 1)? {
                    b',' => canonical &= !self.space(),
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        if seen & shape.required != shape.required {
            return None;
        }
        let content = if canonical {
            self.own(start, self.at)?.content
        } else {
            self.assembled(shape, base, |_, value| value.content)?
        };
        let hide = |field: &Field, value: Value| if field.hidden { NONE } else { value.shown };
        let shown = if hides { self.assembled(shape, base, hide)? } else { content };
        self.values.truncate(base);
        Some(Value { content, shown })
    }

    fn assembled(&mut self, shape: &Shape, base: usize, part: impl Fn(&Field, Value) -> Span) -> Option<Span> {
        let start = self.made.len();
        self.made.push(b'{');
        for (index, field) in shape.fields.iter().enumerate() {
            let span = part(field, self.values[base + index]);
            if !span.is_none() {
                self.made.extend_from_slice(&field.key);
                self.copy(span);
                self.made.push(b',');
            }
        }
        if self.made.len() > start + 1 {
            self.made.pop();
        }
        self.made.push(b'}');
        self.written(start)
    }

    /// The field whose key is next, and whether there was space behind the key. `next`: the likeliest.
    fn key(&mut self, shape: &Shape, next: usize) -> Option<(usize, bool)> {
        let rest = self.raw.get(self.at..)?;
        let (before, behind) = shape.starts.split_at(next.min(shape.starts.len()));
        let eight = Start::eight(rest);
        for (starts, first) in [(behind, before.len()), (before, 0)] {
            for (index, _) in starts.iter().enumerate().filter(|(_, start)| start.begins(eight)) {
                let key = &shape.fields[first + index].key;
                if rest.starts_with(key) {
                    self.at += key.len();
                    return Some((first + index, false));
                }
            }
        }
        if rest.first() != Some(&b'"') {
            return None;
        }
        let name = text::string(self.raw, self.at)?;
        let index = shape.fields.iter().position(|field| field.name() == &self.raw[name.start..name.end])?;
        self.at = name.end + 1;
        self.space();
        self.word(b":")?;
        Some((index, true))
    }

    /// The value of a field; ABSENT for what its canonical form leaves out.
    fn field(&mut self, field: &Field) -> Option<Value> {
        if field.nullable && self.peek()? == b'n' {
            self.word(b"null")?;
            return Some(ABSENT);
        }
        let value = self.value(&field.kind)?;
        if field.absent == Absent::EmptyList && value.content.range().len() == 2 {
            return Some(ABSENT);
        }
        if let Some(used) = field.used {
            self.used[used] = value.content;
        }
        Some(value)
    }

    fn value(&mut self, kind: &Kind) -> Option<Value> {
        match kind {
            Kind::Object(shape) => self.object(shape),
            Kind::List { longest, of } => self.list(*longest, of),
            Kind::Text { shortest, longest, hex } => {
                let found = self.string()?;
                if found.length < *shortest || found.length > *longest {
                    return None;
                }
                if *hex && !text::is_hex(&self.raw[found.start..found.end]) {
                    return None;
                }
                self.own(found.start - 1, found.end + 1)
            }
            Kind::Literal(values) => {
                let found = self.string()?;
                let said = &self.raw[found.start..found.end];
                if !values.iter().any(|value| value == said) {
                    return None;
                }
                self.own(found.start - 1, found.end + 1)
            }
            Kind::Instant => self.instant(),
            Kind::Integer { least, most } => {
                let (start, number) = (self.at, text::number(self.raw, self.at)?);
                let value = text::integer(&self.raw[start..number.end])?;
                if number.point.is_some() || value < *least || value > *most {
                    return None;
                }
                self.at = number.end;
                self.own(start, number.end)
            }
            Kind::Float { least, most } => self.float(*least, *most),
            Kind::Boolean => {
                let start = self.at;
                self.word(if self.peek()? == b't' { b"true" } else { b"false" })?;
                self.own(start, self.at)
            }
        }
    }

    fn string(&mut self) -> Option<text::Text> {
        if self.peek()? != b'"' {
            return None;
        }
        let found = text::string(self.raw, self.at)?;
        self.at = found.end + 1;
        Some(found)
    }

    fn instant(&mut self) -> Option<Value> {
        let found = self.string()?;
        let (start, end) = (found.start - 1, found.end + 1);
        let instant = text::instant(&self.raw[found.start..found.end])?;
        if instant.canonical {
            return self.own(start, end);
        }
        let written = self.made.len();
        self.made.extend_from_slice(&self.raw[start..start + 20]);
        if instant.fraction != 0 {
            self.made.extend_from_slice(format!(".{:06}", instant.fraction).as_bytes());
        }
        self.made.extend_from_slice(b"Z\"");
        let span = self.written(written)?;
        Some(Value { content: span, shown: span })
    }

    fn float(&mut self, least: f64, most: f64) -> Option<Value> {
        let (start, number) = (self.at, text::number(self.raw, self.at)?);
        let said = &self.raw[start..number.end];
        self.at = number.end;
        if number.point.is_some() {
            let value = text::shortest_float(said)?;
            return if value >= least && value <= most { self.own(start, number.end) } else { None };
        }
        let value = text::integer(said)?; // written as a float of its value: exact up to 15 digits
        if value.abs() >= 1_000_000_000_000_000 || (value as f64) < least || (value as f64) > most {
            return None;
        }
        let written = self.made.len();
        self.made.extend_from_slice(said);
        self.made.extend_from_slice(b".0");
        let span = self.written(written)?;
        Some(Value { content: span, shown: span })
    }

    fn list(&mut self, longest: usize, of: &Kind) -> Option<Value> {
        let (start, base) = (self.at, self.values.len());
        self.word(b"[")?;
        let mut canonical = !self.space();
        let mut hides = false;
        if self.peek()? == b']' {
            self.at += 1;
        } else {
            loop {
                if self.values.len() - base == longest {
                    return None;
                }
                let value = self.value(of)?;
                canonical &= !value.content.made();
                hides |= value.shown != value.content;
                self.values.push(value);
                canonical &= !self.space();
                self.at += 1;
                match self.raw.get(self.at - 1)? {
                    b',' => canonical &= !self.space(),
                    b']' => break,
                    _ => return None,
                }
            }
        }
        let content =
            if canonical { self.own(start, self.at)?.content } else { self.listed(base, |value| value.content)? };
        let shown = if hides { self.listed(base, |value| value.shown)? } else { content };
        self.values.truncate(base);
        Some(Value { content, shown })
    }

    fn listed(&mut self, base: usize, part: impl Fn(Value) -> Span) -> Option<Span> {
        let start = self.made.len();
        self.made.push(b'[');
        for index in base..self.values.len() {
            if index > base {
                self.made.push(b',');
            }
            self.copy(part(self.values[index]));
        }
        self.made.push(b']');
        self.written(start)
    }
}
