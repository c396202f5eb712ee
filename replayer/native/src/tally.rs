//! What heads and decisions both keep of their events, and how both of their rows go on behind the names.

use crate::capped::{Counts, Values};
use crate::msgpack::{self, Reader};
use crate::rows::Rank;
use crate::rules::Facts;

#[derive(Clone)]
pub struct Tally {
    pub status: Vec<u8>,
    status_at: Option<Rank>,
    first_us: i64,
    last_us: i64,
    pub events: i64,
    pub counts: Counts,
    agents: Values,
}

impl Tally {
    pub fn new(status: &[u8]) -> Tally {
        Tally {
            status: status.to_vec(),
            status_at: None,
            first_us: i64::MAX,
            last_us: i64::MIN,
            events: 0,
            counts: Counts::default(),
            agents: Values::default(),
        }
    }

    pub fn read(row: &mut Reader) -> Option<Tally> {
        Some(Tally {
            status: row.text()?.to_vec(),
            status_at: Rank::read(row)?,
            first_us: row.integer()?,
            last_us: row.integer()?,
            events: row.integer()?,
            counts: Counts::read(row)?,
            agents: Values::read(row)?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        msgpack::text(out, &self.status);
        Rank::write(self.status_at.as_ref(), out);
        msgpack::integer(out, self.first_us);
        msgpack::integer(out, self.last_us);
        msgpack::integer(out, self.events);
        self.counts.write(out);
        self.agents.write(out);
    }

    /// `status`: what the event makes of it, if anything. None: a number would not fit.
    pub fn apply(&mut self, event: &Facts, status: Option<&[u8]>, overflow: &mut Values) -> Option<()> {
        self.events = self.events.checked_add(1)?;
        self.first_us = self.first_us.min(event.us);
        self.last_us = self.last_us.max(event.us);
        self.counts.count(event.event_type)?;
        self.agents.put(event.agent, "agents", overflow);
        if let Some(status) = status {
            if Rank::raise(&mut self.status_at, event) {
                self.status = status.to_vec();
            }
        }
        Some(())
    }
}
