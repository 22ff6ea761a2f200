//! The expression language against a second evaluator: a naive one, written from the rules
//! alone, over the values of a general JSON library.

use amps_testkit::filter::{Context, Filter, JsonDocument, evaluate};
use proptest::prelude::*;
use serde_json::Value as Json;

/// A small part of the language.
#[derive(Clone, Debug)]
enum Expr {
    Path(Vec<&'static str>),
    Number(f64),
    Text(&'static str),
    Null,
    Arithmetic(Box<Self>, char, Box<Self>),
    Compare(Box<Self>, &'static str, Box<Self>),
    In(Box<Self>, Vec<Self>),
    Between(Box<Self>, Box<Self>, Box<Self>),
    Begins(Box<Self>, &'static str),
    IsNull(Box<Self>),
    Not(Box<Self>),
    Logic(Box<Self>, bool, Box<Self>),
}

impl Expr {
    fn text(&self) -> String {
        match self {
            Self::Path(steps) => format!("/{}", steps.join("/")),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => format!("'{text}'"),
            Self::Null => "NULL".into(),
            Self::Arithmetic(left, operator, right) => {
                format!("({}) {operator} ({})", left.text(), right.text())
            }
            Self::Compare(left, operator, right) => {
                format!("({}) {operator} ({})", left.text(), right.text())
            }
            Self::In(subject, members) => {
                let members: Vec<String> = members.iter().map(Self::text).collect();
                format!("({}) IN ({})", subject.text(), members.join(", "))
            }
            Self::Between(subject, low, high) => {
                format!("({}) BETWEEN ({}) AND ({})", subject.text(), low.text(), high.text())
            }
            Self::Begins(subject, prefix) => format!("({}) BEGINS WITH ('{prefix}')", subject.text()),
            Self::IsNull(operand) => format!("({}) IS NULL", operand.text()),
            Self::Not(operand) => format!("NOT ({})", operand.text()),
            Self::Logic(left, or, right) => {
                format!("({}) {} ({})", left.text(), if *or { "OR" } else { "AND" }, right.text())
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Naive {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
}

impl Naive {
    fn of_text(text: &str) -> Self {
        if text.is_empty() { Self::Null } else { Self::Text(text.to_owned()) }
    }

    /// The number, NaN if it is none; nothing for NULL.
    fn number(&self) -> Option<f64> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            Self::Number(number) => Some(*number),
            Self::Text(text) => Some(text.trim().parse().unwrap_or(f64::NAN)),
        }
    }

    fn truth(&self) -> Option<bool> {
        self.number().map(|number| number != 0.0 && !number.is_nan())
    }

    fn written(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text.clone()),
            other => other.number().map(|number| number.to_string()),
        }
    }
}

/// Every value at a path; arrays are looked through wherever they are.
fn gather(value: &Json, steps: &[&str], found: &mut Vec<Naive>) {
    match (value, steps) {
        (Json::Array(elements), _) => elements.iter().for_each(|element| gather(element, steps, found)),
        (Json::Object(members), [first, rest @ ..]) => {
            if let Some(member) = members.get(*first) {
                gather(member, rest, found);
            }
        }
        (Json::Null, []) => found.push(Naive::Null),
        (Json::Bool(value), []) => found.push(Naive::Bool(*value)),
        (Json::Number(number), []) => found.push(Naive::Number(number.as_f64().unwrap())),
        (Json::String(text), []) => found.push(Naive::of_text(text)),
        _ => {}
    }
}

fn values(expr: &Expr, document: &Json) -> Vec<Naive> {
    if let Expr::Path(steps) = expr {
        let mut found = Vec::new();
        gather(document, steps, &mut found);
        return found;
    }
    vec![value(expr, document)]
}

fn truth(known: Option<bool>) -> Naive {
    known.map_or(Naive::Null, Naive::Bool)
}

fn value(expr: &Expr, document: &Json) -> Naive {
    match expr {
        Expr::Path(_) => values(expr, document).into_iter().next().unwrap_or(Naive::Null),
        Expr::Number(number) => Naive::Number(*number),
        Expr::Text(text) => Naive::of_text(text),
        Expr::Null => Naive::Null,
        Expr::Arithmetic(left, operator, right) => {
            let operands = (value(left, document).number(), value(right, document).number());
            let (Some(left), Some(right)) = operands else { return Naive::Null };
            Naive::Number(match operator {
                '+' => left + right,
                '-' => left - right,
                _ => left * right,
            })
        }
        Expr::Compare(left, operator, right) => {
            Naive::Bool(any_pair(&values(left, document), operator, &values(right, document)))
        }
        Expr::In(subject, members) => {
            let subject = values(subject, document);
            Naive::Bool(members.iter().any(|member| any_pair(&subject, "=", &values(member, document))))
        }
        Expr::Between(subject, low, high) => {
            let (low, high) = (values(low, document), values(high, document));
            Naive::Bool(values(subject, document).into_iter().any(|element| {
                let element = [element];
                any_pair(&element, ">=", &low) && any_pair(&element, "<=", &high)
            }))
        }
        Expr::Begins(subject, prefix) => {
            let mut texts = values(subject, document).into_iter().filter_map(|value| value.written());
            Naive::Bool(!prefix.is_empty() && texts.any(|text| text.starts_with(prefix)))
        }
        Expr::IsNull(operand) => Naive::Bool(value(operand, document) == Naive::Null),
        Expr::Not(operand) => truth(value(operand, document).truth().map(|truth| !truth)),
        Expr::Logic(left, or, right) => truth(match value(left, document).truth() {
            None => None,
            Some(left) if left == *or => Some(left),
            Some(_) => value(right, document).truth(),
        }),
    }
}

fn any_pair(left: &[Naive], operator: &str, right: &[Naive]) -> bool {
    left.iter().any(|left| right.iter().any(|right| holds(left, operator, right)))
}

fn holds(left: &Naive, operator: &str, right: &Naive) -> bool {
    let order = match (left, right) {
        (Naive::Text(left), Naive::Text(right)) => Some(left.cmp(right)),
        _ => match (left.number(), right.number()) {
            (None, _) | (_, None) => None,
            (Some(one), Some(two)) => match (left, right) {
                // A string that is no number is greater than every number.
                (Naive::Text(_), _) if one.is_nan() && !two.is_nan() => Some(std::cmp::Ordering::Greater),
                (_, Naive::Text(_)) if two.is_nan() && !one.is_nan() => Some(std::cmp::Ordering::Less),
                _ => one.partial_cmp(&two),
            },
        },
    };
    order.is_some_and(|order| match operator {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    })
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const TEXTS: [&str; 8] = ["", "x", "y", "1", "01", "2.5", " 1 ", "1x"];

fn document() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-2..3_i64).prop_map(Json::from),
        prop::sample::select(vec![0.5, 2.5, -1.5]).prop_map(Json::from),
        prop::sample::select(&TEXTS[..]).prop_map(Json::from),
    ];
    let value = leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(prop::sample::select(&NAMES[..]), inner, 0..3).prop_map(object),
        ]
    });
    prop::collection::btree_map(prop::sample::select(&NAMES[..]), value, 0..4).prop_map(object)
}

fn object(members: std::collections::BTreeMap<&str, Json>) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn expression() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        4 => prop::collection::vec(prop::sample::select(&NAMES[..]), 1..3).prop_map(Expr::Path),
        1 => (0..3_u8).prop_map(|number| Expr::Number(f64::from(number))),
        1 => Just(Expr::Number(2.5)),
        1 => prop::sample::select(&TEXTS[..]).prop_map(Expr::Text),
        1 => Just(Expr::Null),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let of = || inner.clone().prop_map(Box::new);
        let operator = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
        prop_oneof![
            3 => (of(), operator, of()).prop_map(|(left, operator, right)| Expr::Compare(left, operator, right)),
            1 => (of(), prop::sample::select(vec!['+', '-', '*']), of())
                .prop_map(|(left, operator, right)| Expr::Arithmetic(left, operator, right)),
            1 => (of(), prop::collection::vec(inner.clone(), 1..3))
                .prop_map(|(subject, members)| Expr::In(subject, members)),
            1 => (of(), of(), of()).prop_map(|(subject, low, high)| Expr::Between(subject, low, high)),
            1 => (of(), prop::sample::select(&TEXTS[..])).prop_map(|(of, prefix)| Expr::Begins(of, prefix)),
            1 => of().prop_map(Expr::IsNull),
            1 => of().prop_map(Expr::Not),
            2 => (of(), any::<bool>(), of()).prop_map(|(left, or, right)| Expr::Logic(left, or, right)),
        ]
    })
}

proptest! {
    #[test]
    fn both_evaluators_agree(expr in expression(), document in document()) {
        let text = expr.text();
        let body = document.to_string();
        let filter = Filter::parse(&text).unwrap();
        let (json, context) = (JsonDocument::new(body.as_bytes()), Context::default());
        let expected = value(&expr, &document);
        prop_assert_eq!(evaluate(&filter, &json, &context).truth(), expected.truth(), "{} of {}", text, body);
        prop_assert_eq!(filter.matches(&json, &context), expected.truth() == Some(true), "{} of {}", text, body);
    }
}
