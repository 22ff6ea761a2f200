//! Projections: one value for the messages of a group.
//!
//! Owns the aggregate functions and what they remember between messages. It never groups:
//! the caller keeps one [`Accumulator`] per group and field.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::ast::{Comparison, Expr};
use super::error::FilterError;
use super::eval::{Evaluation, Operand};
use super::exact::ExactSum;
use super::language::Language;
use super::parser::{self, Place};
use super::path::Path;
use super::value::{self, Dialect, Field, Value};
use super::{Context, Document, NoFields};

/// A function over many messages. The names of the last three are not in the specification
/// (server.md 3.5, class N).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Any,
    CountDistinct,
    StdDevPop,
    StdDevSamp,
}

impl Aggregate {
    /// The function of this name, in any case (EXP-02).
    pub(super) fn find(name: &str) -> Option<Self> {
        [
            ("SUM", Self::Sum),
            ("AVG", Self::Avg),
            ("COUNT", Self::Count),
            ("MIN", Self::Min),
            ("MAX", Self::Max),
            ("ANY", Self::Any),
            ("COUNT_DISTINCT", Self::CountDistinct),
            ("STDDEV_POP", Self::StdDevPop),
            ("STDDEV_SAMP", Self::StdDevSamp),
        ]
        .into_iter()
        .find_map(|(known, aggregate)| known.eq_ignore_ascii_case(name).then_some(aggregate))
    }
}

/// One field of a projection: an expression over a group, and the name of its value.
///
/// ```
/// use amps_testkit::filter::{Context, JsonDocument, Projection};
///
/// let [kind, total] = &Projection::parse_list("[/kind, SUM(/n) * 2 AS /total]")?[..] else { panic!() };
/// let (mut kinds, mut totals) = (kind.accumulator(), total.accumulator());
/// for body in [r#"{"kind":"a","n":1}"#, r#"{"kind":"b","n":4}"#] {
///     let document = JsonDocument::new(body.as_bytes());
///     kind.add(&mut kinds, &document, &Context::default());
///     total.add(&mut totals, &document, &Context::default());
/// }
/// assert_eq!(kind.finish(&kinds).into_text().as_ref(), b"b");
/// assert_eq!(total.finish(&totals).into_text().as_ref(), b"10");
/// assert_eq!(total.field().to_string(), "/total");
/// # Ok::<(), amps_testkit::filter::FilterError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Projection(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    /// What is computed for each message.
    slots: Vec<Slot>,
    /// What is computed of the slots in the end.
    expr: Expr,
    field: Path,
    dialect: Dialect,
}

#[derive(Debug)]
struct Slot {
    /// Without one, the last message decides.
    aggregate: Option<Aggregate>,
    argument: Expr,
}

impl Projection {
    /// Compiles `expression AS /field`, the expression with aggregate functions or without;
    /// a field alone keeps its name.
    ///
    /// # Errors
    ///
    /// Says where the text stops being a projection, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Self::parse_in(text, &Language::default())
    }

    /// As [`Projection::parse`], in a language.
    ///
    /// # Errors
    ///
    /// As [`Projection::parse`].
    pub fn parse_in(text: &str, language: &Language) -> Result<Self, FilterError> {
        let field = parser::parse_field(text, Place::Projection, language)?;
        Ok(Self::of(field, language.dialect))
    }

    /// Compiles a list of these in brackets, as the option `projection` has it.
    ///
    /// # Errors
    ///
    /// As [`Projection::parse`].
    pub fn parse_list(text: &str) -> Result<Vec<Self>, FilterError> {
        Self::parse_list_in(text, &Language::default())
    }

    /// As [`Projection::parse_list`], in a language.
    ///
    /// # Errors
    ///
    /// As [`Projection::parse`].
    pub fn parse_list_in(text: &str, language: &Language) -> Result<Vec<Self>, FilterError> {
        let fields = parser::parse_fields(text, Place::Projection, language)?;
        Ok(fields.into_iter().map(|field| Self::of(field, language.dialect)).collect())
    }

    fn of((mut expr, field): (Expr, Path), dialect: Dialect) -> Self {
        let mut slots = Vec::new();
        if !take_aggregates(&mut expr, &mut slots) {
            into_slot(&mut expr, None, &mut slots);
        }
        Self(Arc::new(Compiled { slots, expr, field, dialect }))
    }

    /// The name of the value.
    pub fn field(&self) -> &Path {
        &self.0.field
    }

    /// Whether anything in it is aggregated; otherwise the last message decides alone.
    pub fn is_aggregate(&self) -> bool {
        self.0.slots.iter().any(|slot| slot.aggregate.is_some())
    }

    /// The accumulator of a group without messages.
    pub fn accumulator(&self) -> Accumulator {
        Accumulator(self.0.slots.iter().map(|slot| State::new(slot.aggregate)).collect())
    }

    /// Adds a message to a group.
    pub fn add(&self, accumulator: &mut Accumulator, document: &dyn Document, context: &Context<'_>) {
        let evaluation = self.evaluation(document, context);
        for (slot, state) in self.0.slots.iter().zip(&mut accumulator.0) {
            match state {
                State::Last(last) => *last = evaluation.operand(&slot.argument).into_owned(),
                State::Running(running) => running.add(evaluation.scalar(&slot.argument), self.0.dialect),
            }
        }
    }

    /// Takes a message out of a group that was added. What the last message decided stays as it is
    /// (AGG-02). Where the message was the smallest, say, only the others know which is now: then
    /// the accumulator [is stale](Accumulator::is_stale) until it is [renewed](Self::renew).
    ///
    /// ```
    /// use amps_testkit::filter::{Context, JsonDocument, Projection};
    ///
    /// let context = Context::default();
    /// let (one, two) = (JsonDocument::new(br#"{"n":1}"#), JsonDocument::new(br#"{"n":2.5}"#));
    /// let least = Projection::parse("MIN(/n) + SUM(/n) AS /x")?;
    /// let mut group = least.accumulator();
    /// for document in [&one, &two] {
    ///     least.add(&mut group, document, &context);
    /// }
    /// least.remove(&mut group, &one, &context);
    /// assert!(group.is_stale());
    /// least.renew(&mut group, |see| see(&two), &context);
    /// assert_eq!(least.finish(&group).into_text().as_ref(), b"5");
    /// # Ok::<(), amps_testkit::filter::FilterError>(())
    /// ```
    pub fn remove(&self, accumulator: &mut Accumulator, document: &dyn Document, context: &Context<'_>) {
        let evaluation = self.evaluation(document, context);
        for (slot, state) in self.0.slots.iter().zip(&mut accumulator.0) {
            if let State::Running(running) = state {
                running.remove(evaluation.scalar(&slot.argument), self.0.dialect);
            }
        }
    }

    /// Computes anew what is stale: `each` has to show every message of the group, in the order
    /// in which they were added.
    pub fn renew(
        &self,
        accumulator: &mut Accumulator,
        each: impl FnOnce(&mut dyn FnMut(&dyn Document)),
        context: &Context<'_>,
    ) {
        let stale: Vec<bool> = accumulator.0.iter().map(State::is_stale).collect();
        for state in accumulator.0.iter_mut().filter(|state| state.is_stale()) {
            state.restart();
        }
        each(&mut |document| {
            let evaluation = self.evaluation(document, context);
            let slots = self.0.slots.iter().zip(&mut accumulator.0).zip(&stale);
            for ((slot, state), _) in slots.filter(|(_, stale)| **stale) {
                if let State::Running(running) = state {
                    running.add(evaluation.scalar(&slot.argument), self.0.dialect);
                }
            }
        });
    }

    fn evaluation<'e>(&self, document: &'e dyn Document, context: &Context<'e>) -> Evaluation<'e> {
        Evaluation { document, context: *context, dialect: self.0.dialect, slots: &[] }
    }

    /// The value for the messages added so far.
    pub fn finish(&self, accumulator: &Accumulator) -> Field<'static> {
        let slots: Vec<Operand<'static>> = accumulator.0.iter().map(State::finish).collect();
        let context = Context::default();
        let dialect = self.0.dialect;
        Evaluation { document: &NoFields, context, dialect, slots: &slots }.scalar(&self.0.expr).into_owned()
    }
}

/// Replaces every aggregate by a slot, and likewise what stands beside one and has none
/// inside; false if there was no aggregate.
fn take_aggregates(expr: &mut Expr, slots: &mut Vec<Slot>) -> bool {
    if let Expr::Aggregate { aggregate, argument } = expr {
        let aggregate = *aggregate;
        let argument = mem::replace(&mut **argument, Expr::Slot(0));
        *expr = argument;
        into_slot(expr, Some(aggregate), slots);
        return true;
    }
    let mut operands = expr.operands_mut();
    let found: Vec<bool> = operands.iter_mut().map(|operand| take_aggregates(operand, slots)).collect();
    if !found.contains(&true) {
        return false;
    }
    for (operand, found) in operands.into_iter().zip(found) {
        if !found {
            into_slot(operand, None, slots);
        }
    }
    true
}

fn into_slot(expr: &mut Expr, aggregate: Option<Aggregate>, slots: &mut Vec<Slot>) {
    let argument = mem::replace(expr, Expr::Slot(slots.len()));
    slots.push(Slot { aggregate, argument });
}

/// What a [`Projection`] remembers of the messages of one group.
#[derive(Clone, Debug)]
pub struct Accumulator(Vec<State>);

impl Accumulator {
    /// Whether a message was taken out that only the others can replace; see
    /// [`Projection::renew`].
    pub fn is_stale(&self) -> bool {
        self.0.iter().any(State::is_stale)
    }
}

#[derive(Clone, Debug)]
enum State {
    Last(Operand<'static>),
    Running(Running),
}

impl State {
    fn new(aggregate: Option<Aggregate>) -> Self {
        match aggregate {
            None => Self::Last(Operand::One(Field::NULL)),
            Some(aggregate) => Self::Running(Running::new(aggregate)),
        }
    }

    fn is_stale(&self) -> bool {
        matches!(self, Self::Running(running) if running.stale)
    }

    fn restart(&mut self) {
        if let Self::Running(running) = self {
            *running = Running::new(running.aggregate);
        }
    }

    fn finish(&self) -> Operand<'static> {
        match self {
            Self::Last(last) => last.clone(),
            Self::Running(running) => Operand::One(running.finish()),
        }
    }
}

/// An aggregate over the values seen so far; NULL is none.
#[derive(Clone, Debug)]
struct Running {
    aggregate: Aggregate,
    count: u32,
    memory: Memory,
    /// A value was taken out, and the others have to say what is left.
    stale: bool,
}

/// What has to be remembered of the values.
#[derive(Clone, Debug)]
enum Memory {
    Nothing,
    Sum(ExactSum),
    Best(Best),
    /// Each with the number of values that are equal to it.
    Distinct(BTreeMap<Vec<u8>, u32>),
    /// By Welford's method: the mean, and the squared distances from it.
    Deviation {
        mean: f64,
        distances: f64,
    },
}

/// One of the values: the least, the greatest, or the first.
#[derive(Clone, Debug)]
struct Best {
    field: Field<'static>,
    /// How many values beside it are the same, spelling and all.
    same: u32,
    /// Other values would be as good, and are spelled in another way.
    is_rivalled: bool,
    /// There was something but numbers: not all comparisons fit together.
    is_mixed: bool,
}

impl Running {
    fn new(aggregate: Aggregate) -> Self {
        let memory = match aggregate {
            Aggregate::Count => Memory::Nothing,
            Aggregate::Sum | Aggregate::Avg => Memory::Sum(ExactSum::default()),
            Aggregate::Min | Aggregate::Max | Aggregate::Any => {
                let field = Field::NULL;
                Memory::Best(Best { field, same: 0, is_rivalled: false, is_mixed: false })
            }
            Aggregate::CountDistinct => Memory::Distinct(BTreeMap::new()),
            Aggregate::StdDevPop | Aggregate::StdDevSamp => Memory::Deviation { mean: 0.0, distances: 0.0 },
        };
        Self { aggregate, count: 0, memory, stale: false }
    }

    fn add(&mut self, field: Field<'_>, dialect: Dialect) {
        if field.value().is_null() {
            return;
        }
        self.count = self.count.saturating_add(1);
        let order = order_of(self.aggregate);
        match &mut self.memory {
            Memory::Nothing => {}
            Memory::Sum(sum) => field.value().number().into_iter().for_each(|number| sum.add(number)),
            // What beats a value that was taken out beats all that are left.
            Memory::Best(best) if self.stale => {
                best.is_mixed = best.is_mixed || !is_plain(&field);
                let beats = order.is_some_and(|order| best.is_beaten(&field, order, dialect));
                if !best.is_mixed && beats {
                    *best = Best { field: field.into_owned(), same: 0, is_rivalled: false, is_mixed: false };
                    self.stale = false;
                }
            }
            Memory::Best(best) => best.add(field, order, dialect),
            Memory::Distinct(distinct) => *distinct.entry(distinct_text(field)).or_default() += 1,
            Memory::Deviation { mean, distances } => {
                let number = field.value().number().map_or(f64::NAN, value::Number::float);
                let before = number - *mean;
                *mean += before / f64::from(self.count);
                *distances += before * (number - *mean);
            }
        }
    }

    fn remove(&mut self, field: Field<'_>, dialect: Dialect) {
        if field.value().is_null() {
            return;
        }
        self.count = self.count.saturating_sub(1);
        match &mut self.memory {
            Memory::Nothing => {}
            Memory::Sum(sum) => field.value().number().into_iter().for_each(|number| sum.remove(number)),
            Memory::Best(best) => {
                self.stale = self.stale || !best.survives(&field, order_of(self.aggregate), dialect);
            }
            Memory::Distinct(distinct) => {
                let text = distinct_text(field);
                if let Some(count) = distinct.get_mut(&text) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        distinct.remove(&text);
                    }
                }
            }
            // It cannot be taken back without losing digits.
            Memory::Deviation { .. } => self.stale = true,
        }
        if self.count == 0 {
            *self = Self::new(self.aggregate);
        }
    }

    fn finish(&self) -> Field<'static> {
        let count = f64::from(self.count);
        let value = match (self.aggregate, &self.memory) {
            (_, Memory::Best(best)) => return best.field.clone(),
            (_, Memory::Distinct(distinct)) => Value::Int(i64::try_from(distinct.len()).unwrap_or(i64::MAX)),
            (_, Memory::Nothing) => Value::Int(i64::from(self.count)),
            // One value has no deviation from a sample of itself.
            (Aggregate::StdDevSamp, _) if self.count == 1 => Value::Null,
            _ if self.count == 0 => Value::Null,
            (Aggregate::Avg, Memory::Sum(sum)) => Value::Float(sum.float() / count),
            (_, Memory::Sum(sum)) => sum.value(),
            (Aggregate::StdDevSamp, Memory::Deviation { distances, .. }) => {
                Value::Float((distances / (count - 1.0)).sqrt())
            }
            (_, Memory::Deviation { distances, .. }) => Value::Float((distances / count).sqrt()),
        };
        Field::new(value)
    }
}

/// How the value compares with all others that is kept; nothing if it is the first.
fn order_of(aggregate: Aggregate) -> Option<Comparison> {
    match aggregate {
        Aggregate::Min => Some(Comparison::Less),
        Aggregate::Max => Some(Comparison::Greater),
        _ => None,
    }
}

/// Whether it is a number, and of one meaning in every comparison.
fn is_plain(field: &Field<'_>) -> bool {
    matches!(field.value(), Value::Int(_) | Value::UInt(_) | Value::Float(_)) && !field.value().is_nan()
}

impl Best {
    fn is_beaten(&self, field: &Field<'_>, order: Comparison, dialect: Dialect) -> bool {
        value::holds(order, field, &self.field, dialect)
    }

    /// NaN stays once it was seen: any NaN makes the result NaN.
    fn add(&mut self, field: Field<'_>, order: Option<Comparison>, dialect: Dialect) {
        self.is_mixed = self.is_mixed || !is_plain(&field);
        let wins = |order| {
            field.value().is_nan() || (!self.field.value().is_nan() && self.is_beaten(&field, order, dialect))
        };
        if self.field.value().is_null() || order.is_some_and(wins) {
            (self.same, self.is_rivalled, self.field) = (0, false, field.into_owned());
        } else if self.field == field {
            self.same = self.same.saturating_add(1);
        } else {
            // Of those that are as good, the first counts.
            let as_good = order.is_none_or(|order| !value::holds(order, &self.field, &field, dialect));
            self.is_rivalled = self.is_rivalled || as_good;
        }
    }

    /// Takes a value out. False if it was this one, and it is not known which is next.
    fn survives(&mut self, field: &Field<'_>, order: Option<Comparison>, dialect: Dialect) -> bool {
        if self.field == *field {
            let others = self.same > 0 && !self.is_rivalled && (order.is_none() || !self.is_mixed);
            self.same = self.same.saturating_sub(1);
            return others;
        }
        match order {
            None => true,
            Some(order) => !self.is_mixed && value::holds(order, &self.field, field, dialect),
        }
    }
}

/// Equal for equal values: `1`, `1.0` and `'1'` are one, as a comparison would have it.
fn distinct_text(field: Field<'_>) -> Vec<u8> {
    match field.value().number() {
        Some(value::Number::Float(float)) if float.is_nan() => field.into_text().into_owned(),
        Some(value::Number::Integer(integer)) => integer.to_string().into_bytes(),
        Some(number) => number.float().to_string().into_bytes(),
        None => Vec::new(),
    }
}
