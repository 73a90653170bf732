//! The contract that this crate is built on is the project's.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A published crate has to hold what it is built from, so it has a copy of `wit/`.
#[test]
fn the_copy_of_the_contract_is_the_contract() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (copy, contract) = (files(&here.join("wit")), files(&here.join("../wit")));
    assert!(contract.contains_key("world.wit"), "{:?}", contract.keys());
    assert_eq!(
        copy.keys().collect::<Vec<_>>(),
        contract.keys().collect::<Vec<_>>(),
        "the files differ: run `cp wit/*.wit sdk-rust/wit/`"
    );
    for (name, text) in &contract {
        assert!(copy[name] == *text, "sdk-rust/wit/{name} differs: run `cp wit/*.wit sdk-rust/wit/`");
    }
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wit"))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect()
}
