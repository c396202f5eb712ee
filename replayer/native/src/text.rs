//! The leaves of JSON, as far as their canonical form is plain to see. `None` everywhere means: let Python decide.

/// A JSON string between its quotes.
pub struct Text {
    pub start: usize,
    pub end: usize,
    /// In characters, an escape as one.
    pub length: usize,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The lowest byte flagged is a control character, a quote, a backslash or no ASCII. Higher ones may be flagged in vain.
fn flagged(eight: u64) -> u64 {
    let control = eight.wrapping_sub(ONES * 0x20) & !eight;
    let (quote, backslash) = (eight ^ (ONES * 0x22), eight ^ (ONES * 0x5c));
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash | eight) & HIGHS
}

/// The string whose opening quote is at `at`. Its escapes are those that its canonical form has, too.
pub fn string(raw: &[u8], at: usize) -> Option<Text> {
    let start = at + 1;
    let (mut at, mut wide, mut escapes) = (start, false, 0);
    loop {
        while let Some(chunk) = raw.get(at..at + 8) {
            let found = flagged(u64::from_le_bytes(chunk.try_into().ok()?));
            if found != 0 {
                at += (found.trailing_zeros() >> 3) as usize;
                break;
            }
            at += 8;
        }
        match *raw.get(at)? {
            b'"' => break,
            b'\\' => match *raw.get(at + 1)? {
                b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => {
                    escapes += 1;
                    at += 2;
                }
                _ => return None,
            },
            0..=0x1f => return None,
            0x80.. => {
                wide = true;
                while *raw.get(at)? >= 0x80 {
                    at += 1;
                }
            }
            _ => at += 1,
        }
    }
    let mut length = at - start;
    if wide {
        let text = raw.get(start..at)?;
        std::str::from_utf8(text).ok()?;
        length = text.iter().filter(|byte| (**byte as i8) >= -0x40).count();
    }
    Some(Text { start, end: at, length: length - escapes })
}

pub fn is_hex(text: &[u8]) -> bool {
    text.iter().fold(true, |so_far, byte| so_far & (byte.is_ascii_digit() | matches!(*byte, b'a'..=b'f')))
}

/// A number as it stands in JSON: its end, and where its point is.
pub struct Number {
    pub end: usize,
    pub point: Option<usize>,
}

/// Digits, perhaps a minus before and a fraction behind; no exponent.
pub fn number(raw: &[u8], at: usize) -> Option<Number> {
    let start = at + usize::from(*raw.get(at)? == b'-');
    let mut end = start;
    while raw.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    if end == start || (end - start > 1 && raw[start] == b'0') {
        return None;
    }
    let mut point = None;
    if raw.get(end) == Some(&b'.') {
        point = Some(end);
        end += 1;
        while raw.get(end).is_some_and(u8::is_ascii_digit) {
            end += 1;
        }
        if point == Some(end - 1) {
            return None;
        }
    }
    match raw.get(end) {
        Some(b'e' | b'E' | b'.' | b'+' | b'-') => None,
        _ => Some(Number { end, point }),
    }
}

/// The value of at most 18 digits, perhaps with a minus; not of `-0`.
pub fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 || (negative && digits == b"0") {
        return None;
    }
    let mut value = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some(if negative { -value } else { value })
}

/// Digits that come back as they are from every writer of shortest doubles.
const SURE_DIGITS: usize = 15;

/// The value of a decimal with a point, where its text is what its double is written as.
pub fn shortest_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    // Beyond these, doubles are written with an exponent; a zero may have a minus.
    if !(value == 0.0 || (1e-4..=1e15).contains(&value.abs())) || (value == 0.0 && text != "0.0") {
        return None;
    }
    let (whole, fraction) = text.trim_start_matches('-').split_once('.')?;
    if fraction.len() > 1 && fraction.ends_with('0') {
        return None;
    }
    // `1.0` is how a whole number is written; Rust alone would write `1`.
    if whole.len() + fraction.len() <= SURE_DIGITS || format!("{value:?}") == text {
        Some(value)
    } else {
        None
    }
}

/// An instant, and how its text relates to the canonical one.
pub struct Instant {
    pub us: i64,
    pub fraction: u32,
    /// The text is canonical: `Z`, and six digits of a second's fraction or none.
    pub canonical: bool,
}

/// `2025-01-31T12:00:00`, a fraction of up to six digits, then `Z` or `+00:00`.
pub fn instant(text: &[u8]) -> Option<Instant> {
    let (moment, rest) = (text.get(..19)?, text.get(19..)?);
    let two = |at: usize| -> Option<i64> {
        let (tens, ones) = (moment[at].wrapping_sub(b'0'), moment[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| moment[*at] != *mark) {
        return None;
    }
    let (year, month, day) = (two(0)? * 100 + two(2)?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    if year < 1 || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            rest.split_at(digits)
        }
        rest => (&rest[..0], rest),
    };
    if fraction.len() > 6 || (rest.len() != zone.len() && fraction.is_empty()) {
        return None;
    }
    let mut canonical = match zone {
        b"Z" => true,
        b"+00:00" => false,
        _ => return None,
    };
    let mut micros = 0u32;
    for at in 0..6 {
        micros = micros * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'));
    }
    canonical &= fraction.is_empty() || (fraction.len() == 6 && micros != 0);
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Instant { us: seconds * 1_000_000 + i64::from(micros), fraction: micros, canonical })
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// In the Gregorian calendar, reckoned in years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
