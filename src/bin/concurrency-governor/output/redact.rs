//! URLs without their passwords.

/// Replaces everything after the first `://`. The rest of a URL can contain a password, before its `@` or in a parameter.
///
/// Returns `None` if the text contains no URL.
pub(crate) fn redact_url(text: &str) -> Option<String> {
    Some(format!("{}{REDACTED}", text.strip_suffix(url_rest(text)?)?))
}

/// Returns the text from the first `://` to the end.
pub(super) fn url_rest(text: &str) -> Option<&str> {
    text.get(text.find("://")?..)
}

/// What stands in the place of the rest of a URL.
pub(super) const REDACTED: &str = "://***";
