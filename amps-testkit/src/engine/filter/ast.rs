//! The parsed form of an expression.
//!
//! Chains (`a AND b AND c`, `1 + 2 - 3`) are lists, not left-leaning trees: the depth
//! of a tree is therefore bounded by the nesting the parser allows, however long the
//! text, and neither evaluating nor dropping one can exhaust the stack.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use super::aggregate::Aggregate;
use super::functions::Function;
use super::language::UserFunction;
use super::like::Pattern;
use super::path::Path;
use super::value::Field;

#[derive(Debug)]
pub(super) enum Expr {
    Literal(Field<'static>),
    Path {
        path: Path,
        version: Version,
    },
    /// An aggregate call; only in a projection, and only until it is made a slot.
    Aggregate {
        aggregate: Aggregate,
        argument: Box<Self>,
    },
    /// What was computed beforehand, by number.
    Slot(usize),
    /// Two operands or more, folded from the left.
    Or(Vec<Self>),
    /// Two operands or more, folded from the left.
    And(Vec<Self>),
    Not(Box<Self>),
    Compare {
        comparison: Comparison,
        left: Box<Self>,
        right: Box<Self>,
    },
    In {
        subject: Box<Self>,
        members: Vec<Self>,
    },
    Between {
        subject: Box<Self>,
        low: Box<Self>,
        high: Box<Self>,
    },
    Like {
        subject: Box<Self>,
        pattern: Pattern,
    },
    Affix {
        affix: Affix,
        subject: Box<Self>,
        members: Vec<Self>,
    },
    IsNull(Box<Self>),
    IsNan(Box<Self>),
    /// Operators of one precedence level, applied from the left.
    Arithmetic {
        first: Box<Self>,
        rest: Vec<(Operator, Self)>,
    },
    Sign {
        negative: bool,
        operand: Box<Self>,
    },
    Call {
        function: Function,
        arguments: Vec<Self>,
    },
    /// A call of a function that is not built in.
    User {
        function: Arc<UserFunction>,
        arguments: Vec<Self>,
    },
    RegexpMatch {
        subject: Box<Self>,
        pattern: Pattern,
    },
    RegexpReplace {
        subject: Box<Self>,
        pattern: Pattern,
        replacement: Box<Self>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affix {
    Begins,
    Ends,
}

/// Which version of the message a path is looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The message at hand.
    Current,
    /// The record that it replaces.
    Previous,
}

impl Expr {
    /// The operands, in any order.
    pub(super) fn operands_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Literal(_) | Self::Path { .. } | Self::Slot(_) => Vec::new(),
            Self::Or(operands)
            | Self::And(operands)
            | Self::Call { arguments: operands, .. }
            | Self::User { arguments: operands, .. } => operands.iter_mut().collect(),
            Self::Not(operand)
            | Self::IsNull(operand)
            | Self::IsNan(operand)
            | Self::Sign { operand, .. }
            | Self::Like { subject: operand, .. }
            | Self::RegexpMatch { subject: operand, .. }
            | Self::Aggregate { argument: operand, .. } => vec![operand],
            Self::Compare { left, right, .. }
            | Self::RegexpReplace { subject: left, replacement: right, .. } => vec![left, right],
            Self::Between { subject, low, high } => vec![subject, low, high],
            Self::In { subject, members } | Self::Affix { subject, members, .. } => {
                std::iter::once(&mut **subject).chain(members).collect()
            }
            Self::Arithmetic { first, rest } => {
                std::iter::once(&mut **first).chain(rest.iter_mut().map(|(_, operand)| operand)).collect()
            }
        }
    }
}
