//! What a method and a path ask for.

use std::borrow::Cow;

use http::Method;
use model::ids::Digest;
use serde_json::json;

use crate::name::{NameError, Reference, ReferenceError, Repository};
use crate::refusal::{Code, Refusal};
use crate::store::UploadId;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`: whether this is a registry, and whom it lets in.
    Base,
    /// `/v2/_catalog`: the names of repositories.
    Catalog,
    /// `/token`: signed words for those who have a password.
    Token,
    In(Repository, Thing),
}

/// What a path names within a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    Tags,
    Referrers(Digest),
    Manifest(Reference),
    Blob(Digest),
    Uploads,
    Upload(UploadId),
}

/// What somebody needs a right for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// As scopes and files of rights have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// The methods that something has.
fn methods(route: &Route) -> &'static [&'static str] {
    match route {
        Route::Token => &["GET", "HEAD", "POST"],
        Route::Base | Route::Catalog | Route::In(_, Thing::Tags | Thing::Referrers(_)) => &["GET", "HEAD"],
        Route::In(_, Thing::Manifest(_)) => &["GET", "HEAD", "PUT", "DELETE"],
        Route::In(_, Thing::Blob(_)) => &["GET", "HEAD", "DELETE"],
        Route::In(_, Thing::Uploads) => &["POST"],
        Route::In(_, Thing::Upload(_)) => &["GET", "HEAD", "PATCH", "PUT", "DELETE"],
    }
}

impl Route {
    /// Reads a path as it came: with its escapes.
    pub fn parse(path: &str) -> Result<Self, Refusal> {
        let path = percent_encoding::percent_decode_str(path).decode_utf8();
        let path = path.map_err(|_| unknown("the path is not UTF-8"))?;
        match &*path {
            "/token" => return Ok(Self::Token),
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/v2/_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or_else(|| unknown("the API of a registry is below /v2/"))?;
        let (name, thing) = split(rest)?;
        let name: Repository = name.parse().map_err(wrong_name)?;
        Ok(Self::In(name, thing))
    }

    /// Whether the method is one that this has; otherwise the refusal names those that it has.
    pub fn allow(&self, method: &Method) -> Result<(), Refusal> {
        let methods = methods(self);
        if methods.contains(&method.as_str()) {
            return Ok(());
        }
        let allowed = methods.join(", ");
        let message = format!("{} is not done here; {allowed} are", method.as_str());
        Err(Refusal::new(Code::Unsupported, message).header(http::header::ALLOW, allowed))
    }
}

/// The right that a method needs on a thing of a repository.
pub fn action(method: &Method, thing: &Thing) -> Action {
    match (method.as_str(), thing) {
        // An upload is whoever pushes's own, and so is its end.
        (_, Thing::Upload(_) | Thing::Uploads) | ("PUT", _) => Action::Push,
        ("DELETE", _) => Action::Delete,
        _ => Action::Pull,
    }
}

/// A repository's name is what is before the last words that the specification has: it may have them too.
fn split(rest: &str) -> Result<(&str, Thing), Refusal> {
    if let Some(name) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
        return Ok((name, Thing::Uploads));
    }
    let nothing = || unknown("the API of a registry has nothing there");
    let (rest, last) = rest.rsplit_once('/').ok_or_else(nothing)?;
    let (name, kind) = rest.rsplit_once('/').ok_or_else(nothing)?;
    match kind {
        "tags" if last == "list" => Ok((name, Thing::Tags)),
        "manifests" => Ok((name, Thing::Manifest(last.parse().map_err(wrong_reference)?))),
        "blobs" => Ok((name, Thing::Blob(digest(last)?))),
        "referrers" => Ok((name, Thing::Referrers(digest(last)?))),
        "uploads" => {
            let name = name.strip_suffix("/blobs").ok_or_else(nothing)?;
            let id = last.parse().map_err(|()| unknown_upload())?;
            Ok((name, Thing::Upload(id)))
        }
        _ => Err(nothing()),
    }
}

pub fn unknown_upload() -> Refusal {
    let message =
        "there is no such upload: it has ended, was not touched for long, or never began; begin it anew";
    Refusal::new(Code::BlobUploadUnknown, message)
}

/// A digest where one is wanted.
pub fn digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|error: model::ids::DigestError| Refusal::new(Code::DigestInvalid, error.to_string()))
}

fn unknown(message: &str) -> Refusal {
    Refusal::new(Code::Unsupported, message).status(http::StatusCode::NOT_FOUND)
}

pub fn wrong_name(error: NameError) -> Refusal {
    Refusal::new(Code::NameInvalid, error.to_string())
}

fn wrong_reference(error: ReferenceError) -> Refusal {
    match error {
        ReferenceError::Tag(error) => Refusal::new(Code::TagInvalid, error.to_string()),
        ReferenceError::Digest(error) => Refusal::new(Code::DigestInvalid, error.to_string()),
    }
}

/// The values of a query, by their names, as they came one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The one value of that name. More than one are refused: nobody knows which is meant.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut all = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match (all.next(), all.next()) {
            (Some(first), Some(second)) if first != second => {
                let message = format!("`{name}` is given twice, as two values: give it once");
                Err(Refusal::new(Code::Unsupported, message)
                    .status(http::StatusCode::BAD_REQUEST)
                    .about(json!({ "parameter": name })))
            }
            (first, _) => Ok(first),
        }
    }
}

/// As it stands in a path or a query.
pub fn escaped(text: &str) -> Cow<'_, str> {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn within(path: &str) -> (String, Thing) {
        match Route::parse(path) {
            Ok(Route::In(name, thing)) => (name.to_string(), thing),
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let digest: Digest = DIGEST.parse().expect("a digest");
        let tag = Thing::Manifest("latest".parse().expect("a tag"));
        assert_eq!(within("/v2/a/manifests/latest"), ("a".into(), tag.clone()));
        assert_eq!(within("/v2/a/manifests/b/manifests/latest"), ("a/manifests/b".into(), tag));
        assert_eq!(within(&format!("/v2/a/blobs/{DIGEST}")), ("a".into(), Thing::Blob(digest)));
        assert_eq!(
            within(&format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A"))),
            ("a".into(), Thing::Blob(digest))
        );
        assert_eq!(within(&format!("/v2/a/b/referrers/{DIGEST}")), ("a/b".into(), Thing::Referrers(digest)));
        assert_eq!(within("/v2/tags/list/tags/list"), ("tags/list".into(), Thing::Tags));
        assert_eq!(within("/v2/a/blobs/uploads/"), ("a".into(), Thing::Uploads));
        assert_eq!(within("/v2/a/blobs/blobs/uploads"), ("a/blobs".into(), Thing::Uploads));
        let id: UploadId = "0123456789abcdef0123456789abcdef".parse().expect("an id");
        assert_eq!(within(&format!("/v2/a/blobs/uploads/{id}")), ("a".into(), Thing::Upload(id)));
        assert_eq!(Route::parse("/v2/"), Ok(Route::Base));
        assert_eq!(Route::parse("/v2/_catalog"), Ok(Route::Catalog));
        assert_eq!(Route::parse("/token"), Ok(Route::Token));
    }

    #[test]
    fn what_is_no_name_is_refused_before_it_is_a_path() {
        let cases = [
            ("/v2/A/manifests/x", Code::NameInvalid),
            ("/v2/../../etc/manifests/x", Code::NameInvalid),
            ("/v2/a%2f..%2fb/manifests/x", Code::NameInvalid),
            ("/v2//manifests/x", Code::NameInvalid),
            ("/v2/a/manifests/..", Code::TagInvalid),
            ("/v2/a/manifests/%00", Code::TagInvalid),
            ("/v2/a/manifests/sha256:baddigeststring", Code::DigestInvalid),
            ("/v2/a/blobs/x", Code::DigestInvalid),
            ("/v2/a/referrers/x", Code::DigestInvalid),
            ("/v2/a/blobs/uploads/..", Code::BlobUploadUnknown),
            ("/v2/a/blobs/uploads/0123456789ABCDEF0123456789ABCDEF", Code::BlobUploadUnknown),
            ("/v2/a/uploads/0123456789abcdef0123456789abcdef", Code::Unsupported),
            ("/v2/a/tags/all", Code::Unsupported),
            ("/v2/a", Code::Unsupported),
            ("/v1/a/tags/list", Code::Unsupported),
            ("/v2/%ff/tags/list", Code::Unsupported),
            ("", Code::Unsupported),
        ];
        for (path, code) in cases {
            let refusal = Route::parse(path).expect_err(path);
            assert_eq!(refusal.code, code, "{path}: {}", refusal.message);
            assert!(refusal.status.is_client_error(), "{path}");
        }
    }

    #[test]
    fn methods_that_a_thing_has_not_are_refused_with_those_that_it_has() {
        let route = Route::parse("/v2/a/tags/list").expect("a route");
        assert!(route.allow(&Method::GET).is_ok() && route.allow(&Method::HEAD).is_ok());
        let refusal = route.allow(&Method::PUT).expect_err("no such method");
        assert_eq!(refusal.status, 405);
        assert_eq!(refusal.headers[0].1, "GET, HEAD");
    }

    #[test]
    fn rights_follow_from_the_method() {
        let tag = Thing::Manifest("latest".parse().expect("a tag"));
        assert_eq!(action(&Method::HEAD, &tag), Action::Pull);
        assert_eq!(action(&Method::PUT, &tag), Action::Push);
        assert_eq!(action(&Method::DELETE, &tag), Action::Delete);
        assert_eq!(action(&Method::POST, &Thing::Uploads), Action::Push);
        let id = "0123456789abcdef0123456789abcdef".parse().expect("an id");
        assert_eq!(action(&Method::DELETE, &Thing::Upload(id)), Action::Push);
    }

    #[test]
    fn a_value_that_is_given_twice_is_refused_where_one_is_wanted() {
        let query = Query::parse(Some("a=1&b=x%20y&a=2&c=1&c=1"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.one("b"), Ok(Some("x y")));
        assert_eq!((query.one("c"), query.one("d")), (Ok(Some("1")), Ok(None)));
        assert!(query.one("a").is_err());
    }
}
