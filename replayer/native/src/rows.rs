//! Keys and values of the `timelines` table: replayer/core/rows.py says what they mean.

use crate::capped::{Topic, Topics};
use crate::msgpack::{self, Reader};
use crate::rules::{Facts, Variant};

pub const FORMAT: u8 = 1;
const EVENT_FORMAT: u8 = 2;
pub const LATE: u8 = 1;
pub const FIRST: u8 = 4;
pub const MAX_INLINE: usize = 16;

/// What can be said only once goes to the event of the highest rank: (occurred, event id, variant).
#[derive(Clone, Default)]
pub struct Rank {
    us: i64,
    id: Vec<u8>,
    variant: Variant,
}

impl Rank {
    pub fn read(reader: &mut Reader) -> Option<Option<Rank>> {
        if reader.nil() {
            return Some(None);
        }
        reader.array_of(3)?;
        let (us, id) = (reader.integer()?, reader.text()?.to_vec());
        Some(Some(Rank { us, id, variant: reader.bytes()?.try_into().ok()? }))
    }

    pub fn write(rank: Option<&Rank>, out: &mut Vec<u8>) {
        let Some(rank) = rank else { return msgpack::nil(out) };
        msgpack::array(out, 3);
        msgpack::integer(out, rank.us);
        msgpack::text(out, &rank.id);
        msgpack::bytes(out, &rank.variant);
    }

    /// Takes the event's rank where it is the higher one; whether it did.
    pub fn raise(rank: &mut Option<Rank>, event: &Facts) -> bool {
        let new = (event.us, event.id, &event.variant);
        if rank.as_ref().is_some_and(|old| new <= (old.us, &old.id[..], &old.variant)) {
            return false;
        }
        let kept = rank.get_or_insert_with(Rank::default);
        kept.us = event.us;
        kept.id.clear();
        kept.id.extend_from_slice(event.id);
        kept.variant = event.variant;
        true
    }
}

/// A variant of an event id, and where it was first seen.
#[derive(Clone)]
pub struct Sighting {
    pub variant: Variant,
    pub us: i64,
    pub topic: Topic,
    pub partition: i64,
    pub offset: i64,
    pub index: i64,
}

impl Sighting {
    fn read(reader: &mut Reader, topics: &mut Topics) -> Option<Sighting> {
        reader.array_of(6)?;
        Some(Sighting {
            variant: reader.bytes()?.try_into().ok()?,
            us: reader.integer()?,
            topic: topics.number(reader.text()?)?,
            partition: reader.integer()?,
            offset: reader.integer()?,
            index: reader.integer()?,
        })
    }

    fn write(&self, out: &mut Vec<u8>, topics: &Topics) {
        msgpack::array(out, 6);
        msgpack::bytes(out, &self.variant);
        msgpack::integer(out, self.us);
        msgpack::text(out, topics.name(self.topic));
        msgpack::integer(out, self.partition);
        msgpack::integer(out, self.offset);
        msgpack::integer(out, self.index);
    }
}

/// The value of an identity row.
pub fn read_sightings(value: &[u8], topics: &mut Topics) -> Option<Vec<Sighting>> {
    let mut reader = opened(value)?;
    let count = reader.array()?;
    if !(1..=MAX_INLINE).contains(&count) {
        return None;
    }
    let found = (0..count).map(|_| Sighting::read(&mut reader, topics)).collect::<Option<_>>()?;
    reader.done().then_some(found)
}

pub fn write_sightings<'a>(out: &mut Vec<u8>, sightings: impl ExactSizeIterator<Item = &'a Sighting>, topics: &Topics) {
    out.push(FORMAT);
    msgpack::array(out, sightings.len());
    for sighting in sightings {
        sighting.write(out, topics);
    }
}

/// The value behind its format byte; None where another format has written it.
pub fn opened(value: &[u8]) -> Option<Reader<'_>> {
    match value {
        [FORMAT, rest @ ..] => Some(Reader::new(rest)),
        _ => None,
    }
}

/// `kind`, the prefix of a workflow's keys without its last NUL, and what else there is, each behind a NUL.
pub fn head_key(out: &mut Vec<u8>, tenant: &[u8], workflow: &[u8]) {
    msgpack::bytes_of(out, 1 + tenant.len() + 1 + workflow.len());
    out.push(b'h');
    out.extend_from_slice(tenant);
    out.push(0);
    out.extend_from_slice(workflow);
}

/// The key of a decision (`d`) or an identity (`i`).
pub fn named_key(out: &mut Vec<u8>, kind: u8, prefix: &[u8], name: &[u8]) {
    msgpack::bytes_of(out, 1 + prefix.len() + name.len());
    out.push(kind);
    out.extend_from_slice(prefix);
    out.extend_from_slice(name);
}

/// The key of a trace's row (`t`) or a correlation's (`c`).
pub fn thread_key(out: &mut Vec<u8>, kind: u8, name: &[u8], tenant: &[u8], workflow: &[u8]) {
    msgpack::bytes_of(out, 1 + name.len() + 1 + tenant.len() + 1 + workflow.len());
    out.push(kind);
    for part in [name, b"\0", tenant, b"\0", workflow] {
        out.extend_from_slice(part);
    }
}

/// Key and value of an event's row. None where a number does not fit into its place.
pub fn event_row(out: &mut Vec<u8>, prefix: &[u8], event: &Facts, row: &EventRow) -> Option<()> {
    let (partition, length) = (u32::try_from(row.partition).ok()?, u8::try_from(row.topic.len()).ok()?);
    msgpack::array(out, 2);
    msgpack::bytes_of(out, 1 + prefix.len() + 8 + event.id.len() + 1 + event.variant.len());
    out.push(b'e');
    out.extend_from_slice(prefix);
    out.extend_from_slice(&((event.us as u64) ^ 1 << 63).to_be_bytes());
    out.extend_from_slice(event.id);
    out.push(0);
    out.extend_from_slice(&event.variant);
    msgpack::bytes_of(out, 25 + row.topic.len() + row.projection.len());
    out.extend_from_slice(&[EVENT_FORMAT, row.marks]);
    out.extend_from_slice(&row.commit_us.to_be_bytes());
    out.extend_from_slice(&row.offset.to_be_bytes());
    out.extend_from_slice(&[0, 0]); // index: one event a record
    out.extend_from_slice(&partition.to_be_bytes());
    out.push(length);
    out.extend_from_slice(row.topic);
    out.extend_from_slice(row.projection);
    Some(())
}

pub struct EventRow<'a> {
    pub marks: u8,
    pub commit_us: i64,
    pub topic: &'a [u8],
    pub partition: i64,
    pub offset: i64,
    pub projection: &'a [u8],
}
