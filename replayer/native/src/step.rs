//! A step, piece by piece: `parse` says which rows a piece needs, `fold` takes them and makes rows.
//!
//! Only the last group of a piece may go on in the next one. A group that is not understood leaves nothing behind.

use crate::capped::Topics;
use crate::event::{self, Stack};
use crate::fetched::Fetched;
use crate::group::{Group, Parsed};
use crate::msgpack::{self, Reader};
use crate::out::{Out, Pairs, Totals, HEAD_BYTES};
use crate::rules::{Fields, DECISION, EVENT_ID, TENANT, VARIANT_BYTES, WORKFLOW};
use crate::schema::Schema;
use crate::sha256;
use crate::usage::Shelves;
use std::ops::Range;
use std::sync::Arc;

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

pub struct Step {
    schema: Arc<Schema>,
    indexed: bool,
    topics: Topics,
    stack: Stack,
    groups: Vec<Group>,
    /// The events of each group of the piece.
    of_group: Vec<Range<usize>>,
    events: Vec<Parsed>,
    made: Vec<u8>,
    input_bytes: usize,
    want_heads: Vec<usize>,
    wants: Vec<Want>,
    /// What `parse` answers: pairs of a group's number and its head's key; the other keys.
    pub heads: Pairs,
    pub keys: Pairs,
    /// What `fold` answers; of the events only `whole_bytes`, the rest is of the group that goes on.
    pub out: Out,
    pub summary: Vec<u8>,
    shelves: Shelves,
    /// What `tell` answers.
    pub usage: Pairs,
}

impl Step {
    /// `indexed`: whether it notes what was used.
    pub fn new(schema: Arc<Schema>, indexed: bool) -> Step {
        let mut out = Out::default();
        out.events.reset();
        out.whole_bytes = HEAD_BYTES;
        Step {
            schema,
            indexed,
            topics: Topics::default(),
            stack: Stack::default(),
            groups: Vec::new(),
            of_group: Vec::new(),
            events: Vec::new(),
            made: Vec::new(),
            input_bytes: 0,
            want_heads: Vec::new(),
            wants: Vec::new(),
            heads: Pairs::default(),
            keys: Pairs::default(),
            out,
            summary: Vec::new(),
            shelves: Shelves::default(),
            usage: Pairs::default(),
        }
    }

    /// `input`: [[key, whether the group ends, [record, ...]], ...], records as replayer/core/fetched.py has them.
    /// None: that it is not.
    pub fn parse(&mut self, input: &[u8]) -> Option<()> {
        self.of_group.clear();
        self.events.clear();
        self.made.clear();
        self.want_heads.clear();
        self.wants.clear();
        self.heads.reset();
        self.keys.reset();
        self.input_bytes = input.len();
        let mut reader = Reader::new(input);
        let groups = reader.array()?;
        for number in 0..groups {
            reader.array_of(3)?;
            let key = reader.bytes()?;
            match self.groups.get(number) {
                None => self.groups.push(Group::new(key, self.indexed)),
                Some(open) if open.is(key) => {}
                Some(_) => return None,
            }
            let whole = reader.boolean()?;
            if !whole && number + 1 < groups {
                return None;
            }
            self.groups[number].whole = whole;
            self.parse_group(number, &mut reader)?;
        }
        self.heads.close(self.heads.count);
        self.keys.close(self.keys.count);
        reader.done().then_some(())
    }

    fn parse_group(&mut self, number: usize, reader: &mut Reader) -> Option<()> {
        let first = self.events.len();
        let before = (self.want_heads.len(), self.wants.len(), self.made.len());
        let lengths = [(self.heads.data.len(), self.heads.count), (self.keys.data.len(), self.keys.count)];
        for _ in 0..reader.array()? {
            let record = Fetched::read(reader)?;
            if !self.groups[number].failed {
                self.groups[number].failed = self.parse_record(number, &record).is_none();
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

    fn parse_record(&mut self, number: usize, record: &Fetched) -> Option<()> {
        let raw = record.value?;
        let event = event::read(&self.schema, raw, &mut self.made, &mut self.stack)?;
        let fields = Fields { raw, made: &self.made, used: &event.used };
        let content_hash = sha256::digest(event.content.of(raw, &self.made));
        let hidden = event.shown != event.content;
        let hash = if hidden { sha256::digest(event.shown.of(raw, &self.made)) } else { content_hash };
        let group = &mut self.groups[number];
        if group.owns(fields.text(TENANT)?, fields.text(WORKFLOW)?)? {
            msgpack::array(&mut self.heads.data, 2);
            msgpack::integer(&mut self.heads.data, number as i64);
            group.head_key(&mut self.heads.data)?;
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
            raw: record.end - raw.len()..record.end,
            kind: event.kind,
            shown: event.shown,
            used: event.used,
            variant: content_hash[..VARIANT_BYTES].try_into().ok()?,
            hash,
            us: fields.occurred_us()?,
            topic: self.topics.number(record.topic)?,
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            identity,
            decision,
        });
        Some(())
    }

    /// `input`: what `parse` was given. `known`: [[numbers of groups for Python], [the values asked for, or nil]].
    /// None: that it is not.
    pub fn fold(&mut self, input: &[u8], known: &[u8]) -> Option<()> {
        if input.len() != self.input_bytes {
            return None;
        }
        self.begin();
        self.know(known)?;
        for number in 0..self.groups.len() {
            self.fold_group(number, input);
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

    fn fold_group(&mut self, number: usize, input: &[u8]) {
        let Step { schema, topics, groups, of_group, events, made, out, shelves, .. } = self;
        let group = &mut groups[number];
        for event in &events[of_group[number].clone()] {
            if !group.failed {
                let raw = &input[event.raw.clone()];
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
        let failed: Vec<usize> = (0..groups.len()).filter(|at| groups[*at].whole && groups[*at].failed).collect();
        summary.clear();
        msgpack::array(summary, 3);
        msgpack::array(summary, failed.len());
        for number in failed {
            msgpack::integer(summary, number as i64);
        }
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

    /// What all that was folded says was used: keys and values of `template-usage`.
    pub fn tell(&mut self) {
        self.shelves.write(&mut self.usage);
    }
}
