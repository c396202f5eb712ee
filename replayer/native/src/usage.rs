//! What a step says was used, as records of `template-usage`: replayer/core/indexing.py and topics/usage.py say why.

use crate::decision::Decision;
use crate::group::Parsed;
use crate::msgpack;
use crate::out::Pairs;
use crate::rows::FORMAT;
use std::collections::{BTreeMap, HashMap};

pub const TEMPLATE: u8 = b't';
pub const MODEL: u8 = b'm';
pub const TOOL: u8 = b'f';
pub const POLICY: u8 = b'p';

/// Uses, touches and standings in one record, at most.
const MOST: usize = 1000;
const FEW: usize = 8;
const BUCKETS: &[u8; 16] = b"0123456789abcdef";

/// What the shelves of a thing in one version begin with.
pub fn thing(kind: u8, name: &[u8], version: Option<&[u8]>) -> Vec<u8> {
    [&[kind], name, b"\0", version.unwrap_or(b""), b"\0"].concat()
}

/// What an event says was used: things by their names, and what is kept of the use, as MessagePack.
pub enum Glimpse {
    Nothing,
    /// Python has to look.
    Python,
    Seen {
        used: Option<(Vec<u8>, Vec<u8>)>,
        touched: Option<Vec<u8>>,
    },
}

/// Values one behind the other, and where each ends.
#[derive(Default)]
struct Items {
    data: Vec<u8>,
    ends: Vec<usize>,
}

impl Items {
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.data);
        self.ends.push(self.data.len());
    }

    fn append(&mut self, other: &Items) {
        let start = self.data.len();
        self.data.extend_from_slice(&other.data);
        self.ends.extend(other.ends.iter().map(|end| start + end));
    }

    /// An array of what there is from `first` on, MOST at most.
    fn write(&self, first: usize, out: &mut Vec<u8>) {
        let (first, behind) = (first.min(self.ends.len()), (first + MOST).min(self.ends.len()));
        let at = |number: usize| if number == 0 { 0 } else { self.ends[number - 1] };
        msgpack::array(out, behind - first);
        out.extend_from_slice(&self.data[at(first)..at(behind)]);
    }
}

#[derive(Default)]
struct Used {
    uses: Items,
    /// By a decision's place in its group, when it met the thing first and last.
    touches: BTreeMap<usize, (i64, i64)>,
}

/// What the events of one workflow say, as long as its group is open.
#[derive(Default)]
pub struct Noted {
    by_thing: HashMap<Vec<u8>, usize>,
    things: Vec<(Vec<u8>, Used)>,
    /// Which of its rows Python has to look at.
    left: Vec<u32>,
}

/// An event whose row was written.
pub struct Noticed<'a> {
    pub event: &'a Parsed,
    pub id: &'a [u8],
    pub topic: &'a [u8],
    /// Its decision's name.
    pub decision: &'a [u8],
    /// Which of its group's rows it is.
    pub row: u32,
}

impl Noted {
    pub fn take(&mut self, seen: Glimpse, tenant: &[u8], workflow: &[u8], noticed: &Noticed) {
        let (used, touched) = match seen {
            Glimpse::Nothing => return,
            Glimpse::Python => return self.left.push(noticed.row),
            Glimpse::Seen { used, touched } => (used, touched),
        };
        let event = noticed.event;
        if let Some((thing, detail)) = used {
            self.of(thing).uses.push(|out| {
                msgpack::array(out, 11);
                for text in [tenant, workflow, noticed.decision] {
                    msgpack::text(out, text);
                }
                msgpack::integer(out, event.us);
                msgpack::text(out, noticed.id);
                msgpack::bytes(out, &event.variant);
                msgpack::text(out, noticed.topic);
                for number in [event.partition, event.offset, 0] {
                    msgpack::integer(out, number);
                }
                out.extend_from_slice(&detail);
            });
        }
        if let Some(thing) = touched {
            let (first, last) = self.of(thing).touches.entry(event.decision).or_insert((event.us, event.us));
            (*first, *last) = ((*first).min(event.us), (*last).max(event.us));
        }
    }

    fn of(&mut self, thing: Vec<u8>) -> &mut Used {
        // A workflow uses few, and the same again and again: sooner compared than hashed.
        if let Some(place) = self.things.iter().take(FEW).position(|(known, _)| *known == thing) {
            return &mut self.things[place].1;
        }
        let things = &mut self.things;
        let place = *self.by_thing.entry(thing).or_insert_with_key(|thing| {
            things.push((thing.clone(), Used::default()));
            things.len() - 1
        });
        &mut things[place].1
    }
}

#[derive(Default)]
struct Shelf {
    uses: Items,
    touches: Items,
    standings: Items,
}

/// What a step says, by shelf.
#[derive(Default)]
pub struct Shelves {
    by_key: HashMap<Vec<u8>, usize>,
    shelves: Vec<(Vec<u8>, Shelf)>,
    /// Which of the event rows that are delivered next Python has to look at.
    pub left: Vec<usize>,
}

impl Shelves {
    /// A group's notes, now that it is whole. `names` of its decisions; `decided`: those that changed; `rows`: how many
    /// are delivered before its own.
    pub fn take<'a>(
        &mut self,
        noted: &Noted,
        (tenant, workflow): (&[u8], &[u8]),
        names: &[&[u8]],
        decided: impl Iterator<Item = &'a Decision>,
        rows: usize,
    ) {
        let bucket = BUCKETS[crc32(workflow) as usize % BUCKETS.len()];
        for (thing, used) in &noted.things {
            let shelf = self.on(thing, bucket);
            shelf.uses.append(&used.uses);
            for (decision, (first, last)) in &used.touches {
                shelf.touches.push(|out| {
                    msgpack::array(out, 5);
                    for text in [tenant, workflow, names[*decision]] {
                        msgpack::text(out, text);
                    }
                    msgpack::integer(out, *first);
                    msgpack::integer(out, *last);
                });
            }
        }
        for decision in decided {
            for template in decision.templates() {
                for thing in readings(template) {
                    self.on(&thing, bucket).standings.push(|out| decision.standing(tenant, workflow, out));
                }
            }
        }
        self.left.extend(noted.left.iter().map(|row| rows + *row as usize));
    }

    fn on(&mut self, thing: &[u8], bucket: u8) -> &mut Shelf {
        let shelves = &mut self.shelves;
        let place = *self.by_key.entry([thing, &[bucket]].concat()).or_insert_with_key(|key| {
            shelves.push((key.clone(), Shelf::default()));
            shelves.len() - 1
        });
        &mut shelves[place].1
    }

    /// A record for each shelf, or some where there is much.
    pub fn write(&self, out: &mut Pairs) {
        out.reset();
        let mut value = Vec::new();
        for (key, shelf) in &self.shelves {
            let all = [&shelf.uses, &shelf.touches, &shelf.standings];
            let longest = all.iter().map(|items| items.ends.len()).max().unwrap_or(0);
            for first in (0..longest).step_by(MOST) {
                value.clear();
                value.push(FORMAT);
                msgpack::array(&mut value, all.len());
                for items in all {
                    items.write(first, &mut value);
                }
                out.pair(|out| msgpack::bytes(out, key), &value);
            }
        }
        out.close(out.count);
    }
}

/// The templates that `id@version` may mean: more than one where either has an @ in it.
fn readings(template: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let at = |place: &usize| template[*place] == b'@' && *place > 0 && *place + 1 < template.len();
    (0..template.len()).filter(at).map(|place| thing(TEMPLATE, &template[..place], Some(&template[place + 1..])))
}

/// zlib's.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
