//! A step of the index: `load` takes its records, then `parse` says which rows some of them need and `fold` takes these;
//! `finish` gives all rows. replayer/core/index.py says why. `None`: Python has to fold the step.

use crate::log::Part;
use crate::msgpack::{self, Reader};
use crate::out::Pairs;
use crate::rows::{opened, FORMAT};
use crate::shelf::{Contribution, Head, Used};
use crate::usage::{POLICY, TEMPLATE};
use std::collections::HashMap;

const HEAD: u8 = b'h';
const USE: u8 = b'u';
const EVALUATION: u8 = b'v';
const WORKFLOW: u8 = b'w';
const TIME: u8 = b't';
const CONTRIBUTION: u8 = b'c';
/// The order of the changelog, behind the heads.
const ORDER: [u8; 5] = [USE, EVALUATION, WORKFLOW, TIME, CONTRIBUTION];
const NOTHING: &[u8] = &[FORMAT];
const KINDS: &[u8] = b"tmfdxp";
const BUCKETS: &[u8] = b"0123456789abcdef";

/// A record of the usage.
struct Told<'a> {
    shelf: &'a [u8],
    offset: i64,
    value: &'a [u8],
}

/// A row by its place in `rows`.
type Row = usize;

/// What a step knows of a row and does to it.
#[derive(Default)]
struct Known {
    key: Vec<u8>,
    /// What the table has; asked for before anything is done to it.
    read: Option<Vec<u8>>,
    /// Some(None): deleted.
    written: Option<Option<Vec<u8>>>,
    /// Of a contribution what it has come to, once that was looked at.
    contribution: Option<Contribution>,
    /// The record that dealt with it last, by its number behind the first, and its place there.
    dealt: (usize, usize),
}

/// A decision on the shelf.
#[derive(Clone, Copy)]
struct Who<'a> {
    tenant: &'a [u8],
    workflow: &'a [u8],
    decision: &'a [u8],
    contribution: Row,
    on_shelf: Row,
}

/// Who did something, and when.
struct Met<'a> {
    who: Who<'a>,
    first_us: i64,
    last_us: i64,
}

struct Use<'a> {
    met: Met<'a>,
    place: Row,
    topic: &'a [u8],
    numbers: [i64; 3],
    /// As MessagePack, and what it says.
    detail: &'a [u8],
    says: Says<'a>,
}

enum Says<'a> {
    Use(Used<'a>),
    Evaluation { outcome: &'a [u8], rule: &'a [u8] },
}

/// A standing's decision and version, and where the rest of it begins.
struct Standing<'a> {
    who: Who<'a>,
    version: i64,
    rest: Reader<'a>,
}

struct Usage<'a> {
    uses: Vec<Use<'a>>,
    touches: Vec<Met<'a>>,
    standings: Vec<Standing<'a>>,
}

#[derive(Default)]
pub struct Counted {
    pub folded: i64,
    pub reprocessed: i64,
    pub duplicate: i64,
}

#[derive(Default)]
pub struct Shelving<'a> {
    told: Vec<Told<'a>>,
    next: usize,
    /// Those that were parsed last, by their place in `told`.
    parsed: Vec<(usize, Usage<'a>)>,
    by_key: HashMap<Vec<u8>, Row>,
    rows: Vec<Known>,
    /// How many of them have been asked for, or need not be.
    asked: usize,
    /// Those that are written, in the order in which they were first.
    order: Vec<Row>,
    heads: HashMap<&'a [u8], usize>,
    all_heads: Vec<(Row, Head)>,
    counted: Counted,
    /// What `load` answers: the shelves, each once; what `parse` does: the keys to ask for; what `finish` does.
    pub shelves: Pairs,
    pub keys: Pairs,
    pub answer: Vec<u8>,
}

impl<'a> Shelving<'a> {
    pub fn load(&mut self, parts: Vec<Part<'a>>) -> Option<usize> {
        self.shelves.reset();
        let mut known: HashMap<&[u8], ()> = HashMap::new();
        for part in parts {
            for number in 0..part.len() {
                let record = part.record(number)?;
                let (shelf, value) = (&part.data[record.key?], &part.data[record.value?]);
                if !is_shelf(shelf) {
                    return None;
                }
                if known.insert(shelf, ()).is_none() {
                    msgpack::bytes(&mut self.shelves.data, shelf);
                    self.shelves.count += 1;
                }
                self.told.push(Told { shelf, offset: record.offset, value });
            }
        }
        self.shelves.close(self.shelves.count);
        Some(self.told.len())
    }

    /// The next records, until they say so much; answers how many they are.
    pub fn parse(&mut self, most: usize) -> Option<usize> {
        self.parsed.clear();
        self.keys.reset();
        self.asked = self.rows.len();
        let mut said = 0;
        while said < most && self.next < self.told.len() {
            let (shelf, value) = (self.told[self.next].shelf, self.told[self.next].value);
            self.row(named(HEAD, shelf, &[]));
            let usage = self.read(shelf, value)?;
            said += usage.uses.len() + usage.touches.len() + usage.standings.len();
            self.parsed.push((self.next, usage));
            self.next += 1;
        }
        for row in &self.rows[self.asked..] {
            msgpack::bytes(&mut self.keys.data, &row.key);
            self.keys.count += 1;
        }
        self.keys.close(self.keys.count);
        Some(self.parsed.len())
    }

    fn row(&mut self, key: Vec<u8>) -> Row {
        if let Some(row) = self.by_key.get(&key) {
            return *row;
        }
        self.by_key.insert(key.clone(), self.rows.len());
        self.rows.push(Known { key, ..Known::default() });
        self.rows.len() - 1
    }

    /// `values`: of the keys that were asked for, or nil.
    pub fn fold(&mut self, values: &[u8]) -> Option<()> {
        let mut reader = Reader::new(values);
        reader.array_of(self.rows.len() - self.asked)?;
        for row in &mut self.rows[self.asked..] {
            if !reader.nil() {
                row.read = Some(reader.bytes()?.to_vec());
            }
        }
        self.asked = self.rows.len();
        if !reader.done() {
            return None;
        }
        for (place, usage) in std::mem::take(&mut self.parsed) {
            self.take(place, usage)?;
        }
        Some(())
    }

    fn get(&self, row: Row) -> Option<&[u8]> {
        let known = &self.rows[row];
        known.written.as_ref().unwrap_or(&known.read).as_deref()
    }

    fn put(&mut self, row: Row, value: Option<Vec<u8>>) {
        if self.rows[row].written.replace(value).is_none() {
            self.order.push(row);
        }
    }

    /// The place of a shelf's head in `all_heads`.
    fn head(&mut self, shelf: &'a [u8]) -> Option<usize> {
        if let Some(place) = self.heads.get(shelf) {
            return Some(*place);
        }
        let row = self.row(named(HEAD, shelf, &[]));
        let head = match self.get(row) {
            None => Head::new(),
            Some(value) => Head::read(value)?,
        };
        self.all_heads.push((row, head));
        self.heads.insert(shelf, self.all_heads.len() - 1);
        Some(self.all_heads.len() - 1)
    }

    fn take(&mut self, place: usize, usage: Usage<'a>) -> Option<()> {
        let (shelf, offset) = (self.told[place].shelf, self.told[place].offset);
        let next = offset.checked_add(1)?;
        let at = self.head(shelf)?;
        let counts = self.all_heads[at].1.applied <= offset;
        let all = usage.uses.len();
        let mut new = Vec::new();
        for one in self.last_of_each(place, usage.uses) {
            if self.brought(one.place, offset)? {
                new.push(one);
            }
        }
        for one in &new {
            let mut value = Vec::with_capacity(one.topic.len() + one.detail.len() + 32);
            value.push(FORMAT);
            msgpack::array(&mut value, 6);
            msgpack::text(&mut value, one.topic);
            for number in one.numbers {
                msgpack::integer(&mut value, number);
            }
            value.extend_from_slice(one.detail);
            msgpack::integer(&mut value, offset);
            self.put(one.place, Some(value));
            if counts {
                let head = &mut self.all_heads[at].1;
                head.seen(one.met.who.tenant, one.met.first_us, one.met.last_us);
                match &one.says {
                    Says::Use(used) => head.count_use(used)?,
                    Says::Evaluation { outcome, rule } => head.count_evaluation(outcome, rule)?,
                }
            }
        }
        if all > new.len() {
            self.counted.duplicate += (all - new.len()) as i64;
        }
        if shelf[0] != POLICY {
            let met = new.iter().map(|one| &one.met).chain(&usage.touches);
            self.decide(place, met, &usage.touches, usage.standings, counts.then_some(at))?;
        }
        if counts {
            self.all_heads[at].1.applied = next;
            self.counted.folded += 1;
        } else {
            self.counted.reprocessed += 1;
        }
        Some(())
    }

    /// Of uses in one place the last, where the first of them stands. `record`: theirs.
    fn last_of_each(&mut self, record: usize, uses: Vec<Use<'a>>) -> Vec<Use<'a>> {
        let mut found: Vec<Use> = Vec::with_capacity(uses.len());
        for one in uses {
            let dealt = &mut self.rows[one.place].dealt;
            if dealt.0 == record + 1 {
                found[dealt.1] = one;
            } else {
                *dealt = (record + 1, found.len());
                found.push(one);
            }
        }
        found
    }

    /// Whether this record brought it first: now, or before a crash.
    fn brought(&self, place: Row, offset: i64) -> Option<bool> {
        let Some(value) = self.get(place) else { return Some(true) };
        let mut row = opened(value)?;
        row.array_of(6)?;
        row.text()?;
        (row.integer()?, row.integer()?, row.integer()?);
        detail(&mut row)?;
        Some(row.integer()? == offset)
    }

    /// Contributions of the record's decisions, with their rows by time. `head`: None where it has the record.
    fn decide<'b>(
        &mut self,
        record: usize,
        met: impl Iterator<Item = &'b Met<'a>>,
        touches: &[Met],
        standings: Vec<Standing<'a>>,
        head: Option<usize>,
    ) -> Option<()>
    where
        'a: 'b,
    {
        let (shelf, offset) = (self.told[record].shelf, self.told[record].offset);
        let mut changed: Vec<Changed> = Vec::new();
        let mut order: Vec<usize> = Vec::new(); // in which they were changed first
        for one in met {
            let Some(place) = self.open(&one.who, record, &mut changed)? else { continue };
            let decision = &mut changed[place];
            if !std::mem::replace(&mut decision.listed, true) {
                order.push(place);
            }
            let after = &mut decision.after;
            let first = if after.uses == 0 { one.first_us } else { after.first_us };
            after.first_us = first.min(one.first_us);
            after.uses = if shelf[0] == TEMPLATE { after.uses.checked_add(1)? } else { 1 };
        }
        if let Some(at) = head {
            for touch in touches {
                self.all_heads[at].1.seen(touch.who.tenant, touch.first_us, touch.last_us);
            }
        }
        for mut standing in standings {
            let Some(place) = self.open(&standing.who, record, &mut changed)? else { continue };
            let decision = &mut changed[place];
            if standing.version > decision.after.version {
                if !std::mem::replace(&mut decision.listed, true) {
                    order.push(place);
                }
                decision.after.stand(standing.version, &mut standing.rest)?;
            }
        }
        for place in order {
            let Changed { who, before, mut after, .. } = std::mem::take(&mut changed[place]);
            if after != before {
                after.applied = offset.checked_add(1)?;
                self.move_on(shelf, who?, &before, after, head)?;
            }
        }
        Some(())
    }

    /// The place of a decision in `changed`; Some(None): it has the record already.
    fn open(&mut self, who: &Who<'a>, record: usize, changed: &mut Vec<Changed<'a>>) -> Option<Option<usize>> {
        let row = &mut self.rows[who.contribution];
        if row.dealt.0 == record + 1 {
            return Some(Some(row.dealt.1));
        }
        let known = match &row.contribution {
            Some(known) => known.clone(),
            None => match row.read.as_deref() {
                None => Contribution::default(),
                Some(value) => Contribution::read(value)?,
            },
        };
        if known.applied > self.told[record].offset {
            return Some(None);
        }
        row.dealt = (record + 1, changed.len());
        changed.push(Changed { who: Some(*who), before: known.clone(), after: known, listed: false });
        Some(Some(changed.len() - 1))
    }

    /// From one contribution to the next: its row, its place in time, its share of the head.
    fn move_on(
        &mut self,
        shelf: &[u8],
        who: Who,
        before: &Contribution,
        after: Contribution,
        head: Option<usize>,
    ) -> Option<()> {
        let (old, new) = (times(shelf, &who, before), times(shelf, &who, &after));
        for key in old.iter().filter(|key| !new.contains(key)) {
            let row = self.row(key.clone());
            self.put(row, None);
        }
        for key in new.iter().filter(|key| !old.contains(key)) {
            let row = self.row(key.clone());
            self.put(row, Some(NOTHING.to_vec()));
        }
        if after.uses != 0 && before.uses == 0 && self.get(who.on_shelf).is_none() {
            self.put(who.on_shelf, Some(NOTHING.to_vec()));
            if let Some(at) = head {
                self.all_heads[at].1.workflows = self.all_heads[at].1.workflows.checked_add(1)?;
            }
        }
        if let Some(at) = head {
            self.all_heads[at].1.put_in(before, -1)?;
            self.all_heads[at].1.put_in(&after, 1)?;
        }
        let mut value = Vec::with_capacity(64);
        after.write(&mut value);
        self.put(who.contribution, Some(value));
        self.rows[who.contribution].contribution = Some(after);
        Some(())
    }

    /// All rows in the order of the changelog, and what was counted: [[[key, value or nil], ...], [number, ...]].
    pub fn finish(&mut self) {
        let out = &mut self.answer;
        out.clear();
        msgpack::array(out, 2);
        msgpack::array(out, self.all_heads.len() + self.order.len());
        let mut value = Vec::new();
        for (row, head) in &self.all_heads {
            value.clear();
            head.write(&mut value);
            msgpack::array(out, 2);
            msgpack::bytes(out, &self.rows[*row].key);
            msgpack::bytes(out, &value);
        }
        for kind in ORDER {
            for row in self.order.iter().map(|row| &self.rows[*row]).filter(|row| row.key[0] == kind) {
                msgpack::array(out, 2);
                msgpack::bytes(out, &row.key);
                match row.written.as_ref().and_then(Option::as_deref) {
                    None => msgpack::nil(out),
                    Some(value) => msgpack::bytes(out, value),
                }
            }
        }
        msgpack::array(out, 3);
        for number in [self.counted.folded, self.counted.reprocessed, self.counted.duplicate] {
            msgpack::integer(out, number);
        }
    }

    /// The value of a record: [uses, touches, standings], as topics/usage.py has them.
    fn read(&mut self, shelf: &'a [u8], value: &'a [u8]) -> Option<Usage<'a>> {
        let mut reader = opened(value)?;
        reader.array_of(3)?;
        let mut usage = Usage { uses: Vec::new(), touches: Vec::new(), standings: Vec::new() };
        let mut last: Option<Who> = None; // what one workflow says comes together
        for _ in 0..reader.array()? {
            let used = self.read_use(shelf, &mut reader, &mut last)?;
            usage.uses.push(used);
        }
        for _ in 0..reader.array()? {
            reader.array_of(5)?;
            let who = self.who(shelf, &mut reader, &mut last)?;
            usage.touches.push(Met { who, first_us: reader.integer()?, last_us: reader.integer()? });
        }
        for _ in 0..reader.array()? {
            reader.array_of(10)?;
            let who = self.who(shelf, &mut reader, &mut last)?;
            let version = reader.integer()?;
            let rest = reader.clone();
            Contribution::default().stand(version, &mut reader)?;
            usage.standings.push(Standing { who, version, rest });
        }
        reader.done().then_some(usage)
    }

    /// Of a policy's shelf no decision is kept.
    fn who(&mut self, shelf: &[u8], reader: &mut Reader<'a>, last: &mut Option<Who<'a>>) -> Option<Who<'a>> {
        let (tenant, workflow, decision) = (reader.text()?, reader.text()?, reader.text()?);
        match last {
            Some(known) if (known.tenant, known.workflow, known.decision) == (tenant, workflow, decision) => {
                return Some(*known);
            }
            _ => {}
        }
        let (mut contribution, mut on_shelf) = (0, 0);
        if shelf[0] != POLICY {
            let key = [b"\0", tenant, b"\0", workflow, b"\0", decision];
            contribution = self.row(named(CONTRIBUTION, shelf, &key));
            on_shelf = self.row(named(WORKFLOW, shelf, &key[..4]));
        }
        let found = Who { tenant, workflow, decision, contribution, on_shelf };
        *last = Some(found);
        Some(found)
    }

    fn read_use(&mut self, shelf: &[u8], reader: &mut Reader<'a>, last: &mut Option<Who<'a>>) -> Option<Use<'a>> {
        reader.array_of(11)?;
        let who = self.who(shelf, reader, last)?;
        let (us, id, variant) = (reader.integer()?, reader.text()?, reader.bytes()?);
        let (topic, numbers) = (reader.text()?, [reader.integer()?, reader.integer()?, reader.integer()?]);
        let start = reader.at();
        let fields = detail(reader)?;
        let detail = reader.since(start);
        let Who { tenant, workflow, decision, .. } = who;
        let when = time(us);
        let (place, says) = if shelf[0] == POLICY {
            let [Field::Text(outcome), rule, _, _] = fields else { return None };
            let rule = text_or(rule, b"")?;
            let key: [&[u8]; 13] = [
                b"\0", outcome, b"\0", &when, tenant, b"\0", workflow, b"\0", decision, b"\0", id, b"\0", variant,
            ];
            (self.row(named(EVALUATION, shelf, &key)), Says::Evaluation { outcome, rule })
        } else {
            let [Field::Text(model), latency, band, Field::Boolean(failed)] = fields else { return None };
            let latency_ms = match latency {
                Field::Integer(latency) => Some(latency),
                Field::Nil => None,
                _ => return None,
            };
            let band = text_or(band, b"")?;
            let key: [&[u8]; 11] =
                [b"\0", tenant, b"\0", workflow, b"\0", decision, b"\0", &when, id, b"\0", variant];
            (self.row(named(USE, shelf, &key)), Says::Use(Used { model, latency_ms, band, failed }))
        };
        Some(Use { met: Met { who, first_us: us, last_us: us }, place, topic, numbers, detail, says })
    }
}

/// What a record does to a decision.
#[derive(Default)]
struct Changed<'a> {
    who: Option<Who<'a>>,
    before: Contribution,
    after: Contribution,
    /// Whether it has its place in the order.
    listed: bool,
}

/// What `shelf.opened` takes: kind, name, NUL, version, NUL, bucket.
fn is_shelf(key: &[u8]) -> bool {
    let mut parts = key.get(1..).unwrap_or(b"").split(|byte| *byte == 0);
    let (name, version, bucket) = (parts.next(), parts.next(), parts.next());
    let sound = |text: Option<&[u8]>| text.is_some_and(|text| std::str::from_utf8(text).is_ok());
    key.first().is_some_and(|kind| KINDS.contains(kind))
        && sound(name)
        && name != Some(b"")
        && sound(version)
        && bucket.is_some_and(|bucket| bucket.len() == 1 && BUCKETS.contains(&bucket[0]))
        && parts.next().is_none()
}

fn named(kind: u8, shelf: &[u8], rest: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + shelf.len() + rest.iter().map(|part| part.len()).sum::<usize>());
    key.push(kind);
    key.extend_from_slice(shelf);
    for part in rest {
        key.extend_from_slice(part);
    }
    key
}

fn time(us: i64) -> [u8; 8] {
    ((us as u64) ^ 1 << 63).to_be_bytes()
}

/// The rows by time of a decision; none where it has not used the thing.
fn times(shelf: &[u8], who: &Who, contribution: &Contribution) -> Vec<Vec<u8>> {
    if contribution.uses == 0 {
        return Vec::new();
    }
    let outcomes = std::iter::once(&b""[..]).chain(contribution.outcomes.iter().map(|outcome| &outcome[..]));
    let mut found: Vec<Vec<u8>> = Vec::new();
    for outcome in outcomes {
        let when = time(contribution.first_us);
        let rest: [&[u8]; 9] =
            [b"\0", outcome, b"\0", &when, who.tenant, b"\0", who.workflow, b"\0", who.decision];
        let key = named(TIME, shelf, &rest);
        if !found.contains(&key) {
            found.push(key);
        }
    }
    found
}

enum Field<'a> {
    Nil,
    Text(&'a [u8]),
    Integer(i64),
    Boolean(bool),
}

/// Four of them.
fn detail<'a>(reader: &mut Reader<'a>) -> Option<[Field<'a>; 4]> {
    reader.array_of(4)?;
    Some([field(reader)?, field(reader)?, field(reader)?, field(reader)?])
}

fn field<'a>(reader: &mut Reader<'a>) -> Option<Field<'a>> {
    if reader.nil() {
        return Some(Field::Nil);
    }
    reader
        .if_it(Reader::text)
        .map(Field::Text)
        .or_else(|| reader.if_it(Reader::boolean).map(Field::Boolean))
        .or_else(|| reader.if_it(Reader::integer).map(Field::Integer))
}

fn text_or<'a>(field: Field<'a>, nothing: &'a [u8]) -> Option<&'a [u8]> {
    match field {
        Field::Text(text) => Some(text),
        Field::Nil => Some(nothing),
        _ => None,
    }
}
