//! Evaluates a parsed expression against one document.
//!
//! A path may have many values. What compares looks at all of them, everything else at
//! the first (ARR-02, ARR-03).

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::ast::{Affix, Comparison, Expr, Operator, Version};
use super::functions::{self, Function};
use super::value::{self, Dialect, Field, NullLogic, Value};
use super::{Context, Document};

/// What a part of an expression stands for: the values of a path, else one value.
#[derive(Clone, Debug)]
pub(super) enum Operand<'e> {
    One(Field<'e>),
    /// None is NULL.
    Path(Vec<Field<'e>>),
}

impl<'e> Operand<'e> {
    /// All values; NULL if there is none, so that there always is one.
    fn all(&self) -> &[Field<'e>] {
        match self {
            Self::One(field) => std::slice::from_ref(field),
            Self::Path(fields) if fields.is_empty() => &[Field::NULL],
            Self::Path(fields) => fields,
        }
    }

    /// The same values, borrowing nothing.
    pub(super) fn into_owned(self) -> Operand<'static> {
        match self {
            Self::One(field) => Operand::One(field.into_owned()),
            Self::Path(fields) => Operand::Path(fields.into_iter().map(Field::into_owned).collect()),
        }
    }

    fn first(self) -> Field<'e> {
        match self {
            Self::One(field) => field,
            Self::Path(fields) => fields.into_iter().next().unwrap_or(Field::NULL),
        }
    }
}

/// One evaluation: the document and everything around it.
pub(super) struct Evaluation<'e> {
    pub(super) document: &'e dyn Document,
    pub(super) context: Context<'e>,
    pub(super) dialect: Dialect,
    /// What [`Expr::Slot`] stands for.
    pub(super) slots: &'e [Operand<'e>],
}

impl<'e> Evaluation<'e> {
    /// The value, the first one if there are many.
    pub(super) fn scalar(&self, expr: &'e Expr) -> Field<'e> {
        self.operand(expr).first()
    }

    /// The truth of the value; nothing for NULL.
    pub(super) fn truth(&self, expr: &'e Expr) -> Option<bool> {
        self.logical(expr).unwrap_or_else(|| self.scalar(expr).value().truth())
    }

    /// All that the expression stands for.
    pub(super) fn operand(&self, expr: &'e Expr) -> Operand<'e> {
        let value = match expr {
            Expr::Path { path, version } => {
                let mut found = Vec::new();
                if let Some(document) = self.document_of(*version) {
                    document.look_up(path, &mut found);
                }
                return Operand::Path(found);
            }
            // An aggregate is always in a slot of its own.
            Expr::Aggregate { .. } => return Operand::One(Field::NULL),
            Expr::Slot(slot) => return self.slots.get(*slot).cloned().unwrap_or(Operand::One(Field::NULL)),
            Expr::Literal(field) => return Operand::One(field.clone()),
            Expr::Call { function, arguments } => return Operand::One(self.call(*function, arguments)),
            Expr::User { function, arguments } => {
                let arguments: Vec<Value<'_>> =
                    arguments.iter().map(|argument| self.scalar(argument).into_value()).collect();
                (function.call)(&arguments)
            }
            Expr::Arithmetic { first, rest } => {
                rest.iter().fold(self.scalar(first).into_value(), |left, (operator, right)| {
                    value::arithmetic(*operator, &left, self.scalar(right).value())
                })
            }
            Expr::Sign { negative, operand } => sign(*negative, self.scalar(operand).value()),
            Expr::RegexpMatch { subject, pattern } => match self.scalar(subject).text() {
                None => Value::Null,
                Some(text) => pattern
                    .find(&text)
                    .and_then(|range| text.get(range))
                    .map_or(Value::Null, |found| Value::string(found.to_vec())),
            },
            Expr::RegexpReplace { subject, pattern, replacement } => match self.scalar(subject).text() {
                None => Value::Null,
                Some(text) => Value::string(pattern.replace(&text, &self.scalar(replacement).into_text())),
            },
            other => logic(self.logical(other).flatten()),
        };
        Operand::One(value.into())
    }

    fn document_of(&self, version: Version) -> Option<&'e dyn Document> {
        match version {
            Version::Current => Some(self.document),
            Version::Previous => self.context.previous,
        }
    }

    /// Shows all values, without making any that are there already; NULL if there is none, so
    /// that there always is one.
    fn values(&self, expr: &'e Expr, see: &mut dyn FnMut(&[Field<'_>])) {
        match expr {
            Expr::Literal(field) => see(std::slice::from_ref(field)),
            Expr::Path { path, version } => match self.document_of(*version) {
                Some(document) => document.show(path, &mut |found| match found {
                    [] => see(&[Field::NULL]),
                    found => see(found),
                }),
                None => see(&[Field::NULL]),
            },
            other => see(self.operand(other).all()),
        }
    }

    /// What an expression that is true or false stands for; `None` for others.
    fn logical(&self, expr: &'e Expr) -> Option<Option<bool>> {
        let certain = match expr {
            Expr::Or(operands) => return Some(self.chain(operands, true)),
            Expr::And(operands) => return Some(self.chain(operands, false)),
            Expr::Not(operand) => return Some(self.truth(operand).map(|truth| !truth)),
            Expr::Compare { comparison, left, right } => self.any_pair(*comparison, left, right),
            Expr::In { subject, members } => {
                members.iter().any(|member| self.any_pair(Comparison::Equal, subject, member))
            }
            Expr::Between { subject, low, high } => self.between(subject, low, high),
            Expr::Like { subject, pattern } => {
                let mut matched = false;
                self.values(subject, &mut |fields| {
                    let mut texts = fields.iter().filter_map(|field| field.clone().text());
                    matched = texts.any(|text| pattern.is_match(&text));
                });
                matched
            }
            Expr::Affix { affix, subject, members } => {
                let subject = self.operand(subject);
                members.iter().any(|member| has_affix(*affix, &subject, &self.operand(member)))
            }
            Expr::IsNull(operand) => self.scalar(operand).value().is_null(),
            Expr::IsNan(operand) => self.scalar(operand).value().is_nan(),
            _ => return None,
        };
        Some(Some(certain))
    }

    /// `OR` (where `decisive` is true) and `AND` (where it is false), folded from the
    /// left by LOG-01: the decisive truth ends the chain, NULL does so in the logic of
    /// AMPS and is remembered in that of SQL.
    fn chain(&self, operands: &'e [Expr], decisive: bool) -> Option<bool> {
        let mut unknown = false;
        for operand in operands {
            match self.truth(operand) {
                Some(truth) if truth == decisive => return Some(truth),
                Some(_) => {}
                None if self.dialect.null_logic == NullLogic::Amps => return None,
                None => unknown = true,
            }
        }
        if unknown { None } else { Some(!decisive) }
    }

    fn any_pair(&self, comparison: Comparison, left: &'e Expr, right: &'e Expr) -> bool {
        let mut found = false;
        self.values(left, &mut |left| {
            self.values(right, &mut |right| {
                let fits =
                    |left| right.iter().any(|right| value::holds(comparison, left, right, self.dialect));
                found = left.iter().any(fits);
            });
        });
        found
    }

    /// One element has to be inside; any of the low bounds and of the high ones will do.
    fn between(&self, subject: &'e Expr, low: &'e Expr, high: &'e Expr) -> bool {
        let mut found = false;
        self.values(subject, &mut |subject| {
            self.values(low, &mut |low| {
                self.values(high, &mut |high| {
                    let any = |comparison, element: &Field<'_>, bounds: &[Field<'_>]| {
                        bounds.iter().any(|bound| value::holds(comparison, element, bound, self.dialect))
                    };
                    found = subject.iter().any(|element| {
                        any(Comparison::GreaterOrEqual, element, low)
                            && any(Comparison::LessOrEqual, element, high)
                    });
                });
            });
        });
        found
    }

    fn call(&self, function: Function, arguments: &'e [Expr]) -> Field<'e> {
        match (function, arguments) {
            (Function::If, [condition, then, otherwise]) => {
                let chosen = if self.truth(condition) == Some(true) { then } else { otherwise };
                self.scalar(chosen)
            }
            (Function::Coalesce, arguments) => arguments
                .iter()
                .map(|argument| self.scalar(argument))
                .find(|field| !field.value().is_null())
                .unwrap_or(Field::NULL),
            (Function::ArrayCount, [array]) => functions::integer(match self.operand(array) {
                Operand::Path(fields) => fields.len(),
                Operand::One(field) => usize::from(!field.value().is_null()),
            })
            .into(),
            (Function::ArrayMin, [array]) => self.extreme(array, Comparison::Less),
            (Function::ArrayMax, [array]) => self.extreme(array, Comparison::Greater),
            (Function::ArraySum, [array]) => {
                let array = self.operand(array);
                let values = array.all().iter().map(Field::value).filter(|value| !value.is_null());
                values
                    .fold(None, |sum: Option<Value<'_>>, value| {
                        Some(value::arithmetic(Operator::Add, &sum.unwrap_or(Value::Int(0)), value))
                    })
                    .map_or(Field::NULL, Field::new)
            }
            (Function::ArrayToString, [array, delimiter, null]) => {
                let (delimiter, null) = (self.scalar(delimiter).into_text(), self.scalar(null).into_text());
                let texts: Vec<_> = match self.operand(array) {
                    Operand::Path(fields) => fields,
                    Operand::One(field) => vec![field],
                }
                .into_iter()
                .map(|field| field.text().unwrap_or_else(|| null.clone()))
                .collect();
                Field::string(texts.join(delimiter.as_ref()))
            }
            (function, arguments) => {
                let arguments = arguments.iter().map(|argument| self.scalar(argument)).collect();
                functions::call(function, arguments, &self.context)
            }
        }
    }

    /// The element that compares so with all others; NULL elements do not count.
    fn extreme(&self, array: &'e Expr, comparison: Comparison) -> Field<'e> {
        let array = self.operand(array);
        let mut best = &Field::NULL;
        for field in array.all() {
            if best.value().is_null() || value::holds(comparison, field, best, self.dialect) {
                best = field;
            }
        }
        best.clone()
    }
}

fn logic(truth: Option<bool>) -> Value<'static> {
    truth.map_or(Value::Null, Value::Bool)
}

fn sign(negative: bool, operand: &Value<'_>) -> Value<'static> {
    // A difference would turn -0.0 into 0.0.
    value::arithmetic(Operator::Multiply, &Value::Int(if negative { -1 } else { 1 }), operand)
}

/// Whether any element of the subject begins or ends with any of these.
fn has_affix(affix: Affix, subject: &Operand<'_>, members: &Operand<'_>) -> bool {
    members.all().iter().filter_map(|member| member.clone().text()).any(|member| {
        subject.all().iter().filter_map(|field| field.clone().text()).any(|text| match affix {
            Affix::Begins => text.starts_with(&member),
            Affix::Ends => text.ends_with(&member),
        })
    })
}
