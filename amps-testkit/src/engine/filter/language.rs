//! What an expression may use beside the built-in functions, and how open rules are read.
//!
//! Owns the functions that a test registers. Whoever parses an expression for a server does so in
//! the language of that server.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::aggregate::Aggregate;
use super::functions::{self, Function};
use super::parser;
use super::value::{Dialect, Value};

type Call = dyn Fn(&[Value<'_>]) -> Value<'static> + Send + Sync;

/// The rules and the functions that expressions are parsed with.
///
/// ```
/// use amps_testkit::filter::{Context, Filter, Functions, JsonDocument, Language, Value};
///
/// let twice = |arguments: &[Value<'_>]| match arguments {
///     [Value::Int(number)] => Value::Int(number * 2),
///     _ => Value::Null,
/// };
/// let language = Language::from(Functions::default().with("TWICE", Some(1), twice));
/// let filter = Filter::parse_in("twice(/n) = 14", &language)?;
/// assert!(filter.matches(&JsonDocument::new(br#"{"n":7}"#), &Context::default()));
/// # Ok::<(), amps_testkit::filter::FilterError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Language {
    /// How rules are read that are only inferred.
    pub dialect: Dialect,
    /// What can be called beside the built-in functions.
    pub functions: Functions,
    /// `AMPS_INSTANCE_NAME()`; empty where the context of an evaluation tells it.
    pub instance: Arc<str>,
    /// `AMPS_GROUP_NAME()`. That there is such a function is documented, its name is inferred from
    /// that of the other.
    pub group: Arc<str>,
}

impl Language {
    /// The value of a function that is the same for all messages; `None` for other functions.
    pub(super) fn constant(&self, function: Function) -> Option<&str> {
        match function {
            Function::InstanceName => Some(&*self.instance).filter(|name| !name.is_empty()),
            Function::GroupName => Some(&self.group),
            _ => None,
        }
    }
}

impl From<Dialect> for Language {
    fn from(dialect: Dialect) -> Self {
        Self { dialect, ..Self::default() }
    }
}

impl From<Functions> for Language {
    fn from(functions: Functions) -> Self {
        Self { functions, ..Self::default() }
    }
}

/// Functions that are not built in, by their names in capitals. A clone shares them.
#[derive(Clone, Default)]
pub struct Functions(Arc<BTreeMap<String, Arc<UserFunction>>>);

/// A function that is not built in.
pub(super) struct UserFunction {
    pub(super) name: String,
    /// How many arguments it takes; `None` for any number.
    pub(super) arity: Option<usize>,
    pub(super) call: Box<Call>,
}

impl Functions {
    /// Adds a function, in place of one of the same name.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<String>,
        arity: Option<usize>,
        call: impl Fn(&[Value<'_>]) -> Value<'static> + Send + Sync + 'static,
    ) -> Self {
        let name = name.into();
        let function = UserFunction { name: name.clone(), arity, call: Box::new(call) };
        Arc::make_mut(&mut self.0).insert(name.to_ascii_uppercase(), Arc::new(function));
        self
    }

    /// Those of both; of two with one name, the other's.
    #[must_use]
    pub(crate) fn and(mut self, other: &Self) -> Self {
        let others = other.0.iter().map(|(name, function)| (name.clone(), Arc::clone(function)));
        Arc::make_mut(&mut self.0).extend(others);
        self
    }

    /// The function of this name, in any case.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<UserFunction>> {
        if self.0.is_empty() { None } else { self.0.get(&name.to_ascii_uppercase()) }
    }

    /// The first function that could never be called, and why.
    pub(crate) fn unusable(&self) -> Option<(&str, &'static str)> {
        let fault = |name: &str| {
            let is_word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_word {
                Some("its name has to be letters, digits and _, and not begin with a digit")
            } else if parser::is_keyword(name) {
                Some("its name is a word of the language")
            } else if functions::find(name).is_some() || Aggregate::find(name).is_some() {
                Some("there is a built-in function of this name")
            } else {
                None
            }
        };
        self.0.values().find_map(|function| Some((function.name.as_str(), fault(&function.name)?)))
    }
}

/// Equal if they are the same ones; what they compute cannot be compared.
impl PartialEq for Functions {
    fn eq(&self, other: &Self) -> bool {
        let others = other.0.iter();
        let mut pairs = self.0.iter().zip(others);
        self.0.len() == other.0.len() && pairs.all(|((a, f), (b, g))| a == b && Arc::ptr_eq(f, g))
    }
}

impl Eq for Functions {}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for UserFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UserFunction").field(&self.name).finish()
    }
}
