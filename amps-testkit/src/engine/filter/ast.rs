//! The parsed form of an expression.
//!
//! Chains (`a AND b AND c`, `1 + 2 - 3`) are lists, not left-leaning trees: the depth
//! of a tree is therefore bounded by the nesting the parser allows, however long the
//! text, and neither evaluating nor dropping one can exhaust the stack.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::functions::Function;
use super::like::Pattern;
use super::value::Field;

/// Where a field is: `/legs/px[1]` is the steps `legs` and `px[1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub(super) steps: Vec<Step>,
}

impl Path {
    /// The steps, outermost first; never empty.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The name as written; an XML attribute keeps its `@`.
    pub name: Box<str>,
    /// `[n]`: only the n-th (from zero) of the values found so far.
    pub index: Option<usize>,
}

#[derive(Debug)]
pub(super) enum Expr {
    Literal(Field<'static>),
    Path(Path),
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
