//! What an event may look like, as replayer/native/schema.py describes it. No field of any event type is named here.

use crate::msgpack::Reader;
use crate::rules::{Rules, PATHS};

/// Every event type this release knows.
pub struct Schema {
    pub types: Vec<EventType>,
    pub max_record_bytes: usize,
    /// `"event_type":`, by which the type of an event is found.
    pub tag: Vec<u8>,
}

pub struct EventType {
    pub name: Vec<u8>,
    pub shape: Shape,
    pub rules: Rules,
}

/// The fields of an object in the order of its canonical form, at most 64.
pub struct Shape {
    pub fields: Vec<Field>,
    /// How the keys begin, field by field: it rules most of them out at once.
    pub starts: Vec<Start>,
    /// The required fields, a bit each.
    pub required: u64,
}

/// The first eight bytes of a key, or as many as it has.
pub struct Start {
    bytes: u64,
    mask: u64,
}

impl Start {
    fn of(key: &[u8]) -> Start {
        let mask = if key.len() < 8 { (1 << (8 * key.len())) - 1 } else { u64::MAX };
        Start { bytes: Start::eight(key), mask }
    }

    /// The first eight bytes of anything, zeros behind its end.
    pub fn eight(text: &[u8]) -> u64 {
        if let Some(Ok(eight)) = text.get(..8).map(<[u8; 8]>::try_from) {
            return u64::from_le_bytes(eight);
        }
        text.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    pub fn begins(&self, eight: u64) -> bool {
        eight & self.mask == self.bytes
    }
}

pub struct Field {
    /// `"name":`
    pub key: Vec<u8>,
    pub absent: Absent,
    pub nullable: bool,
    /// Whether the value must stay out of the projection.
    pub hidden: bool,
    pub kind: Kind,
    /// Which of `rules::PATHS` it is.
    pub used: Option<usize>,
}

/// What stands for a value that is not there.
#[derive(Clone, Copy, PartialEq)]
pub enum Absent {
    Refused,
    Null,
    EmptyList,
}

pub enum Kind {
    /// Lengths in characters; `hex`: lower-case hexadecimal digits.
    Text {
        shortest: usize,
        longest: usize,
        hex: bool,
    },
    Integer {
        least: i64,
        most: i64,
    },
    Float {
        least: f64,
        most: f64,
    },
    Boolean,
    Instant,
    Literal(Vec<Vec<u8>>),
    Object(Shape),
    List {
        longest: usize,
        of: Box<Kind>,
    },
}

impl Field {
    /// Without quotes and colon.
    pub fn name(&self) -> &[u8] {
        &self.key[1..self.key.len() - 2]
    }
}

const MAX_FIELDS: usize = 64;

impl Schema {
    /// None where the description is not one this library understands, or its rules miss a field they are about.
    pub fn read(description: &[u8]) -> Option<Schema> {
        let mut reader = Reader::new(description);
        reader.array_of(3)?;
        let max_record_bytes = reader.size()?;
        let tag = key_of(reader.text()?)?;
        let count = reader.array()?;
        let mut types = Vec::new();
        for _ in 0..count {
            reader.array_of(2)?;
            let name = reader.text()?.to_vec();
            let shape = shape(&mut reader, "", 0)?;
            let rules = Rules::of(&name, &shape)?;
            types.push(EventType { name, shape, rules });
        }
        reader.done().then_some(Schema { types, max_record_bytes, tag })
    }

    pub fn type_named(&self, name: &[u8]) -> Option<usize> {
        self.types.iter().position(|known| known.name == name)
    }
}

fn key_of(name: &[u8]) -> Option<Vec<u8>> {
    let plain = name.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_');
    plain.then(|| [b"\"", name, b"\":"].concat())
}

fn shape(reader: &mut Reader, above: &str, depth: usize) -> Option<Shape> {
    let count = reader.array()?;
    if count > MAX_FIELDS || depth > 8 {
        return None;
    }
    let (mut fields, mut required) = (Vec::new(), 0u64);
    for index in 0..count {
        reader.array_of(5)?;
        let name = reader.text()?;
        let path = format!("{above}{}", std::str::from_utf8(name).ok()?);
        let absent = match reader.integer()? {
            0 => Absent::Refused,
            1 => Absent::Null,
            2 => Absent::EmptyList,
            _ => return None,
        };
        let (nullable, hidden) = (reader.boolean()?, reader.boolean()?);
        if nullable && absent != Absent::Null {
            return None;
        }
        if absent == Absent::Refused {
            required |= 1 << index;
        }
        fields.push(Field {
            key: key_of(name)?,
            absent,
            nullable,
            hidden,
            kind: kind(reader, &path, depth)?,
            used: PATHS.iter().position(|used| *used == path),
        });
    }
    let starts = fields.iter().map(|field| Start::of(&field.key)).collect();
    Some(Shape { fields, starts, required })
}

fn kind(reader: &mut Reader, path: &str, depth: usize) -> Option<Kind> {
    let parts = reader.array()?;
    match (reader.integer()?, parts) {
        (0, 4) => Some(Kind::Text { shortest: reader.size()?, longest: reader.size()?, hex: reader.boolean()? }),
        (1, 3) => Some(Kind::Integer { least: reader.integer()?, most: reader.integer()? }),
        (2, 3) => Some(Kind::Float { least: reader.float()?, most: reader.float()? }),
        (3, 1) => Some(Kind::Boolean),
        (4, 1) => Some(Kind::Instant),
        (5, 2) => {
            let count = reader.array()?;
            (0..count).map(|_| Some(reader.text()?.to_vec())).collect::<Option<_>>().map(Kind::Literal)
        }
        (6, 2) => shape(reader, &format!("{path}."), depth + 1).map(Kind::Object),
        (7, 3) => {
            let longest = reader.size()?;
            // Nothing in a list is used by a rule: its path is none of theirs.
            Some(Kind::List { longest, of: Box::new(kind(reader, &format!("{path}[]"), depth + 1)?) })
        }
        _ => None,
    }
}
