//! Logs of Zeek: what its header says is what comes out.

use model::manifest::{ColumnType, UnknownFields};
use serde_json::json;
use tempfile::tempdir;

use super::*;

/// As Zeek 6 writes it, with every type that a log has.
const LOG: &str = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n\
    #open\t2026-01-02-03-04-05\n\
    #fields\tts\tuid\tid.orig_h\tid.orig_p\tproto\tduration\torig_bytes\tlocal\tagent\tparents\tanswers\tttls\n\
    #types\ttime\tstring\taddr\tport\tenum\tinterval\tcount\tbool\tstring\tset[string]\tvector[string]\tvector[interval]\n\
    1300475167.096535\tCRc\t10.0.0.1\t5353\tudp\t0.075\t18446744073709551615\tT\ta\\x09b \\x5cn\t(empty)\tx\\x2cy,-\t60.000000,-\n\
    1300475168.000000\t(empty)\t::1\t443\ttcp\t-\t-\tF\t\\x2d\tC1,C2\t-\t(empty)\n\
    #close\t2026-01-02-04-00-00\n";

fn zeek(directory: &Path) -> SourceSpec {
    spec(directory, "file", json!({ "path": "conn.log", "format": "zeek" }))
}

#[test]
fn every_type_of_a_log_comes_out() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "conn.log", LOG);
    let text = [("orig_bytes", ColumnType::Text)];
    let output = read(&declare(zeek(directory.path()), &text)).expect("rows");
    assert_eq!(output.refused, []);
    assert_eq!(
        output.records,
        [
            r#"{"ts":"2011-03-18T19:06:07.096535Z","uid":"CRc","id.orig_h":"10.0.0.1","id.orig_p":5353,"proto":"udp","duration":0.075,"orig_bytes":"18446744073709551615","local":true,"agent":"a\tb \\n","parents":[],"answers":["x,y",null],"ttls":[60.0,null]}"#,
            r#"{"ts":"2011-03-18T19:06:08Z","uid":"","id.orig_h":"::1","id.orig_p":443,"proto":"tcp","duration":null,"orig_bytes":null,"local":false,"agent":"-","parents":["C1","C2"],"answers":null,"ttls":[]}"#,
        ]
    );
    // A count that no integer of 64 bits with a sign holds is refused, and says so.
    let output = read(&zeek(directory.path())).expect("rows");
    assert_eq!(
        output.refusals()[0].2,
        "line 9, column `orig_bytes`: `18446744073709551615` is no int; declare it with `schema: { orig_bytes: text }`"
    );
}

#[test]
fn what_is_no_text_is_refused_or_read_as_bytes() {
    let directory = tempdir().expect("a directory");
    write_file(directory.path(), "conn.log", "#separator \\x09\n#fields\ta\n#types\tstring\n\\xff\nb\n");
    let output = read(&zeek(directory.path())).expect("rows");
    assert_eq!((output.records.len(), output.refused.len()), (1, 1));
    let output = read(&declare(zeek(directory.path()), &[("a", ColumnType::Bytes)])).expect("rows");
    assert_eq!(output.records, [r#"{"a":"/w=="}"#, r#"{"a":"Yg=="}"#]);
    let error = read(&declare(zeek(directory.path()), &[("a", ColumnType::Int)])).expect_err("a text");
    assert!(error.to_string().contains("column `a` is text, and cannot be read as int"), "{error}");
}

#[test]
fn a_log_that_says_two_things_is_refused_by_name() {
    let directory = tempdir().expect("a directory");
    let header = "#separator \\x09\n#fields\ta\tb\n#types\tint\tint\n";
    let cases = [
        ("a,b\n1,2\n".to_owned(), "this is no log of Zeek"),
        (format!("{header}1\t2\n#fields\tb\ta\n1\t2\n"), "line 5: what its header said changes here"),
        (header.replace("int\tint", "int"), "2 `#fields` and 1 `#types`"),
        (String::new(), "there is no log in it"),
    ];
    for (text, why) in cases {
        write_file(directory.path(), "conn.log", &text);
        let error = read(&zeek(directory.path())).expect_err(why);
        assert!(error.to_string().contains(why), "{error}");
    }
    let again = format!("{header}1\t2\n#close\tx\n{header}3\t4\n");
    write_file(directory.path(), "conn.log", again);
    assert_eq!(
        read(&zeek(directory.path())).expect("rows").records,
        [r#"{"a":1,"b":2}"#, r#"{"a":3,"b":4}"#]
    );
}

#[test]
fn logs_of_one_pattern_have_the_same_types_in_any_order() {
    let directory = tempdir().expect("a directory");
    let log = |names: &str, types: &str, row: &str| {
        format!("#separator {}\n#fields,{names}\n#types,{types}\n{row}\n", ",")
    };
    write_file(directory.path(), "d/1.log", log("a,b", "count,string", "1,x"));
    write_file(
        directory.path(),
        "d/2.log",
        "#separator \\x09\n#fields\tb\tc\ta\n#types\tstring\tstring\tcount\ny\t(empty)\t2\n",
    );
    let mut spec = spec(directory.path(), "file", json!({ "path": "d/*.log", "format": "zeek" }));
    spec.unknown = UnknownFields::Rest;
    let output = read(&spec).expect("rows");
    assert_eq!(output.records, [r#"{"a":1,"b":"x","rest":null}"#, r#"{"a":2,"b":"y","rest":{"c":""}}"#]);
    write_file(directory.path(), "d/3.log", log("b,a", "string,string", "x,1"));
    let error = read(&spec).expect_err("another type");
    assert!(
        error.to_string().contains("d/3.log: its column `a` is of another type than in the first file"),
        "{error}"
    );
}
