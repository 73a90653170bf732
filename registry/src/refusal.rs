//! Why a request is not done, in the specification's words: a code, a message, and what it is about.
//!
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes>

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

/// The codes of the specification, and those that every client knows from the registry of Docker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    PaginationNumberInvalid,
    RangeInvalid,
    SizeInvalid,
    TagInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    Unavailable,
    Unknown,
}

impl Code {
    pub fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestBlobUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::PaginationNumberInvalid
            | Self::SizeInvalid
            | Self::TagInvalid => StatusCode::BAD_REQUEST,
            Self::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: Code,
    pub message: String,
    pub detail: Option<Box<Value>>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// With the status that the code has.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (message, headers) = (message.into(), Vec::new());
        Self { status: code.status(), code, message, detail: None, headers }
    }

    pub fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub fn about(self, detail: Value) -> Self {
        Self { detail: Some(Box::new(detail)), ..self }
    }

    /// Adds a header; a value that cannot be one is left out.
    pub fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        self.headers.extend(HeaderValue::try_from(value.as_ref()).ok().map(|value| (name, value)));
        self
    }

    /// The body: JSON.
    pub fn body(&self) -> String {
        let mut error = json!({ "code": self.code.name(), "message": self.message });
        if let Some(detail) = &self.detail {
            error["detail"] = Value::clone(detail);
        }
        json!({ "errors": [error] }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_the_one_of_the_specification() {
        let refusal =
            Refusal::new(Code::BlobUnknown, "there is no such blob").about(json!({ "digest": "sha256:x" }));
        assert_eq!(refusal.status, StatusCode::NOT_FOUND);
        let wanted = r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"there is no such blob","detail":{"digest":"sha256:x"}}]}"#;
        assert_eq!(refusal.body(), wanted);
        let wanted = r#"{"errors":[{"code":"DENIED","message":"no"}]}"#;
        assert_eq!(Refusal::new(Code::Denied, "no").body(), wanted);
    }
}
