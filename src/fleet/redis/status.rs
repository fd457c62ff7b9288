//! Reads the hash that the scripts write.

use std::collections::HashMap;

use crate::fleet::step::{HolderStatus, LedgerStatus, LimitVersion};
use crate::plan::Limit;

use super::message_pack::MessagePackReader;

/// Reads the state of a gate from the fields of its hash, which exchange.lua describes. Returns `None` if the hash has another layout, or
/// cannot be read.
pub(super) fn read_status(fields: &HashMap<Vec<u8>, Vec<u8>>) -> Option<LedgerStatus> {
    let mut gate = MessagePackReader::new(fields.get(&b"m"[..])?);
    let [
        layout,
        epoch,
        _server,
        clock,
        learning_until,
        _span,
        _guard,
        limit,
        version,
        exchanges,
        granted,
        _holders,
    ] = gate.unsigned_numbers()?;
    if layout != 1 {
        return None;
    }
    let (_level, _spare, _run) = (gate.number()?, gate.number()?, gate.text()?);
    let (first, last) = (gate.text()?, gate.text()?);
    let mut holders = Vec::new();
    let mut next = Some(first).filter(|holder| !holder.is_empty());
    while let Some(holder) = next {
        let mut entry = MessagePackReader::new(fields.get(format!("e:{holder}").as_bytes())?);
        let [granted, reserved, wants, seq, expiry, _grown, ticket] = entry.unsigned_numbers()?;
        if !entry.is_at_end() {
            return None;
        }
        holders.push(HolderStatus {
            holder: holder.to_owned(),
            granted,
            reserved,
            wants: u32::try_from(wants).ok()?,
            seq,
            expires_ms: expiry.saturating_sub(clock),
            short_since: ticket,
        });
        // A cycle in the list would be a bug of the script.
        if holders.len() > fields.len() {
            return None;
        }
        next = if holder == last { None } else { Some(text(fields.get(format!("n:{holder}").as_bytes())?)?) };
    }
    Some(LedgerStatus {
        epoch,
        limit: (limit > 0).then(|| LimitVersion { limit: Limit::saturating(limit), version }),
        set_by: fields
            .get(&b"by"[..])
            .map_or_else(String::new, |by| String::from_utf8_lossy(by).into_owned()),
        learning_ms: learning_until.saturating_sub(clock),
        exchanges,
        granted,
        holders,
    })
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
