//! What of an event the rules of head and decision are about: replayer/core/head.py and decisions.py say why.

use crate::msgpack;
use crate::schema::{Kind, Shape};
use crate::span::{Span, NONE};
use crate::text;
use crate::usage::{self, Glimpse};
use std::borrow::Cow;

/// The fields the rules use, by their place in the event. The constants below are indices into this.
pub const PATHS: [&str; 30] = [
    "tenant_id",
    "workflow_id",
    "event_id",
    "occurred_at",
    "agent_id",
    "decision_id",
    "correlation_id",
    "trace_id",
    "data.provider",
    "data.model",
    "data.model_version",
    "data.prompt_template.template_id",
    "data.prompt_template.version",
    "data.latency_ms",
    "data.tokens.input",
    "data.tokens.output",
    "data.tool_name",
    "data.outcome",
    "data.policy_id",
    "data.policy_version",
    "data.score",
    "data.label",
    "data.evaluator",
    "data.reviewer_kind",
    "data.downstream_outcome",
    "data.latency_band",
    "data.tool_version",
    "data.rule_id",
    "data.enforced_action",
    "data.reason_code",
];
pub const TENANT: usize = 0;
pub const WORKFLOW: usize = 1;
pub const EVENT_ID: usize = 2;
pub const OCCURRED: usize = 3;
const AGENT: usize = 4;
pub const DECISION: usize = 5;
const CORRELATION: usize = 6;
const TRACE: usize = 7;
const PROVIDER: usize = 8;
const MODEL: usize = 9;
const MODEL_VERSION: usize = 10;
const TEMPLATE: usize = 11;
const TEMPLATE_VERSION: usize = 12;
const LATENCY: usize = 13;
const TOKENS_IN: usize = 14;
const TOKENS_OUT: usize = 15;
const TOOL: usize = 16;
const OUTCOME: usize = 17;
const POLICY: usize = 18;
const POLICY_VERSION: usize = 19;
const SCORE: usize = 20;
const LABEL: usize = 21;
const EVALUATOR: usize = 22;
const REVIEWER_KIND: usize = 23;
const DOWNSTREAM: usize = 24;
const BAND: usize = 25;
const TOOL_VERSION: usize = 26;
const RULE: usize = 27;
const ACTION: usize = 28;
const REASON: usize = 29;

const ENVELOPE: std::ops::Range<usize> = TENANT..PROVIDER;
const OF_MODELS: std::ops::Range<usize> = PROVIDER..TOKENS_IN;
const OF_ANSWERS: std::ops::Range<usize> = PROVIDER..TOOL;
const OF_TOOLS: std::ops::Range<usize> = TOOL..OUTCOME;
const OF_POLICIES: std::ops::Range<usize> = OUTCOME..SCORE;
const OF_FEEDBACK: std::ops::Range<usize> = SCORE..BAND;

/// Where the fields of `PATHS` stand in one event, as they are in its canonical form; NONE where it has none.
pub type Used = [Span; PATHS.len()];

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Nothing,
    Answer,
    Model,
    Tool,
    Policy,
    Feedback,
}

/// What the index is told of events of one type: replayer/core/glimpse.py says why.
#[derive(Clone, Copy)]
enum Tells {
    Nothing,
    /// Of what is not read here: lists, and types that lack or hide a field.
    Python,
    Template {
        failed: bool,
    },
    Tool,
    Policy,
}

impl Tells {
    fn of(event_type: &[u8], shape: &Shape) -> Tells {
        let (tells, needed): (Tells, &[usize]) = match event_type {
            b"model.invocation_completed" => (Tells::Template { failed: false }, &OF_TEMPLATES),
            b"model.invocation_failed" => (Tells::Template { failed: true }, &OF_TEMPLATES),
            b"tool.call_started" | b"tool.call_completed" | b"tool.call_failed" => {
                (Tells::Tool, &[TOOL, TOOL_VERSION])
            }
            b"policy.evaluated" => (Tells::Policy, &[POLICY, POLICY_VERSION, OUTCOME, RULE, ACTION, REASON]),
            b"retrieval.performed" => (Tells::Python, &[]),
            _ => (Tells::Nothing, &[]),
        };
        if needed.iter().all(|used| shows(shape, *used)) {
            tells
        } else {
            Tells::Python
        }
    }
}

const OF_TEMPLATES: [usize; 7] = [PROVIDER, MODEL, MODEL_VERSION, TEMPLATE, TEMPLATE_VERSION, LATENCY, BAND];

/// How events of one type change heads and decisions.
pub struct Rules {
    rule: Rule,
    tells: Tells,
    pub head_status: Option<&'static [u8]>,
    pub decision_status: Option<&'static [u8]>,
}

impl Rules {
    /// None where the type lacks a field that its rule is about.
    pub fn of(event_type: &[u8], shape: &Shape) -> Option<Rules> {
        let (head_status, decision_status): (Option<&[u8]>, Option<&[u8]>) = match event_type {
            b"workflow.request_received" => (Some(b"running"), Some(b"open")),
            b"workflow.response_generated" => (None, Some(b"answered")),
            b"workflow.completed" => (Some(b"completed"), Some(b"completed")),
            b"workflow.failed" => (Some(b"failed"), Some(b"failed")),
            b"workflow.human_override" => (Some(b"overridden"), Some(b"overridden")),
            _ => (None, None),
        };
        let (rule, needed) = match event_type {
            b"model.invocation_completed" => (Rule::Answer, OF_ANSWERS),
            b"model.invocation_failed" => (Rule::Model, OF_MODELS),
            b"workflow.tool_selected" | b"tool.call_started" | b"tool.call_completed" | b"tool.call_failed" => {
                (Rule::Tool, OF_TOOLS)
            }
            b"policy.evaluated" => (Rule::Policy, OF_POLICIES),
            b"feedback.received" => (Rule::Feedback, OF_FEEDBACK),
            _ => (Rule::Nothing, 0..0),
        };
        let complete = ENVELOPE.chain(needed).all(|used| has(shape, used));
        complete.then_some(Rules { rule, tells: Tells::of(event_type, shape), head_status, decision_status })
    }
}

fn has(shape: &Shape, used: usize) -> bool {
    shape.fields.iter().any(|field| match &field.kind {
        Kind::Object(inner) => has(inner, used),
        _ => field.used == Some(used),
    })
}

/// As `has`, and it is in the projection.
fn shows(shape: &Shape, used: usize) -> bool {
    shape.fields.iter().filter(|field| !field.hidden).any(|field| match &field.kind {
        Kind::Object(inner) => shows(inner, used),
        _ => field.used == Some(used),
    })
}

pub const VARIANT_BYTES: usize = 8;
pub type Variant = [u8; VARIANT_BYTES];

/// One event as the rules see it.
pub struct Facts<'a> {
    pub event_type: &'a [u8],
    pub rules: &'a Rules,
    pub us: i64,
    pub id: &'a [u8],
    pub variant: Variant,
    pub agent: &'a [u8],
    pub correlation: Option<&'a [u8]>,
    pub trace: Option<&'a [u8]>,
    pub data: Data<'a>,
}

pub enum Data<'a> {
    Nothing,
    Model { model: Vec<u8>, template: Option<Vec<u8>>, latency: Option<i64>, tokens: Option<(i64, i64)> },
    Tool(&'a [u8]),
    Policy { outcome: &'a [u8], policy: Vec<u8> },
    Feedback(Feedback<'a>),
}

/// The score, then label, evaluator, reviewer's kind and downstream outcome, as they stand in the row.
pub struct Feedback<'a> {
    pub score: Option<f64>,
    pub words: [Option<&'a [u8]>; 4],
}

/// Gives the used fields of one record.
pub struct Fields<'a> {
    pub raw: &'a [u8],
    pub made: &'a [u8],
    pub used: &'a Used,
}

impl<'a> Fields<'a> {
    fn said(&self, used: usize) -> Option<&'a [u8]> {
        let span = self.used[used];
        (span != NONE).then(|| span.of(self.raw, self.made))
    }

    /// A string that must be there, unescaped; None also where it would have to be.
    pub fn text(&self, used: usize) -> Option<&'a [u8]> {
        match self.said(used)? {
            [b'"', text @ .., b'"'] if !text.contains(&b'\\') => Some(text),
            _ => None,
        }
    }

    /// Some(None): it is not there.
    pub fn text_if_any(&self, used: usize) -> Option<Option<&'a [u8]>> {
        match self.said(used) {
            None => Some(None),
            Some(_) => self.text(used).map(Some),
        }
    }

    fn integer_if_any(&self, used: usize) -> Option<Option<i64>> {
        match self.said(used) {
            None => Some(None),
            Some(said) => text::integer(said).map(Some),
        }
    }

    fn float_if_any(&self, used: usize) -> Option<Option<f64>> {
        match self.said(used) {
            None => Some(None),
            Some(said) => std::str::from_utf8(said).ok()?.parse().ok().map(Some),
        }
    }

    pub fn occurred_us(&self) -> Option<i64> {
        Some(text::instant(self.text(OCCURRED)?)?.us)
    }

    /// None where a text is escaped.
    pub fn facts(&self, event_type: &'a [u8], rules: &'a Rules, us: i64, variant: Variant) -> Option<Facts<'a>> {
        Some(Facts {
            event_type,
            rules,
            us,
            id: self.text(EVENT_ID)?,
            variant,
            agent: self.text(AGENT)?,
            correlation: self.text_if_any(CORRELATION)?,
            trace: self.text_if_any(TRACE)?,
            data: self.data(rules.rule)?,
        })
    }

    fn data(&self, rule: Rule) -> Option<Data<'a>> {
        Some(match rule {
            Rule::Nothing => Data::Nothing,
            Rule::Answer | Rule::Model => self.model(rule)?,
            Rule::Tool => Data::Tool(self.text(TOOL)?),
            Rule::Policy => {
                let outcome = self.text(OUTCOME)?;
                let named = at_version(self.text(POLICY)?, self.text_if_any(POLICY_VERSION)?);
                Data::Policy { outcome, policy: [&named[..], b" ", outcome].concat() }
            }
            Rule::Feedback => Data::Feedback(Feedback {
                score: self.float_if_any(SCORE)?,
                words: [
                    self.text_if_any(LABEL)?,
                    self.text_if_any(EVALUATOR)?,
                    self.text_if_any(REVIEWER_KIND)?,
                    self.text_if_any(DOWNSTREAM)?,
                ],
            }),
        })
    }

    /// What the event says was used. `Glimpse::Python` where a text is escaped.
    pub fn glimpse(&self, rules: &Rules) -> Glimpse {
        let seen = match rules.tells {
            Tells::Nothing => return Glimpse::Nothing,
            Tells::Python => None,
            Tells::Template { failed } => self.template_used(failed),
            Tells::Tool => self.tool_used(),
            Tells::Policy => self.policy_used(),
        };
        seen.unwrap_or(Glimpse::Python)
    }

    fn template_used(&self, failed: bool) -> Option<Glimpse> {
        let (model, version) = ([self.text(PROVIDER)?, b"/", self.text(MODEL)?].concat(), self.text_if_any(MODEL_VERSION)?);
        let touched = Some(usage::thing(usage::MODEL, &model, version));
        let Some(template) = self.text_if_any(TEMPLATE)? else {
            return Some(Glimpse::Seen { used: None, touched });
        };
        let mut detail = Vec::with_capacity(64);
        msgpack::array(&mut detail, 4);
        msgpack::text(&mut detail, &at_version(&model, version));
        match self.integer_if_any(LATENCY)? {
            None => msgpack::nil(&mut detail),
            Some(latency) => msgpack::integer(&mut detail, latency),
        }
        msgpack::text_or_nil(&mut detail, self.text_if_any(BAND)?);
        msgpack::boolean(&mut detail, failed);
        let thing = usage::thing(usage::TEMPLATE, template, Some(self.text(TEMPLATE_VERSION)?));
        Some(Glimpse::Seen { used: Some((thing, detail)), touched })
    }

    fn tool_used(&self) -> Option<Glimpse> {
        let thing = usage::thing(usage::TOOL, self.text(TOOL)?, self.text_if_any(TOOL_VERSION)?);
        Some(Glimpse::Seen { used: None, touched: Some(thing) })
    }

    fn policy_used(&self) -> Option<Glimpse> {
        let mut detail = Vec::with_capacity(64);
        msgpack::array(&mut detail, 4);
        msgpack::text(&mut detail, self.text(OUTCOME)?);
        for used in [RULE, ACTION, REASON] {
            msgpack::text_or_nil(&mut detail, self.text_if_any(used)?);
        }
        let thing = usage::thing(usage::POLICY, self.text(POLICY)?, self.text_if_any(POLICY_VERSION)?);
        Some(Glimpse::Seen { used: Some((thing, detail)), touched: None })
    }

    fn model(&self, rule: Rule) -> Option<Data<'a>> {
        let model = [self.text(PROVIDER)?, b"/", self.text(MODEL)?].concat();
        let template = match self.text_if_any(TEMPLATE)? {
            None => None,
            Some(template) => Some(at_version(template, Some(self.text(TEMPLATE_VERSION)?)).into_owned()),
        };
        let tokens = if rule == Rule::Answer { self.integer_if_any(TOKENS_IN)? } else { None };
        Some(Data::Model {
            model: at_version(&model, self.text_if_any(MODEL_VERSION)?).into_owned(),
            template,
            latency: self.integer_if_any(LATENCY)?,
            tokens: match tokens {
                None => None,
                Some(input) => Some((input, self.integer_if_any(TOKENS_OUT)??)),
            },
        })
    }
}

fn at_version<'a>(name: &'a [u8], version: Option<&[u8]>) -> Cow<'a, [u8]> {
    match version {
        None => Cow::Borrowed(name),
        Some(version) => Cow::Owned([name, b"@", version].concat()),
    }
}
