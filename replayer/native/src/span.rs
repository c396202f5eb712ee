//! Where the bytes of a value are.

/// Bytes of the record itself, or of those that were made of it. Never empty, but for `NONE`.
///
/// One number, for it is passed on all the time: whether it was made (a bit), start (31), end (32).
#[derive(Clone, Copy, PartialEq)]
pub struct Span(u64);

pub const NONE: Span = Span(0);

pub const MADE: u64 = 1 << 63;
pub const MAX_BYTES: usize = (1 << 31) - 1;

impl Span {
    /// None where there are more bytes than a span can tell.
    pub fn new(made: u64, start: usize, end: usize) -> Option<Span> {
        (start <= end && end <= MAX_BYTES).then_some(Span(made | (start as u64) << 32 | end as u64))
    }

    pub fn is_none(self) -> bool {
        self == NONE
    }

    pub fn made(self) -> bool {
        self.0 & MADE != 0
    }

    pub fn range(self) -> std::ops::Range<usize> {
        (self.0 >> 32) as usize & MAX_BYTES..self.0 as u32 as usize
    }

    /// `raw`: the record; `made`: what the reader wrote.
    pub fn of<'a>(self, raw: &'a [u8], made: &'a [u8]) -> &'a [u8] {
        &(if self.made() { made } else { raw })[self.range()]
    }
}
