//! The rows of a shelf, and how they change: replayer/core/shelf_head.py and shelf_rows.py say why.

use crate::capped::{Counts, Values};
use crate::msgpack::{self, Reader};
use crate::rows::{opened, FORMAT};

const MAX_RULES: usize = 64;
const BANDS: [&[u8]; 4] = [b"fast", b"normal", b"slow", b"timeout"];
const UNSAID: &[u8] = b"unsaid";
const MILLIONTHS: f64 = 1_000_000.0;

/// What is kept of a use of a template.
pub struct Used<'a> {
    pub model: &'a [u8],
    pub latency_ms: Option<i64>,
    /// Empty: it names none.
    pub band: &'a [u8],
    pub failed: bool,
}

/// What all uses on a shelf come to.
pub struct Head {
    pub applied: i64,
    uses: i64,
    failed: i64,
    decisions: i64,
    pub workflows: i64,
    first_us: i64,
    last_us: i64,
    tenants: Values,
    models: Values,
    bands: Counts,
    latencies: Vec<(i64, i64)>,
    outcomes: Counts,
    rules: Vec<(Vec<u8>, Counts)>,
    statuses: Counts,
    overridden: i64,
    rated: i64,
    scored: i64,
    score: i64,
    overflow: Values,
}

const HEAD_FIELDS: usize = 19;

impl Head {
    pub fn new() -> Head {
        Head {
            applied: 0,
            uses: 0,
            failed: 0,
            decisions: 0,
            workflows: 0,
            first_us: i64::MAX,
            last_us: i64::MIN,
            tenants: Values::default(),
            models: Values::default(),
            bands: Counts::default(),
            latencies: Vec::new(),
            outcomes: Counts::default(),
            rules: Vec::new(),
            statuses: Counts::default(),
            overridden: 0,
            rated: 0,
            scored: 0,
            score: 0,
            overflow: Values::default(),
        }
    }

    /// None where the row is not exactly one that this release writes.
    pub fn read(value: &[u8]) -> Option<Head> {
        let mut row = opened(value)?;
        row.array_of(HEAD_FIELDS)?;
        let head = Head {
            applied: row.integer()?,
            uses: row.integer()?,
            failed: row.integer()?,
            decisions: row.integer()?,
            workflows: row.integer()?,
            first_us: row.integer()?,
            last_us: row.integer()?,
            tenants: Values::read(&mut row)?,
            models: Values::read(&mut row)?,
            bands: Counts::read(&mut row)?,
            latencies: read_steps(&mut row)?,
            outcomes: Counts::read(&mut row)?,
            rules: read_rules(&mut row)?,
            statuses: Counts::read(&mut row)?,
            overridden: row.integer()?,
            rated: row.integer()?,
            scored: row.integer()?,
            score: row.integer()?,
            overflow: Values::read(&mut row)?,
        };
        row.done().then_some(head)
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        msgpack::array(out, HEAD_FIELDS);
        for number in
            [self.applied, self.uses, self.failed, self.decisions, self.workflows, self.first_us, self.last_us]
        {
            msgpack::integer(out, number);
        }
        self.tenants.write(out);
        self.models.write(out);
        self.bands.write(out);
        msgpack::map(out, self.latencies.len());
        for (step, count) in &self.latencies {
            msgpack::integer(out, *step);
            msgpack::integer(out, *count);
        }
        self.outcomes.write(out);
        msgpack::map(out, self.rules.len());
        for (rule, outcomes) in &self.rules {
            msgpack::text(out, rule);
            outcomes.write(out);
        }
        self.statuses.write(out);
        for number in [self.overridden, self.rated, self.scored, self.score] {
            msgpack::integer(out, number);
        }
        self.overflow.write(out);
    }

    /// Somebody of the tenant used it from then to then.
    pub fn seen(&mut self, tenant: &[u8], first_us: i64, last_us: i64) {
        self.first_us = self.first_us.min(first_us);
        self.last_us = self.last_us.max(last_us);
        self.tenants.put(tenant, "tenants", &mut self.overflow);
    }

    pub fn count_use(&mut self, used: &Used) -> Option<()> {
        self.uses = self.uses.checked_add(1)?;
        self.failed = self.failed.checked_add(i64::from(used.failed))?;
        self.models.put(used.model, "models", &mut self.overflow);
        self.bands.count(if BANDS.contains(&used.band) { used.band } else { UNSAID })?;
        if let Some(latency) = used.latency_ms {
            let step = step_of(latency);
            match self.latencies.iter_mut().find(|(known, _)| *known == step) {
                Some((_, count)) => *count = count.checked_add(1)?,
                None => self.latencies.push((step, 1)),
            }
        }
        Some(())
    }

    /// An evaluation of a policy. Of rules the smallest are kept.
    pub fn count_evaluation(&mut self, outcome: &[u8], rule: &[u8]) -> Option<()> {
        self.uses = self.uses.checked_add(1)?;
        self.outcomes.count(outcome)?;
        if !self.rules.iter().any(|(known, _)| known == rule) {
            self.rules.push((rule.to_vec(), Counts::default()));
            if self.rules.len() > MAX_RULES {
                let (greatest, _) = self.rules.iter().enumerate().max_by(|one, other| one.1 .0.cmp(&other.1 .0))?;
                self.rules.remove(greatest);
                self.overflow.add(b"rules");
            }
        }
        match self.rules.iter_mut().find(|(known, _)| known == rule) {
            Some((_, outcomes)) => outcomes.count(outcome),
            None => Some(()),
        }
    }

    /// A decision's contribution; `sign` -1: take it out. One without uses counts for nothing.
    pub fn put_in(&mut self, contribution: &Contribution, sign: i64) -> Option<()> {
        if contribution.uses == 0 {
            return Some(());
        }
        self.decisions = self.decisions.checked_add(sign)?;
        if contribution.version != 0 {
            self.statuses.add(&contribution.status, sign)?;
        }
        for outcome in &contribution.outcomes {
            self.outcomes.add(outcome, sign)?;
        }
        self.overridden = self.overridden.checked_add(sign * i64::from(contribution.overridden))?;
        self.rated = self.rated.checked_add(sign * i64::from(contribution.feedbacks > 0))?;
        if let Some(score) = contribution.score {
            self.scored = self.scored.checked_add(sign)?;
            self.score = self.score.checked_add(sign.checked_mul(score)?)?;
        }
        Some(())
    }
}

fn read_steps(row: &mut Reader) -> Option<Vec<(i64, i64)>> {
    let mut steps: Vec<(i64, i64)> = Vec::new();
    for _ in 0..row.map()? {
        let (step, count) = (row.integer()?, row.integer()?);
        if steps.iter().any(|(known, _)| *known == step) {
            return None;
        }
        steps.push((step, count));
    }
    Some(steps)
}

fn read_rules(row: &mut Reader) -> Option<Vec<(Vec<u8>, Counts)>> {
    let mut rules: Vec<(Vec<u8>, Counts)> = Vec::new();
    for _ in 0..row.map()? {
        let (rule, outcomes) = (row.text()?.to_vec(), Counts::read(row)?);
        if rules.len() > MAX_RULES || rules.iter().any(|(known, _)| *known == rule) {
            return None;
        }
        rules.push((rule, outcomes));
    }
    Some(rules)
}

/// The step a latency stands on: below 16 ms its own, above eight to each doubling.
fn step_of(latency_ms: i64) -> i64 {
    if latency_ms < 16 {
        return latency_ms.max(0);
    }
    let shift = i64::from(60 - latency_ms.leading_zeros());
    8 * shift + (latency_ms >> shift)
}

/// What a decision has come to, as far as a shelf knows.
#[derive(Clone, Default, PartialEq)]
pub struct Contribution {
    pub applied: i64,
    pub uses: i64,
    pub first_us: i64,
    pub version: i64,
    status: Vec<u8>,
    overridden: bool,
    pub outcomes: Vec<Vec<u8>>,
    feedbacks: i64,
    score: Option<i64>,
    label: Option<Vec<u8>>,
}

const CONTRIBUTION_FIELDS: usize = 10;

impl Contribution {
    pub fn read(value: &[u8]) -> Option<Contribution> {
        let mut row = opened(value)?;
        row.array_of(CONTRIBUTION_FIELDS)?;
        let found = Contribution {
            applied: row.integer()?,
            uses: row.integer()?,
            first_us: row.integer()?,
            version: row.integer()?,
            status: row.text()?.to_vec(),
            overridden: row.boolean()?,
            outcomes: texts(&mut row)?,
            feedbacks: row.integer()?,
            score: if row.nil() { None } else { Some(row.integer()?) },
            label: if row.nil() { None } else { Some(row.text()?.to_vec()) },
        };
        row.done().then_some(found)
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        msgpack::array(out, CONTRIBUTION_FIELDS);
        for number in [self.applied, self.uses, self.first_us, self.version] {
            msgpack::integer(out, number);
        }
        msgpack::text(out, &self.status);
        msgpack::boolean(out, self.overridden);
        msgpack::array(out, self.outcomes.len());
        for outcome in &self.outcomes {
            msgpack::text(out, outcome);
        }
        msgpack::integer(out, self.feedbacks);
        match self.score {
            None => msgpack::nil(out),
            Some(score) => msgpack::integer(out, score),
        }
        msgpack::text_or_nil(out, self.label.as_deref());
    }

    /// Of a `Standing` what stands behind its version.
    pub fn stand(&mut self, version: i64, row: &mut Reader) -> Option<()> {
        self.version = version;
        self.status = row.text()?.to_vec();
        self.overridden = row.boolean()?;
        self.outcomes = texts(row)?;
        self.feedbacks = row.integer()?;
        self.score = if row.nil() { None } else { Some(millionths(row.float()?)?) };
        self.label = if row.nil() { None } else { Some(row.text()?.to_vec()) };
        Some(())
    }
}

fn texts(row: &mut Reader) -> Option<Vec<Vec<u8>>> {
    (0..row.array()?).map(|_| Some(row.text()?.to_vec())).collect()
}

/// None where the number fits nowhere.
fn millionths(score: f64) -> Option<i64> {
    let found = (score * MILLIONTHS).round_ties_even();
    (found.abs() < 9.0e18).then_some(found as i64)
}
