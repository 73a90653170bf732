//! What is wrong with an expression is said in words, with the key of the config and the place underlined.

use conveyor_sdk::{Field, Fields, Kind};
use expr::{Expression, Names, TableScope, Wish};

fn refusal(text: &str) -> String {
    let fields = Fields::new([
        Field::new("amount", Kind::F64s),
        Field::new("country", Kind::Texts),
        Field::new("open", Kind::Bools),
        Field::new("at", Kind::Times),
        Field::new("ship to", Kind::Texts),
    ]);
    let mut scope = TableScope::new(&fields);
    let checked = Expression::parse("where", text, Names::Columns)
        .and_then(|expression| expression.check(&mut scope, Wish::Condition));
    match checked {
        Err(failure) => failure.message().to_owned(),
        Ok(program) => panic!("`{text}` is taken, as {:?}", program.kind()),
    }
}

#[test]
fn the_place_is_underlined() {
    for (text, wanted) in [
        (
            "amout > 100 and open",
            "config: `where`: no column `amout` comes in; did you mean `amount`?\n  amout > 100 and open\n  ^^^^^",
        ),
        (
            "amount > 100 and country > 5",
            "config: `where`: a text and an integer cannot be compared\n  amount > 100 and country > 5\n                   ^^^^^^^^^^^",
        ),
        (
            "region == 'x'",
            "config: `where`: no column `region` comes in; there are: amount, country, open, at, ship to\n  region == 'x'\n  ^^^^^^",
        ),
        (
            "open and\nlower(amount) == 'x'\nand open",
            "config: `where`: a text is wanted here, and this is a number\n  lower(amount) == 'x'\n        ^^^^^^",
        ),
        (
            "contains(country)",
            "config: `where`: `contains` takes 2 arguments, and 1 argument is given here\n  contains(country)\n  ^^^^^^^^^^^^^^^^^",
        ),
        (
            "start_with(country, 'ü')",
            "config: `where`: there is no function `start_with`; did you mean `starts_with`?\n  start_with(country, 'ü')\n  ^^^^^^^^^^",
        ),
        (
            "amount + 1",
            "config: `where`: a condition, true or false, is wanted, and this is a number\n  amount + 1\n  ^^^^^^^^^^",
        ),
        (
            "country == 'ü' and 'x",
            "config: `where`: this text has no end: a closing `'` is missing\n  country == 'ü' and 'x\n                     ^^",
        ),
        (
            "amount > 1 && open",
            "config: `where`: `&&` is not known; write `and`\n  amount > 1 && open\n             ^^",
        ),
        (
            "at > '2024-13-01'",
            "config: `where`: `2024-13-01` is not a timestamp such as 2024-12-31T23:59:59Z, nor a date such as 2024-12-31\n  at > '2024-13-01'\n       ^^^^^^^^^^^^",
        ),
        (
            "amount >",
            "config: `where`: found the end where a column, a value or `(` should be\n  amount >\n          ^",
        ),
        ("", "config: `where`: the expression is empty\n  \n  ^"),
    ] {
        assert_eq!(refusal(text), wanted, "{text}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (text, part) in [
        ("amount > 1 amount", "found `amount` where an operator or the end should be"),
        ("(amount > 1", "found the end where `)` should be"),
        ("amount > 1)", "found `)` where an operator or the end should be"),
        ("1 < amount < 3", "comparisons cannot be chained"),
        ("amount in ()", "at least one value"),
        ("amount in (1, 'x')", "a number and a text cannot be compared"),
        ("amount not 5", "found `5` where `in`, `between` or `like` should be"),
        ("amount is 5", "found `5` where `null` or `not null` should be"),
        ("amount between 1 or 2", "the upper end of `between`"),
        ("country like amount", "has to be a text that is written out"),
        ("not amount", "a condition, true or false, is wanted"),
        ("open and country", "a condition, true or false, is wanted, and this is a text"),
        ("amount > 99999999999999999999", "is not a number that can be written"),
        ("amount > 1x", "is not a number that can be written"),
        ("amount > 1e999", "is not a number that can be written"),
        ("amount ? 1", "`?` means nothing here"),
        ("amount > 9223372036854775807 + 1", "beyond the range of 64-bit integers"),
        ("country + 1 > 2", "a number is wanted here, and this is a text"),
        ("case open then 1 end", "found `open` where `when` should be"),
        ("if(open, 1, 'x') == 1", "cannot be given for one another"),
        ("open > 1", "a truth value and an integer cannot be compared"),
        ("`ship to` = 5", "a text and an integer cannot be compared"),
        ("nothing(1)", "there is no function `nothing`"),
    ] {
        let message = refusal(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = format!("{}open{}", "(".repeat(5000), ")".repeat(5000));
    assert!(refusal(&deep).contains("nested deeper than 100 levels"), "parentheses");
    assert!(refusal(&format!("{}open", "not ".repeat(5000))).contains("nested deeper"), "not");
    assert!(refusal(&format!("1{} > 2", " + 1".repeat(5000))).contains("nested deeper"), "a sum");
    assert!(refusal(&format!("amount > {}", "-".repeat(5000))).contains("should be"), "signs");
    assert!(refusal(&" ".repeat(70_000)).contains("longer than 65536 bytes"));
}

#[test]
fn names_in_quotes_and_long_lists_are_taken() {
    let fields = Fields::new([
        Field::new("ship to", Kind::Texts),
        Field::new("n", Kind::S64s),
        Field::new("in", Kind::S64s),
    ]);
    let many = format!("n in ({})", (0..2000).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    let ors = vec!["n == 1"; 2000].join(" or ");
    for text in ["\"ship to\" == 'x'", "`ship to` == 'it''s'", "\"in\" in (1, 2)", &many, &ors] {
        let mut scope = TableScope::new(&fields);
        let checked = Expression::parse("where", text, Names::Columns)
            .and_then(|expression| expression.check(&mut scope, Wish::Condition));
        assert!(checked.is_ok(), "{text}: {checked:?}");
    }
}
