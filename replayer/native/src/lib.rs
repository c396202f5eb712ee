//! The fold of events into timelines, for replayer/native/fold.py. Bytes in, rows out; it knows no Python.
//!
//! What it does not understand completely it leaves to Python's fold: every function of the parser and of the rules
//! answers `None` then. All that is unsafe stands in this file and in `sha256::x86`.

mod capped;
mod decision;
mod event;
mod frame;
mod group;
mod head;
mod log;
mod msgpack;
mod out;
mod rows;
mod rules;
mod schema;
mod sha256;
mod shelf;
mod shelving;
mod span;
mod step;
mod tag;
mod tally;
mod text;
mod usage;

use schema::Schema;
use shelving::Shelving;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use step::Step;

/// This library's own sources, in the order of their names: whether it is that of the files beside it.
const SOURCES: [(&str, &[u8]); 22] = [
    ("capped.rs", include_bytes!("capped.rs")),
    ("decision.rs", include_bytes!("decision.rs")),
    ("event.rs", include_bytes!("event.rs")),
    ("frame.rs", include_bytes!("frame.rs")),
    ("group.rs", include_bytes!("group.rs")),
    ("head.rs", include_bytes!("head.rs")),
    ("lib.rs", include_bytes!("lib.rs")),
    ("log.rs", include_bytes!("log.rs")),
    ("msgpack.rs", include_bytes!("msgpack.rs")),
    ("out.rs", include_bytes!("out.rs")),
    ("rows.rs", include_bytes!("rows.rs")),
    ("rules.rs", include_bytes!("rules.rs")),
    ("schema.rs", include_bytes!("schema.rs")),
    ("sha256.rs", include_bytes!("sha256.rs")),
    ("shelf.rs", include_bytes!("shelf.rs")),
    ("shelving.rs", include_bytes!("shelving.rs")),
    ("span.rs", include_bytes!("span.rs")),
    ("step.rs", include_bytes!("step.rs")),
    ("tag.rs", include_bytes!("tag.rs")),
    ("tally.rs", include_bytes!("tally.rs")),
    ("text.rs", include_bytes!("text.rs")),
    ("usage.rs", include_bytes!("usage.rs")),
];

/// Bytes that belong to the library, until its next call with the same step or until they are given back.
#[repr(C)]
pub struct Bytes {
    data: *const u8,
    length: usize,
}

impl Bytes {
    fn of(data: &[u8]) -> Bytes {
        Bytes { data: data.as_ptr(), length: data.len() }
    }

    /// The caller's, until `replayer_forget`.
    fn lent(data: Box<[u8]>) -> Bytes {
        let length = data.len();
        Bytes { data: Box::into_raw(data).cast(), length }
    }
}

/// A step of the index between two calls, as `Handle`.
pub struct Shelves {
    shelving: Shelving<'static>,
    broken: bool,
}

/// Records of one partition: their data, an index of it, and where they are from.
#[repr(C)]
pub struct Given {
    data: *const u8,
    length: usize,
    rows: *const u8,
    rows_length: usize,
    topic: *const u8,
    topic_length: usize,
    partition: i64,
}

/// What a step is between two calls; `broken` after a panic: nothing is known of it then.
pub struct Handle {
    step: Step<'static>,
    broken: bool,
}

/// 1: done. 0: not, and Python has to do it. A panic ends here.
fn guarded(work: impl FnOnce() -> Option<()>) -> i32 {
    i32::from(matches!(catch_unwind(AssertUnwindSafe(work)), Ok(Some(()))))
}

/// # Safety
/// `data` points to `length` bytes that live as long as the answer, or `length` is 0.
unsafe fn given<'a>(data: *const u8, length: usize) -> &'a [u8] {
    if length == 0 || data.is_null() {
        &[]
    } else {
        std::slice::from_raw_parts(data, length)
    }
}

/// The SHA-256 over name, NUL, SHA-256 of each source, into `out`.
///
/// # Safety
/// `out` has room for 32 bytes.
#[no_mangle]
pub unsafe extern "C" fn replayer_sources(out: *mut u8) -> i32 {
    guarded(|| {
        let mut all = Vec::new();
        for (name, source) in SOURCES {
            all.extend_from_slice(name.as_bytes());
            all.push(0);
            all.extend_from_slice(&sha256::portable_digest(source));
        }
        let digest = sha256::portable_digest(&all);
        std::ptr::copy_nonoverlapping(digest.as_ptr(), out, digest.len());
        Some(())
    })
}

/// A schema of its description, for the life of the process; null where it is not understood.
///
/// # Safety
/// `data` points to `length` bytes.
#[no_mangle]
pub unsafe extern "C" fn replayer_schema(data: *const u8, length: usize) -> *const Schema {
    // Panics are answered to the caller; what they would print is of no use there.
    std::panic::set_hook(Box::new(|_| {}));
    let read = catch_unwind(|| Schema::read(given(data, length)));
    match read {
        Ok(Some(schema)) => Arc::into_raw(Arc::new(schema)),
        _ => std::ptr::null(),
    }
}

/// Content and projection of one record into `out[0]` and `out[1]`, to be given back by `replayer_forget`.
///
/// # Safety
/// `schema` is one of `replayer_schema`; `data` points to `length` bytes; `out` has room for two.
#[no_mangle]
pub unsafe extern "C" fn replayer_read(schema: *const Schema, data: *const u8, length: usize, out: *mut Bytes) -> i32 {
    guarded(|| {
        let (raw, mut made) = (given(data, length), Vec::new());
        let found = event::read(&*schema, raw, &mut made, &mut event::Stack::default())?;
        for (at, span) in [found.content, found.shown].into_iter().enumerate() {
            out.add(at).write(Bytes::lent(span.of(raw, &made).into()));
        }
        Some(())
    })
}

/// `frame::frame`: batches into `out[0]`, cuts into `out[1]`, to be given back by `replayer_forget`.
///
/// # Safety
/// `data` points to `length` bytes; `out` has room for two.
#[no_mangle]
pub unsafe extern "C" fn replayer_frame(data: *const u8, length: usize, limit: usize, out: *mut Bytes) -> i32 {
    guarded(|| {
        let (mut batches, mut cuts) = (Vec::new(), Vec::new());
        frame::frame(given(data, length), limit, &mut batches, &mut cuts)?;
        for (at, made) in [batches, cuts].into_iter().enumerate() {
            out.add(at).write(Bytes::lent(made.into()));
        }
        Some(())
    })
}

/// # Safety
/// `bytes` is one of `replayer_read`'s, `replayer_frame`'s or `replayer_index`'s, and is given back once.
#[no_mangle]
pub unsafe extern "C" fn replayer_forget(bytes: *const Bytes) {
    let Bytes { data, length } = std::ptr::read(bytes);
    drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(data.cast_mut(), length)));
}

/// The SHA-256 of `data` into `out`; `portable`: without the processor's instructions for it.
///
/// # Safety
/// `data` points to `length` bytes, `out` has room for 32.
#[no_mangle]
pub unsafe extern "C" fn replayer_sha256(data: *const u8, length: usize, portable: i32, out: *mut u8) -> i32 {
    guarded(|| {
        let data = given(data, length);
        let digest = if portable == 0 { sha256::digest(data) } else { sha256::portable_digest(data) };
        std::ptr::copy_nonoverlapping(digest.as_ptr(), out, digest.len());
        Some(())
    })
}

/// A step under way, until `replayer_end`; `indexed`: one that notes what was used.
///
/// # Safety
/// `schema` is one of `replayer_schema`.
#[no_mangle]
pub unsafe extern "C" fn replayer_step(schema: *const Schema, indexed: i32) -> *mut Handle {
    Arc::increment_strong_count(schema);
    let schema = Arc::from_raw(schema);
    Box::into_raw(Box::new(Handle { step: Step::new(schema, indexed != 0), broken: false }))
}

/// # Safety
/// `handle` is one of `replayer_step`, and is ended once.
#[no_mangle]
pub unsafe extern "C" fn replayer_end(handle: *mut Handle) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(handle))));
}

/// The index of a record batch's records, from `start` to `end` of `data`, into `out`, to be given back by
/// `replayer_forget`. `appended`: whether all have the batch's timestamp.
///
/// # Safety
/// `data` points to `length` bytes; `out` has room for one.
#[no_mangle]
pub unsafe extern "C" fn replayer_index(
    data: *const u8,
    length: usize,
    start: usize,
    end: usize,
    offset: i64,
    timestamp: i64,
    appended: i32,
    records: usize,
    before: i64,
    out: *mut Bytes,
) -> i32 {
    guarded(|| {
        let batch = log::Batch { offset, timestamp, appended: appended != 0, records, before };
        out.write(Bytes::lent(log::index(given(data, length), start, end, &batch)?.into()));
        Some(())
    })
}

/// `log::index_on`; into `out` the index and the batches it is of, to be given back by `replayer_forget`.
///
/// # Safety
/// `data` points to `length` bytes; `out` has room for two.
#[no_mangle]
pub unsafe extern "C" fn replayer_index_on(data: *const u8, length: usize, at: usize, out: *mut Bytes) -> i32 {
    guarded(|| {
        let (rows, table) = log::index_on(given(data, length), at)?;
        for (place, made) in [rows, table].into_iter().enumerate() {
            out.add(place).write(Bytes::lent(made.into()));
        }
        Some(())
    })
}

/// `Step::load`; into `out` how many records have a key.
///
/// # Safety
/// `handle` is one of `replayer_step` that no other thread uses; `parts` points to `count` parts; what they point to has
/// the lengths they say, and lives until `replayer_end`.
#[no_mangle]
pub unsafe extern "C" fn replayer_load(handle: *mut Handle, parts: *const Given, count: usize, out: *mut usize) -> i32 {
    guarded(|| {
        let step = usable(handle)?;
        out.write(step.load(parts_of(parts, count)?)?);
        (*handle).broken = false;
        Some(())
    })
}

/// `Step::parse`; into `out` the heads and the other keys to ask the table for.
///
/// # Safety
/// `handle` is one of `replayer_step` that no other thread uses; `out` has room for two.
#[no_mangle]
pub unsafe extern "C" fn replayer_parse(handle: *mut Handle, most: usize, out: *mut Bytes) -> i32 {
    guarded(|| {
        let step = usable(handle)?;
        step.parse(most)?;
        for (at, bytes) in [&step.heads.data, &step.keys.data].into_iter().enumerate() {
            out.add(at).write(Bytes::of(bytes));
        }
        (*handle).broken = false;
        Some(())
    })
}

/// `Step::fold`; into `out` the rows of events, implied and noted identities, decisions and heads, then the summary.
///
/// # Safety
/// As of `replayer_parse`; `known` points to `length` bytes; `out` has room for six.
#[no_mangle]
pub unsafe extern "C" fn replayer_fold(handle: *mut Handle, known: *const u8, length: usize, out: *mut Bytes) -> i32 {
    guarded(|| {
        let step = usable(handle)?;
        step.fold(given(known, length))?;
        let rows = &step.out;
        let whole = &rows.events.data[..rows.whole_bytes];
        let answers =
            [whole, &rows.implied.data, &rows.noted.data, &rows.decisions.data, &rows.heads.data, &step.summary];
        for (at, bytes) in answers.into_iter().enumerate() {
            out.add(at).write(Bytes::of(bytes));
        }
        (*handle).broken = false;
        Some(())
    })
}

/// `Step::leave`; into `out` the records that are left to Python.
///
/// # Safety
/// As of `replayer_parse`; `out` has room for one.
#[no_mangle]
pub unsafe extern "C" fn replayer_leave(handle: *mut Handle, out: *mut Bytes) -> i32 {
    guarded(|| {
        let step = usable(handle)?;
        step.leave();
        out.write(Bytes::of(&step.others));
        (*handle).broken = false;
        Some(())
    })
}

/// `Step::tell`; into `out` keys and values of the index's topic.
///
/// # Safety
/// As of `replayer_parse`; `out` has room for one.
#[no_mangle]
pub unsafe extern "C" fn replayer_tell(handle: *mut Handle, out: *mut Bytes) -> i32 {
    guarded(|| {
        let step = usable(handle)?;
        step.tell();
        out.write(Bytes::of(&step.usage.data));
        (*handle).broken = false;
        Some(())
    })
}

/// A step of the index under way, until `replayer_shelved`.
#[no_mangle]
pub extern "C" fn replayer_shelve() -> *mut Shelves {
    Box::into_raw(Box::new(Shelves { shelving: Shelving::default(), broken: false }))
}

/// # Safety
/// `shelves` is one of `replayer_shelve`, and is ended once.
#[no_mangle]
pub unsafe extern "C" fn replayer_shelved(shelves: *mut Shelves) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(shelves))));
}

/// `Shelving::load`; into `out` the shelves, into `records` how many records there are.
///
/// # Safety
/// As of `replayer_load`, until `replayer_shelved`; `out` has room for one.
#[no_mangle]
pub unsafe extern "C" fn replayer_shelve_load(
    shelves: *mut Shelves,
    parts: *const Given,
    count: usize,
    out: *mut Bytes,
    records: *mut usize,
) -> i32 {
    guarded(|| {
        let shelving = sound(shelves)?;
        records.write(shelving.load(parts_of(parts, count)?)?);
        out.write(Bytes::of(&shelving.shelves.data));
        (*shelves).broken = false;
        Some(())
    })
}

/// `Shelving::parse`; into `out` the keys to ask the table for, into `records` of how many records.
///
/// # Safety
/// `shelves` is one of `replayer_shelve` that no other thread uses; `out` has room for one.
#[no_mangle]
pub unsafe extern "C" fn replayer_shelve_parse(
    shelves: *mut Shelves,
    most: usize,
    out: *mut Bytes,
    records: *mut usize,
) -> i32 {
    guarded(|| {
        let shelving = sound(shelves)?;
        records.write(shelving.parse(most)?);
        out.write(Bytes::of(&shelving.keys.data));
        (*shelves).broken = false;
        Some(())
    })
}

/// `Shelving::fold`.
///
/// # Safety
/// As of `replayer_shelve_parse`; `values` points to `length` bytes.
#[no_mangle]
pub unsafe extern "C" fn replayer_shelve_fold(shelves: *mut Shelves, values: *const u8, length: usize) -> i32 {
    guarded(|| {
        sound(shelves)?.fold(given(values, length))?;
        (*shelves).broken = false;
        Some(())
    })
}

/// `Shelving::finish`; into `out` rows and counts.
///
/// # Safety
/// As of `replayer_shelve_parse`.
#[no_mangle]
pub unsafe extern "C" fn replayer_shelve_finish(shelves: *mut Shelves, out: *mut Bytes) -> i32 {
    guarded(|| {
        let shelving = sound(shelves)?;
        shelving.finish();
        out.write(Bytes::of(&shelving.answer));
        (*shelves).broken = false;
        Some(())
    })
}

/// As `usable`.
unsafe fn sound<'a>(shelves: *mut Shelves) -> Option<&'a mut Shelving<'static>> {
    let shelves = shelves.as_mut()?;
    if std::mem::replace(&mut shelves.broken, true) {
        return None;
    }
    Some(&mut shelves.shelving)
}

/// # Safety
/// As of `replayer_load`.
unsafe fn parts_of(parts: *const Given, count: usize) -> Option<Vec<log::Part<'static>>> {
    (0..count)
        .map(|at| {
            let part = &*parts.add(at);
            log::Part::new(
                given(part.data, part.length),
                given(part.rows, part.rows_length),
                given(part.topic, part.topic_length),
                part.partition,
            )
        })
        .collect()
}

/// The step, taken for broken until its call has come to its end.
unsafe fn usable<'a>(handle: *mut Handle) -> Option<&'a mut Step<'static>> {
    let handle = handle.as_mut()?;
    if std::mem::replace(&mut handle.broken, true) {
        return None;
    }
    Some(&mut handle.step)
}
