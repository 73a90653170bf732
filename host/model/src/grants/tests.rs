use std::net::IpAddr;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is an address"))
}

#[test]
fn only_addresses_of_the_internet_are_public() {
    for public in
        ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1"]
    {
        assert!(is_public(ip(public)), "{public}");
    }
    for public in ["2606:4700::1111", "2a00:1450::1", "2002:101:101::1", "64:ff9b::101:101", "::ffff:1.1.1.1"]
    {
        assert!(is_public(ip(public)), "{public}");
    }
    let private = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.254",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "100.100.100.200",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fdff::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "5f00::1",
        "4000::1",
    ];
    for private in private {
        assert!(!is_public(ip(private)), "{private}");
    }
}

#[test]
fn a_grant_reads_as_it_is_written() {
    let cases = [
        ("api.example.com:443", "api.example.com:443"),
        ("API.Example.com.:8443", "api.example.com:8443"),
        ("api.example.com", "api.example.com:443"),
        ("localhost:8080", "localhost:8080"),
        ("my_host:1", "my_host:1"),
        ("10.0.0.5:8080", "10.0.0.5:8080"),
        ("10.1.0.0/16:8080", "10.1.0.0/16:8080"),
        ("0.0.0.0/0:80", "0.0.0.0/0:80"),
        ("10.0.0.5/32:80", "10.0.0.5:80"),
        ("10.1.0.0/16", "10.1.0.0/16:443"),
        ("[fd00::5]:80", "[fd00::5]:80"),
        ("[fd00::5]", "[fd00::5]:443"),
        ("[fd00::]/8:80", "[fd00::]/8:80"),
        ("[::ffff:10.0.0.5]:80", "10.0.0.5:80"),
    ];
    for (text, shown) in cases {
        let grant: HostGrant = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(grant.to_string(), shown, "{text}");
        assert_eq!(shown.parse(), Ok(grant), "{shown} reads as it is shown");
    }
}

#[test]
fn what_is_no_host_says_why() {
    let cases = [
        ("https://api.example.com", "a scheme"),
        ("api.example.com/v1", "a path"),
        ("api.example.com:443/v1", "a path"),
        ("api.example.com/", "a path"),
        ("me@api.example.com", "a user"),
        ("api.example.com?x", "a query"),
        ("*.example.com:443", "name each host"),
        ("api.example.com:0", "a port"),
        ("api.example.com:65536", "a port"),
        ("api.example.com:https", "a port"),
        ("api.example.com:", "a port"),
        (":443", "a host is"),
        ("", "a host is"),
        ("a..b", "a host is"),
        ("-a.b", "a host is"),
        ("käse.example", "a host is"),
        ("fd00::5", "in brackets"),
        ("[fd00::5", "in brackets"),
        ("[nothing]:80", "a host is"),
        ("127.1:80", "all four numbers"),
        ("2130706433:80", "all four numbers"),
        ("0x7f.0x1:80", "all four numbers"),
        ("10.1.2.3/16:80", "first address is 10.1.0.0"),
        ("10.0.0.0/33:80", "a range is"),
        ("example.com/8:80", "a range is"),
        ("0.0.0.0:80", "no address that anybody"),
        ("224.0.0.1:80", "no address that anybody"),
        ("255.255.255.255:80", "no address that anybody"),
        ("[::]:80", "no address that anybody"),
    ];
    for (text, why) in cases {
        match text.parse::<HostGrant>() {
            Ok(grant) => panic!("{text} was taken for {grant}"),
            Err(error) => assert!(error.to_string().contains(why), "{text}: {error}"),
        }
    }
}

fn grants(http: &[&str]) -> Grants {
    let http = http.iter().map(|text| text.parse().expect("a grant")).collect();
    Grants { http, ..Grants::default() }
}

/// Grants, a request, the addresses of its host, and those that are dialled.
type Dialled<'a> = (&'a [&'a str], &'a str, &'a [&'a str], Option<&'a [&'a str]>);

/// Which of the addresses of a host are dialled under which grants; none where the request is refused.
#[test]
fn what_is_dialled_is_granted_and_public_or_granted_by_itself() {
    let cases: &[Dialled<'_>] = &[
        (&["a.com:443"], "a.com:443", &["1.1.1.1"], Some(&["1.1.1.1"])),
        (&["a.com:443"], "A.COM.:443", &["1.1.1.1"], Some(&["1.1.1.1"])),
        (&["a.com:443"], "a.com:80", &["1.1.1.1"], None),
        (&["a.com:443"], "b.com:443", &["1.1.1.1"], None),
        (&["a.com:443"], "x.a.com:443", &["1.1.1.1"], None),
        (&[], "a.com:443", &["1.1.1.1"], None),
        // A name grants no address, and an address no name.
        (&["a.com:443"], "1.1.1.1:443", &["1.1.1.1"], None),
        (&["1.1.1.1:443"], "a.com:443", &["1.1.1.1"], None),
        // A name that leads inside is refused, whatever the address is dressed as.
        (&["a.com:80"], "a.com:80", &["127.0.0.1"], None),
        (&["a.com:80"], "a.com:80", &["169.254.169.254"], None),
        (&["a.com:80"], "a.com:80", &["::ffff:10.0.0.1"], None),
        (&["a.com:80"], "a.com:80", &["10.0.0.1", "1.1.1.1"], Some(&["1.1.1.1"])),
        // Unless the address is granted too, on that port.
        (&["a.com:80", "10.0.0.1:80"], "a.com:80", &["10.0.0.1"], Some(&["10.0.0.1"])),
        (&["a.com:80", "10.0.0.0/8:80"], "a.com:80", &["10.0.0.1"], Some(&["10.0.0.1"])),
        (&["a.com:80", "10.0.0.1:81"], "a.com:80", &["10.0.0.1"], None),
        (&["10.0.0.0/8:80"], "10.9.9.9:80", &["10.9.9.9"], Some(&["10.9.9.9"])),
        (&["10.0.0.0/8:80"], "11.9.9.9:80", &["11.9.9.9"], None),
        // This machine, by its name or its address.
        (&["localhost:80"], "localhost:80", &["127.0.0.1", "::1"], Some(&["127.0.0.1", "::1"])),
        (&["localhost:80"], "localhost:80", &["10.0.0.1"], None),
        (&["localhost:80"], "127.0.0.1:80", &["127.0.0.1"], None),
        (&["127.0.0.1:80"], "127.0.0.1:80", &["127.0.0.1"], Some(&["127.0.0.1"])),
        (&["127.0.0.1:80"], "[::ffff:127.0.0.1]:80", &["127.0.0.1"], Some(&["127.0.0.1"])),
        // Metadata, by its own literal alone.
        (&["0.0.0.0/0:80"], "169.254.169.254:80", &["169.254.169.254"], None),
        (&["a.com:80", "169.254.0.0/16:80"], "a.com:80", &["169.254.169.254"], None),
        (&["169.254.169.254:80"], "169.254.169.254:80", &["169.254.169.254"], Some(&["169.254.169.254"])),
    ];
    for (granted, to, addresses, expected) in cases {
        let to = Authority::parse(to, 443).expect("an authority");
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| ip(address)).collect();
        let dialled = grants(granted).dialled(&to, &addresses).ok();
        let expected: Option<Vec<IpAddr>> =
            expected.map(|list| list.iter().map(|address| ip(address)).collect());
        assert_eq!(dialled, expected, "{granted:?} {to} {addresses:?}");
    }
}

#[test]
fn a_request_that_names_a_user_or_half_an_address_has_no_authority() {
    for text in ["a.com@b.com", "127.1", "0x7f000001", "a b", "[::1", "::1", "", ":80", "a.com:0", "a.com:x"]
    {
        assert!(Authority::parse(text, 443).is_err(), "{text}");
    }
}

#[test]
fn needs_are_read_met_and_turned_into_lines() {
    let all = Grants {
        http: vec!["api.example.com:443".parse().expect("a grant")],
        env: [("REGION".to_owned(), "eu".to_owned())].into(),
        dirs: vec![DirGrant { host: "./l".into(), guest: "/lookup".into(), mode: DirMode::ReadOnly }],
        secrets: vec!["API_KEY".into()],
        clock: true,
        random: true,
    };
    let cases = [
        ("http api.example.com:443", true, "grants: { http: [api.example.com:443] }"),
        ("http  api.example.com", true, "grants: { http: [api.example.com:443] }"),
        ("http [fd00::5]:80", false, "grants: { http: ['[fd00::5]:80'] }"),
        ("env REGION", true, "grants: { env: { REGION: VALUE } }"),
        ("env ZONE", false, "grants: { env: { ZONE: VALUE } }"),
        ("dir /lookup/", true, "grants: { dirs: [{ host: PATH, guest: /lookup, mode: ro }] }"),
        ("dir /lookup rw", false, "grants: { dirs: [{ host: PATH, guest: /lookup, mode: rw }] }"),
        ("secret API_KEY", true, "grants: { secrets: [API_KEY] }"),
        ("clock", true, "grants: { clock: true }"),
        ("random", true, "grants: { random: true }"),
    ];
    for (text, met, line) in cases {
        let need: Need = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(need.is_met_by(&all), met, "{text}");
        assert!(!need.is_met_by(&Grants::default()), "{text} is met by nothing");
        assert_eq!(need.line(), line);
        assert_eq!(need.to_string().parse(), Ok(need), "{text} reads as it is shown");
    }
    for text in [
        "",
        "http",
        "http a b",
        "env",
        "env 1A",
        "env A=B",
        "dir lookup",
        "dir /a/../b",
        "dir /a xx",
        "tcp a:1",
    ] {
        assert!(text.parse::<Need>().is_err(), "{text}");
    }
}

#[test]
fn lines_grant_all_needs_each_once() {
    let texts = [
        "random",
        "http b.com:80",
        "http a.com:443",
        "http b.com:80",
        "env B",
        "env A",
        "dir /d rw",
        "secret S",
    ];
    let needs: Vec<Need> = texts.iter().map(|text| text.parse().expect("a need")).collect();
    let expected = "grants:\n  http: [a.com:443, b.com:80]\n  env: { A: VALUE, B: VALUE }\n  dirs: [{ host: PATH, \
                    guest: /d, mode: rw }]\n  secrets: [S]\n  random: true\n";
    assert_eq!(lines(&needs), expected);
    assert_eq!(lines(&[]), "");
    assert_eq!(missing(&needs, &Grants::default()).len(), 7);
    assert!(missing([&Need::AnyHttp], &grants(&["x.com:1"])).is_empty());
}

#[test]
fn a_difference_names_what_came_and_what_went() {
    let set = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let difference = Difference::between(&set(&["clock", "http a.com:443"]), &set(&["clock", "random"]));
    assert_eq!(difference.added, ["random"]);
    assert_eq!(difference.removed, ["http a.com:443"]);
    assert!(Difference::between(&set(&["clock"]), &set(&["clock"])).is_empty());
}
