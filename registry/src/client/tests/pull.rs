//! What comes from a registry: manifests and blobs, whole or in parts, right or wrong.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::ids::Algorithm;

use super::odd::{Odd, Reply};
use super::*;

/// What is in a directory.
fn left(dir: &tempfile::TempDir) -> usize {
    fs::read_dir(dir.path()).expect("a directory").count()
}

async fn pull(odd: &Odd, what: &Descriptor) -> Result<Vec<u8>, ClientError> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("blob");
    let pulled = odd.repository().blob(what, &path, &()).await;
    assert_eq!(left(&dir), usize::from(pulled.is_ok()), "something was left beside it");
    pulled.map(|()| fs::read(path).expect("a file"))
}

#[tokio::test]
async fn a_blob_that_breaks_off_goes_on_behind_what_came() {
    let all = content(700_000);
    let served = all.clone();
    let odd = Odd::new(move |ask| {
        let from = ask.header("range").map_or(0, |range| {
            range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a number")
        });
        let reply = Reply::of(if from > 0 { 206 } else { 200 }).body(&served[from..]);
        let reply = reply.header("content-range", format!("bytes {from}-699999/700000"));
        if from < 400_000 { reply.cut(200_000) } else { reply }
    })
    .await;
    assert_eq!(pull(&odd, &descriptor(&all)).await.expect("pulled"), all);
    let asks = odd.asked("GET /v2/a/b/blobs/");
    let ranges: Vec<_> = asks.iter().map(|ask| ask.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=200000-"), Some("bytes=400000-")]);
}

#[tokio::test]
async fn what_does_not_go_on_where_it_broke_off_is_brought_from_its_first_byte() {
    let all = content(300_000);
    // One knows no ranges, and one gives others than it is asked for.
    for odd_range in [None, Some("bytes 5-299999/300000")] {
        let served = all.clone();
        let asks = AtomicUsize::new(0);
        let odd = Odd::new(move |ask| {
            if !ask.is("GET /v2/a/b/blobs/") {
                return Reply::of(200);
            }
            match (asks.fetch_add(1, Ordering::Relaxed), ask.header("range"), odd_range) {
                (0, ..) => Reply::of(200).body(served.as_slice()).cut(100_000),
                (_, Some(_), Some(range)) => Reply::of(206).header("content-range", range).body(&served[5..]),
                _ => Reply::of(200).body(served.as_slice()),
            }
        })
        .await;
        assert_eq!(pull(&odd, &descriptor(&all)).await.expect("pulled"), all);
    }
}

#[tokio::test]
async fn a_blob_that_is_not_what_it_should_be_is_not_kept() {
    let all = content(5000);
    let mut other = all.clone();
    other[4000] ^= 1;
    for (served, part) in
        [(other, "sha256:"), (all[..4999].to_vec(), "4999 bytes"), ([&all[..], b"x"].concat(), "5001 bytes")]
    {
        let odd = Odd::new(move |_| Reply::of(200).body(served.as_slice())).await;
        let told = pull(&odd, &descriptor(&all)).await.expect_err("it is damaged");
        assert!(matches!(&told, ClientError::Corrupt { came, .. } if came.contains(part)), "{told}");
        assert_eq!(odd.asked("GET /v2/a/b/blobs/").len(), 1, "it is no better the next time");
        let told = odd.repository().blob_bytes(&descriptor(&all), 10_000).await.expect_err("it is damaged");
        assert!(matches!(told, ClientError::Corrupt { .. }), "{told}");
    }
    // Longer than it says, without saying so beforehand.
    let body = format!("1389\r\n{}\r\n0\r\n\r\n", "x".repeat(5001));
    let odd =
        Odd::new(move |_| Reply::of(200).header("transfer-encoding", "chunked").body(body.as_bytes())).await;
    let told = pull(&odd, &descriptor(&all)).await.expect_err("it is too long");
    assert!(matches!(&told, ClientError::Corrupt { .. }), "{told}");
    let told = odd.repository().blob_bytes(&descriptor(&all), 4999).await.expect_err("it is too large");
    assert!(matches!(told, ClientError::Large { bytes: 5000, most: 4999, .. }), "{told}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named() {
    let all = content(5000);
    let served = all.clone();
    let odd = Odd::new(move |_| Reply::of(200).body(served.as_slice())).await;
    let told = odd.repository().blob(&descriptor(&all), Path::new("/nowhere/blob"), &()).await;
    assert!(told.expect_err("no directory").to_string().contains("/nowhere/blob"));
}

#[tokio::test]
async fn a_registry_that_has_no_time_is_asked_again() {
    let bytes = image(b"{}", &[]).to_string();
    let served = bytes.clone();
    let asks = AtomicUsize::new(0);
    let odd = Odd::new(move |ask| match ask.is("GET /v2/a/b/manifests/") {
        true => match asks.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::of(503),
            1 => Reply::of(429).header("retry-after", "0"),
            2 => Reply::of(200).body(served.as_bytes()).cut(10),
            _ => Reply::of(200).header("content-type", IMAGE).body(served.as_bytes()),
        },
        false => Reply::of(200),
    })
    .await;
    let fetched = odd.repository().manifest(&tag("1")).await.expect("a manifest");
    assert_eq!(fetched.bytes, bytes.as_bytes());
    assert_eq!(odd.asked("GET /v2/a/b/manifests/1").len(), 4);
}

#[tokio::test]
async fn a_manifest_is_what_it_is_asked_for_by() {
    let bytes = image(b"{}", &[]).to_string();
    let (right, wrong) = (Digest::of(bytes.as_bytes()), Digest::of(b"other"));
    let long = Digest::by(Algorithm::Sha512, bytes.as_bytes());
    let cases = [
        // The reference, what the registry says, and what it is.
        (tag("1"), Some(right), Some(right)),
        (tag("1"), None, Some(right)),
        (tag("1"), Some(long), Some(long)),
        (tag("1"), Some(wrong), None),
        (Reference::Digest(right), Some(right), Some(right)),
        (Reference::Digest(right), Some(wrong), None),
        (Reference::Digest(wrong), None, None),
        // A digest of another algorithm is not compared.
        (Reference::Digest(long), Some(right), Some(long)),
        (Reference::Digest(long), Some(wrong), Some(long)),
        (Reference::Digest(right), Some(long), Some(right)),
    ];
    for (reference, said, wanted) in cases {
        let served = bytes.clone();
        let odd = Odd::new(move |_| {
            let reply = Reply::of(200).header("content-type", IMAGE).body(served.as_bytes());
            match said {
                Some(said) => reply.header("docker-content-digest", said.to_string()),
                None => reply,
            }
        })
        .await;
        let found = odd.repository().manifest(&reference).await;
        assert_eq!(found.as_ref().ok().map(|found| found.descriptor.digest), wanted, "{reference}, {said:?}");
        match found {
            Ok(found) => {
                assert_eq!((&found.bytes[..], found.descriptor.size), (bytes.as_bytes(), bytes.len() as u64))
            }
            Err(error) => assert!(matches!(error, ClientError::Corrupt { .. }), "{error}"),
        }
    }
}

#[tokio::test]
async fn what_a_head_does_not_say_is_brought() {
    let bytes = image(b"{}", &[]).to_string();
    let served = bytes.clone();
    let odd = Odd::new(move |_| Reply::of(200).header("content-type", IMAGE).body(served.as_bytes())).await;
    let found = odd.repository().resolve(&tag("1")).await.expect("found");
    assert_eq!((found.digest, found.size), (Digest::of(bytes.as_bytes()), bytes.len() as u64));
    assert_eq!(odd.asked("GET /v2/a/b/manifests/1").len(), 1);
    // By its digest it is known.
    let by_digest = Reference::Digest(found.digest);
    assert_eq!(odd.repository().resolve(&by_digest).await.expect("found").size, bytes.len() as u64);
    assert_eq!(odd.asked("GET /v2/a/b/manifests/sha256").len(), 0);
}

#[tokio::test]
async fn a_manifest_has_a_bound_and_says_what_it_is() {
    let odd =
        Odd::new(|_| Reply::of(200).header("content-type", IMAGE).body(vec![b' '; (4 << 20) + 1])).await;
    let told = odd.repository().manifest(&tag("1")).await.expect_err("too large");
    assert!(matches!(told, ClientError::LargeManifest { .. }), "{told}");
    let odd = Odd::new(|_| Reply::of(200).body("<html>")).await;
    let told = odd.repository().manifest(&tag("1")).await.expect_err("a page").to_string();
    assert!(told.contains("a/b:1: the manifest is not what it should be"), "{told}");
}

#[tokio::test]
async fn redirects_end() {
    let odd = Odd::new(|ask| match ask.is("GET /v2/ ") || ask.line == "GET /v2/" {
        true => Reply::of(200),
        false => Reply::of(307).header("location", "/v2/a/b/again"),
    })
    .await;
    let told = odd.repository().manifest(&tag("1")).await.expect_err("it never ends").to_string();
    assert!(told.contains("more than 10 times"), "{told}");
    assert_eq!(odd.asked("GET /v2/a/b/").len(), 11);
}

#[tokio::test]
async fn nobody_there_is_told_after_few_tries() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host: RegistryHost = listener.local_addr().expect("an address").to_string().parse().expect("a host");
    drop(listener);
    let told = client().repository(&host, &"a/b".parse().expect("a name")).manifest(&tag("1")).await;
    let told = told.expect_err("nobody is there");
    assert!(
        matches!(&told, ClientError::Unreachable { host: named, .. } if *named == host.to_string()),
        "{told}"
    );
}
