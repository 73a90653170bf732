use std::time::Instant;

use serde_json::json;

use super::*;

fn here(with: serde_json::Value) -> SourceSpec {
    spec(Path::new("."), "generate", with)
}

#[test]
fn records_are_made_from_the_template() {
    let output = read(&here(json!({ "count": 2500, "template": "n={{seq}}" }))).expect("records");
    assert_eq!((output.records.len(), output.batches), (2500, 3));
    assert_eq!((output.records[2499].as_str(), output.origins[2499].1), ("n=2499", 2499));
    let same = read(&here(json!({ "count": 2500, "template": "same" }))).expect("records");
    assert!(same.records.iter().all(|record| record == "same") && same.origins[2499].1 == 2499);
    let seeded =
        || read(&here(json!({ "count": 5, "seed": 3, "template": "{{uuid}}" }))).expect("records").records;
    assert_eq!(seeded(), seeded());
}

#[test]
fn a_template_of_json_makes_rows() {
    let template = r#"{"id":{{seq}},"kind":"{{pick a|b}}","cost":{{float 1 2}}}"#;
    let spec = here(json!({ "count": 10, "format": "jsonl", "template": template }));
    let planned = plan_source(&spec).expect("a plan");
    let schema = planned.stream().schema().cloned().expect("rows");
    let types: Vec<_> = schema.fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types, ["Int64", "Utf8", "Float64"]);
    let output = read_wanted(&spec, &Wanted { columns: Some(vec![0]), times: false }).expect("rows");
    assert_eq!(output.records[9], r#"{"id":9}"#);
}

#[test]
fn a_rate_spreads_records_over_time() {
    let started = Instant::now();
    let output = read(&here(json!({ "count": 51, "rate": 1000 }))).expect("records");
    let took = started.elapsed();
    assert_eq!(output.records.len(), 51);
    assert!(took >= Duration::from_millis(50), "51 records at 1000 in a second came in {took:?}");
    assert!(output.batches > 5, "a batch was held back for longer than its delay");
}

#[test]
fn what_is_no_template_is_refused() {
    for (with, expected) in [
        (json!({ "template": "{{time}}" }), "`{{time}}` is no placeholder"),
        (json!({ "rate": 0 }), "above 0"),
        (json!({ "format": "csv" }), "not generated as csv"),
        (json!({ "format": "jsonl", "template": "no json" }), "none of its first lines is a JSON object"),
    ] {
        let error = plan_source(&here(with.clone())).err().unwrap_or_else(|| panic!("{with} is planned"));
        assert!(error.to_string().contains(expected), "{with}: {error}");
    }
}
