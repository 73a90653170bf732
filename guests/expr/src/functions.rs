//! The functions that an expression can call, and how many arguments each takes.

/// What the evaluator knows. What is a conversion or a choice has a node of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Lower,
    Upper,
    Trim,
    Length,
    StartsWith,
    EndsWith,
    Contains,
    Replace,
    Substr,
    Concat,
    Abs,
    Round,
    Floor,
    Ceil,
    Year,
    Month,
    Day,
    Hour,
    Weekday,
}

/// What a name in an expression calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    Function(Function),
    Coalesce,
    If,
    NullIf,
    ToText,
    ToInt,
    ToFloat,
    ToBool,
    Timestamp,
    Date,
}

#[derive(Debug, Clone, Copy)]
pub struct Signature {
    pub name: &'static str,
    pub called: Called,
    pub least: usize,
    pub most: usize,
}

const MANY: usize = usize::MAX;

const fn function(name: &'static str, function: Function, least: usize, most: usize) -> Signature {
    Signature { name, called: Called::Function(function), least, most }
}

const fn special(name: &'static str, called: Called, least: usize, most: usize) -> Signature {
    Signature { name, called, least, most }
}

pub const SIGNATURES: [Signature; 30] = [
    function("abs", Function::Abs, 1, 1),
    special("bool", Called::ToBool, 1, 1),
    function("ceil", Function::Ceil, 1, 1),
    special("coalesce", Called::Coalesce, 1, MANY),
    function("concat", Function::Concat, 1, MANY),
    function("contains", Function::Contains, 2, 2),
    special("date", Called::Date, 1, 1),
    function("day", Function::Day, 1, 1),
    function("ends_with", Function::EndsWith, 2, 2),
    special("float", Called::ToFloat, 1, 1),
    function("floor", Function::Floor, 1, 1),
    function("hour", Function::Hour, 1, 1),
    special("if", Called::If, 3, 3),
    special("int", Called::ToInt, 1, 1),
    function("length", Function::Length, 1, 1),
    function("lower", Function::Lower, 1, 1),
    function("month", Function::Month, 1, 1),
    special("nullif", Called::NullIf, 2, 2),
    special("number", Called::ToFloat, 1, 1),
    function("replace", Function::Replace, 3, 3),
    function("round", Function::Round, 1, 2),
    function("starts_with", Function::StartsWith, 2, 2),
    function("substr", Function::Substr, 2, 3),
    function("substring", Function::Substr, 2, 3),
    special("text", Called::ToText, 1, 1),
    special("timestamp", Called::Timestamp, 1, 1),
    function("trim", Function::Trim, 1, 1),
    function("upper", Function::Upper, 1, 1),
    function("weekday", Function::Weekday, 1, 1),
    function("year", Function::Year, 1, 1),
];

pub fn find(name: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|signature| signature.name.eq_ignore_ascii_case(name))
}

impl Signature {
    pub fn takes(&self) -> String {
        match (self.least, self.most) {
            (least, MANY) => format!("at least {}", counted(least)),
            (least, most) if least == most => counted(least),
            (least, most) => format!("{least} to {most} arguments"),
        }
    }
}

pub fn counted(count: usize) -> String {
    if count == 1 { "1 argument".to_owned() } else { format!("{count} arguments") }
}
