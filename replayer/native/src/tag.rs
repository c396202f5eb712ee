//! The type of an event, before anything else of it is read: its key may stand anywhere.

use crate::text;

/// The string under the key `tag` of the outermost object. What is passed over is looked at later, by its rules.
pub fn tag_of<'a>(raw: &'a [u8], tag: &[u8]) -> Option<&'a [u8]> {
    let mut at = spaces(raw, 0);
    if raw.get(at)? != &b'{' {
        return None;
    }
    loop {
        at = spaces(raw, at + 1);
        let key_at = at;
        at = spaces(raw, string_end(raw, at)?);
        if raw.get(at)? != &b':' {
            return None;
        }
        at = spaces(raw, at + 1);
        if raw[key_at..].starts_with(&tag[..tag.len() - 1]) {
            let end = string_end(raw, at)?;
            return raw.get(at + 1..end - 1);
        }
        at = spaces(raw, value_end(raw, at)?);
        if raw.get(at)? != &b',' {
            return None;
        }
    }
}

fn spaces(raw: &[u8], mut at: usize) -> usize {
    while matches!(raw.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Behind the string that begins at `at`.
fn string_end(raw: &[u8], at: usize) -> Option<usize> {
    if raw.get(at)? != &b'"' {
        return None;
    }
    Some(text::string(raw, at)?.end + 1)
}

/// Behind the value that begins at `at`, if it is one.
fn value_end(raw: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match raw.get(at)? {
            b'"' => at = string_end(raw, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' if depth == 0 => return None,
            _ => {
                at += 1;
                if depth == 0 {
                    while !matches!(raw.get(at)?, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t') {
                        at += 1;
                    }
                }
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}
