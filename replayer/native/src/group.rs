//! The records of one workflow in a step, folded as replayer/core/timeline.py folds them. `None` leaves them to Python.

use crate::capped::{Topic, Topics};
use crate::decision::Decision;
use crate::head::{Head, Threads};
use crate::out::{Out, Pairs, Totals};
use crate::rows::{self, EventRow, Sighting, FIRST, LATE, MAX_INLINE};
use crate::rules::{Fields, Used, Variant};
use crate::schema::Schema;
use crate::span::Span;
use crate::usage::{Noted, Noticed, Shelves};
use std::collections::HashMap;

/// A record that was understood.
pub struct Parsed {
    /// Which part the record is in, and where its value is in the part's data.
    pub part: usize,
    pub raw: std::ops::Range<usize>,
    pub kind: usize,
    pub shown: Span,
    pub used: Used,
    pub variant: Variant,
    /// Of the projection.
    pub hash: [u8; 32],
    pub us: i64,
    pub topic: Topic,
    pub partition: i64,
    pub offset: i64,
    pub timestamp: i64,
    /// Places in its group.
    pub identity: usize,
    pub decision: usize,
}

struct Identity {
    id: Vec<u8>,
    sightings: Vec<Sighting>,
    noted: bool,
}

struct Decided {
    name: Vec<u8>,
    decision: Option<Decision>,
    changed: bool,
}

pub struct Group {
    /// Which of the step's keys it is of.
    pub keyed: usize,
    workflow: Vec<u8>,
    tenant: Option<Vec<u8>>,
    prefix: Vec<u8>,
    /// Whether Python has to fold it.
    pub failed: bool,
    /// Whether its last record has been seen.
    pub whole: bool,
    head: Option<Head>,
    touched: bool,
    by_id: HashMap<Vec<u8>, usize>,
    identities: Vec<Identity>,
    by_name: HashMap<Vec<u8>, usize>,
    decisions: Vec<Decided>,
    new: Vec<usize>,
    noted: Vec<usize>,
    decided: Vec<usize>,
    totals: Totals,
    /// Threads that the head has no room for.
    beyond: Threads,
    /// How many event rows it has written.
    rows: u32,
    /// For the index, where there is one.
    used: Option<Noted>,
}

impl Group {
    /// `indexed`: whether it notes what was used.
    pub fn new(workflow: &[u8], keyed: usize, indexed: bool) -> Group {
        Group {
            keyed,
            workflow: workflow.to_vec(),
            tenant: None,
            prefix: Vec::new(),
            failed: false,
            whole: false,
            head: None,
            touched: false,
            by_id: HashMap::new(),
            identities: Vec::new(),
            by_name: HashMap::new(),
            decisions: Vec::new(),
            new: Vec::new(),
            noted: Vec::new(),
            decided: Vec::new(),
            totals: Totals::default(),
            beyond: Threads::default(),
            rows: 0,
            used: indexed.then(Noted::default),
        }
    }

    /// Whether the record is one of this workflow, and the first of it. None: its key says another one.
    pub fn owns(&mut self, tenant: &[u8], workflow: &[u8]) -> Option<bool> {
        if workflow != self.workflow {
            return None;
        }
        match &self.tenant {
            Some(known) => (known == tenant).then_some(false),
            None => {
                self.tenant = Some(tenant.to_vec());
                self.prefix = [tenant, b"\0", workflow, b"\0"].concat();
                Some(true)
            }
        }
    }

    pub fn head_key(&self, out: &mut Vec<u8>) -> Option<()> {
        rows::head_key(out, self.tenant.as_ref()?, &self.workflow);
        Some(())
    }

    /// The place of an event id; its key goes to `out` where the table must be asked.
    pub fn identity(&mut self, id: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        if let Some(place) = self.by_id.get(id) {
            return (*place, false);
        }
        let place = self.identities.len();
        self.by_id.insert(id.to_vec(), place);
        self.identities.push(Identity { id: id.to_vec(), sightings: Vec::new(), noted: false });
        rows::named_key(out, b'i', &self.prefix, id);
        (place, true)
    }

    /// The same for a decision.
    pub fn decision(&mut self, name: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        if let Some(place) = self.by_name.get(name) {
            return (*place, false);
        }
        let place = self.decisions.len();
        self.by_name.insert(name.to_vec(), place);
        self.decisions.push(Decided { name: name.to_vec(), decision: None, changed: false });
        rows::named_key(out, b'd', &self.prefix, name);
        (place, true)
    }

    pub fn know_head(&mut self, value: &[u8], topics: &mut Topics) -> Option<()> {
        self.head = Some(Head::read(value, self.tenant.as_ref()?, &self.workflow, topics)?);
        Some(())
    }

    pub fn know_identity(&mut self, place: usize, value: &[u8], topics: &mut Topics) -> Option<()> {
        self.identities[place].sightings = rows::read_sightings(value, topics)?;
        Some(())
    }

    pub fn know_decision(&mut self, place: usize, value: &[u8], topics: &mut Topics) -> Option<()> {
        let decided = &mut self.decisions[place];
        decided.decision = Some(Decision::read(value, &decided.name, topics)?);
        Some(())
    }

    /// Folds one record; its row goes to `out`. `raw`: its bytes; `made`: what reading it made.
    pub fn fold(
        &mut self,
        event: &Parsed,
        raw: &[u8],
        made: &[u8],
        schema: &Schema,
        topics: &Topics,
        out: &mut Pairs,
    ) -> Option<()> {
        if self.head.is_none() {
            self.head = Some(Head::new(self.tenant.as_ref()?, &self.workflow));
        }
        let head = self.head.as_mut()?;
        if event.offset < head.applied.get(event.topic).unwrap_or(0) {
            self.totals.reprocessed += 1;
            return Some(());
        }
        self.touched = true;
        let next = event.offset.checked_add(1)?;
        let Some(mut marks) = self.first_of_its_kind(event)? else {
            let head = self.head.as_mut()?;
            head.duplicates = head.duplicates.checked_add(1)?;
            self.totals.duplicate += 1;
            head.applied.set(event.topic, next);
            return Some(());
        };
        let head = self.head.as_mut()?;
        match head.reached.get(event.topic) {
            Some(reached) if event.us < reached => {
                marks |= LATE;
                head.late = head.late.checked_add(1)?;
                self.totals.late += 1;
            }
            _ => head.reached.set(event.topic, event.us),
        }
        // Never back, never twice the same: a reader that goes by it loses nothing that is added behind it.
        head.commit_us = event.timestamp.checked_mul(1000)?.max(head.commit_us.checked_add(1)?);
        head.add_digest(&event.hash);
        let known = &schema.types[event.kind];
        let fields = Fields { raw, made, used: &event.used };
        let facts = fields.facts(&known.name, &known.rules, event.us, event.variant)?;
        head.apply(&facts, &mut self.beyond)?;
        let decided = &mut self.decisions[event.decision];
        let decision = decided.decision.get_or_insert_with(|| Decision::new(&decided.name));
        if event.offset >= decision.applied.get(event.topic).unwrap_or(0) {
            decision.apply(&facts)?;
            decision.applied.set(event.topic, next);
            if !decided.changed {
                decided.changed = true;
                self.decided.push(event.decision);
            }
        }
        let row = EventRow {
            marks,
            commit_us: head.commit_us,
            topic: topics.name(event.topic),
            partition: event.partition,
            offset: event.offset,
            projection: event.shown.of(raw, made),
        };
        rows::event_row(&mut out.data, &self.prefix, &facts, &row)?;
        out.count += 1;
        if let Some(used) = &mut self.used {
            let noticed = Noticed {
                event,
                id: facts.id,
                topic: topics.name(event.topic),
                decision: &self.decisions[event.decision].name,
                row: self.rows,
            };
            used.take(fields.glimpse(&known.rules), self.tenant.as_ref()?, &self.workflow, &noticed);
        }
        self.rows = self.rows.checked_add(1)?;
        self.totals.folded += 1;
        head.applied.set(event.topic, next);
        Some(())
    }

    /// The mark of its row where its variant was first seen in this record: now, or before a crash. Some(None): a
    /// duplicate. None: more variants than stand in one row.
    fn first_of_its_kind(&mut self, event: &Parsed) -> Option<Option<u8>> {
        let identity = &mut self.identities[event.identity];
        let new = Sighting {
            variant: event.variant,
            us: event.us,
            topic: event.topic,
            partition: event.partition,
            offset: event.offset,
            index: 0,
        };
        if identity.sightings.is_empty() {
            identity.sightings.push(new);
            self.new.push(event.identity);
            return Some(Some(FIRST));
        }
        match identity.sightings.iter().find(|seen| seen.variant == event.variant) {
            Some(seen) if seen.offset != event.offset || seen.topic != event.topic => return Some(None),
            Some(_) => {}
            None if identity.sightings.len() >= MAX_INLINE => return None,
            None => {
                identity.sightings.push(new);
                if !identity.noted {
                    identity.noted = true;
                    self.noted.push(event.identity);
                }
            }
        }
        if identity.sightings.len() == 1 {
            return Some(Some(FIRST));
        }
        self.totals.variant += 1;
        let head = self.head.as_mut()?;
        let applied =
            |seen: &&Sighting| seen.variant != event.variant && seen.offset < head.applied.get(seen.topic).unwrap_or(0);
        if identity.sightings.iter().filter(applied).count() == 1 {
            head.conflicts = head.conflicts.checked_add(1)?;
        }
        Some(Some(0))
    }

    /// Writes the rows that are written once (identities, decisions, the head), and tells `shelves` what was used.
    pub fn finish(&self, out: &mut Out, topics: &Topics, shelves: &mut Shelves) {
        if let (Some(used), Some(tenant)) = (&self.used, &self.tenant) {
            let names: Vec<&[u8]> = self.decisions.iter().map(|decided| &decided.name[..]).collect();
            let decided = self.decided.iter().filter_map(|place| self.decisions[*place].decision.as_ref());
            shelves.take(used, (tenant, &self.workflow), &names, decided, out.whole_count as usize);
        }
        let Out { value, implied, noted: notes, decisions, heads, totals, .. } = out;
        for (places, noted) in [(&self.new, false), (&self.noted, true)] {
            for identity in places.iter().map(|place| &self.identities[*place]) {
                if identity.noted == noted {
                    value.clear();
                    rows::write_sightings(value, identity.sightings.iter(), topics);
                    let pairs = if noted { &mut *notes } else { &mut *implied };
                    pairs.pair(|key| rows::named_key(key, b'i', &self.prefix, &identity.id), value);
                }
            }
        }
        for decided in self.decided.iter().map(|place| &self.decisions[*place]) {
            if let Some(decision) = &decided.decision {
                value.clear();
                decision.write(value, topics);
                decisions.pair(|key| rows::named_key(key, b'd', &self.prefix, &decided.name), value);
            }
        }
        if let (true, Some(head), Some(tenant)) = (self.touched, &self.head, &self.tenant) {
            value.clear();
            head.write(value, topics);
            // Before the head that has counted them: whoever finds that does not find them again.
            for (kind, name) in &self.beyond.names {
                heads.pair(|key| rows::thread_key(key, *kind, name, tenant, &self.workflow), &[rows::FORMAT]);
            }
            heads.pair(|key| rows::head_key(key, tenant, &self.workflow), value);
            for (kind, names) in head.threads() {
                for name in names.iter() {
                    implied.pair(|key| rows::thread_key(key, kind, name, tenant, &self.workflow), &[rows::FORMAT]);
                }
            }
        }
        totals.folded += self.totals.folded;
        totals.duplicate += self.totals.duplicate;
        totals.variant += self.totals.variant;
        totals.reprocessed += self.totals.reprocessed;
        totals.late += self.totals.late;
    }
}
