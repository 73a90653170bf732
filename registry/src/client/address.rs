//! Where answers lead on to: redirects, `Location` and `Link`, read and judged.

use http::header::{LINK, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use reqwest::Url;

use crate::image_ref::is_loopback;

/// Whether two URLs are of one server: what is told to one may be told to the other.
pub(super) fn is_same(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && is_same_host(one, other)
}

/// Whether they are of one host and one port, or both of the port that their scheme has.
fn is_same_host(one: &Url, other: &Url) -> bool {
    one.host_str() == other.host_str() && one.port() == other.port()
}

/// The URL that an answer from `from` names, in full or in part. A registry behind something that speaks TLS for it names
/// itself by http without knowing better, and is understood; otherwise nothing leads from https to http, and by http only to
/// this machine, unless `plain_http`.
pub(super) fn lead(from: &Url, to: &str, plain_http: bool) -> Result<Url, String> {
    let shown = || super::failure::shown(to);
    let mut url = from.join(to).map_err(|error| format!("`{}` is no address: {error}", shown()))?;
    if from.scheme() == "https" && url.scheme() == "http" && is_same_host(from, &url) {
        // Both of these are schemes that a URL of the web may have.
        let _ = url.set_scheme("https");
    }
    // Names and passwords in an address are for nobody.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    let is_here = url.host_str().is_some_and(is_loopback);
    match (url.scheme(), from.scheme()) {
        ("https", _) => Ok(url),
        ("http", "http") if plain_http || is_here => Ok(url),
        ("http", "https") => {
            Err(format!("it leads from https to http, where anybody listens in: `{}`", shown()))
        }
        ("http", _) => Err(format!("it leads to `{}`, by http: --plain-http lets it", shown())),
        _ => Err(format!("it leads to `{}`, which is neither https nor http", shown())),
    }
}

/// Where an answer sends whoever asked; None where it does not.
pub(super) fn redirect<'a>(
    method: &Method,
    status: StatusCode,
    headers: &'a HeaderMap,
) -> Result<Option<&'a str>, String> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match status.as_u16() {
        // What was sent has to be sent there as well.
        307 | 308 => {}
        301..=303 if is_read => {}
        301..=303 => {
            return Err(format!("it answers {method} with {status}, after which nobody knows what to send"));
        }
        _ => return Ok(None),
    }
    let to = headers.get(LOCATION).and_then(|to| to.to_str().ok());
    to.map(Some).ok_or_else(|| format!("it answers {status} without saying where to"))
}

/// The next page of a list, by `Link` (RFC 8288): None behind the last one. It has to be of the same server.
pub(super) fn next_page(from: &Url, headers: &HeaderMap) -> Result<Option<Url>, String> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(to) = values.flat_map(links).find(|(_, is_next)| *is_next).map(|(to, _)| to) else {
        return Ok(None);
    };
    // By http where the registry is asked by http: the rest of the rules is for other servers.
    let url = lead(from, to, true)?;
    match is_same(from, &url) {
        true => Ok(Some(url)),
        false => Err(format!("the rest of the list is at another host: `{}`", super::failure::shown(to))),
    }
}

/// The links of one value, and whether each is to what is next.
fn links(value: &str) -> Vec<(&str, bool)> {
    let mut all = vec![];
    let mut rest = value;
    while let Some((_, behind)) = rest.split_once('<') {
        let Some((to, behind)) = behind.split_once('>') else { break };
        // Parameters go on up to the next link: a comma within quotes is before none.
        let end = behind.find('<').unwrap_or(behind.len());
        let (parameters, behind) = behind.split_at(end);
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && relations.any(|of| of.eq_ignore_ascii_case("next"))
        });
        all.push((to, is_next));
        rest = behind;
    }
    all
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn nothing_leads_to_where_it_is_less_safe() {
        let of = |from: &str, to: &str, plain: bool| lead(&url(from), to, plain).map(|url| url.to_string());
        let cases = [
            ("https://r/v2/a", "/v2/b?x=y", "https://r/v2/b?x=y"),
            ("https://r/v2/a", "https://s/b", "https://s/b"),
            ("https://r/v2/a", "b", "https://r/v2/b"),
            // A registry behind a server of TLS.
            ("https://r/v2/a", "http://r/b", "https://r/b"),
            ("https://r:5000/v2/a", "http://r:5000/b", "https://r:5000/b"),
            ("http://127.0.0.1:1/a", "http://localhost:2/b", "http://localhost:2/b"),
            ("http://127.0.0.1:1/a", "https://s/b", "https://s/b"),
            ("https://r/v2/a", "https://u:p@s/b#c", "https://s/b"),
        ];
        for (from, to, wanted) in cases {
            assert_eq!(of(from, to, false).as_deref(), Ok(wanted), "{from} {to}");
        }
        for (from, to) in [
            ("https://r/a", "http://s/b"),
            ("https://r/a", "http://r:81/b"),
            ("https://r/a", "http://127.0.0.1/b"),
            ("http://127.0.0.1/a", "http://s/b"),
            ("https://r/a", "ftp://r/b"),
            ("https://r/a", "file:///etc/passwd"),
            ("https://r/a", "https://"),
        ] {
            assert!(of(from, to, false).is_err(), "{from} {to}");
        }
        assert!(of("http://r/a", "http://s/b", true).is_ok());
        assert!(of("https://r/a", "http://s/b", true).is_err());
    }

    #[test]
    fn redirects_of_what_is_sent_have_to_say_that_it_is_sent_again() {
        let mut headers = HeaderMap::new();
        let of = |headers: &HeaderMap, method: Method, status: u16| {
            let status = StatusCode::from_u16(status).expect("a status");
            redirect(&method, status, headers).map(|to| to.map(str::to_owned))
        };
        assert!(of(&headers, Method::GET, 307).is_err());
        headers.insert(LOCATION, HeaderValue::from_static("/x"));
        for status in [301, 302, 303, 307, 308] {
            assert_eq!(of(&headers, Method::GET, status), Ok(Some("/x".to_owned())));
        }
        assert_eq!(of(&headers, Method::PUT, 307), Ok(Some("/x".to_owned())));
        assert!(of(&headers, Method::PUT, 302).is_err());
        for status in [200, 201, 202, 304, 404] {
            assert_eq!(of(&headers, Method::GET, status), Ok(None));
        }
    }

    #[test]
    fn links_lead_to_the_next_page_of_the_same_server() {
        let of = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_str(link).expect("a value"));
            next_page(&url("https://r:5000/v2/a/tags/list?n=2"), &headers).map(|url| url.map(String::from))
        };
        let next = Ok(Some("https://r:5000/v2/a/tags/list?last=b".to_owned()));
        assert_eq!(of("</v2/a/tags/list?last=b>; rel=\"next\""), next);
        assert_eq!(of("</v2/a/tags/list?last=b>;rel=next"), next);
        assert_eq!(of("<https://r:5000/v2/a/tags/list?last=b>; title=\"a,b\"; REL=\"next last\""), next);
        assert_eq!(of("<http://r:5000/v2/a/tags/list?last=b>; rel=\"next\""), next);
        assert_eq!(of("</x>; rel=\"prev\", <list?last=b>; rel=\"next\""), next);
        assert_eq!(of("</x>; rel=\"prev\""), Ok(None));
        assert_eq!(of("nothing"), Ok(None));
        for other in ["https://s/v2/x", "https://r/v2/x", "//s/x"] {
            assert!(of(&format!("<{other}>; rel=\"next\"")).is_err(), "{other}");
        }
        assert_eq!(next_page(&url("https://r/"), &HeaderMap::new()), Ok(None));
    }
}
