//! The words of an expression.

use crate::error::{Located, Problem, Result, Span};

/// How columns are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// `amount`, `"ship to"`.
    Columns,
    /// `/user/country`, `"/a b/c"`: JSON pointers.
    Pointers,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A name or a keyword.
    Word(String),
    /// A name in quotes, or a pointer: never a keyword.
    Name(String),
    Int(i64),
    Float(f64),
    Text(String),
    Symbol(&'static str),
    End,
}

/// Longer ones first, so that `<=` is not `<`.
const SYMBOLS: [&str; 18] =
    ["<=", ">=", "==", "!=", "<>", "||", "&&", "=", "<", ">", "(", ")", ",", "+", "-", "*", "/", "%"];

pub fn tokens(text: &str, names: Names) -> Result<Vec<(Token, Span)>> {
    let mut lexer = Lexer { text, at: 0, names, operand: true };
    let mut tokens = Vec::new();
    loop {
        let (token, span) = lexer.next()?;
        lexer.operand = !ends_operand(&token);
        let done = token == Token::End;
        tokens.push((token, span));
        if done {
            return Ok(tokens);
        }
    }
}

/// Whether an operator may follow, so that a `/` is a division and not the start of a pointer.
fn ends_operand(token: &Token) -> bool {
    const OPERATORS: [&str; 12] =
        ["and", "or", "not", "in", "is", "between", "like", "ilike", "case", "when", "then", "else"];
    match token {
        Token::Word(word) => !OPERATORS.iter().any(|operator| word.eq_ignore_ascii_case(operator)),
        Token::Symbol(symbol) => *symbol == ")",
        _ => true,
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    names: Names,
    operand: bool,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<(Token, Span)> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        let start = self.at;
        let rest = &self.text[start..];
        let Some(first) = rest.chars().next() else {
            return Ok((Token::End, Span::new(start, start)));
        };
        let token = match first {
            '\'' => Token::Text(self.quoted('\'', "text")?),
            '"' | '`' => Token::Name(self.quoted(first, "name")?),
            '/' if self.operand && self.names == Names::Pointers => self.pointer(),
            '0'..='9' => self.number()?,
            '.' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => self.number()?,
            first if first.is_alphabetic() || first == '_' => self.word(),
            first => self.symbol(first)?,
        };
        Ok((token, Span::new(start, self.at)))
    }

    fn quoted(&mut self, quote: char, what: &'static str) -> Result<String> {
        let start = self.at;
        let mut value = String::new();
        let mut rest = self.text[start..].char_indices().skip(1).peekable();
        while let Some((index, found)) = rest.next() {
            if found != quote {
                value.push(found);
            } else if rest.next_if(|(_, next)| *next == quote).is_some() {
                value.push(quote);
            } else {
                self.at = start + index + 1;
                return Ok(value);
            }
        }
        Err(Problem::Unterminated { what, quote }.at(Span::new(start, self.text.len())))
    }

    fn word(&mut self) -> Token {
        Token::Word(self.take(|found| found.is_alphanumeric() || found == '_').to_owned())
    }

    fn pointer(&mut self) -> Token {
        let part = |found: char| found.is_alphanumeric() || "/_-.~@$:#".contains(found);
        Token::Name(self.take(part).to_owned())
    }

    fn number(&mut self) -> Result<Token> {
        let start = self.at;
        let mut before = ' ';
        let digits = self.take(|found| {
            let exponent_sign = matches!(found, '+' | '-') && matches!(before, 'e' | 'E');
            before = found;
            found.is_alphanumeric() || found == '_' || found == '.' || exponent_sign
        });
        let plain = digits.replace('_', "");
        let is_integer = plain.bytes().all(|byte| byte.is_ascii_digit());
        let token = if is_integer {
            plain.parse().map(Token::Int).ok()
        } else {
            plain.parse().map(Token::Float).ok()
        };
        let finite = |token: &Token| !matches!(token, Token::Float(value) if !value.is_finite());
        let bad = |text: &str| -> Located {
            Problem::Number(text.to_owned()).at(Span::new(start, start + text.len()))
        };
        token.filter(finite).ok_or_else(|| bad(digits))
    }

    fn symbol(&mut self, first: char) -> Result<Token> {
        let rest = &self.text[self.at..];
        let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) else {
            return Err(Problem::Character(first).at(Span::new(self.at, self.at + first.len_utf8())));
        };
        self.at += symbol.len();
        Ok(Token::Symbol(symbol))
    }

    fn take(&mut self, mut part: impl FnMut(char) -> bool) -> &str {
        let rest = &self.text[self.at..];
        let taken = &rest[..rest.find(|found| !part(found)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }
}
