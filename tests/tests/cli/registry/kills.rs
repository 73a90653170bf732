//! SIGKILL during pushes: what was acknowledged is there, and whole, and nothing else is given for it.

use disk::fault::OF_REGISTRIES;
use fastrand::Rng;

use super::client::Served;
use crate::scene::Scene;

const ROUNDS: usize = 9;
/// More than any place is come to before.
const PUSHES_MAX: usize = 40;

#[test]
fn kills_during_pushes_lose_nothing_that_was_acknowledged() {
    let scene = Scene::new();
    let mut random = Rng::with_seed(3);
    let mut acknowledged: Vec<(String, Vec<u8>)> = Vec::new();
    for round in 0..ROUNDS {
        // Each image is three contents.
        let fault = format!("{}@{}", OF_REGISTRIES[round % OF_REGISTRIES.len()], random.u32(2..12));
        let served = Served::start(&scene, &[], Some(&fault));
        for (tag, layer) in &acknowledged {
            served.has_image("acme/a", tag, layer);
        }
        for at in 0.. {
            let tag = format!("r{round}-{at}");
            // Some are larger than what is written at once.
            let bytes = random.usize(1..400_000);
            let layer: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(bytes).collect();
            if served.push_image("acme/a", &tag, &layer).is_none() {
                break;
            }
            acknowledged.push((tag, layer));
            assert!(at < PUSHES_MAX, "it never came to {fault}");
        }
        served.dies();
    }
    assert!(acknowledged.len() > ROUNDS, "{} were acknowledged", acknowledged.len());
    let served = Served::start(&scene, &[], None);
    for (tag, layer) in &acknowledged {
        served.has_image("acme/a", tag, layer);
    }
    scene.run(&["registry", "fsck", "--data", "data"]).code(0).prints(&["nothing is wrong"]);
    // What the kills have left goes, and what was acknowledged stays.
    scene.run(&["registry", "gc", "--data", "data", "--grace", "0s"]).code(0);
    for (tag, layer) in &acknowledged {
        served.has_image("acme/a", tag, layer);
    }
    scene
        .run(&["registry", "fsck", "--data", "data"])
        .code(0)
        .prints(&[" 0 that nobody has: nothing is wrong"]);
    served.stop().code(0);
}

/// An upload in pieces goes on where it was acknowledged to be, in another process.
#[test]
fn an_upload_outlives_a_kill() {
    let scene = Scene::new();
    let content: Vec<u8> = (0..600_000u32).map(|at| (at % 241) as u8).collect();
    let served = Served::start(&scene, &[], None);
    let begun = served.ask("POST /v2/a/blobs/uploads/", "", b"").expect("an answer");
    let place = begun.header("location").expect("a place").to_owned();
    let (first, second) = content.split_at(300_000);
    let given =
        served.ask(&format!("PATCH {place}"), "Content-Range: 0-299999\r\n", first).expect("an answer");
    assert_eq!(given.status, 202);
    served.kill();
    let served = Served::start(&scene, &[], None);
    let now = served.ask(&format!("GET {place}"), "", b"").expect("an answer");
    assert_eq!((now.status, now.header("range")), (204, Some("0-299999")));
    let digest = model::ids::Digest::of(&content);
    let range = "Content-Range: 300000-599999\r\n";
    let given = served.ask(&format!("PUT {place}?digest={digest}"), range, second).expect("an answer");
    assert_eq!(given.status, 201);
    let given = served.ask(&format!("GET /v2/a/blobs/{digest}"), "", b"").expect("an answer");
    assert!(given.status == 200 && given.body == content);
    served.stop().code(0);
}
