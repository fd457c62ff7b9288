//! Reads the table `share` of a gate.

use super::reader::{ConfigReader, as_text, find_field, is_blank};
use super::share::{DEFAULT_MAX_HOLD, DEFAULT_TTL, LedgerSource, ShareConfig};
use super::value::{Value, ValueKind};
use crate::plan::Unreachable;

impl ConfigReader {
    /// Reads the settings with which a gate shares its limit.
    pub(super) fn read_share(&mut self, path: &str, value: &Value) -> Option<ShareConfig> {
        let entries = self.read_table(path, value, Some(&SHARE_KEYS));
        if !matches!(value.kind, ValueKind::Table(_)) {
            return None; // reported by `read_table`
        }
        let field =
            |name: &str| find_field(&entries, name).filter(|value| name != "limit" || !is_blank(value));
        for (name, example) in [("name", "name = \"prod/io\""), ("limit", "limit = 200")] {
            if field(name).is_none() {
                self.report(value.line, format!("{path} has no {name} (required, for example {example})"));
            }
        }
        let name = field("name").and_then(|value| {
            let is_valid = |text: &&str| {
                (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
            };
            let name = as_text(value).filter(is_valid).map(str::to_owned);
            let allowed = "1 to 200 printable ASCII characters without spaces";
            self.require(
                &format!("{path}.name"),
                value,
                name,
                "is not the name of a gate in a ledger",
                allowed,
            )
        });
        let limit = field("limit").and_then(|value| self.read_limit(&format!("{path}.limit"), value));
        let max_hold = field("max_hold").map(|value| self.read_duration(&format!("{path}.max_hold"), value));
        let ttl = field("ttl").map(|value| self.read_duration(&format!("{path}.ttl"), value));

        let unreachable = field("unreachable").map(|value| {
            let (path, allowed) = (format!("{path}.unreachable"), "text such as \"closed\"");
            let text = self.require(&path, value, as_text(value), "is not a policy", allowed)?;
            self.parse_text(&path, value.line, text)
        });

        let mut text = |key: &str, allowed: &str| {
            let value = field(key)?;
            // The message does not contain the value, because a URL can contain a password.
            if as_text(value).is_some_and(|text| text.contains("://")) {
                self.report(value.line, format!("{path}.{key} is a URL (allowed: {allowed})"));
                return None;
            }
            let given = as_text(value).filter(|text| !text.is_empty()).map(str::to_owned);
            self.require(&format!("{path}.{key}"), value, given, "is not a name", allowed)
        };
        let variable = text("ledger_env", "the name of a variable whose value is the URL");
        let file = text("ledger_file", "the path of a file that contains the URL");
        let ledger = match (variable, file) {
            (Some(variable), None) => LedgerSource::Env(variable),
            (None, Some(file)) => LedgerSource::File(file.into()),
            _ if field("ledger_env").is_some() != field("ledger_file").is_some() => return None, // reported
            _ => {
                let allowed = "one of ledger_env, the variable with the URL of the ledger, and ledger_file, the file with it";
                self.report(value.line, format!("{path} has no ledger, or two (allowed: {allowed})"));
                return None;
            }
        };
        Some(ShareConfig {
            name: name?,
            ledger,
            limit: limit?,
            max_hold: max_hold.unwrap_or(Some(DEFAULT_MAX_HOLD))?,
            ttl: ttl.unwrap_or(Some(DEFAULT_TTL))?,
            unreachable: unreachable.unwrap_or(Some(Unreachable::default()))?,
        })
    }
}

/// The keys of the table.
const SHARE_KEYS: [&str; 7] =
    ["name", "ledger_env", "ledger_file", "limit", "max_hold", "ttl", "unreachable"];
