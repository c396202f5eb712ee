//! What a step's rows go to.

/// How many records came to what.
#[derive(Default, Clone, Copy)]
pub struct Totals {
    pub folded: i64,
    pub duplicate: i64,
    pub variant: i64,
    pub reprocessed: i64,
    pub late: i64,
}

/// Rows as MessagePack: an array of pairs, whose head is filled in at the end.
#[derive(Default)]
pub struct Pairs {
    pub data: Vec<u8>,
    pub count: u32,
}

pub const HEAD_BYTES: usize = 5;

impl Pairs {
    pub fn reset(&mut self) {
        self.data.clear();
        self.data.extend_from_slice(&[0xdd, 0, 0, 0, 0]);
        self.count = 0;
    }

    pub fn close(&mut self, count: u32) {
        self.data[1..HEAD_BYTES].copy_from_slice(&count.to_be_bytes());
    }

    /// Appends a row.
    pub fn pair(&mut self, key: impl FnOnce(&mut Vec<u8>), value: &[u8]) {
        crate::msgpack::array(&mut self.data, 2);
        key(&mut self.data);
        crate::msgpack::bytes(&mut self.data, value);
        self.count += 1;
    }
}

/// What a step's rows go to.
#[derive(Default)]
pub struct Out {
    pub events: Pairs,
    pub implied: Pairs,
    pub noted: Pairs,
    pub decisions: Pairs,
    pub heads: Pairs,
    pub totals: Totals,
    /// Of the events: how much is of groups that are whole.
    pub whole_bytes: usize,
    pub whole_count: u32,
    /// The value that is being written.
    pub value: Vec<u8>,
}
