//! A step: `load` takes its records; then, piece by piece, `parse` says which rows a piece needs, and `fold` takes them and
//! makes rows.
//!
//! Only the last group of a piece may go on in the next one. A group that is not understood leaves nothing behind.

use crate::capped::Topics;
use crate::event::{self, Stack};
use crate::group::{Group, Parsed};
use crate::log::{Part, Record};
use crate::msgpack::{self, Reader};
use crate::out::{Out, Pairs, Totals, HEAD_BYTES};
use crate::rules::{Fields, DECISION, EVENT_ID, TENANT, VARIANT_BYTES, WORKFLOW};
use crate::schema::Schema;
use crate::sha256;
use crate::usage::Shelves;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The records of one key, in the order they came.
struct Keyed<'a> {
    key: &'a [u8],
    records: Vec<Place>,
}

/// A record: which part it is in, which of its records it is, which of the step's.
#[derive(Clone, Copy)]
struct Place {
    part: u32,
    record: u32,
    number: u32,
}

enum Kind {
    Identity,
    Decision,
}

/// A row that was asked for.
struct Want {
    group: usize,
    kind: Kind,
    place: usize,
}

pub struct Step<'a> {
    schema: Arc<Schema>,
    indexed: bool,
    parts: Vec<Part<'a>>,
    keyed: Vec<Keyed<'a>>,
    /// The records without a key, by their numbers.
    nobodys: Vec<u32>,
    /// Which of `keyed` comes next, and which of its records.
    next: (usize, usize),
    /// Those of `keyed` that are left to Python.
    left: Vec<usize>,
    topics: Topics,
    stack: Stack,
    groups: Vec<Group>,
    /// The events of each group of the piece.
    of_group: Vec<Range<usize>>,
    events: Vec<Parsed>,
    made: Vec<u8>,
    want_heads: Vec<usize>,
    wants: Vec<Want>,
    /// What `parse` answers: of each group that is new its number, its head's key and the records' key; the other keys.
    pub heads: Pairs,
    pub keys: Pairs,
    /// What `fold` answers; of the events only `whole_bytes`, the rest is of the group that goes on.
    pub out: Out,
    pub summary: Vec<u8>,
    shelves: Shelves,
    /// What `tell` answers.
    pub usage: Pairs,
    /// What `leave` answers.
    pub others: Vec<u8>,
}

impl<'a> Step<'a> {
    /// `indexed`: whether it notes what was used.
    pub fn new(schema: Arc<Schema>, indexed: bool) -> Step<'a> {
        let mut out = Out::default();
        out.events.reset();
        out.whole_bytes = HEAD_BYTES;
        Step {
            schema,
            indexed,
            parts: Vec::new(),
            keyed: Vec::new(),
            nobodys: Vec::new(),
            next: (0, 0),
            left: Vec::new(),
            topics: Topics::default(),
            stack: Stack::default(),
            groups: Vec::new(),
            of_group: Vec::new(),
            events: Vec::new(),
            made: Vec::new(),
            want_heads: Vec::new(),
            wants: Vec::new(),
            heads: Pairs::default(),
            keys: Pairs::default(),
            out,
            summary: Vec::new(),
            shelves: Shelves::default(),
            usage: Pairs::default(),
            others: Vec::new(),
        }
    }

    /// Takes all records of the step; answers how many have a key. None: a part's index is not its own.
    pub fn load(&mut self, parts: Vec<Part<'a>>) -> Option<usize> {
        let mut by_key: HashMap<&'a [u8], usize> = HashMap::new();
        let (mut number, mut count) = (0u32, 0);
        for (at, part) in parts.iter().enumerate() {
            let data = part.data;
            for record in 0..part.len() {
                match part.record(record)?.key {
                    None => self.nobodys.push(number),
                    Some(range) => {
                        let key = &data[range];
                        let keyed = &mut self.keyed;
                        let place = *by_key.entry(key).or_insert_with(|| {
                            keyed.push(Keyed { key, records: Vec::new() });
                            keyed.len() - 1
                        });
                        let (part, record) = (u32::try_from(at).ok()?, u32::try_from(record).ok()?);
                        keyed[place].records.push(Place { part, record, number });
                        count += 1;
                    }
                }
                number = number.checked_add(1)?;
            }
        }
        self.parts = parts;
        Some(count)
    }

    /// The next piece, of `most` records.
    pub fn parse(&mut self, most: usize) -> Option<()> {
        self.of_group.clear();
        self.events.clear();
        self.made.clear();
        self.want_heads.clear();
        self.wants.clear();
        self.heads.reset();
        self.keys.reset();
        let (mut room, mut number) = (most, 0);
        while room > 0 && self.next.0 < self.keyed.len() {
            let (at, from) = self.next;
            let all = self.keyed[at].records.len();
            let behind = all.min(from + room);
            if number == self.groups.len() {
                self.groups.push(Group::new(self.keyed[at].key, at, self.indexed));
            }
            self.groups[number].whole = behind == all;
            self.parse_group(number, from..behind)?;
            self.next = if behind == all { (at + 1, 0) } else { (at, behind) };
            room -= behind - from;
            number += 1;
        }
        self.heads.close(self.heads.count);
        self.keys.close(self.keys.count);
        Some(())
    }

    fn parse_group(&mut self, number: usize, records: Range<usize>) -> Option<()> {
        let first = self.events.len();
        let before = (self.want_heads.len(), self.wants.len(), self.made.len());
        let lengths = [(self.heads.data.len(), self.heads.count), (self.keys.data.len(), self.keys.count)];
        for at in records {
            if !self.groups[number].failed {
                let place = self.keyed[self.groups[number].keyed].records[at];
                let record = self.parts[place.part as usize].record(place.record as usize)?;
                self.groups[number].failed = self.parse_record(number, place.part as usize, &record).is_none();
            }
        }
        if self.groups[number].failed {
            self.events.truncate(first);
            self.want_heads.truncate(before.0);
            self.wants.truncate(before.1);
            self.made.truncate(before.2);
            for (pairs, (length, count)) in [&mut self.heads, &mut self.keys].into_iter().zip(lengths) {
                pairs.data.truncate(length);
                pairs.count = count;
            }
        }
        self.of_group.push(first..self.events.len());
        Some(())
    }

    fn parse_record(&mut self, number: usize, part: usize, record: &Record) -> Option<()> {
        let (range, part_of) = (record.value.clone()?, &self.parts[part]);
        let raw = &part_of.data[range.clone()];
        let event = event::read(&self.schema, raw, &mut self.made, &mut self.stack)?;
        let fields = Fields { raw, made: &self.made, used: &event.used };
        let content_hash = sha256::digest(event.content.of(raw, &self.made));
        let hidden = event.shown != event.content;
        let hash = if hidden { sha256::digest(event.shown.of(raw, &self.made)) } else { content_hash };
        let group = &mut self.groups[number];
        if group.owns(fields.text(TENANT)?, fields.text(WORKFLOW)?)? {
            msgpack::array(&mut self.heads.data, 3);
            msgpack::integer(&mut self.heads.data, number as i64);
            group.head_key(&mut self.heads.data)?;
            msgpack::bytes(&mut self.heads.data, self.keyed[group.keyed].key);
            self.heads.count += 1;
            self.want_heads.push(number);
        }
        let (identity, asked) = group.identity(fields.text(EVENT_ID)?, &mut self.keys.data);
        if asked {
            self.wants.push(Want { group: number, kind: Kind::Identity, place: identity });
        }
        let name = fields.text_if_any(DECISION)?.unwrap_or(b"");
        let (decision, asked_too) = group.decision(name, &mut self.keys.data);
        if asked_too {
            self.wants.push(Want { group: number, kind: Kind::Decision, place: decision });
        }
        self.keys.count += u32::from(asked) + u32::from(asked_too);
        self.events.push(Parsed {
            part,
            raw: range,
            kind: event.kind,
            shown: event.shown,
            used: event.used,
            variant: content_hash[..VARIANT_BYTES].try_into().ok()?,
            hash,
            us: fields.occurred_us()?,
            topic: self.topics.number(part_of.topic)?,
            partition: part_of.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            identity,
            decision,
        });
        Some(())
    }

    /// `known`: [[numbers of groups for Python], [the values asked for, or nil]].
    /// None: that it is not.
    pub fn fold(&mut self, known: &[u8]) -> Option<()> {
        self.begin();
        self.know(known)?;
        for number in 0..self.groups.len() {
            self.fold_group(number);
        }
        self.end();
        Some(())
    }

    /// Drops what the last piece has delivered.
    fn begin(&mut self) {
        let out = &mut self.out;
        out.events.data.drain(HEAD_BYTES..out.whole_bytes);
        out.events.count -= out.whole_count;
        (out.whole_bytes, out.whole_count) = (HEAD_BYTES, 0);
        for pairs in [&mut out.implied, &mut out.noted, &mut out.decisions, &mut out.heads] {
            pairs.reset();
        }
        out.totals = Totals::default();
        self.shelves.left.clear();
    }

    fn know(&mut self, known: &[u8]) -> Option<()> {
        let mut reader = Reader::new(known);
        reader.array_of(2)?;
        for _ in 0..reader.array()? {
            let number = reader.size()?;
            self.groups.get_mut(number)?.failed = true;
        }
        reader.array_of(self.want_heads.len() + self.wants.len())?;
        for number in &self.want_heads {
            if !reader.nil() {
                let value = reader.bytes()?;
                let group = &mut self.groups[*number];
                group.failed |= group.know_head(value, &mut self.topics).is_none();
            }
        }
        for want in &self.wants {
            if !reader.nil() {
                let value = reader.bytes()?;
                let group = &mut self.groups[want.group];
                let understood = match want.kind {
                    Kind::Identity => group.know_identity(want.place, value, &mut self.topics),
                    Kind::Decision => group.know_decision(want.place, value, &mut self.topics),
                };
                group.failed |= understood.is_none();
            }
        }
        reader.done().then_some(())
    }

    fn fold_group(&mut self, number: usize) {
        let Step { schema, parts, topics, groups, of_group, events, made, out, shelves, left, .. } = self;
        let group = &mut groups[number];
        for event in &events[of_group[number].clone()] {
            if !group.failed {
                let raw = &parts[event.part].data[event.raw.clone()];
                group.failed = group.fold(event, raw, made, schema, topics, &mut out.events).is_none();
            }
        }
        if group.failed {
            // Whatever lies behind the rows of whole groups is of this one.
            out.events.data.truncate(out.whole_bytes);
            out.events.count = out.whole_count;
        } else if group.whole {
            group.finish(out, topics, shelves);
        }
        if group.whole && group.failed {
            left.push(group.keyed);
        }
        if group.whole {
            (out.whole_bytes, out.whole_count) = (out.events.data.len(), out.events.count);
        }
    }

    /// Closes what is delivered; keeps the group that goes on.
    fn end(&mut self) {
        let Step { out, groups, summary, shelves, .. } = self;
        out.events.close(out.whole_count);
        for pairs in [&mut out.implied, &mut out.noted, &mut out.decisions, &mut out.heads] {
            pairs.close(pairs.count);
        }
        summary.clear();
        msgpack::array(summary, 2);
        let totals = &out.totals;
        msgpack::array(summary, 5);
        for count in [totals.folded, totals.duplicate, totals.variant, totals.reprocessed, totals.late] {
            msgpack::integer(summary, count);
        }
        msgpack::array(summary, shelves.left.len());
        for row in &shelves.left {
            msgpack::integer(summary, *row as i64);
        }
        groups.retain(|group| !group.whole);
    }

    /// The records that are left to Python, by their numbers, those of one key in one list: [[number, ...], ...].
    pub fn leave(&mut self) {
        let numbers = |at: &usize| self.keyed[*at].records.iter().map(|place| place.number).collect();
        let mut groups: Vec<Vec<u32>> = self.left.iter().map(numbers).collect();
        groups.push(self.nobodys.clone());
        groups.retain(|group| !group.is_empty());
        groups.sort_unstable();
        self.others.clear();
        msgpack::array(&mut self.others, groups.len());
        for group in groups {
            msgpack::array(&mut self.others, group.len());
            for number in group {
                msgpack::integer(&mut self.others, i64::from(number));
            }
        }
    }

    /// What all that was folded says was used: keys and values of `template-usage`.
    pub fn tell(&mut self) {
        self.shelves.write(&mut self.usage);
    }
}
