//! Records as they lie in their logs: an index of them, and what a step is given of it. replayer/core/unread.py says more.

use crate::span;

/// Of each record, in the processor's order of bytes: offset, timestamp, where the key begins and how long it is (-1: there
/// is none), the same of the value, where its headers begin (-1: it has none), and the bytes of all keys and values up to
/// and with its own.
pub const NUMBERS: usize = 8;
const ROW_BYTES: usize = NUMBERS * 8;

/// What the header of a record batch says of its records.
pub struct Batch {
    pub offset: i64,
    pub timestamp: i64,
    /// Whether the timestamp is that of all of them.
    pub appended: bool,
    pub records: usize,
    /// Bytes of keys and values before them, to count on from.
    pub before: i64,
}

/// The index of a batch's records, which are `data` from `start` to its end. None: they are something else.
pub fn index(data: &[u8], start: usize, end: usize, batch: &Batch) -> Option<Vec<u8>> {
    if end > data.len() || end > span::MAX_BYTES {
        return None;
    }
    let mut reader = Reader { data: &data[..end], at: start };
    // The shortest record is seven bytes: whatever the header says, no more can follow.
    let mut rows = Vec::with_capacity(batch.records.min((end - start.min(end)) / 7 + 1) * ROW_BYTES);
    let mut bytes = batch.before;
    for _ in 0..batch.records {
        let length = usize::try_from(reader.varint()?).ok()?;
        let behind = reader.at.checked_add(length)?;
        reader.pass(1)?; // attributes
        let later = reader.varint()?;
        let offset = batch.offset.checked_add(reader.varint()?)?;
        let timestamp = if batch.appended { batch.timestamp } else { batch.timestamp.checked_add(later)? };
        let (key_at, key) = reader.field()?;
        let (value_at, value) = reader.field()?;
        let headers_at = reader.at as i64;
        let headers = reader.varint()?;
        for _ in 0..headers {
            if reader.field()?.1 < 0 {
                return None;
            }
            reader.field()?;
        }
        if headers < 0 || reader.at != behind {
            return None;
        }
        bytes = bytes.checked_add(key.max(0) + value.max(0))?;
        let headers_at = if headers == 0 { -1 } else { headers_at };
        for number in [offset, timestamp, key_at, key, value_at, value, headers_at, bytes] {
            rows.extend_from_slice(&number.to_ne_bytes());
        }
    }
    (reader.at == end).then_some(rows)
}

const HEADER: usize = 61;
const CODEC: u8 = 0x07;
const APPENDED: u8 = 0x08;

/// One index of the batches of a fetch, from the one that begins at `at` on, as far as they have the same kind of
/// timestamps; and of each batch, as numbers, where it begins and which records are its own, from and to. Those that are
/// packed, or hold something else, are passed over.
pub fn index_on(data: &[u8], mut at: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut rows, mut table, mut kind, mut before) = (Vec::new(), Vec::new(), None, 0);
    while let Some(header) = data.get(at..at.checked_add(HEADER)?) {
        let length = usize::try_from(big_endian(header, 8, 4)).ok()?;
        let Some(end) = at.checked_add(12)?.checked_add(length).filter(|end| *end <= data.len()) else { break };
        let (flags, appended) = (header[22], header[22] & APPENDED != 0);
        if *kind.get_or_insert(appended) != appended || header[16] != 2 || end < at + HEADER {
            break;
        }
        if flags & CODEC == 0 {
            let batch = Batch {
                offset: big_endian(header, 0, 8),
                timestamp: big_endian(header, if appended { 35 } else { 27 }, 8),
                appended,
                records: usize::try_from(big_endian(header, 57, 4)).unwrap_or(0),
                before,
            };
            if let Some(found) = index(data, at + HEADER, end, &batch) {
                let first = rows.len() / ROW_BYTES;
                rows.extend_from_slice(&found);
                let last = rows.len() / ROW_BYTES;
                if let Some(bytes) = rows.last_chunk::<8>() {
                    before = i64::from_ne_bytes(*bytes);
                }
                for number in [at, first, last] {
                    table.extend_from_slice(&(number as i64).to_ne_bytes());
                }
            }
        }
        at = end;
    }
    Some((rows, table))
}

/// A number with a sign, of four bytes or eight.
fn big_endian(data: &[u8], at: usize, width: usize) -> i64 {
    let number = data[at..at + width].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    if width == 4 {
        i64::from(number as u32 as i32)
    } else {
        number as i64
    }
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn varint(&mut self) -> Option<i64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.data.get(self.at)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        None
    }

    fn pass(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes).filter(|at| *at <= self.data.len())?;
        Some(())
    }

    /// Where bytes begin and how many they are; -1 of them: null.
    fn field(&mut self) -> Option<(i64, i64)> {
        let length = self.varint()?;
        let at = self.at as i64;
        if length >= 0 {
            self.pass(usize::try_from(length).ok()?)?;
        } else if length != -1 {
            return None;
        }
        Some((at, length))
    }
}

/// Records of one partition, as they lie in `data`.
pub struct Part<'a> {
    pub data: &'a [u8],
    pub topic: &'a [u8],
    pub partition: i64,
    rows: &'a [u8],
}

pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<std::ops::Range<usize>>,
    /// None: there is none, or there are headers, which may say more than it.
    pub value: Option<std::ops::Range<usize>>,
}

impl<'a> Part<'a> {
    /// `rows`: of an index of `data`. None: it is none.
    pub fn new(data: &'a [u8], rows: &'a [u8], topic: &'a [u8], partition: i64) -> Option<Part<'a>> {
        std::str::from_utf8(topic).ok()?;
        (rows.len() % ROW_BYTES == 0).then_some(Part { data, topic, partition, rows })
    }

    pub fn len(&self) -> usize {
        self.rows.len() / ROW_BYTES
    }

    /// None: the index is not of this data.
    pub fn record(&self, number: usize) -> Option<Record> {
        let row = self.rows.chunks_exact(ROW_BYTES).nth(number)?;
        let at = |place: usize| row[place * 8..place * 8 + 8].try_into().map(i64::from_ne_bytes).ok();
        let (key, value) = (self.range(at(2)?, at(3)?)?, self.range(at(4)?, at(5)?)?);
        let value = value.filter(|_| at(6) == Some(-1));
        Some(Record { offset: at(0)?, timestamp: at(1)?, key, value })
    }

    /// Some(None): null. None: it is not in the data.
    fn range(&self, at: i64, length: i64) -> Option<Option<std::ops::Range<usize>>> {
        if length == -1 {
            return Some(None);
        }
        let (at, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
        let end = at.checked_add(length).filter(|end| *end <= self.data.len())?;
        Some(Some(at..end))
    }
}
