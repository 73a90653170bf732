//! Components that are too large or too strange to be kept: written here, loaded beside a healthy stage.
//!
//! What compiling may cost is bounded by `model::limits::COMPONENT_BYTES_MAX` and by the limits of wasmparser and of the
//! pool; here it is shown that none of these takes the node along.

use std::time::Duration;

use model::limits;

use crate::loading::{Beside, Got, Here, is_refused};
use crate::measure::alone;
use crate::places;

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// Ids of sections.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;
const COMPONENT_IN_COMPONENT: u8 = 4;

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn section(id: u8, payload: &[u8]) -> Vec<u8> {
    [&[id], &leb(payload.len())[..], payload].concat()
}

fn custom(name: &str, content: &[u8]) -> Vec<u8> {
    section(CUSTOM, &[&leb(name.len())[..], name.as_bytes(), content].concat())
}

/// A component with one core module in it, which exports nothing.
fn around(module: &[u8]) -> Vec<u8> {
    [COMPONENT, &section(CORE_MODULE, module)].concat()
}

/// Functions that do nothing, each with this body.
fn functions(count: usize, body: &[u8]) -> Vec<u8> {
    let entry = [&leb(body.len())[..], body].concat();
    let types = section(1, &[1, 0x60, 0, 0]);
    let declared = section(3, &[leb(count), vec![0; count]].concat());
    let code = section(10, &[leb(count), entry.repeat(count)].concat());
    [MODULE, &types, &declared, &code].concat()
}

/// The same bytes in every run, and no sense in them.
fn garbage(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// A stage of the corpus with these sections at the end of each of its core modules.
fn with_sections(stage: &str, sections: &[u8]) -> Vec<u8> {
    let component = std::fs::read(places::guest(stage)).expect("a stage");
    let mut out = component[..8].to_vec();
    let mut at = 8;
    while at < component.len() {
        let id = component[at];
        let (mut length, mut shift, mut after) = (0_usize, 0, at + 1);
        loop {
            let byte = component[after];
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            after += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let payload = &component[after..after + length];
        match id {
            CORE_MODULE => out.extend(section(id, &[payload, sections].concat())),
            _ => out.extend(section(id, payload)),
        }
        at = after + length;
    }
    out
}

/// That it dies of its trap, and of nothing before; how its backtrace is told.
#[track_caller]
fn traps(here: &Here, bytes: Vec<u8>) -> String {
    let Beside { got, took, .. } = here.beside(Some(bytes.into()));
    let Got::Died(error) = got else { panic!("{got:?}") };
    assert_eq!(error.code(), "trap", "{error}");
    assert!(took < Duration::from_secs(10), "it took {took:?}");
    error.backtrace().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn fifty_megabytes_of_nothing_are_a_stage_like_any_other() {
    let _alone = alone();
    let here = Here::new();
    let ballast = custom("ballast", &garbage(50 << 20));
    traps(&here, with_sections("hostile/trap-always", &ballast));
}

#[test]
fn a_component_beyond_the_bound_is_not_even_looked_at() {
    let _alone = alone();
    let here = Here::new();
    let bytes = vec![0; limits::COMPONENT_BYTES_MAX + 1];
    is_refused(&here, bytes, "at most 268435456 are taken");
}

#[test]
fn a_million_functions_are_no_stage() {
    let _alone = alone();
    let here = Here::new();
    // One more than wasm itself allows is refused without a look at any of them.
    is_refused(&here, around(&functions(1_000_001, &[0, 0x0b])), "functions count exceeds limit of 1000000");
}

#[test]
fn fifty_thousand_functions_are_compiled_and_are_no_stage() {
    let _alone = alone();
    is_refused(&Here::new(), around(&functions(50_000, &[0, 0x0b])), "it exports nothing");
}

#[test]
fn blocks_in_blocks_are_compiled_and_are_no_stage() {
    let _alone = alone();
    const DEPTH: usize = 100_000;
    let body = [vec![0], [0x02, 0x40].repeat(DEPTH), vec![0x0b; DEPTH + 1]].concat();
    is_refused(&Here::new(), around(&functions(1, &body)), "it exports nothing");
}

#[test]
fn lists_of_lists_of_lists_are_refused() {
    let _alone = alone();
    let here = Here::new();
    for depth in [200, 20_000] {
        let mut text = String::from("(component (type $t0 (list u8))\n");
        for i in 1..=depth {
            text.push_str(&format!("(type $t{i} (list $t{}))\n", i - 1));
        }
        text.push_str(&format!("(import \"f\" (func (param \"p\" $t{depth}))))"));
        is_refused(&here, wat::parse_str(&text).expect("text"), "");
    }
}

#[test]
fn types_that_double_are_refused() {
    let _alone = alone();
    let mut text = String::from("(component (type $t0 (tuple u8 u8))\n");
    for i in 1..=64 {
        text.push_str(&format!("(type $t{i} (tuple $t{0} $t{0}))\n", i - 1));
    }
    text.push_str("(import \"f\" (func (param \"p\" $t64))))");
    is_refused(&Here::new(), wat::parse_str(&text).expect("text"), "type size");
}

#[test]
fn components_in_components_are_refused() {
    let _alone = alone();
    // Each is a section of the one around it, whose length is known only when it is there: from the inside out.
    let mut nested = COMPONENT.to_vec();
    for _ in 0..3000 {
        nested = [COMPONENT, &section(COMPONENT_IN_COMPONENT, &nested)].concat();
    }
    is_refused(&Here::new(), nested, "");
}

#[test]
fn sections_of_garbage_do_not_matter() {
    let _alone = alone();
    let names = [
        "name",
        ".debug_info",
        ".debug_line",
        ".debug_abbrev",
        ".debug_str",
        ".debug_ranges",
        "producers",
        "dylink.0",
    ];
    let sections: Vec<u8> = names.iter().flat_map(|name| custom(name, &garbage(100_000))).collect();
    traps(&Here::new(), with_sections("hostile/trap-always", &sections));
    // Over those that are good, and where the trap has to be told by them.
    traps(&Here::new(), with_sections("hostile/panic-loud", &sections));
}

#[test]
fn names_of_functions_are_cut_and_harmless() {
    let _alone = alone();
    const FUNCTIONS: usize = 12;
    let name = format!("\u{1b}[2J{}", "x".repeat(1 << 20));
    let mut list = leb(FUNCTIONS);
    for index in 0..FUNCTIONS {
        list.extend(leb(index));
        list.extend(leb(name.len()));
        list.extend(name.as_bytes());
    }
    let names = custom("name", &section(1, &list));
    let told = traps(&Here::new(), with_sections("hostile/trap-always", &names));
    assert!(told.contains(r"\u{1b}[2Jxxx"), "the names are not those: {told:.200}");
    assert!(!told.contains('\u{1b}') && told.len() < FUNCTIONS * 1024, "{} bytes", told.len());
}

#[test]
fn a_stage_of_another_world_is_none() {
    let _alone = alone();
    let here = Here::new();
    let lies = |describe: &str, open: &str| {
        format!(
            r#"(component
                (core module $m (func (export "f")) (func (export "g") (param i32)))
                (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "f")))
                (func $g (param "x" u32) (canon lift (core func $i "g")))
                (instance $about (export "describe" (func {describe})))
                (instance $transform (export "plan" (func $f)) (export "{open}" (func $g)) (export "process" (func $f)))
                (export "conveyor:stage/about@0.1.0" (instance $about))
                (export "conveyor:stage/transform@0.1.0" (instance $transform)))"#
        )
    };
    for (text, says) in [
        (lies("$f", "open"), "`describe` of `about` is not what the contract says"),
        (lies("$g", "open"), "`describe` of `about` is not what the contract says"),
        (lies("$f", "opened"), "`open` of `transform`"),
    ] {
        is_refused(&here, wat::parse_str(&text).expect("text"), says);
    }
}

/// One instruction after the other and no loop, so that nothing but the instructions themselves could be stopped.
#[test]
fn a_long_straight_line_of_fills_is_stopped_between_them() {
    let _alone = alone();
    let fill = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 16777216))\n".repeat(2000);
    let text = format!(
        r#"(component
            (core module $m
                (memory 256)
                (func $start {fill})
                (start $start)
                (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $about (export "describe" (func $f)))
            (instance $transform (export "plan" (func $f)) (export "open" (func $f)) (export "process" (func $f)))
            (export "conveyor:stage/about@0.1.0" (instance $about))
            (export "conveyor:stage/transform@0.1.0" (instance $transform)))"#
    );
    let Beside { got, took, .. } = Here::new().beside(Some(wat::parse_str(&text).expect("text").into()));
    // By its fuel, one for each byte: 50 million for `about`, which is three of the 2000.
    let (code, words) = got.told();
    assert_eq!(code, "out-of-fuel", "{words}");
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}
