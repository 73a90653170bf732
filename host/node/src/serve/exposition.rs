//! Samples as Prometheus reads them: the text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), and OpenMetrics 1.0
//! (<https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>), whichever is asked for.
//!
//! They differ in what a counter is called: in 0.0.4 its family has the name of its samples, with `_total`, and in OpenMetrics
//! the name without. A parser that reads the one as the other takes counters for metrics of no type.

use std::fmt::{self, Display, Formatter, Write as _};

/// What is measured in one way, with one sample for each set of labels.
#[derive(Debug)]
pub struct Family {
    /// Without `_total`.
    pub name: String,
    pub help: &'static str,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    /// Quantiles, with what they are of in samples that end with `_sum` and `_count`.
    Summary,
}

#[derive(Debug)]
pub struct Sample {
    /// Behind the name of the family, of a part of a summary.
    pub suffix: &'static str,
    pub labels: Vec<(&'static str, String)>,
    pub value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Whole(u64),
    Real(f64),
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// What a client wants most of what there is, by its `Accept` (RFC 9110, section 12.5.1): the text format where it says
    /// nothing or wants something else, as Prometheus' own clients answer.
    pub fn wanted(accept: &str) -> Self {
        let mut best = (Self::Text, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter = |name: &str| {
                let found = parameters.iter().find(|(known, _)| known.trim().eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.trim().trim_matches('"'))
            };
            let format = match (kind.as_str(), parameter("version")) {
                ("application/openmetrics-text", None | Some("1.0.0")) => Self::OpenMetrics,
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Self::Text,
                _ => continue,
            };
            let weight = parameter("q").map_or(Some(1.0), |q| q.parse::<f32>().ok()).unwrap_or(0.0);
            if weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Families without samples are left out.
    pub fn write(self, families: &[Family]) -> Result<String, fmt::Error> {
        let mut text = String::new();
        for family in families.iter().filter(|family| !family.samples.is_empty()) {
            self.write_family(family, &mut text)?;
        }
        if self == Self::OpenMetrics {
            text.push_str("# EOF\n");
        }
        Ok(text)
    }

    fn write_family(self, family: &Family, text: &mut String) -> fmt::Result {
        let Family { name, help, kind, samples } = family;
        let total = if *kind == Kind::Counter { "_total" } else { "" };
        let of_family = if self == Self::Text { total } else { "" };
        let help = Escaped { text: help, quotes: self == Self::OpenMetrics };
        writeln!(text, "# HELP {name}{of_family} {help}")?;
        writeln!(text, "# TYPE {name}{of_family} {}", kind.word())?;
        for Sample { suffix, labels, value } in samples {
            write!(text, "{name}{total}{suffix}")?;
            for (at, (label, value)) in labels.iter().enumerate() {
                let before = if at == 0 { '{' } else { ',' };
                write!(text, "{before}{label}=\"{}\"", Escaped { text: value, quotes: true })?;
            }
            let behind = if labels.is_empty() { "" } else { "}" };
            writeln!(text, "{behind} {value}")?;
        }
        Ok(())
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
        }
    }
}

/// A text on one line. In the help of 0.0.4, quotes stand as they are.
struct Escaped<'a> {
    text: &'a str,
    quotes: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.text.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.quotes => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_wants_most() {
        use Format::{OpenMetrics, Text};
        let cases = [
            ("", Text),
            ("*/*", Text),
            ("text/html, application/xhtml+xml, */*;q=0.8", Text),
            ("application/json", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", OpenMetrics),
            ("Application/OpenMetrics-Text;Version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Text),
            ("application/openmetrics-text;q=0, */*;q=0.1", Text),
            ("text/plain;version=0.0.4,application/openmetrics-text", Text),
            ("text/plain;version=0.0.4;q=0.5, application/openmetrics-text;q=nonsense", Text),
            // Prometheus 2.42, and 3 where it is told to ask for the text format first.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 */*;q=0.2",
                Text,
            ),
        ];
        for (accept, expected) in cases {
            assert_eq!(Format::wanted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn a_counter_is_named_as_each_format_has_it_and_texts_are_escaped() {
        let labels = vec![("stage", "a\"b\\c\nd".to_owned())];
        let sample = |suffix, labels: &[_], value| Sample { suffix, labels: labels.to_vec(), value };
        let families = [
            Family {
                name: "records".to_owned(),
                help: "What \"came\"",
                kind: Kind::Counter,
                samples: vec![sample("", &labels, Value::Whole(u64::MAX))],
            },
            Family { name: "none".to_owned(), help: "Nothing", kind: Kind::Gauge, samples: Vec::new() },
            Family {
                name: "took".to_owned(),
                help: "Time",
                kind: Kind::Summary,
                samples: vec![sample("_sum", &[], Value::Real(0.5)), sample("_count", &[], Value::Whole(2))],
            },
        ];
        let same = "took_sum 0.5\ntook_count 2\n";
        let label = "{stage=\"a\\\"b\\\\c\\nd\"}";
        assert_eq!(
            Format::Text.write(&families).expect("text"),
            format!(
                "# HELP records_total What \"came\"\n# TYPE records_total counter\nrecords_total{label} \
                 18446744073709551615\n# HELP took Time\n# TYPE took summary\n{same}"
            )
        );
        assert_eq!(
            Format::OpenMetrics.write(&families).expect("text"),
            format!(
                "# HELP records What \\\"came\\\"\n# TYPE records counter\nrecords_total{label} \
                 18446744073709551615\n# HELP took Time\n# TYPE took summary\n{same}# EOF\n"
            )
        );
    }
}
