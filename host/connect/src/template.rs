//! Texts with placeholders, as `generate` makes records from them.
//!
//! `{{seq}}` counts from 0, `{{uuid}}` is a random UUID (version 4), `{{now}}` the time in RFC 3339,
//! `{{rand 1 100}}` a whole number between the two, both included, `{{float 0 1}}` a number from the first up
//! to the second, and `{{pick a|b|c}}` one of the texts. What is random depends on the seed and the number of the
//! record, so that a record can be made again without those before it.

use std::io::Write as _;

use fastrand::Rng;
use model::convert::times::write_timestamp;

/// A template, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(Vec<u8>),
    Seq,
    Uuid,
    Now,
    Rand(i64, i64),
    Float(f64, f64),
    Pick(Vec<Vec<u8>>),
}

/// Why a text is no template.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplateError {
    #[error("`{{{{` is opened and never closed")]
    Open,
    #[error(
        "`{{{{{0}}}}}` is no placeholder; there are seq, uuid, now, rand LOW HIGH, float LOW HIGH and pick A|B|C"
    )]
    Unknown(String),
    #[error("`{{{{{0}}}}}` takes two numbers, the lower one first")]
    Range(String),
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            let (inside, after) = behind.split_once("}}").ok_or(TemplateError::Open)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.as_bytes().to_vec()));
            }
            parts.push(placeholder(inside)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().to_vec()));
        }
        Ok(Self { parts })
    }

    /// Whether every record is the same.
    pub(crate) fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Appends record `seq`. `now` in microseconds since the Unix epoch.
    pub(crate) fn write(&self, seq: u64, now: i64, seed: u64, out: &mut Vec<u8>) {
        let random = &mut Rng::with_seed(state_of(seed, seq));
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Seq => out.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes()),
                Part::Uuid => write_uuid(random.u128(..), out),
                Part::Now => write_timestamp(now, out),
                Part::Rand(low, high) => {
                    out.extend_from_slice(itoa::Buffer::new().format(random.i64(*low..=*high)).as_bytes());
                }
                Part::Float(low, high) => {
                    // Six digits are enough to look real, and are never written with an exponent.
                    let value = low + random.f64() * (high - low);
                    write!(out, "{value:.6}").expect("a vector takes all");
                }
                Part::Pick(texts) => out.extend_from_slice(&texts[random.usize(..texts.len())]),
            }
        }
    }
}

fn placeholder(inside: &str) -> Result<Part, TemplateError> {
    let (name, arguments) = inside.trim().split_once(' ').unwrap_or((inside.trim(), ""));
    let arguments = arguments.trim();
    let range = || TemplateError::Range(inside.to_owned());
    Ok(match (name, arguments) {
        ("seq", "") => Part::Seq,
        ("uuid", "") => Part::Uuid,
        ("now", "") => Part::Now,
        ("rand", _) => {
            let (low, high) = two(arguments).filter(|(low, high)| low <= high).ok_or_else(range)?;
            Part::Rand(low, high)
        }
        ("float", _) => {
            let finite = |(low, high): &(f64, f64)| low.is_finite() && high.is_finite() && low <= high;
            let (low, high) = two(arguments).filter(finite).ok_or_else(range)?;
            Part::Float(low, high)
        }
        ("pick", texts) if !texts.is_empty() => {
            Part::Pick(texts.split('|').map(|text| text.trim().as_bytes().to_vec()).collect())
        }
        _ => return Err(TemplateError::Unknown(inside.to_owned())),
    })
}

fn two<T: std::str::FromStr>(arguments: &str) -> Option<(T, T)> {
    let (low, high) = arguments.split_once(' ')?;
    Some((low.parse().ok()?, high.trim().parse().ok()?))
}

/// Where the random numbers of a record begin: SplitMix64 (Steele, Lea and Flood, 2014), so that those of records next
/// to one another have nothing in common.
fn state_of(seed: u64, seq: u64) -> u64 {
    let mut state = seed.wrapping_add(seq.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

/// RFC 9562, version 4.
fn write_uuid(random: u128, out: &mut Vec<u8>) {
    let bits = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for digit in 0..32u32 {
        if matches!(digit, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        out.push(HEX[(bits >> (124 - digit * 4) & 0xf) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(template: &str, seed: u64) -> Vec<String> {
        let template = Template::parse(template).expect("a template");
        let record = |seq| {
            let mut out = Vec::new();
            template.write(seq, 1_000_000, seed, &mut out);
            String::from_utf8(out).expect("text")
        };
        (0..50).map(record).collect()
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(made("{{seq}}@{{ now }}", 1)[3], "3@1970-01-01T00:00:01Z");
        let uuid = &made("{{uuid}}", 1)[0];
        assert!(
            uuid.len() == 36 && uuid.as_bytes()[14] == b'4' && b"89ab".contains(&uuid.as_bytes()[19]),
            "{uuid}"
        );
        let rolls: Vec<i64> =
            made("{{rand -1 1}}", 1).iter().map(|roll| roll.parse().expect("a number")).collect();
        assert_eq!((rolls.iter().min(), rolls.iter().max()), (Some(&-1), Some(&1)));
        let floats: Vec<f64> =
            made("{{float 0 1}}", 1).iter().map(|f| f.parse().expect("a number")).collect();
        assert!(floats.iter().all(|f| (0.0..=1.0).contains(f)) && floats[0] != floats[1]);
        let picked = made("{{pick a | b|c}}", 1);
        assert!(["a", "b", "c"].iter().all(|text| picked.iter().any(|picked| picked == text)));
    }

    #[test]
    fn a_seed_makes_the_same_records_again() {
        let template = "{{uuid}} {{rand 1 1000000}}";
        assert_eq!(made(template, 7), made(template, 7));
        assert_ne!(made(template, 7), made(template, 8));
    }

    #[test]
    fn what_is_no_placeholder_is_named() {
        let cases = [
            ("{{seq", TemplateError::Open),
            ("{{sequence}}", TemplateError::Unknown("sequence".into())),
            ("{{rand 9 1}}", TemplateError::Range("rand 9 1".into())),
            ("{{rand 1}}", TemplateError::Range("rand 1".into())),
            ("{{pick}}", TemplateError::Unknown("pick".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(Template::parse(text), Err(expected), "{text}");
        }
        assert!(Template::parse("plain {text}").expect("a template").is_constant());
    }
}
