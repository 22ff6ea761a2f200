//! Builds the tree of an expression: recursive descent, one method per grammar rule.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::sync::Arc;

use super::aggregate::Aggregate;
use super::ast::{Affix, Comparison, Expr, Operator, Version};
use super::error::FilterError;
use super::functions::{self, Function, Signature};
use super::language::{Language, UserFunction};
use super::lexer::{Lexer, Token, unescape};
use super::like::Pattern;
use super::path::Path;
use super::value::{Field, Value};

/// The longest expression, in bytes.
pub(super) const LONGEST: usize = 256 * 1024;
/// How deep parentheses, calls, `NOT` and signs may be nested. A level takes up to 22 KiB of stack where nothing is
/// optimised, as in the tests of applications; a thread has 2 MiB.
pub(super) const DEEPEST: usize = 64;

/// Words that can follow a value; anything else there is an error.
const AFTER_VALUE: &str = "an operator or the end of the expression";
const VALUE: &str = "a field, a literal or a function";

#[derive(Debug)]
pub(super) struct Parser<'t> {
    lexer: Lexer<'t>,
    text: &'t str,
    token: Token<'t>,
    /// Where `token` starts and ends.
    start: usize,
    end: usize,
    depth: usize,
    deterministic: bool,
    place: Place,
    language: &'t Language,
    in_aggregate: bool,
}

/// Where an expression is used, which decides what it may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One message, and nothing else.
    Filter,
    /// A field made of the message, its predecessor, or the sides of a join.
    Field,
    /// As `Field`, of the messages of a group.
    Projection,
}

/// Parses a filter; the flag says whether it is deterministic.
pub(super) fn parse(text: &str, place: Place, language: &Language) -> Result<(Expr, bool), FilterError> {
    let mut parser = Parser::new(text, 0, place, language)?;
    let expr = parser.expression()?;
    parser.end(AFTER_VALUE)?;
    Ok((expr, parser.deterministic))
}

/// Parses one `expression AS /field`.
pub(super) fn parse_field(
    text: &str,
    place: Place,
    language: &Language,
) -> Result<(Expr, Path), FilterError> {
    let mut parser = Parser::new(text, 0, place, language)?;
    let field = parser.field()?;
    parser.end("the end of the field")?;
    Ok(field)
}

/// Parses one `expression AS /field`, with `HINT` and one or more words behind it.
pub(super) fn parse_hinted(
    text: &str,
    place: Place,
    language: &Language,
) -> Result<(Expr, Path, Hints), FilterError> {
    let mut parser = Parser::new(text, 0, place, language)?;
    let (expr, field) = parser.field()?;
    let mut hints = Hints::default();
    if parser.take_word("HINT")? {
        loop {
            if parser.take_word("OPTIONAL")? {
                hints.optional = true;
            } else if parser.take_word("SET_CURRENT")? {
                hints.set_current = true;
            } else {
                return Err(parser.unexpected("OPTIONAL or SET_CURRENT after HINT"));
            }
            if !parser.take_symbol(",")? {
                break;
            }
        }
    }
    parser.end("HINT or the end of the field")?;
    Ok((expr, field, hints))
}

/// What is written behind `HINT`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hints {
    /// Nothing is written if the value is `NULL`.
    pub(super) optional: bool,
    /// Later fields see this one.
    pub(super) set_current: bool,
}

/// Parses a list in brackets of `expression AS /field`.
pub(super) fn parse_fields(
    text: &str,
    place: Place,
    language: &Language,
) -> Result<Vec<(Expr, Path)>, FilterError> {
    let trimmed = text.trim_ascii_end();
    let start = text.len() - text.trim_ascii_start().len();
    let Some(inner) =
        trimmed.strip_suffix(']').filter(|inner| inner.get(start..).is_some_and(|t| t.starts_with('[')))
    else {
        return Err(FilterError::Unexpected {
            offset: start,
            expected: "a list in brackets",
            found: format!("'{}'", trimmed.chars().take(32).collect::<String>()),
            hint: "",
        });
    };
    let mut parser = Parser::new(inner, start + 1, place, language)?;
    let mut fields = vec![parser.field()?];
    while parser.take_symbol(",")? {
        fields.push(parser.field()?);
    }
    parser.end("',' or ']'")?;
    Ok(fields)
}

impl<'t> Parser<'t> {
    /// A parser at the first token behind `offset`.
    fn new(text: &'t str, offset: usize, place: Place, language: &'t Language) -> Result<Self, FilterError> {
        if text.len() > LONGEST {
            return Err(FilterError::TooLong { length: text.len(), limit: LONGEST });
        }
        let mut parser = Parser {
            lexer: Lexer::starting_at(text, offset),
            text,
            token: Token::End,
            start: 0,
            end: 0,
            depth: 0,
            deterministic: true,
            place,
            language,
            in_aggregate: false,
        };
        parser.advance()?;
        Ok(parser)
    }

    fn end(&self, expected: &'static str) -> Result<(), FilterError> {
        if self.token == Token::End { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// An expression and the field it becomes; a field alone keeps its own name.
    fn field(&mut self) -> Result<(Expr, Path), FilterError> {
        let expr = self.expression()?;
        if !self.at_word("AS") {
            return match &expr {
                Expr::Path { path, .. } => {
                    let name = Path::new(None, path.steps().to_vec());
                    Ok((expr, name))
                }
                _ => Err(self.unexpected("AS and the name of a field")),
            };
        }
        self.advance()?;
        match self.advance()? {
            Token::Path(path) if path.qualifier().is_none() => Ok((expr, path)),
            _ => Err(self.unexpected("a field like /name after AS")),
        }
    }

    fn advance(&mut self) -> Result<Token<'t>, FilterError> {
        let (token, start, end) = self.lexer.next()?;
        (self.start, self.end) = (start, end);
        Ok(std::mem::replace(&mut self.token, token))
    }

    /// Whether the token is this word, in any case.
    fn at_word(&self, word: &str) -> bool {
        matches!(self.token, Token::Name(name) if name.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> Result<bool, FilterError> {
        let found = self.at_word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect_word(&mut self, word: &'static str) -> Result<(), FilterError> {
        if self.take_word(word)? { Ok(()) } else { Err(self.unexpected(word)) }
    }

    fn take_symbol(&mut self, symbol: &'static str) -> Result<bool, FilterError> {
        let found = self.token == Token::Symbol(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect_symbol(&mut self, symbol: &'static str, expected: &'static str) -> Result<(), FilterError> {
        if self.take_symbol(symbol)? { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn unexpected(&self, expected: &'static str) -> FilterError {
        let found = match self.token {
            Token::End => String::from("the end of the text"),
            _ => {
                let text = self.text.get(self.start..self.end).unwrap_or_default();
                let short: String = text.chars().take(32).collect();
                if short.len() < text.len() { format!("'{short}...'") } else { format!("'{short}'") }
            }
        };
        FilterError::Unexpected { offset: self.start, expected, found, hint: self.hint(expected) }
    }

    /// What the author probably meant.
    fn hint(&self, expected: &str) -> &'static str {
        match self.token {
            Token::Stray("&&") => "AMPS writes AND",
            Token::Stray("||") => "AMPS writes OR",
            Token::Stray("!") => "AMPS writes NOT",
            Token::Stray("~" | "=~") => "AMPS writes LIKE",
            Token::Stray("!~") => "AMPS writes NOT LIKE",
            Token::Stray(text)
                if text.eq_ignore_ascii_case("[any]") || text.eq_ignore_ascii_case("[all]") =>
            {
                "an array already compares as true if any element does"
            }
            Token::Stray(text) if text.len() > 2 && text.starts_with('[') => {
                "a field in brackets is written [/name], and only a view can name a topic"
            }
            Token::Name(name) if name.eq_ignore_ascii_case("CONTAINS") => "AMPS has LIKE and INSTR for that",
            Token::Name(_) if expected == VALUE => "a field is written /name, a string in quotes",
            Token::Path(_) if expected == AFTER_VALUE => "to divide, put a blank after the '/'",
            Token::Symbol("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") if expected == AFTER_VALUE => {
                "comparisons cannot be chained"
            }
            _ => "",
        }
    }

    /// Parses something one level deeper, if that is still allowed.
    fn nested(&mut self, rule: fn(&mut Self) -> Result<Expr, FilterError>) -> Result<Expr, FilterError> {
        if self.depth == DEEPEST {
            return Err(FilterError::TooDeep { offset: self.start, limit: DEEPEST });
        }
        self.depth += 1;
        let expr = rule(self);
        self.depth -= 1;
        expr
    }

    fn expression(&mut self) -> Result<Expr, FilterError> {
        self.nested(Self::or_expr)
    }

    fn or_expr(&mut self) -> Result<Expr, FilterError> {
        self.chain("OR", Self::and_expr, Expr::Or)
    }

    fn and_expr(&mut self) -> Result<Expr, FilterError> {
        self.chain("AND", Self::not_expr, Expr::And)
    }

    fn chain(
        &mut self,
        word: &str,
        rule: fn(&mut Self) -> Result<Expr, FilterError>,
        make: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr, FilterError> {
        let first = rule(self)?;
        if !self.at_word(word) {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.take_word(word)? {
            operands.push(rule(self)?);
        }
        Ok(make(operands))
    }

    fn not_expr(&mut self) -> Result<Expr, FilterError> {
        if self.take_word("NOT")? {
            return Ok(Expr::Not(Box::new(self.nested(Self::not_expr)?)));
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Result<Expr, FilterError> {
        let subject = self.additive()?;
        if let Some(comparison) = self.comparison() {
            self.advance()?;
            let (left, right) = (Box::new(subject), Box::new(self.additive()?));
            return Ok(Expr::Compare { comparison, left, right });
        }
        if self.take_word("IS")? {
            return self.null_test(subject);
        }
        let negated = self.take_word("NOT")?;
        let subject = Box::new(subject);
        let expr = if self.take_word("IN")? {
            Expr::In { subject, members: self.list()? }
        } else if self.take_word("BETWEEN")? {
            let low = Box::new(self.additive()?);
            self.expect_word("AND")?;
            Expr::Between { subject, low, high: Box::new(self.additive()?) }
        } else if self.take_word("LIKE")? {
            Expr::Like { subject, pattern: self.pattern()? }
        } else if self.take_word("BEGINS")? {
            self.affix(Affix::Begins, subject)?
        } else if self.take_word("ENDS")? {
            self.affix(Affix::Ends, subject)?
        } else if negated {
            return Err(self.unexpected("IN, BETWEEN, LIKE, BEGINS WITH or ENDS WITH after NOT"));
        } else {
            return Ok(*subject);
        };
        Ok(if negated { Expr::Not(Box::new(expr)) } else { expr })
    }

    fn comparison(&self) -> Option<Comparison> {
        let Token::Symbol(symbol) = self.token else { return None };
        Some(match symbol {
            "=" | "==" => Comparison::Equal,
            "!=" | "<>" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        })
    }

    fn null_test(&mut self, subject: Expr) -> Result<Expr, FilterError> {
        let negated = self.take_word("NOT")?;
        let subject = Box::new(subject);
        let test = if self.take_word("NULL")? {
            Expr::IsNull(subject)
        } else if self.take_word("NAN")? {
            Expr::IsNan(subject)
        } else {
            return Err(self.unexpected("NULL or NAN after IS"));
        };
        Ok(if negated { Expr::Not(Box::new(test)) } else { test })
    }

    fn affix(&mut self, affix: Affix, subject: Box<Expr>) -> Result<Expr, FilterError> {
        self.expect_word("WITH")?;
        Ok(Expr::Affix { affix, subject, members: self.list()? })
    }

    /// One expression or more in parentheses.
    fn list(&mut self) -> Result<Vec<Expr>, FilterError> {
        self.expect_symbol("(", "a list in parentheses")?;
        let mut members = vec![self.expression()?];
        while self.take_symbol(",")? {
            members.push(self.expression()?);
        }
        self.expect_symbol(")", "',' or ')'")?;
        Ok(members)
    }

    /// A string that is a regular expression, or a raw string that is not.
    fn pattern(&mut self) -> Result<Pattern, FilterError> {
        let Token::Text { text, verbatim } = self.token else {
            return Err(self.unexpected("a pattern in quotes"));
        };
        let pattern = if verbatim {
            Pattern::verbatim(text)
        } else {
            Pattern::compile(text).map_err(|reason| FilterError::BadPattern { offset: self.start, reason })?
        };
        self.advance()?;
        Ok(pattern)
    }

    fn additive(&mut self) -> Result<Expr, FilterError> {
        self.arithmetic(Self::multiplicative, |token| match token {
            Token::Symbol("+") => Some(Operator::Add),
            Token::Symbol("-") => Some(Operator::Subtract),
            _ => None,
        })
    }

    fn multiplicative(&mut self) -> Result<Expr, FilterError> {
        self.arithmetic(Self::unary, |token| match token {
            Token::Symbol("*") => Some(Operator::Multiply),
            Token::Symbol("/") => Some(Operator::Divide),
            Token::Symbol("%") => Some(Operator::Modulo),
            Token::Name(name) if name.eq_ignore_ascii_case("MOD") => Some(Operator::Modulo),
            _ => None,
        })
    }

    fn arithmetic(
        &mut self,
        rule: fn(&mut Self) -> Result<Expr, FilterError>,
        operator: fn(&Token<'t>) -> Option<Operator>,
    ) -> Result<Expr, FilterError> {
        let first = rule(self)?;
        let mut rest = Vec::new();
        while let Some(operator) = operator(&self.token) {
            self.advance()?;
            rest.push((operator, rule(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Arithmetic { first: Box::new(first), rest } })
    }

    fn unary(&mut self) -> Result<Expr, FilterError> {
        let negative = self.token == Token::Symbol("-");
        if negative || self.token == Token::Symbol("+") {
            self.advance()?;
            return Ok(Expr::Sign { negative, operand: Box::new(self.nested(Self::unary)?) });
        }
        self.primary()
    }

    /// `OF CURRENT` or `OF PREVIOUS`, if it is there.
    fn version(&mut self) -> Result<Version, FilterError> {
        if !self.at_word("OF") {
            return Ok(Version::Current);
        }
        if self.place == Place::Filter {
            return Err(FilterError::NotInFilters { offset: self.start, what: "OF CURRENT or OF PREVIOUS" });
        }
        self.advance()?;
        if self.take_word("PREVIOUS")? {
            return Ok(Version::Previous);
        }
        self.expect_word("CURRENT")?;
        Ok(Version::Current)
    }

    fn primary(&mut self) -> Result<Expr, FilterError> {
        let offset = self.start;
        match &self.token {
            Token::Name(name) => {
                let name = *name;
                self.word(name)
            }
            Token::Symbol("(") => {
                self.advance()?;
                let expr = self.expression()?;
                self.expect_symbol(")", "an operator or ')'")?;
                Ok(expr)
            }
            Token::Number(_) | Token::Text { .. } | Token::Path(_) => match self.advance()? {
                Token::Number(number) => Ok(Expr::Literal(Field::new(number))),
                Token::Text { text, verbatim } => {
                    let bytes = if verbatim { text.as_bytes().to_vec() } else { unescape(text) };
                    Ok(Expr::Literal(Field::string(bytes)))
                }
                Token::Path(path) => {
                    let version = self.version()?;
                    if self.place == Place::Filter && path.qualifier().is_some() {
                        return Err(FilterError::NotInFilters { offset, what: "a field of a named topic" });
                    }
                    Ok(Expr::Path { path, version })
                }
                _ => Err(self.unexpected(VALUE)),
            },
            _ => Err(self.unexpected(VALUE)),
        }
    }

    /// A literal that is a word, or a call.
    fn word(&mut self, name: &str) -> Result<Expr, FilterError> {
        let literal = [("NULL", Value::Null), ("TRUE", Value::Bool(true)), ("FALSE", Value::Bool(false))]
            .into_iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(name));
        if let Some((_, value)) = literal {
            self.advance()?;
            return Ok(Expr::Literal(Field::new(value)));
        }
        let offset = self.start;
        let is_call = self.text.get(self.end..).unwrap_or_default().trim_ascii_start().starts_with('(');
        if !is_call || is_keyword(name) {
            return Err(self.unexpected(VALUE));
        }
        if let Some(aggregate) = Aggregate::find(name) {
            return self.aggregate(aggregate, name);
        }
        let Some(signature) = functions::find(name) else {
            if let Some(function) = self.language.functions.find(name) {
                return self.user_call(Arc::clone(function), offset);
            }
            return Err(FilterError::UnknownFunction { offset, name: name.to_owned() });
        };
        if self.in_aggregate && !signature.function.is_deterministic() {
            return Err(FilterError::Unsteady { offset, name: name.to_owned() });
        }
        self.advance()?;
        self.deterministic &= signature.function.is_deterministic();
        self.call(signature, offset)
    }

    /// A call over the messages of a group.
    fn aggregate(&mut self, aggregate: Aggregate, name: &str) -> Result<Expr, FilterError> {
        let offset = self.start;
        if self.place != Place::Projection {
            return Err(FilterError::Aggregate { offset, name: name.to_owned() });
        }
        if self.in_aggregate {
            return Err(FilterError::NestedAggregate { offset, name: name.to_owned() });
        }
        self.advance()?;
        self.expect_symbol("(", "'('")?;
        self.in_aggregate = true;
        let argument = Box::new(self.expression()?);
        self.in_aggregate = false;
        self.expect_symbol(")", "an operator or ')'")?;
        Ok(Expr::Aggregate { aggregate, argument })
    }

    /// A call of a function that is not built in.
    fn user_call(&mut self, function: Arc<UserFunction>, offset: usize) -> Result<Expr, FilterError> {
        self.advance()?;
        self.expect_symbol("(", "'('")?;
        let mut arguments = Vec::new();
        if self.token != Token::Symbol(")") {
            arguments.push(self.expression()?);
            while self.take_symbol(",")? {
                arguments.push(self.expression()?);
            }
        }
        self.expect_symbol(")", "',' or ')'")?;
        let (least, most) = (function.arity.unwrap_or(0), function.arity.unwrap_or(usize::MAX));
        if !(least..=most).contains(&arguments.len()) {
            let (name, found) = (function.name.clone(), arguments.len());
            return Err(FilterError::ArgumentCount { offset, name, expected: arity(least, most), found });
        }
        Ok(Expr::User { function, arguments })
    }

    fn call(&mut self, signature: &'static Signature, offset: usize) -> Result<Expr, FilterError> {
        let takes_pattern = matches!(signature.function, Function::RegexpMatch | Function::RegexpReplace);
        self.expect_symbol("(", "'('")?;
        let mut arguments = Vec::new();
        let mut pattern = None;
        if self.token != Token::Symbol(")") {
            loop {
                if takes_pattern && arguments.len() == 1 && pattern.is_none() {
                    pattern = Some(self.pattern()?);
                } else {
                    arguments.push(self.expression()?);
                }
                if !self.take_symbol(",")? {
                    break;
                }
            }
        }
        self.expect_symbol(")", "',' or ')'")?;
        let found = arguments.len() + usize::from(pattern.is_some());
        if !(signature.least..=signature.most).contains(&found) {
            let (name, expected) = (signature.name.to_owned(), arity(signature.least, signature.most));
            return Err(FilterError::ArgumentCount { offset, name, expected, found });
        }
        let function = signature.function;
        if let Some(text) = self.language.constant(function) {
            return Ok(Expr::Literal(Field::string(text.as_bytes().to_vec())));
        }
        let Some(pattern) = pattern else { return Ok(Expr::Call { function, arguments }) };
        let mut arguments = arguments.into_iter().map(Box::new);
        Ok(match (arguments.next(), arguments.next()) {
            (Some(subject), Some(replacement)) => Expr::RegexpReplace { subject, pattern, replacement },
            (Some(subject), None) => Expr::RegexpMatch { subject, pattern },
            (None, _) => Expr::Literal(Field::NULL),
        })
    }
}

/// Words that are never the name of a function.
pub(super) fn is_keyword(name: &str) -> bool {
    [
        "NULL", "TRUE", "FALSE", "AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "BEGINS", "ENDS", "WITH", "IS",
        "NAN", "MOD", "OF",
    ]
    .iter()
    .any(|keyword| keyword.eq_ignore_ascii_case(name))
}

/// The number of arguments in words.
fn arity(least: usize, most: usize) -> String {
    let plural = |count: usize| if count == 1 { "argument" } else { "arguments" };
    match (least, most) {
        (0, 0) => String::from("no argument"),
        (least, usize::MAX) => format!("at least {least} {}", plural(least)),
        (least, most) if least == most => format!("{least} {}", plural(least)),
        (least, most) => format!("{least} to {most} arguments"),
    }
}
