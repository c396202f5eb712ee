//! MessagePack as msgspec writes it: the smallest form of every integer, str apart from bin.

/// Reads one value after the other; `None` where the bytes are something else.
#[derive(Clone)]
pub struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Reader { data, at: 0 }
    }

    pub fn done(&self) -> bool {
        self.at == self.data.len()
    }

    /// How many bytes have been read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What has been read since there.
    pub fn since(&self, at: usize) -> &'a [u8] {
        &self.data[at..self.at]
    }

    /// What `read` gives; where it gives nothing, nothing has been read.
    pub fn if_it<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.at;
        let found = read(self);
        if found.is_none() {
            self.at = before;
        }
        found
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.data.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.data.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// A big-endian number of `width` bytes.
    fn number(&mut self, width: usize) -> Option<u64> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Whether a nil is next; it is passed over.
    pub fn nil(&mut self) -> bool {
        let found = self.data.get(self.at) == Some(&0xc0);
        self.at += usize::from(found);
        found
    }

    pub fn boolean(&mut self) -> Option<bool> {
        match self.byte()? {
            0xc2 => Some(false),
            0xc3 => Some(true),
            _ => None,
        }
    }

    /// An integer that fits into 64 bits with a sign.
    pub fn integer(&mut self) -> Option<i64> {
        match self.byte()? {
            byte @ 0..=0x7f => Some(i64::from(byte)),
            byte @ 0xe0..=0xff => Some(i64::from(byte as i8)),
            0xcc => self.number(1).map(|n| n as i64),
            0xcd => self.number(2).map(|n| n as i64),
            0xce => self.number(4).map(|n| n as i64),
            0xcf => i64::try_from(self.number(8)?).ok(),
            0xd0 => self.number(1).map(|n| i64::from(n as u8 as i8)),
            0xd1 => self.number(2).map(|n| i64::from(n as u16 as i16)),
            0xd2 => self.number(4).map(|n| i64::from(n as u32 as i32)),
            0xd3 => self.number(8).map(|n| n as i64),
            _ => None,
        }
    }

    pub fn size(&mut self) -> Option<usize> {
        usize::try_from(self.integer()?).ok()
    }

    pub fn float(&mut self) -> Option<f64> {
        match self.byte()? {
            0xcb => Some(f64::from_bits(self.number(8)?)),
            _ => None,
        }
    }

    /// The UTF-8 of a string.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let length = match self.byte()? {
            byte @ 0xa0..=0xbf => usize::from(byte & 0x1f),
            0xd9 => self.number(1)? as usize,
            0xda => self.number(2)? as usize,
            0xdb => self.number(4)? as usize,
            _ => return None,
        };
        let text = self.take(length)?;
        std::str::from_utf8(text).ok()?;
        Some(text)
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = match self.byte()? {
            0xc4 => self.number(1)?,
            0xc5 => self.number(2)?,
            0xc6 => self.number(4)?,
            _ => return None,
        };
        self.take(length as usize)
    }

    /// How many values follow.
    pub fn array(&mut self) -> Option<usize> {
        match self.byte()? {
            byte @ 0x90..=0x9f => Some(usize::from(byte & 0x0f)),
            0xdc => Some(self.number(2)? as usize),
            0xdd => Some(self.number(4)? as usize),
            _ => None,
        }
    }

    /// An array of exactly this many values.
    pub fn array_of(&mut self, count: usize) -> Option<()> {
        (self.array()? == count).then_some(())
    }

    /// How many pairs follow.
    pub fn map(&mut self) -> Option<usize> {
        match self.byte()? {
            byte @ 0x80..=0x8f => Some(usize::from(byte & 0x0f)),
            0xde => Some(self.number(2)? as usize),
            0xdf => Some(self.number(4)? as usize),
            _ => None,
        }
    }
}

pub fn nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

pub fn integer(out: &mut Vec<u8>, value: i64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => headed(out, 0xcd, &(value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => headed(out, 0xce, &(value as u32).to_be_bytes()),
        0x1_0000_0000.. => headed(out, 0xcf, &value.to_be_bytes()),
        -0x20..=-1 => out.push(value as u8),
        -0x80..=-0x21 => out.extend_from_slice(&[0xd0, value as u8]),
        -0x8000..=-0x81 => headed(out, 0xd1, &(value as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => headed(out, 0xd2, &(value as i32).to_be_bytes()),
        _ => headed(out, 0xd3, &value.to_be_bytes()),
    }
}

fn headed(out: &mut Vec<u8>, head: u8, rest: &[u8]) {
    out.push(head);
    out.extend_from_slice(rest);
}

pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

pub fn float(out: &mut Vec<u8>, value: f64) {
    headed(out, 0xcb, &value.to_bits().to_be_bytes());
}

pub fn text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..=0x1f => out.push(0xa0 | length as u8),
        length @ 0x20..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 0x100..=0xffff => headed(out, 0xda, &(length as u16).to_be_bytes()),
        length => headed(out, 0xdb, &(length as u32).to_be_bytes()),
    }
    out.extend_from_slice(text);
}

pub fn text_or_nil(out: &mut Vec<u8>, text_if_any: Option<&[u8]>) {
    match text_if_any {
        None => nil(out),
        Some(value) => text(out, value),
    }
}

/// The head of a byte string; its bytes follow.
pub fn bytes_of(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=0xff => out.extend_from_slice(&[0xc4, length as u8]),
        0x100..=0xffff => headed(out, 0xc5, &(length as u16).to_be_bytes()),
        _ => headed(out, 0xc6, &(length as u32).to_be_bytes()),
    }
}

pub fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    bytes_of(out, value.len());
    out.extend_from_slice(value);
}

pub fn array(out: &mut Vec<u8>, count: usize) {
    match count {
        0..=0x0f => out.push(0x90 | count as u8),
        0x10..=0xffff => headed(out, 0xdc, &(count as u16).to_be_bytes()),
        _ => headed(out, 0xdd, &(count as u32).to_be_bytes()),
    }
}

pub fn map(out: &mut Vec<u8>, count: usize) {
    match count {
        0..=0x0f => out.push(0x80 | count as u8),
        0x10..=0xffff => headed(out, 0xde, &(count as u16).to_be_bytes()),
        _ => headed(out, 0xdf, &(count as u32).to_be_bytes()),
    }
}
