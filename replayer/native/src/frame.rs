//! Rows as the records of Kafka's record batches (format 2), each as if it were written when its batch was made.

use crate::msgpack::{self, Reader};

/// What a batch begins with is left to whoever sends it: its producer is not known here.
pub const HEADER_BYTES: usize = 61;

/// `input`: [[key, value or nil], ...]. Into `batches` one after the other, each with room for its header and of at most
/// `limit` bytes, but for one whose only record is larger; into `cuts` [[records, bytes], ...] of them.
/// None: that the input is not.
pub fn frame(input: &[u8], limit: usize, batches: &mut Vec<u8>, cuts: &mut Vec<u8>) -> Option<()> {
    let mut reader = Reader::new(input);
    let rows = reader.array()?;
    batches.reserve(input.len() + rows * 16 + HEADER_BYTES);
    let mut ends: Vec<(usize, usize)> = Vec::new();
    let (mut start, mut records) = (0, 0);
    batches.resize(HEADER_BYTES, 0);
    for _ in 0..rows {
        reader.array_of(2)?;
        let key = reader.bytes()?;
        let value = if reader.nil() { None } else { Some(reader.bytes()?) };
        let size = size(records, key, value);
        if records > 0 && batches.len() - start + varint_bytes(size as i64) + size > limit {
            ends.push((records, batches.len() - start));
            (start, records) = (batches.len(), 0);
            batches.resize(start + HEADER_BYTES, 0);
        }
        append(batches, records, key, value);
        records += 1;
    }
    if records > 0 {
        ends.push((records, batches.len() - start));
    }
    msgpack::array(cuts, ends.len());
    for (records, bytes) in ends {
        msgpack::array(cuts, 2);
        msgpack::integer(cuts, records as i64);
        msgpack::integer(cuts, bytes as i64);
    }
    reader.done().then_some(())
}

/// The bytes of a record behind its length.
fn size(number: usize, key: &[u8], value: Option<&[u8]>) -> usize {
    let field = |length: usize| varint_bytes(length as i64) + length;
    // attributes, time since the batch's, offset from the batch's; key; value; how many headers
    2 + varint_bytes(number as i64) + field(key.len()) + value.map_or(1, |value| field(value.len())) + 1
}

fn append(out: &mut Vec<u8>, number: usize, key: &[u8], value: Option<&[u8]>) {
    varint(out, size(number, key, value) as i64);
    out.extend_from_slice(&[0, 0]);
    varint(out, number as i64);
    varint(out, key.len() as i64);
    out.extend_from_slice(key);
    match value {
        None => varint(out, -1),
        Some(value) => {
            varint(out, value.len() as i64);
            out.extend_from_slice(value);
        }
    }
    varint(out, 0);
}

/// Seven bits to a byte, the sign in the lowest.
fn varint(out: &mut Vec<u8>, number: i64) {
    let mut left = zigzag(number);
    while left > 0x7f {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn varint_bytes(number: i64) -> usize {
    (64 - (zigzag(number) | 1).leading_zeros() as usize).div_ceil(7)
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}
