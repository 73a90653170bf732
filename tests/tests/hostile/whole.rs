//! The corpus and its tests belong together: each component has a test and a line in the README.

use std::collections::BTreeSet;

use crate::loading::corpus;

/// The names of the components that are files.
fn components() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (directory, extension) in [("wat", "wat"), ("c", "c"), ("rust/examples", "rs")] {
        for entry in std::fs::read_dir(corpus().join(directory)).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|found| found == extension) {
                names.insert(path.file_stem().expect("a name").to_string_lossy().into_owned());
            }
        }
    }
    names
}

#[test]
fn every_component_has_a_test_and_stands_in_the_readme() {
    let tests = [
        include_str!("answers.rs"),
        include_str!("case_tests.rs"),
        include_str!("ends.rs"),
        include_str!("loading.rs"),
        include_str!("reach.rs"),
    ]
    .concat();
    let readme = std::fs::read_to_string(corpus().join("README.md")).expect("a README");
    let components = components();
    assert!(components.len() >= 30, "{} components", components.len());
    for name in components {
        let is_tested = [format!("\"{name}\""), format!("GUEST(hostile/{name})")];
        assert!(is_tested.iter().any(|text| tests.contains(text)), "{name} has no test");
        assert!(readme.contains(&format!("| {name} |")), "{name} does not stand in guests/hostile/README.md");
    }
}
