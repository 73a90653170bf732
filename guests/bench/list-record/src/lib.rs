//! The three stages of the belt behind an ABI that hands over lists of records, for `docs/performance.md` to
//! compare. Straight on the bindings, since the SDK has no such stages.

wit_bindgen::generate!({ path: "../../../benches/wit-list", world: "list-record" });

use exports::conveyor::bench::list_of_records::{Guest, Message};

struct Stages;

export!(Stages);

impl Guest for Stages {
    fn half(mut input: Vec<Message>) -> Vec<Message> {
        input.retain(|message| message.value.first().is_some_and(|byte| byte & 1 == 0));
        input
    }

    fn wrap(mut input: Vec<Message>) -> Vec<Message> {
        for message in &mut input {
            message.value = [b"<<", &*message.value, b">>"].concat();
        }
        input
    }

    fn most(mut input: Vec<Message>) -> Vec<Message> {
        input.retain(|message| message.value.get(2).is_some_and(|&byte| byte < 230));
        input
    }
}
