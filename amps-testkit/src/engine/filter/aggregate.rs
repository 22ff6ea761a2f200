//! Projections: one value for the messages of a group.
//!
//! Owns the aggregate functions and what they remember between messages. It never groups:
//! the caller keeps one [`Accumulator`] per group and field.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use super::ast::{Comparison, Expr, Operator};
use super::error::FilterError;
use super::eval::{Evaluation, Operand};
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
        let dialect = self.0.dialect;
        let evaluation = Evaluation { document, context: *context, dialect, slots: &[] };
        for (slot, state) in self.0.slots.iter().zip(&mut accumulator.0) {
            match state {
                State::Last(last) => *last = evaluation.operand(&slot.argument).into_owned(),
                State::Running(running) => running.add(evaluation.scalar(&slot.argument), dialect),
            }
        }
    }

    /// Adds a message only as the last one: what is aggregated does not count it.
    pub fn add_last(&self, accumulator: &mut Accumulator, document: &dyn Document, context: &Context<'_>) {
        let evaluation = Evaluation { document, context: *context, dialect: self.0.dialect, slots: &[] };
        for (slot, state) in self.0.slots.iter().zip(&mut accumulator.0) {
            if let State::Last(last) = state {
                *last = evaluation.operand(&slot.argument).into_owned();
            }
        }
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
    sum: Value<'static>,
    /// For the deviation, by Welford's method: the mean, and the squared distances from it.
    mean: f64,
    distances: f64,
    best: Field<'static>,
    distinct: BTreeSet<Vec<u8>>,
}

impl Running {
    fn new(aggregate: Aggregate) -> Self {
        Self {
            aggregate,
            count: 0,
            sum: Value::Int(0),
            mean: 0.0,
            distances: 0.0,
            best: Field::NULL,
            distinct: BTreeSet::new(),
        }
    }

    fn add(&mut self, field: Field<'_>, dialect: Dialect) {
        if field.value().is_null() {
            return;
        }
        self.count = self.count.saturating_add(1);
        match self.aggregate {
            Aggregate::Count => {}
            Aggregate::Sum | Aggregate::Avg => {
                self.sum = value::arithmetic(Operator::Add, &self.sum, field.value());
            }
            Aggregate::Min => self.keep(field, Comparison::Less, dialect),
            Aggregate::Max => self.keep(field, Comparison::Greater, dialect),
            Aggregate::Any => {
                if self.count == 1 {
                    self.best = field.into_owned();
                }
            }
            Aggregate::CountDistinct => {
                self.distinct.insert(distinct_text(field));
            }
            Aggregate::StdDevPop | Aggregate::StdDevSamp => {
                let number = field.value().number().map_or(f64::NAN, value::Number::float);
                let before = number - self.mean;
                self.mean += before / f64::from(self.count);
                self.distances += before * (number - self.mean);
            }
        }
    }

    /// Keeps the field that compares so with all before it. NaN stays once it was seen: any
    /// NaN makes the result NaN.
    fn keep(&mut self, field: Field<'_>, comparison: Comparison, dialect: Dialect) {
        if self.best.value().is_null()
            || field.value().is_nan()
            || (!self.best.value().is_nan() && value::holds(comparison, &field, &self.best, dialect))
        {
            self.best = field.into_owned();
        }
    }

    fn finish(&self) -> Field<'static> {
        let count = f64::from(self.count);
        let value = match self.aggregate {
            Aggregate::Count => Value::Int(i64::from(self.count)),
            Aggregate::CountDistinct => Value::Int(i64::try_from(self.distinct.len()).unwrap_or(i64::MAX)),
            Aggregate::Min | Aggregate::Max | Aggregate::Any => return self.best.clone(),
            // One value has no deviation from a sample of itself.
            Aggregate::StdDevSamp if self.count == 1 => Value::Null,
            _ if self.count == 0 => Value::Null,
            Aggregate::Sum => self.sum.clone(),
            Aggregate::Avg => Value::Float(self.sum.number().map_or(f64::NAN, value::Number::float) / count),
            Aggregate::StdDevPop => Value::Float((self.distances / count).sqrt()),
            Aggregate::StdDevSamp => Value::Float((self.distances / (count - 1.0)).sqrt()),
        };
        Field::new(value)
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
