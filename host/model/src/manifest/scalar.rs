//! What a plain scalar means: YAML 1.2's core schema, <https://yaml.org/spec/1.2.2/#103-core-schema>. So `no`,
//! `off` and `1:30` are texts, as people expect.

use serde_json::{Map, Number, Value};

use super::suggest::quoted;
use super::tree::{Node, Tree};
use crate::diagnostics::Diagnostic;

/// The value of a plain scalar, or why JSON has none for it.
pub(super) fn meaning(text: &str) -> Result<Value, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err("is not a finite number");
    }
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).map(Value::from);
    let all = |digits: &str, is: fn(&char) -> bool| !digits.is_empty() && digits.chars().all(|c| is(&c));
    if let Some(digits) = text.strip_prefix("0x").filter(|digits| all(digits, char::is_ascii_hexdigit)) {
        return radix(digits, 16).map_err(|_| TOO_LARGE);
    }
    if let Some(digits) = text.strip_prefix("0o").filter(|digits| all(digits, |c| matches!(c, '0'..='7'))) {
        return radix(digits, 8).map_err(|_| TOO_LARGE);
    }
    if all(unsigned, char::is_ascii_digit) {
        let text = text.strip_prefix('+').unwrap_or(text);
        let signed = text.parse::<i64>().map(Value::from);
        return signed.or_else(|_| text.parse::<u64>().map(Value::from)).map_err(|_| TOO_LARGE);
    }
    if is_float(unsigned) {
        let float = text.parse::<f64>().ok().and_then(Number::from_f64);
        return float.map(Value::Number).ok_or(TOO_LARGE);
    }
    Ok(Value::String(text.to_owned()))
}

/// The whole value as JSON; what has no form in JSON is reported and becomes null.
pub(super) fn json(node: &Node, problems: &mut Vec<Diagnostic>) -> Value {
    match &*node.tree {
        Tree::Scalar { text, plain: false } => Value::String(text.clone()),
        Tree::Scalar { text, plain: true } => meaning(text).unwrap_or_else(|why| {
            let diagnostic = Diagnostic::new("manifest::number", format!("{} {why}", quoted(text)));
            problems.push(diagnostic.label(node.span, "").help("put it in quotes to hand it on as a text"));
            Value::Null
        }),
        Tree::List(items) => items.iter().map(|item| json(item, problems)).collect(),
        Tree::Map(entries) => {
            let pairs = entries.iter().map(|entry| (entry.key.to_string(), json(&entry.value, problems)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

/// What a value is, in words.
pub(super) fn described(node: &Node) -> String {
    match &*node.tree {
        Tree::List(_) => "a list".to_owned(),
        Tree::Map(_) => "a map".to_owned(),
        Tree::Scalar { text, plain } => match meaning(text) {
            _ if !plain => format!("the text {}", quoted(text)),
            Ok(Value::Null) => "nothing".to_owned(),
            Ok(Value::Bool(_)) => format!("the truth value {}", quoted(text)),
            Ok(Value::String(_)) => format!("the text {}", quoted(text)),
            _ => format!("the number {}", quoted(text)),
        },
    }
}

const TOO_LARGE: &str = "is too large a number";

/// `[0-9]+ ( \. [0-9]* )? | \. [0-9]+`, then `( [eE] [-+]? [0-9]+ )?`.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    mantissa_fits && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_mean_what_the_core_schema_says() {
        let cases = [
            ("", json!(null)),
            ("~", json!(null)),
            ("true", json!(true)),
            ("yes", json!("yes")),
            ("no", json!("no")),
            ("12", json!(12)),
            ("+12", json!(12)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551615", json!(u64::MAX)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("017", json!(17)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("-1.5E-2", json!(-0.015)),
            ("1.2.3", json!("1.2.3")),
            ("1_000", json!("1_000")),
            (".", json!(".")),
            ("-", json!("-")),
            ("e5", json!("e5")),
            ("0x", json!("0x")),
            ("12:30", json!("12:30")),
            ("infinity", json!("infinity")),
            ("nan", json!("nan")),
        ];
        for (text, expected) in cases {
            assert_eq!(meaning(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn numbers_without_a_form_in_json_are_refused() {
        for text in [".nan", "-.inf", "1e999", "18446744073709551616", "0xFFFFFFFFFFFFFFFFF"] {
            assert!(meaning(text).is_err(), "{text:?}");
        }
    }
}
