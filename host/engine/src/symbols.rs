//! Where in the source of a stage a frame is: the component's DWARF, kept beside its code and read when somebody
//! wants to know.
//!
//! wasmtime would look every frame up at every trap, which takes milliseconds; a search for the record that kills a
//! stage has a dozen of them. So the code is compiled without, a trap notes the places in the component alone, and
//! they are looked up once there is a report to write. What was found is kept by place, since a stage that dies
//! does so in the same places over and over.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use model::limits;
use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};
use xxhash_rust::xxh3::xxh3_128;

/// Which bytes are the DWARF of which core module. Places are offsets in the component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    modules: Vec<Module>,
    /// Of all sections together.
    pub bytes: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Module {
    /// Where its code section is. DWARF counts from the start of it.
    code: Range<usize>,
    /// By name, where they are among the bytes that are kept.
    sections: HashMap<String, Range<usize>>,
}

/// The DWARF of all core modules of `component`, one behind the other; nothing where there is none, or more than is
/// worth keeping.
pub(crate) fn extract(component: &[u8]) -> (Index, Vec<u8>) {
    let (mut modules, mut open, mut kept) = (Vec::new(), vec![Module::default()], Vec::new());
    // What does not parse is told by whoever compiles it.
    for payload in Parser::new(0).parse_all(component).map_while(Result::ok) {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => open.push(Module::default()),
            Payload::CodeSectionStart { unchecked_range: range, .. } => {
                if let Some(module) = open.last_mut() {
                    module.code = range.start as usize..range.end as usize;
                }
            }
            Payload::CustomSection(section) if SECTIONS.iter().any(|id| id.name() == section.name()) => {
                let Some(module) = open.last_mut() else { continue };
                let start = kept.len();
                if start + section.data().len() > limits::DEBUG_BYTES_MAX {
                    return (Index::default(), Vec::new());
                }
                kept.extend_from_slice(section.data());
                module.sections.insert(section.name().to_owned(), start..kept.len());
            }
            Payload::End(_) => modules.extend(open.pop().filter(|module| !module.sections.is_empty())),
            _ => {}
        }
    }
    if modules.len() > limits::DEBUG_MODULES_MAX {
        return (Index::default(), Vec::new());
    }
    (Index { modules, bytes: kept.len() }, kept)
}

/// What is read of DWARF to find functions and lines.
const SECTIONS: [SectionId; 12] = [
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
    SectionId::DebugLoc,
    SectionId::DebugLocLists,
];

/// One function of a frame: those that were inlined into one another have a place together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub name: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
}

/// Where the DWARF is.
#[derive(Debug)]
pub(crate) enum Kept {
    Here(Vec<u8>),
    /// With the hash of the whole.
    File(PathBuf, String),
}

/// The symbols of one component.
#[derive(Debug)]
pub(crate) struct Symbols {
    index: Index,
    kept: Kept,
    /// By place.
    found: Mutex<HashMap<usize, Arc<[Symbol]>>>,
}

impl Symbols {
    pub(crate) fn new(index: Index, kept: Kept) -> Self {
        Self { index, kept, found: Mutex::default() }
    }

    /// What is at each of these places, the innermost function first; nothing where nobody knows.
    pub(crate) fn at(&self, places: &[usize]) -> Vec<Arc<[Symbol]>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<usize> = places.iter().copied().filter(|place| !found.contains_key(place)).collect();
        if !missing.is_empty() {
            if found.len() + missing.len() > limits::SYMBOLS_KEPT_MAX {
                found.clear();
            }
            self.look_up(places, &mut found);
        }
        places.iter().map(|place| found.get(place).cloned().unwrap_or_default()).collect()
    }

    fn look_up(&self, places: &[usize], found: &mut HashMap<usize, Arc<[Symbol]>>) {
        let read;
        let bytes: &[u8] = match &self.kept {
            Kept::Here(bytes) => bytes,
            Kept::File(path, hash) => {
                // What is damaged or gone is missed in reports, and nowhere else.
                read = std::fs::read(path).unwrap_or_default();
                let is_whole = hash_text(&read) == *hash;
                if is_whole { &read } else { &[] }
            }
        };
        for module in &self.index.modules {
            let inside = |place: &&usize| module.code.contains(place) && !found.contains_key(place);
            let places: Vec<usize> = places.iter().filter(inside).copied().collect();
            if places.is_empty() {
                continue;
            }
            let Some(context) = module.context(bytes) else { continue };
            found.extend(places.iter().map(|&place| (place, symbols(&context, place - module.code.start))));
        }
        for &place in places {
            found.entry(place).or_default();
        }
    }
}

type Slice<'a> = EndianSlice<'a, LittleEndian>;

impl Module {
    fn context<'a>(&self, bytes: &'a [u8]) -> Option<Context<Slice<'a>>> {
        let section = |id: SectionId| {
            let range = self.sections.get(id.name()).cloned();
            let data = range.and_then(|range| bytes.get(range)).unwrap_or_default();
            Ok::<_, addr2line::gimli::Error>(EndianSlice::new(data, LittleEndian))
        };
        Context::from_dwarf(Dwarf::load(section).ok()?).ok()
    }
}

fn symbols(context: &Context<Slice<'_>>, offset: usize) -> Arc<[Symbol]> {
    let mut symbols = Vec::new();
    if let Ok(mut frames) = context.find_frames(offset as u64).skip_all_loads() {
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let location = frame.location.as_ref();
            symbols.push(Symbol {
                name: name.map(|name| name.into_owned()),
                file: location.and_then(|location| location.file).map(str::to_owned),
                line: location.and_then(|location| location.line),
            });
            if symbols.len() == limits::BACKTRACE_FRAMES_MAX {
                break;
            }
        }
    }
    symbols.into()
}

/// What is kept beside compiled code is known again by this: XXH3 with 128 bits, in hex.
pub(crate) fn hash_text(code: &[u8]) -> String {
    format!("{:032x}", xxh3_128(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component of two modules, the second of which has sections that look like DWARF.
    fn component() -> Vec<u8> {
        let text = r#"(component
            (core module (func (export "f")))
            (core module (func (export "g")) (@custom ".debug_info" "abc") (@custom ".debug_line" "de")))"#;
        wat::parse_str(text).expect("well-formed text")
    }

    #[test]
    fn sections_are_kept_with_the_module_that_they_are_of() {
        let component = component();
        let (index, kept) = extract(&component);
        assert_eq!((kept.as_slice(), index.bytes), (&b"abcde"[..], 5));
        let [module] = index.modules.as_slice() else { panic!("{index:?}") };
        assert_eq!(module.sections[".debug_line"], 3..5);
        assert!(module.code.end <= component.len() && !module.code.is_empty(), "{module:?}");
    }

    #[test]
    fn what_is_no_dwarf_or_is_gone_has_no_symbols() {
        let (index, kept) = extract(&component());
        let place = index.modules[0].code.start;
        let gone = Kept::File("/nowhere".into(), String::new());
        for kept in [Kept::Here(kept), Kept::Here(Vec::new()), gone] {
            let symbols = Symbols::new(index.clone(), kept);
            assert_eq!(symbols.at(&[place, 0, usize::MAX]), vec![Arc::from([]); 3]);
            assert_eq!(
                symbols.found.lock().expect("not poisoned").len(),
                3,
                "it is looked up again each time"
            );
        }
    }

    #[test]
    fn more_places_than_are_kept_are_forgotten() {
        let (index, kept) = extract(&component());
        let symbols = Symbols::new(index, Kept::Here(kept));
        for place in 0..2 * limits::SYMBOLS_KEPT_MAX {
            symbols.at(&[place]);
            assert!(symbols.found.lock().expect("not poisoned").len() <= limits::SYMBOLS_KEPT_MAX);
        }
    }
}
