//! A record as it was fetched: replayer/core/fetched.py's, field by field.

use crate::msgpack::Reader;

pub struct Fetched<'a> {
    pub topic: &'a [u8],
    pub partition: i64,
    pub offset: i64,
    pub timestamp: i64,
    /// None: there is none, or there are headers, which may say more than it.
    pub value: Option<&'a [u8]>,
    /// Where the value ends in what is read.
    pub end: usize,
}

impl<'a> Fetched<'a> {
    pub fn read(reader: &mut Reader<'a>) -> Option<Self> {
        reader.array_of(11)?;
        let topic = reader.text()?;
        let (partition, offset, timestamp) = (reader.integer()?, reader.integer()?, reader.integer()?);
        reader.integer()?; // what kind of timestamp
        bytes_if_any(reader)?; // the key, which is its group's
        let value = bytes_if_any(reader)?;
        let end = reader.at();
        if !reader.nil() {
            reader.integer()?; // the checksum
        }
        (reader.integer()?, reader.integer()?); // sizes
        let headers = reader.array()?;
        for _ in 0..headers {
            reader.array_of(2)?;
            reader.text()?;
            bytes_if_any(reader)?;
        }
        let value = value.filter(|_| headers == 0);
        Some(Fetched { topic, partition, offset, timestamp, value, end })
    }
}

/// Some(None): a nil.
fn bytes_if_any<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    if reader.nil() {
        Some(None)
    } else {
        reader.bytes().map(Some)
    }
}
