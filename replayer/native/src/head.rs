//! The head of a workflow: replayer/core/head.py says why.

use crate::capped::{ByTopic, Counts, Topics, Values};
use crate::msgpack;
use crate::rows::{opened, FORMAT};
use crate::rules::{Data, Facts};
use crate::tally::Tally;
use std::collections::HashSet;

const FIELDS: usize = 25;
const PROJECTION_VERSION: i64 = 1;
const RUNNING: &[u8] = b"running";

#[derive(Clone)]
pub struct Head {
    tenant: Vec<u8>,
    workflow: Vec<u8>,
    tally: Tally,
    correlation_ids: Values,
    trace_ids: Values,
    templates: Values,
    models: Values,
    tools: Values,
    policy_outcomes: Counts,
    pub conflicts: i64,
    futures: i64,
    overflow: Values,
    digest: [u8; 32],
    projection_version: i64,
    pub late: i64,
    pub duplicates: i64,
    pub commit_us: i64,
    pub applied: ByTopic,
    pub reached: ByTopic,
}

impl Head {
    pub fn new(tenant: &[u8], workflow: &[u8]) -> Head {
        Head {
            tenant: tenant.to_vec(),
            workflow: workflow.to_vec(),
            tally: Tally::new(RUNNING),
            correlation_ids: Values::default(),
            trace_ids: Values::default(),
            templates: Values::default(),
            models: Values::default(),
            tools: Values::default(),
            policy_outcomes: Counts::default(),
            conflicts: 0,
            futures: 0,
            overflow: Values::default(),
            digest: [0; 32],
            projection_version: PROJECTION_VERSION,
            late: 0,
            duplicates: 0,
            commit_us: 0,
            applied: ByTopic::default(),
            reached: ByTopic::default(),
        }
    }

    /// None where the row is not exactly one that this release writes of this workflow.
    pub fn read(value: &[u8], tenant: &[u8], workflow: &[u8], topics: &mut Topics) -> Option<Head> {
        let mut row = opened(value)?;
        row.array_of(FIELDS)?;
        if row.text()? != tenant || row.text()? != workflow {
            return None;
        }
        let head = Head {
            tenant: tenant.to_vec(),
            workflow: workflow.to_vec(),
            tally: Tally::read(&mut row)?,
            correlation_ids: Values::read(&mut row)?,
            trace_ids: Values::read(&mut row)?,
            templates: Values::read(&mut row)?,
            models: Values::read(&mut row)?,
            tools: Values::read(&mut row)?,
            policy_outcomes: Counts::read(&mut row)?,
            conflicts: row.integer()?,
            futures: row.integer()?,
            overflow: Values::read(&mut row)?,
            digest: row.bytes()?.try_into().ok()?,
            projection_version: row.integer()?,
            late: row.integer()?,
            duplicates: row.integer()?,
            commit_us: row.integer()?,
            applied: ByTopic::read(&mut row, topics)?,
            reached: ByTopic::read(&mut row, topics)?,
        };
        row.done().then_some(head)
    }

    pub fn write(&self, out: &mut Vec<u8>, topics: &Topics) {
        out.push(FORMAT);
        msgpack::array(out, FIELDS);
        msgpack::text(out, &self.tenant);
        msgpack::text(out, &self.workflow);
        self.tally.write(out);
        self.correlation_ids.write(out);
        self.trace_ids.write(out);
        self.templates.write(out);
        self.models.write(out);
        self.tools.write(out);
        self.policy_outcomes.write(out);
        msgpack::integer(out, self.conflicts);
        msgpack::integer(out, self.futures);
        self.overflow.write(out);
        msgpack::bytes(out, &self.digest);
        msgpack::integer(out, self.projection_version);
        msgpack::integer(out, self.late);
        msgpack::integer(out, self.duplicates);
        msgpack::integer(out, self.commit_us);
        self.applied.write(out, topics);
        self.reached.write(out, topics);
    }

    /// By which traces and correlations the workflow is found: what their rows begin with, and their names.
    pub fn threads(&self) -> [(u8, &Values); 2] {
        [(b't', &self.trace_ids), (b'c', &self.correlation_ids)]
    }

    /// Adds the hash of a projection, modulo 2^256.
    pub fn add_digest(&mut self, hash: &[u8; 32]) {
        let mut carry = 0u16;
        for (sum, byte) in self.digest.iter_mut().zip(hash).rev() {
            carry += u16::from(*sum) + u16::from(*byte);
            *sum = carry as u8;
            carry >>= 8;
        }
    }

    /// Counts a variant that the head has not counted. None: a number would not fit. `beyond`: where those threads go
    /// that it has no room for.
    pub fn apply(&mut self, event: &Facts, beyond: &mut Threads) -> Option<()> {
        self.tally.apply(event, event.rules.head_status, &mut self.overflow)?;
        if let Some(correlation) = event.correlation {
            let out = self.correlation_ids.exchange(correlation, "correlation_ids", &mut self.overflow);
            thread(beyond, b'c', out);
        }
        if let Some(trace) = event.trace {
            let out = self.trace_ids.exchange(trace, "trace_ids", &mut self.overflow);
            thread(beyond, b't', out);
        }
        match &event.data {
            Data::Model { model, template, .. } => {
                self.models.put(model, "models", &mut self.overflow);
                if let Some(template) = template {
                    self.templates.put(template, "templates", &mut self.overflow);
                }
            }
            Data::Tool(tool) => self.tools.put(tool, "tools", &mut self.overflow),
            Data::Policy { outcome, .. } => self.policy_outcomes.count(outcome)?,
            Data::Feedback(_) | Data::Nothing => {}
        }
        Some(())
    }
}

/// Traces and correlations, by what their rows begin with, in the order in which they came.
#[derive(Default)]
pub struct Threads {
    known: HashSet<(u8, Vec<u8>)>,
    pub names: Vec<(u8, Vec<u8>)>,
}

fn thread(beyond: &mut Threads, kind: u8, name: Option<Vec<u8>>) {
    let Some(name) = name else { return };
    if beyond.known.insert((kind, name.clone())) {
        beyond.names.push((kind, name));
    }
}
