//! From text to tree, by precedence climbing: `or`, `and`, `not`, comparisons and tests, `||`, sums, products,
//! signs.

use conveyor_sdk::Failure;

use crate::ast::{Comparison, Logic, Operator, Tree, What};
use crate::error::{Located, Problem, Result, Span};
use crate::lex::{Names, Token, tokens};
use crate::scalar::Scalar;
use crate::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX};

/// An expression that was read, and where it stood.
#[derive(Debug, Clone)]
pub struct Expression {
    key: String,
    text: String,
    pub(crate) tree: Tree,
}

impl Expression {
    /// Reads the text that stood in the config under `key`.
    pub fn parse(key: &str, text: &str, names: Names) -> std::result::Result<Self, Failure> {
        let tree = parse(text, names).map_err(|error| error.failure(key, text))?;
        Ok(Expression { key: key.to_owned(), text: text.to_owned(), tree })
    }

    /// The column, where the expression is nothing but one.
    pub fn as_column(&self) -> Option<&str> {
        match &self.tree.what {
            What::Column(name) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn failure(&self, error: &Located) -> Failure {
        error.failure(&self.key, &self.text)
    }
}

pub fn parse(text: &str, names: Names) -> Result<Tree> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(Problem::TooLong { max: EXPRESSION_BYTES_MAX }.at(Span::new(0, 1)));
    }
    if text.trim().is_empty() {
        return Err(Problem::Empty.at(Span::new(0, 0)));
    }
    let mut parser = Parser { tokens: tokens(text, names)?, at: 0, open: 0, names };
    let tree = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(tree),
        _ => Err(parser.unexpected("an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<(Token, Span)>,
    at: usize,
    /// Parentheses, calls and prefixes that are open: what the parser's own stack hangs on.
    open: u16,
    names: Names,
}

impl Parser {
    fn expression(&mut self) -> Result<Tree> {
        self.open += 1;
        if self.open > EXPRESSION_DEPTH_MAX {
            return Err(Problem::TooDeep { max: EXPRESSION_DEPTH_MAX }.at(self.span()));
        }
        let tree = self.logic(Logic::Or);
        self.open -= 1;
        tree
    }

    fn logic(&mut self, logic: Logic) -> Result<Tree> {
        let keyword = if logic == Logic::Or { "or" } else { "and" };
        let mut parts = vec![self.logic_part(logic)?];
        while self.take_word(keyword) {
            parts.push(self.logic_part(logic)?);
        }
        if let Token::Symbol("&&") = self.peek() {
            return Err(Problem::OtherSyntax { written: "&&".into(), instead: "and" }.at(self.span()));
        }
        match parts.len() {
            1 => Ok(parts.remove(0)),
            last => tree(parts[0].span.to(parts[last - 1].span), What::Logic(logic, parts)),
        }
    }

    fn logic_part(&mut self, logic: Logic) -> Result<Tree> {
        match logic {
            Logic::Or => self.logic(Logic::And),
            Logic::And => self.not(),
        }
    }

    fn not(&mut self) -> Result<Tree> {
        let (mut starts, at) = (Vec::new(), self.at);
        while self.is_word("not") {
            starts.push(self.span());
            self.at += 1;
        }
        if starts.len() > usize::from(EXPRESSION_DEPTH_MAX) {
            return Err(Problem::TooDeep { max: EXPRESSION_DEPTH_MAX }.at(self.tokens[at].1));
        }
        let mut inner = self.comparison()?;
        for start in starts.into_iter().rev() {
            inner = tree(start.to(inner.span), What::Not(Box::new(inner)))?;
        }
        Ok(inner)
    }

    fn comparison(&mut self) -> Result<Tree> {
        let left = self.sum()?;
        if let Some(comparison) = self.take_comparison() {
            let right = self.sum()?;
            if self.take_comparison().is_some() {
                self.at -= 1;
                return Err(self.unexpected("`and` or `or` (comparisons cannot be chained)"));
            }
            return tree(
                left.span.to(right.span),
                What::Compare(comparison, Box::new(left), Box::new(right)),
            );
        }
        if self.take_word("is") {
            let negated = self.take_word("not");
            let end = self.span();
            if !self.take_word("null") {
                return Err(self.unexpected("`null` or `not null`"));
            }
            return tree(left.span.to(end), What::IsNull { value: Box::new(left), negated });
        }
        let before = self.at;
        let negated = self.take_word("not");
        if self.take_word("in") {
            return self.in_list(left, negated);
        }
        if self.take_word("between") {
            let low = self.sum()?;
            if !self.take_word("and") {
                return Err(self.unexpected("`and` and the upper end of `between`"));
            }
            let high = self.sum()?;
            let span = left.span.to(high.span);
            let (value, low, high) = (Box::new(left), Box::new(low), Box::new(high));
            return tree(span, What::Between { value, low, high, negated });
        }
        for (keyword, any_case) in [("like", false), ("ilike", true)] {
            if self.take_word(keyword) {
                let pattern = Box::new(self.sum()?);
                let span = left.span.to(pattern.span);
                return tree(span, What::Like { value: Box::new(left), pattern, negated, any_case });
            }
        }
        if negated {
            self.at = before + 1;
            return Err(self.unexpected("`in`, `between` or `like`"));
        }
        Ok(left)
    }

    fn in_list(&mut self, value: Tree, negated: bool) -> Result<Tree> {
        self.symbol("(", "`(` and a list")?;
        let (list, end) = self.list()?;
        if list.is_empty() {
            return Err(Problem::Unexpected { found: "`)`".into(), wanted: "at least one value" }.at(end));
        }
        tree(value.span.to(end), What::In { value: Box::new(value), list, negated })
    }

    fn sum(&mut self) -> Result<Tree> {
        let mut left = self.product()?;
        loop {
            let operator = match self.peek() {
                Token::Symbol("+") => Some(Operator::Add),
                Token::Symbol("-") => Some(Operator::Subtract),
                Token::Symbol("||") => None,
                _ => return Ok(left),
            };
            let name_span = self.span();
            self.at += 1;
            let right = self.product()?;
            let span = left.span.to(right.span);
            left = match operator {
                Some(operator) => tree(span, What::Arithmetic(operator, Box::new(left), Box::new(right)))?,
                None => {
                    tree(span, What::Call { name: "concat".into(), name_span, arguments: vec![left, right] })?
                }
            };
        }
    }

    fn product(&mut self) -> Result<Tree> {
        let mut left = self.sign()?;
        loop {
            let operator = match self.peek() {
                Token::Symbol("*") => Operator::Multiply,
                Token::Symbol("/") => Operator::Divide,
                Token::Symbol("%") => Operator::Remainder,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.sign()?;
            left =
                tree(left.span.to(right.span), What::Arithmetic(operator, Box::new(left), Box::new(right)))?;
        }
    }

    fn sign(&mut self) -> Result<Tree> {
        let start = self.span();
        if self.take_symbol("+") {
            return self.operand();
        }
        if !self.take_symbol("-") {
            return self.operand();
        }
        let inner = self.operand()?;
        let span = start.to(inner.span);
        match inner.what {
            What::Literal(Scalar::Int(value)) => tree(span, What::Literal(Scalar::Int(-value))),
            What::Literal(Scalar::Float(value)) => tree(span, What::Literal(Scalar::Float(-value))),
            _ => tree(span, What::Negate(Box::new(inner))),
        }
    }

    fn operand(&mut self) -> Result<Tree> {
        let (token, span) = self.tokens[self.at].clone();
        let what = match token {
            Token::Int(value) => What::Literal(Scalar::Int(value)),
            Token::Float(value) => What::Literal(Scalar::Float(value)),
            Token::Text(text) => What::Literal(Scalar::Text(text.into())),
            Token::Name(name) => {
                if self.names == Names::Pointers && !name.is_empty() && !name.starts_with('/') {
                    return Err(Problem::Pointer(name).at(span));
                }
                What::Column(name)
            }
            Token::Symbol("(") => {
                self.at += 1;
                let inner = self.expression()?;
                let end = self.span();
                self.symbol(")", "`)`")?;
                return Ok(Tree { span: span.to(end), ..inner });
            }
            Token::Word(word) => return self.word(word, span),
            _ => return Err(self.unexpected("a column, a value or `(`")),
        };
        self.at += 1;
        tree(span, what)
    }

    fn word(&mut self, word: String, span: Span) -> Result<Tree> {
        const RESERVED: [&str; 13] =
            ["and", "or", "not", "in", "is", "between", "like", "ilike", "when", "then", "else", "end", "as"];
        let lower = word.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) {
            return Err(self.unexpected("a column, a value or `(`"));
        }
        self.at += 1;
        match (lower.as_str(), self.peek()) {
            ("true", _) => return tree(span, What::Literal(Scalar::Bool(true))),
            ("false", _) => return tree(span, What::Literal(Scalar::Bool(false))),
            ("null", _) => return tree(span, What::Literal(Scalar::Null)),
            ("case", _) => return self.case(span),
            ("timestamp" | "date", Token::Text(_)) => {
                let argument = self.operand()?;
                let whole = span.to(argument.span);
                return tree(whole, What::Call { name: lower, name_span: span, arguments: vec![argument] });
            }
            (_, Token::Symbol("(")) => {
                self.at += 1;
                let (arguments, end) = self.list()?;
                return tree(span.to(end), What::Call { name: word, name_span: span, arguments });
            }
            _ => {}
        }
        match self.names {
            Names::Columns => tree(span, What::Column(word)),
            Names::Pointers => Err(Problem::Pointer(word).at(span)),
        }
    }

    fn case(&mut self, start: Span) -> Result<Tree> {
        let (mut whens, mut otherwise) = (Vec::new(), None);
        while self.take_word("when") {
            let condition = self.expression()?;
            if !self.take_word("then") {
                return Err(self.unexpected("`then`"));
            }
            whens.push((condition, self.expression()?));
        }
        if whens.is_empty() {
            return Err(self.unexpected("`when`"));
        }
        if self.take_word("else") {
            otherwise = Some(Box::new(self.expression()?));
        }
        let end = self.span();
        if !self.take_word("end") {
            return Err(self.unexpected("`when`, `else` or `end`"));
        }
        tree(start.to(end), What::Case { whens, otherwise })
    }

    /// Up to and with the `)`.
    fn list(&mut self) -> Result<(Vec<Tree>, Span)> {
        let mut list = Vec::new();
        if *self.peek() != Token::Symbol(")") {
            list.push(self.expression()?);
            while self.take_symbol(",") {
                list.push(self.expression()?);
            }
        }
        let end = self.span();
        self.symbol(")", "`,` or `)`")?;
        Ok((list, end))
    }

    fn take_comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.peek() {
            Token::Symbol("==" | "=") => Comparison::Equal,
            Token::Symbol("!=" | "<>") => Comparison::NotEqual,
            Token::Symbol("<") => Comparison::Less,
            Token::Symbol("<=") => Comparison::LessOrEqual,
            Token::Symbol(">") => Comparison::Greater,
            Token::Symbol(">=") => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.at += 1;
        Some(comparison)
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn span(&self) -> Span {
        self.tokens[self.at].1
    }

    fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let found = self.is_word(keyword);
        self.at += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        self.at += usize::from(found);
        found
    }

    fn symbol(&mut self, symbol: &str, wanted: &'static str) -> Result<()> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected(wanted)) }
    }

    fn unexpected(&self, wanted: &'static str) -> Located {
        let found = match self.peek() {
            Token::Word(word) => format!("`{word}`"),
            Token::Name(name) => format!("`{name}`"),
            Token::Int(value) => format!("`{value}`"),
            Token::Float(value) => format!("`{value}`"),
            Token::Text(text) => format!("'{text}'"),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end".to_owned(),
        };
        Problem::Unexpected { found, wanted }.at(self.span())
    }
}

fn tree(span: Span, what: What) -> Result<Tree> {
    let deepest = |trees: &[Tree]| trees.iter().map(|tree| tree.depth).max().unwrap_or(0);
    let below = match &what {
        What::Literal(_) | What::Column(_) => 0,
        What::Not(one) | What::Negate(one) | What::IsNull { value: one, .. } => one.depth,
        What::Logic(_, parts) | What::Call { arguments: parts, .. } => deepest(parts),
        What::Compare(_, left, right)
        | What::Arithmetic(_, left, right)
        | What::Like { value: left, pattern: right, .. } => left.depth.max(right.depth),
        What::In { value, list, .. } => value.depth.max(deepest(list)),
        What::Between { value, low, high, .. } => value.depth.max(low.depth).max(high.depth),
        What::Case { whens, otherwise } => {
            let whens = whens.iter().map(|(when, then)| when.depth.max(then.depth)).max().unwrap_or(0);
            whens.max(otherwise.as_ref().map_or(0, |tree| tree.depth))
        }
    };
    let depth = below + 1;
    if depth > EXPRESSION_DEPTH_MAX {
        return Err(Problem::TooDeep { max: EXPRESSION_DEPTH_MAX }.at(span));
    }
    Ok(Tree { what, span, depth })
}
