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

/// Who did something when, as rows are named by it.
struct Met<'a> {
    tenant: &'a [u8],
    who: Vec<u8>,
    first_us: i64,
    last_us: i64,
}

struct Use<'a> {
    met: Met<'a>,
    key: Vec<u8>,
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
    who: Vec<u8>,
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
    /// What the table has, as far as it was asked.
    read: HashMap<Vec<u8>, Option<Vec<u8>>>,
    asked: Vec<Vec<u8>>,
    heads: HashMap<&'a [u8], usize>,
    all_heads: Vec<(&'a [u8], Head)>,
    contributions: HashMap<Vec<u8>, Contribution>,
    /// None: the row is deleted.
    written: HashMap<Vec<u8>, Option<Vec<u8>>>,
    order: Vec<Vec<u8>>,
    counted: Counted,
    /// What `load` answers: the shelves, each once; what `parse` does: the keys to ask for; what `finish` does.
    pub shelves: Pairs,
    pub keys: Pairs,
    pub rows: Vec<u8>,
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
        self.asked.clear();
        self.keys.reset();
        let mut said = 0;
        while said < most && self.next < self.told.len() {
            let told = &self.told[self.next];
            let (shelf, value) = (told.shelf, told.value);
            let usage = read(shelf, value)?;
            said += usage.uses.len() + usage.touches.len() + usage.standings.len();
            self.ask(named(HEAD, shelf, &[]));
            for one in &usage.uses {
                self.ask(one.key.clone());
            }
            if shelf[0] != POLICY {
                let met = usage.uses.iter().map(|one| &one.met).chain(&usage.touches).map(|met| &met.who);
                let all: Vec<Vec<u8>> = met.chain(usage.standings.iter().map(|one| &one.who)).cloned().collect();
                for who in all {
                    self.ask(named(CONTRIBUTION, shelf, &[b"\0", &who]));
                    self.ask(named(WORKFLOW, shelf, &[b"\0", workflow_of(&who)?]));
                }
            }
            self.parsed.push((self.next, usage));
            self.next += 1;
        }
        self.keys.close(self.keys.count);
        Some(self.parsed.len())
    }

    fn ask(&mut self, key: Vec<u8>) {
        if !self.read.contains_key(&key) && !self.written.contains_key(&key) {
            msgpack::bytes(&mut self.keys.data, &key);
            self.keys.count += 1;
            self.read.insert(key.clone(), None);
            self.asked.push(key);
        }
    }

    /// `values`: of the keys that were asked for, or nil.
    pub fn fold(&mut self, values: &[u8]) -> Option<()> {
        let mut reader = Reader::new(values);
        reader.array_of(self.asked.len())?;
        for key in std::mem::take(&mut self.asked) {
            if !reader.nil() {
                self.read.insert(key, Some(reader.bytes()?.to_vec()));
            }
        }
        if !reader.done() {
            return None;
        }
        for (place, usage) in std::mem::take(&mut self.parsed) {
            self.take(place, usage)?;
        }
        Some(())
    }

    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        match self.written.get(key) {
            Some(value) => value.as_deref(),
            None => self.read.get(key)?.as_deref(),
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        if !self.written.contains_key(&key) {
            self.order.push(key.clone());
        }
        self.written.insert(key, value);
    }

    /// The place of a shelf's head in `all_heads`.
    fn head(&mut self, shelf: &'a [u8]) -> Option<usize> {
        if let Some(place) = self.heads.get(shelf) {
            return Some(*place);
        }
        let head = match self.get(&named(HEAD, shelf, &[])) {
            None => Head::new(),
            Some(value) => Head::read(value)?,
        };
        self.all_heads.push((shelf, head));
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
        for one in last_of_each(usage.uses) {
            if self.brought(&one.key, offset)? {
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
            self.put(one.key.clone(), Some(value));
            if counts {
                let head = &mut self.all_heads[at].1;
                head.seen(one.met.tenant, one.met.first_us, one.met.last_us);
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
            self.decide(shelf, offset, met, &usage.touches, usage.standings, counts.then_some(at))?;
        }
        if counts {
            self.all_heads[at].1.applied = next;
            self.counted.folded += 1;
        } else {
            self.counted.reprocessed += 1;
        }
        Some(())
    }

    /// Whether this record brought it first: now, or before a crash.
    fn brought(&self, key: &[u8], offset: i64) -> Option<bool> {
        let Some(value) = self.get(key) else { return Some(true) };
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
        shelf: &[u8],
        offset: i64,
        met: impl Iterator<Item = &'b Met<'a>>,
        touches: &[Met],
        standings: Vec<Standing<'a>>,
        head: Option<usize>,
    ) -> Option<()>
    where
        'a: 'b,
    {
        let mut by_who: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut changed: Vec<(Vec<u8>, Contribution, Contribution)> = Vec::new(); // key, before, after
        let mut order: Vec<usize> = Vec::new(); // in which they were changed first
        for one in met {
            let Some(place) = self.open(shelf, &one.who, offset, &mut by_who, &mut changed)? else { continue };
            if place == order.len() {
                order.push(place);
            }
            let after = &mut changed[place].2;
            let first = if after.uses == 0 { one.first_us } else { after.first_us };
            after.first_us = first.min(one.first_us);
            after.uses = if shelf[0] == TEMPLATE { after.uses.checked_add(1)? } else { 1 };
        }
        if let Some(at) = head {
            for touch in touches {
                self.all_heads[at].1.seen(touch.tenant, touch.first_us, touch.last_us);
            }
        }
        for mut standing in standings {
            let Some(place) = self.open(shelf, &standing.who, offset, &mut by_who, &mut changed)? else { continue };
            if standing.version > changed[place].2.version {
                if !order.contains(&place) {
                    order.push(place);
                }
                changed[place].2.stand(standing.version, &mut standing.rest)?;
            }
        }
        for place in order {
            let (who, before, mut after) = std::mem::take(&mut changed[place]);
            if after != before {
                after.applied = offset.checked_add(1)?;
                self.move_on(shelf, &who, &before, after, head)?;
            }
        }
        Some(())
    }

    /// The place of a decision in `changed`; Some(None): it has the record already.
    fn open(
        &mut self,
        shelf: &[u8],
        who: &[u8],
        offset: i64,
        by_who: &mut HashMap<Vec<u8>, usize>,
        changed: &mut Vec<(Vec<u8>, Contribution, Contribution)>,
    ) -> Option<Option<usize>> {
        if let Some(place) = by_who.get(who) {
            return Some(Some(*place));
        }
        let key = named(CONTRIBUTION, shelf, &[b"\0", who]);
        let known = match self.contributions.get(&key) {
            Some(known) => known.clone(),
            None => match self.get(&key) {
                None => Contribution::default(),
                Some(value) => Contribution::read(value)?,
            },
        };
        if known.applied > offset {
            return Some(None);
        }
        by_who.insert(who.to_vec(), changed.len());
        changed.push((who.to_vec(), known.clone(), known));
        Some(Some(changed.len() - 1))
    }

    /// From one contribution to the next: its row, its place in time, its share of the head.
    fn move_on(
        &mut self,
        shelf: &[u8],
        who: &[u8],
        before: &Contribution,
        after: Contribution,
        head: Option<usize>,
    ) -> Option<()> {
        let (old, new) = (times(shelf, who, before), times(shelf, who, &after));
        for key in old.iter().filter(|key| !new.contains(key)) {
            self.put(key.clone(), None);
        }
        for key in new.iter().filter(|key| !old.contains(key)) {
            self.put(key.clone(), Some(NOTHING.to_vec()));
        }
        if after.uses != 0 && before.uses == 0 {
            let workflow = named(WORKFLOW, shelf, &[b"\0", workflow_of(who)?]);
            if self.get(&workflow).is_none() {
                self.put(workflow, Some(NOTHING.to_vec()));
                if let Some(at) = head {
                    self.all_heads[at].1.workflows = self.all_heads[at].1.workflows.checked_add(1)?;
                }
            }
        }
        if let Some(at) = head {
            self.all_heads[at].1.put_in(before, -1)?;
            self.all_heads[at].1.put_in(&after, 1)?;
        }
        let key = named(CONTRIBUTION, shelf, &[b"\0", who]);
        let mut value = Vec::with_capacity(64);
        after.write(&mut value);
        self.put(key.clone(), Some(value));
        self.contributions.insert(key, after);
        Some(())
    }

    /// All rows in the order of the changelog, and what was counted: [[[key, value or nil], ...], [number, ...]].
    pub fn finish(&mut self) {
        let out = &mut self.rows;
        out.clear();
        msgpack::array(out, 2);
        msgpack::array(out, self.all_heads.len() + self.order.len());
        let mut value = Vec::new();
        for (shelf, head) in &self.all_heads {
            value.clear();
            head.write(&mut value);
            msgpack::array(out, 2);
            msgpack::bytes(out, &named(HEAD, shelf, &[]));
            msgpack::bytes(out, &value);
        }
        for kind in ORDER {
            for key in self.order.iter().filter(|key| key[0] == kind) {
                msgpack::array(out, 2);
                msgpack::bytes(out, key);
                match &self.written[key] {
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

/// Tenant NUL workflow.
fn workflow_of(who: &[u8]) -> Option<&[u8]> {
    who.iter().rposition(|byte| *byte == 0).map(|at| &who[..at])
}

fn time(us: i64) -> [u8; 8] {
    ((us as u64) ^ 1 << 63).to_be_bytes()
}

/// The rows by time of a decision; none where it has not used the thing.
fn times(shelf: &[u8], who: &[u8], contribution: &Contribution) -> Vec<Vec<u8>> {
    if contribution.uses == 0 {
        return Vec::new();
    }
    let outcomes = std::iter::once(&b""[..]).chain(contribution.outcomes.iter().map(|outcome| &outcome[..]));
    let mut found: Vec<Vec<u8>> = Vec::new();
    for outcome in outcomes {
        let key = named(TIME, shelf, &[b"\0", outcome, b"\0", &time(contribution.first_us), who]);
        if !found.contains(&key) {
            found.push(key);
        }
    }
    found
}

/// Of uses with one key the last, at the place of the first.
fn last_of_each(uses: Vec<Use>) -> Vec<Use> {
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut found: Vec<Use> = Vec::with_capacity(uses.len());
    for one in uses {
        match places.get(&one.key) {
            Some(place) => found[*place] = one,
            None => {
                places.insert(one.key.clone(), found.len());
                found.push(one);
            }
        }
    }
    found
}

/// The value of a record: [uses, touches, standings], as topics/usage.py has them.
fn read<'a>(shelf: &[u8], value: &'a [u8]) -> Option<Usage<'a>> {
    let mut reader = opened(value)?;
    reader.array_of(3)?;
    let uses = (0..reader.array()?).map(|_| read_use(shelf, &mut reader)).collect::<Option<_>>()?;
    let touches = (0..reader.array()?).map(|_| read_touch(&mut reader)).collect::<Option<_>>()?;
    let standings = (0..reader.array()?).map(|_| read_standing(&mut reader)).collect::<Option<_>>()?;
    reader.done().then_some(Usage { uses, touches, standings })
}

/// Tenant, and tenant NUL workflow NUL decision.
fn who<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], Vec<u8>)> {
    let (tenant, workflow, decision) = (reader.text()?, reader.text()?, reader.text()?);
    Some((tenant, [tenant, b"\0", workflow, b"\0", decision].concat()))
}

fn read_use<'a>(shelf: &[u8], reader: &mut Reader<'a>) -> Option<Use<'a>> {
    reader.array_of(11)?;
    let (tenant, who) = who(reader)?;
    let (us, id, variant) = (reader.integer()?, reader.text()?, reader.bytes()?);
    let (topic, numbers) = (reader.text()?, [reader.integer()?, reader.integer()?, reader.integer()?]);
    let start = reader.at();
    let fields = detail(reader)?;
    let detail = reader.since(start);
    let (key, says) = if shelf[0] == POLICY {
        let [Field::Text(outcome), rule, _, _] = fields else { return None };
        let rule = match rule {
            Field::Text(rule) => rule,
            Field::Nil => b"",
            _ => return None,
        };
        let rest: [&[u8]; 9] = [b"\0", outcome, b"\0", &time(us), &who, b"\0", id, b"\0", variant];
        (named(EVALUATION, shelf, &rest), Says::Evaluation { outcome, rule })
    } else {
        let [Field::Text(model), latency, band, Field::Boolean(failed)] = fields else { return None };
        let latency_ms = match latency {
            Field::Integer(latency) => Some(latency),
            Field::Nil => None,
            _ => return None,
        };
        let band = match band {
            Field::Text(band) => Some(band),
            Field::Nil => None,
            _ => return None,
        };
        let rest: [&[u8]; 7] = [b"\0", &who, b"\0", &time(us), id, b"\0", variant];
        (named(USE, shelf, &rest), Says::Use(Used { model, latency_ms, band, failed }))
    };
    Some(Use { met: Met { tenant, who, first_us: us, last_us: us }, key, topic, numbers, detail, says })
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

fn read_touch<'a>(reader: &mut Reader<'a>) -> Option<Met<'a>> {
    reader.array_of(5)?;
    let (tenant, who) = who(reader)?;
    Some(Met { tenant, who, first_us: reader.integer()?, last_us: reader.integer()? })
}

fn read_standing<'a>(reader: &mut Reader<'a>) -> Option<Standing<'a>> {
    reader.array_of(10)?;
    let (_, who) = who(reader)?;
    let version = reader.integer()?;
    let rest = reader.clone();
    Contribution::default().stand(version, reader)?;
    Some(Standing { who, version, rest })
}
