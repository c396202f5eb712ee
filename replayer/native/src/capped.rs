//! Sets, sums and counts as replayer/core/capped.py keeps them, and their rows.

use crate::msgpack::{self, Reader};

const MAX_VALUES: usize = 64;
const MAX_SUM: i64 = (1 << 53) - 1;

/// The smallest values, sorted.
#[derive(Default, Clone)]
pub struct Values(Vec<Vec<u8>>);

impl Values {
    /// None where it is not sorted, or longer than any set of ours.
    pub fn read(reader: &mut Reader) -> Option<Values> {
        let count = reader.array()?;
        if count > MAX_VALUES {
            return None;
        }
        let values: Vec<Vec<u8>> = (0..count).map(|_| Some(reader.text()?.to_vec())).collect::<Option<_>>()?;
        values.windows(2).all(|two| two[0] < two[1]).then_some(Values(values))
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        msgpack::array(out, self.0.len());
        for value in &self.0 {
            msgpack::text(out, value);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Puts `value` into the set called `name`; where that pushes one out, its owner's `overflow` says so.
    pub fn put(&mut self, value: &[u8], name: &str, overflow: &mut Values) {
        self.exchange(value, name, overflow);
    }

    /// The same, and what found no room.
    pub fn exchange(&mut self, value: &[u8], name: &str, overflow: &mut Values) -> Option<Vec<u8>> {
        let at = self.0.binary_search_by(|known| known[..].cmp(value)).err()?;
        let full = self.0.len() == MAX_VALUES;
        self.0.insert(at, value.to_vec());
        if !full {
            return None;
        }
        overflow.add(name.as_bytes());
        self.0.pop()
    }

    /// Puts a value into a set that needs no cap.
    pub fn add(&mut self, value: &[u8]) {
        if let Err(at) = self.0.binary_search_by(|known| known[..].cmp(value)) {
            self.0.insert(at, value.to_vec());
        }
    }
}

pub fn plus(total: i64, amount: i64) -> Option<i64> {
    Some(total.checked_add(amount)?.min(MAX_SUM))
}

/// How often, by name, in the order in which the names came.
#[derive(Default, Clone)]
pub struct Counts(Vec<(Vec<u8>, i64)>);

impl Counts {
    pub fn read(reader: &mut Reader) -> Option<Counts> {
        let count = reader.map()?;
        let mut counts: Vec<(Vec<u8>, i64)> = Vec::new();
        for _ in 0..count {
            let name = reader.text()?.to_vec();
            if counts.len() > MAX_VALUES || counts.iter().any(|(known, _)| *known == name) {
                return None;
            }
            counts.push((name, reader.integer()?));
        }
        Some(Counts(counts))
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        msgpack::map(out, self.0.len());
        for (name, count) in &self.0 {
            msgpack::text(out, name);
            msgpack::integer(out, *count);
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|(name, _)| name.as_slice())
    }

    pub fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|(known, count)| known == name && *count > 0)
    }

    /// So many more; a name that is left with none is forgotten.
    pub fn add(&mut self, name: &[u8], number: i64) -> Option<()> {
        match self.0.iter().position(|(known, _)| known == name) {
            None if number == 0 => {}
            None => self.0.push((name.to_vec(), number)),
            Some(at) => {
                self.0[at].1 = self.0[at].1.checked_add(number)?;
                if self.0[at].1 == 0 {
                    self.0.remove(at);
                }
            }
        }
        Some(())
    }

    pub fn count(&mut self, name: &[u8]) -> Option<()> {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count = count.checked_add(1)?,
            None => self.0.push((name.to_vec(), 1)),
        }
        Some(())
    }
}

/// A number for each topic, in the order in which the topics came.
#[derive(Default, Clone)]
pub struct ByTopic(Vec<(Topic, i64)>);

/// A topic by its place in `Topics`.
pub type Topic = u32;

impl ByTopic {
    pub fn read(reader: &mut Reader, topics: &mut Topics) -> Option<ByTopic> {
        let count = reader.map()?;
        let mut found = ByTopic::default();
        for _ in 0..count {
            let topic = topics.number(reader.text()?)?;
            if found.get(topic).is_some() {
                return None;
            }
            found.0.push((topic, reader.integer()?));
        }
        Some(found)
    }

    pub fn write(&self, out: &mut Vec<u8>, topics: &Topics) {
        msgpack::map(out, self.0.len());
        for (topic, number) in &self.0 {
            msgpack::text(out, topics.name(*topic));
            msgpack::integer(out, *number);
        }
    }

    pub fn get(&self, topic: Topic) -> Option<i64> {
        self.0.iter().find(|(known, _)| *known == topic).map(|(_, number)| *number)
    }

    pub fn set(&mut self, topic: Topic, number: i64) {
        match self.0.iter_mut().find(|(known, _)| *known == topic) {
            Some((_, known)) => *known = number,
            None => self.0.push((topic, number)),
        }
    }
}

/// The topics a step has met, each once.
#[derive(Default)]
pub struct Topics(Vec<Vec<u8>>);

const MAX_TOPICS: usize = 256;

impl Topics {
    /// None where there are more than any table has.
    pub fn number(&mut self, name: &[u8]) -> Option<Topic> {
        let known = self.0.iter().position(|known| known == name);
        let number = known.or_else(|| {
            self.0.push(name.to_vec());
            (self.0.len() <= MAX_TOPICS).then(|| self.0.len() - 1)
        })?;
        Topic::try_from(number).ok()
    }

    pub fn name(&self, topic: Topic) -> &[u8] {
        &self.0[topic as usize]
    }
}
