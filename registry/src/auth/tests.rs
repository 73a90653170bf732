//! Rights, and how somebody is asked who they are.

use super::*;

fn repository(name: &str) -> Repository {
    name.parse().expect("a name")
}

const RULES: &str = r#"
[[rule]]
repositories = ["acme/*", "tools"]
users = ["alice"]
allow = ["pull", "push", "delete"]

[[rule]]
repositories = ["*"]
users = ["*"]
allow = ["pull"]

[[rule]]
repositories = ["open/*"]
users = ["anonymous"]
allow = ["pull"]

[[quota]]
repositories = ["acme/*"]
bytes = "1KiB"
"#;

#[test]
fn rules_add_up() {
    let access = Access::parse(RULES).expect("rules");
    let cases = [
        (Some("alice"), "acme/large", Action::Delete, true),
        (Some("alice"), "acme", Action::Push, false),
        (Some("alice"), "acmex/large", Action::Push, false),
        (Some("alice"), "tools", Action::Push, true),
        (Some("bob"), "acme/large", Action::Push, false),
        (Some("bob"), "acme/large", Action::Pull, true),
        (Some("bob"), "open/a", Action::Pull, true),
        (None, "open/a", Action::Pull, true),
        (None, "open/a", Action::Push, false),
        (None, "acme/large", Action::Pull, false),
        // A user by the name of those who have none has no more than they.
        (Some("anonymous"), "open/a", Action::Pull, true),
    ];
    for (user, name, action, wanted) in cases {
        assert_eq!(access.allows(user, &repository(name), action), wanted, "{user:?} {name} {action:?}");
    }
    assert_eq!((access.quota(&repository("acme/a")), access.quota(&repository("a"))), (Some(1024), None));
    assert_eq!(access.unknown(|user| user == "bob").collect::<Vec<_>>(), ["alice"]);
}

#[test]
fn without_rules_whoever_has_signed_in_may_do_everything() {
    let mut access = Access::default();
    assert!(access.allows(Some("bob"), &repository("a"), Action::Delete));
    assert!(!access.allows(None, &repository("a"), Action::Pull));
    access.is_public = true;
    assert!(access.allows(None, &repository("a"), Action::Pull));
    assert!(!access.allows(None, &repository("a"), Action::Push));
}

#[test]
fn rules_that_say_nothing_are_refused_by_name() {
    for (text, wanted) in [
        (
            "[[rule]]\nrepositories = [\"A\"]\nusers = [\"a\"]\nallow = [\"pull\"]",
            "`A` stands for no repositories",
        ),
        ("[[rule]]\nrepositories = [\"a*\"]\nusers = [\"a\"]\nallow = [\"pull\"]", "`a*` stands for no"),
        ("[[rule]]\nrepositories = [\"a\"]\nusers = [\"a\"]\nallow = [\"read\"]", "`read` is no right"),
        ("[[rule]]\nrepositories = [\"a\"]\nusers = []\nallow = [\"pull\"]", "no users"),
        ("[[rule]]\nrepositories = []\nusers = [\"a\"]\nallow = [\"pull\"]", "no repositories"),
        ("[[rule]]\nrepositories = [\"a\"]\nuser = [\"a\"]\nallow = [\"pull\"]", "user"),
        ("[[quota]]\nrepositories = [\"a\"]\nbytes = \"lots\"", "`lots` is no size"),
        ("rules = 1", "rules"),
    ] {
        let error = Access::parse(text).expect_err(text).to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

fn auth(challenge: Challenge) -> (tempfile::TempDir, Auth) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("users");
    std::fs::write(&path, format!("alice:{}\n", bcrypt::hash("secret", 4).expect("a hash")))
        .expect("written");
    let secret = Secret::of([7; 32]);
    let passwords = Arc::new(Passwords::open(path, &secret).expect("passwords"));
    let keys = Keys { passwords, tokens: Tokens::new(&secret), challenge };
    (dir, Auth { keys: Some(keys), access: Access::parse(RULES).expect("rules") })
}

#[test]
fn whoever_has_not_signed_in_is_asked_to_and_whoever_may_not_is_denied() {
    let (_dir, auth) = auth(Challenge::Bearer);
    let (acme, tools) = (repository("acme/a"), repository("tools"));
    let at = "https://r.example.com";
    let wanted = [(&acme, Action::Push), (&tools, Action::Pull)];
    let refusal = auth.check(&Who::anonymous(), &wanted, at).expect_err("nobody");
    assert_eq!(refusal.status, 401);
    let words = "Bearer realm=\"https://r.example.com/token\",service=\"conveyor-registry\",\
                 scope=\"repository:acme/a:pull,push repository:tools:pull\"";
    assert_eq!(refusal.headers[0].1, words);
    assert_eq!(auth.check(&Who::user("bob"), &wanted, at).expect_err("not his").status, 403);
    assert_eq!(auth.check(&Who::user("alice"), &wanted, at), Ok(()));
    let pull = Scope { repository: acme.clone(), actions: [Action::Pull].into() };
    let short = Who { scopes: Some(vec![pull]), ..Who::user("alice") };
    let refusal = auth.check(&short, &wanted, at).expect_err("the token is for less");
    assert!(
        refusal.status == 401
            && refusal.headers[0].1.to_str().expect("text").ends_with("insufficient_scope\"")
    );
    assert_eq!(auth.check(&short, &[(&acme, Action::Pull)], at), Ok(()));
    // To mount from another repository takes a token for both; whoever may not pull there is not asked for one.
    let push = Scope { repository: acme.clone(), actions: Action::ALL.into() };
    let of = |user: &str| Who { scopes: Some(vec![push.clone()]), ..Who::user(user) };
    assert_eq!(auth.check(&of("alice"), &wanted, at).expect_err("a better token").status, 401);
    assert_eq!(
        auth.check(&Who::user("alice"), &[(&acme, Action::Push), (&repository("other"), Action::Delete)], at),
        Ok(())
    );
}

#[test]
fn what_is_granted_is_what_may_be_done() {
    let (_dir, auth) = auth(Challenge::Basic);
    let asked: Vec<Scope> = ["repository:acme/a:pull,push", "repository:other:pull,push"]
        .iter()
        .map(|text| text.parse().expect("a scope"))
        .collect();
    let granted = auth.grant(&Who::user("alice"), &asked);
    let granted: Vec<String> = granted.iter().map(ToString::to_string).collect();
    assert_eq!(granted, ["repository:acme/a:pull,push", "repository:other:pull"]);
    assert_eq!(auth.grant(&Who::anonymous(), &asked), []);
}

#[test]
fn what_a_request_shows_is_read_with_care() {
    let of = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
        }
        shown(&headers)
    };
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    assert_eq!(of(&[]), Ok(Shown::Nothing));
    assert_eq!(of(&[&basic(":")]), Ok(Shown::Nothing));
    let wanted = Shown::Password { user: "a".to_owned(), password: "b:c".to_owned() };
    assert_eq!(of(&[&basic("a:b:c").replace("Basic", "basic")]), Ok(wanted));
    assert_eq!(of(&["Bearer x.y"]), Ok(Shown::Bearer("x.y".to_owned())));
    for values in [&["Basic"][..], &["Basic !"], &[&basic("a")], &["Digest x"], &["Bearer x", "Bearer x"]] {
        assert!(of(values).is_err_and(|refusal| refusal.status == 401), "{values:?}");
    }
}

#[test]
fn the_realm_is_where_the_client_found_us() {
    let of = |host: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::HOST, HeaderValue::from_str(host).expect("a value"));
        named_by(&headers, None, true)
    };
    assert_eq!(of("r.example.com:5000"), "https://r.example.com:5000");
    assert_eq!(of("[::1]:5000"), "https://[::1]:5000");
    assert_eq!(of("a\"b"), "https://localhost");
    assert_eq!(named_by(&HeaderMap::new(), Some("https://r/"), false), "https://r");
}
