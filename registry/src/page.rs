//! Lists that are given page by page: how many are asked for, behind which one, and where the rest is.

use model::limits::REGISTRY_PAGE_ENTRIES_MAX;

use crate::refusal::{Code, Refusal};
use crate::route::{Query, escaped};

/// What somebody asks for of a sorted list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// No more than so many.
    pub entries: usize,
    /// Those behind this one, which need not be there itself.
    pub last: Option<String>,
}

impl Page {
    /// By `n` and `last`. More than a page is cut to one, and its `Link` says where the rest is.
    pub fn parse(query: &Query) -> Result<Self, Refusal> {
        let entries = match query.one("n")? {
            None => REGISTRY_PAGE_ENTRIES_MAX,
            Some(n) if !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()) => {
                n.parse().unwrap_or(usize::MAX).min(REGISTRY_PAGE_ENTRIES_MAX)
            }
            Some(_) => {
                let message = "`n` is how many are wanted: a number of digits alone";
                return Err(Refusal::new(Code::PaginationNumberInvalid, message));
            }
        };
        Ok(Self { entries, last: query.one("last")?.filter(|last| !last.is_empty()).map(str::to_owned) })
    }

    /// The `Link` to the page behind `last`: a path and a query of its own, as RFC 8288 has it.
    pub fn link(&self, path: &str, last: &str) -> String {
        format!("<{path}?n={}&last={}>; rel=\"next\"", self.entries, escaped(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, Refusal> {
        Page::parse(&Query::parse(Some(query)))
    }

    #[test]
    fn pages_are_bounded() {
        let all = Page { entries: REGISTRY_PAGE_ENTRIES_MAX, last: None };
        assert_eq!(page(""), Ok(all.clone()));
        assert_eq!(page("last="), Ok(all.clone()));
        assert_eq!(page("n=99999999999999999999999"), Ok(all));
        assert_eq!(page("n=0&last=a%2Bb"), Ok(Page { entries: 0, last: Some("a+b".to_owned()) }));
        for query in ["n=", "n=-1", "n=+1", "n=x", "n=1.5", "n=1&n=2", "last=a&last=b"] {
            assert!(page(query).is_err_and(|refusal| refusal.status == 400), "{query}");
        }
    }

    #[test]
    fn links_name_the_next_page() {
        let page = page("n=2&last=a").expect("a page");
        assert_eq!(page.link("/v2/a/tags/list", "v1.0"), "</v2/a/tags/list?n=2&last=v1%2E0>; rel=\"next\"");
    }
}
