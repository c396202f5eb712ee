//! A decision of a workflow: replayer/core/decisions.py says why.

use crate::capped::{plus, ByTopic, Counts, Topics, Values};
use crate::msgpack::{self, Reader};
use crate::rows::{opened, Rank, FORMAT};
use crate::rules::{self, Data, Facts};
use crate::tally::Tally;

const FIELDS: usize = 25;
const OPEN: &[u8] = b"open";

#[derive(Clone)]
pub struct Decision {
    name: Vec<u8>,
    tally: Tally,
    template: Option<Vec<u8>>,
    template_at: Option<Rank>,
    templates: Values,
    model: Option<Vec<u8>>,
    model_at: Option<Rank>,
    models: Values,
    latency_ms: i64,
    tokens_in: i64,
    tokens_out: i64,
    tools: Values,
    policy_outcomes: Counts,
    policies: Values,
    feedbacks: i64,
    feedback: Option<Feedback>,
    feedback_at: Option<Rank>,
    overflow: Values,
    pub applied: ByTopic,
}

#[derive(Clone)]
struct Feedback {
    score: Option<f64>,
    words: [Option<Vec<u8>>; 4],
}

impl Decision {
    pub fn new(name: &[u8]) -> Decision {
        Decision {
            name: name.to_vec(),
            tally: Tally::new(OPEN),
            template: None,
            template_at: None,
            templates: Values::default(),
            model: None,
            model_at: None,
            models: Values::default(),
            latency_ms: 0,
            tokens_in: 0,
            tokens_out: 0,
            tools: Values::default(),
            policy_outcomes: Counts::default(),
            policies: Values::default(),
            feedbacks: 0,
            feedback: None,
            feedback_at: None,
            overflow: Values::default(),
            applied: ByTopic::default(),
        }
    }

    /// None where the row is not exactly one that this release writes of this decision.
    pub fn read(value: &[u8], name: &[u8], topics: &mut Topics) -> Option<Decision> {
        let mut row = opened(value)?;
        row.array_of(FIELDS)?;
        if row.text()? != name {
            return None;
        }
        let decision = Decision {
            name: name.to_vec(),
            tally: Tally::read(&mut row)?,
            template: text_or_nil(&mut row)?,
            template_at: Rank::read(&mut row)?,
            templates: Values::read(&mut row)?,
            model: text_or_nil(&mut row)?,
            model_at: Rank::read(&mut row)?,
            models: Values::read(&mut row)?,
            latency_ms: row.integer()?,
            tokens_in: row.integer()?,
            tokens_out: row.integer()?,
            tools: Values::read(&mut row)?,
            policy_outcomes: Counts::read(&mut row)?,
            policies: Values::read(&mut row)?,
            feedbacks: row.integer()?,
            feedback: Feedback::read(&mut row)?,
            feedback_at: Rank::read(&mut row)?,
            overflow: Values::read(&mut row)?,
            applied: ByTopic::read(&mut row, topics)?,
        };
        row.done().then_some(decision)
    }

    pub fn write(&self, out: &mut Vec<u8>, topics: &Topics) {
        out.push(FORMAT);
        msgpack::array(out, FIELDS);
        msgpack::text(out, &self.name);
        self.tally.write(out);
        msgpack::text_or_nil(out, self.template.as_deref());
        Rank::write(self.template_at.as_ref(), out);
        self.templates.write(out);
        msgpack::text_or_nil(out, self.model.as_deref());
        Rank::write(self.model_at.as_ref(), out);
        self.models.write(out);
        msgpack::integer(out, self.latency_ms);
        msgpack::integer(out, self.tokens_in);
        msgpack::integer(out, self.tokens_out);
        self.tools.write(out);
        self.policy_outcomes.write(out);
        self.policies.write(out);
        msgpack::integer(out, self.feedbacks);
        Feedback::write(self.feedback.as_ref(), out);
        Rank::write(self.feedback_at.as_ref(), out);
        self.overflow.write(out);
        self.applied.write(out, topics);
    }

    pub fn templates(&self) -> impl Iterator<Item = &[u8]> {
        self.templates.iter()
    }

    /// What it has come to, as a `Standing` of topics/usage.py.
    pub fn standing(&self, tenant: &[u8], workflow: &[u8], out: &mut Vec<u8>) {
        let latest = self.feedback.as_ref();
        msgpack::array(out, 10);
        for text in [tenant, workflow, &self.name] {
            msgpack::text(out, text);
        }
        msgpack::integer(out, self.tally.events);
        msgpack::text(out, &self.tally.status);
        msgpack::boolean(out, self.tally.counts.has(b"workflow.human_override"));
        let mut outcomes: Vec<&[u8]> = self.policy_outcomes.names().collect();
        outcomes.sort_unstable();
        msgpack::array(out, outcomes.len());
        for outcome in outcomes {
            msgpack::text(out, outcome);
        }
        msgpack::integer(out, self.feedbacks);
        match latest.and_then(|feedback| feedback.score) {
            None => msgpack::nil(out),
            Some(score) => msgpack::float(out, score),
        }
        msgpack::text_or_nil(out, latest.and_then(|feedback| feedback.words[0].as_deref()));
    }

    /// Counts a variant that the decision has not counted. None: a number would not fit.
    pub fn apply(&mut self, event: &Facts) -> Option<()> {
        self.tally.apply(event, event.rules.decision_status, &mut self.overflow)?;
        match &event.data {
            Data::Model { model, template, latency, tokens } => {
                self.models.put(model, "models", &mut self.overflow);
                if Rank::raise(&mut self.model_at, event) {
                    take(&mut self.model, model);
                }
                if let Some(template) = template {
                    self.templates.put(template, "templates", &mut self.overflow);
                    if Rank::raise(&mut self.template_at, event) {
                        take(&mut self.template, template);
                    }
                }
                if let Some(latency) = latency {
                    self.latency_ms = plus(self.latency_ms, *latency)?;
                }
                if let Some((input, output)) = tokens {
                    self.tokens_in = plus(self.tokens_in, *input)?;
                    self.tokens_out = plus(self.tokens_out, *output)?;
                }
            }
            Data::Tool(tool) => self.tools.put(tool, "tools", &mut self.overflow),
            Data::Policy { outcome, policy } => {
                self.policy_outcomes.count(outcome)?;
                self.policies.put(policy, "policies", &mut self.overflow);
            }
            Data::Feedback(feedback) => {
                self.feedbacks = self.feedbacks.checked_add(1)?;
                if Rank::raise(&mut self.feedback_at, event) {
                    self.feedback = Some(Feedback::of(feedback));
                }
            }
            Data::Nothing => {}
        }
        Some(())
    }
}

fn take(kept: &mut Option<Vec<u8>>, new: &[u8]) {
    let kept = kept.get_or_insert_with(Vec::new);
    kept.clear();
    kept.extend_from_slice(new);
}

fn text_or_nil(row: &mut Reader) -> Option<Option<Vec<u8>>> {
    if row.nil() {
        return Some(None);
    }
    row.text().map(|text| Some(text.to_vec()))
}

impl Feedback {
    fn of(new: &rules::Feedback) -> Feedback {
        Feedback { score: new.score, words: new.words.map(|word| word.map(<[u8]>::to_vec)) }
    }

    fn read(row: &mut Reader) -> Option<Option<Feedback>> {
        if row.nil() {
            return Some(None);
        }
        row.array_of(5)?;
        let score = if row.nil() { None } else { Some(row.float()?) };
        let words = [text_or_nil(row)?, text_or_nil(row)?, text_or_nil(row)?, text_or_nil(row)?];
        Some(Some(Feedback { score, words }))
    }

    fn write(feedback: Option<&Feedback>, out: &mut Vec<u8>) {
        let Some(feedback) = feedback else { return msgpack::nil(out) };
        msgpack::array(out, 5);
        match feedback.score {
            None => msgpack::nil(out),
            Some(score) => msgpack::float(out, score),
        }
        for word in &feedback.words {
            msgpack::text_or_nil(out, word.as_deref());
        }
    }
}
