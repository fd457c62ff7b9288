//! How much of the CPUs' time the process's control groups leave it.

use super::evidence::{Evidence, Unread};
use super::group::{self, Controller, Level};
use super::host::Host;
use super::{Version, number, says_none, word};
use crate::plan::Quantity;

/// Adds the bandwidth quota of each control group that holds the process, as a limit in cores.
///
/// Version 2 lets a group have more than the one above it, and the one above wins: each level counts.
pub(in crate::probe) fn quota(host: &mut Host, evidence: &mut Evidence) {
    let Some(groups) = group::groups(host, Controller::Cpu, evidence) else { return };
    for level in &groups.levels {
        if groups.end_above(level, "cpu.max", host) {
            break;
        }
        let (file, quota) = match groups.version {
            Version::V1 => ("cpu.cfs_quota_us", quota_v1(level, host, evidence)),
            Version::V2 => ("cpu.max", quota_v2(level, host, evidence)),
        };
        match quota {
            Ok(Some(cores)) => evidence.limit(cores),
            Ok(None) | Err(Fault::Unread) => {}
            Err(fault) => level.doubt(file, fault, evidence),
        }
    }
}

/// `cpu.max`: the quota and the period in one file.
fn quota_v2(level: &Level, host: &mut Host, evidence: &mut Evidence) -> Result<Option<Quantity>, Fault> {
    level.read("cpu.max", host, evidence)?.map_or(Ok(None), |content| parse_max(&content))
}

/// `cpu.cfs_quota_us`, and the period in a file of its own, which means nothing where there is no quota.
fn quota_v1(level: &Level, host: &mut Host, evidence: &mut Evidence) -> Result<Option<Quantity>, Fault> {
    let Some(content) = level.read("cpu.cfs_quota_us", host, evidence)? else { return Ok(None) };
    let Some(quota) = parse_quota(word(&content).ok_or(Fault::Quota)?)? else { return Ok(None) };
    let period = level.read("cpu.cfs_period_us", host, evidence)?;
    let period = period.as_deref().map(|content| word(content).ok_or(Fault::Period)).transpose()?;
    cores(quota, period).map(Some)
}

/// `max 100000` or `150000 100000`; the kernel takes a quota alone as well.
fn parse_max(content: &[u8]) -> Result<Option<Quantity>, Fault> {
    let mut words = word(content).ok_or(Fault::Quota)?.split_ascii_whitespace();
    let Some(quota) = parse_quota(words.next().unwrap_or_default())? else { return Ok(None) };
    let period = words.next();
    if words.next().is_some() {
        return Err(Fault::Period);
    }
    cores(quota, period).map(Some)
}

/// A quota in microseconds; `None` for what the kernel and its imitators write where there is none.
fn parse_quota(quota: &str) -> Result<Option<u64>, Fault> {
    if says_none(quota) {
        return Ok(None);
    }
    number(quota).map(|quota| (quota > 0).then_some(quota)).ok_or(Fault::Quota)
}

/// The quota as cores: exact to a thousandth, and never nothing.
fn cores(quota: u64, period: Option<&str>) -> Result<Quantity, Fault> {
    let period = period.map_or(Some(DEFAULT_PERIOD), number).ok_or(Fault::Period)?;
    // The kernel grants at least a millisecond each second, so less than a thousandth is an imitator's.
    Quantity::ratio(quota, period)
        .map(|cores| cores.max(Quantity::from_thousandths(1)))
        .ok_or(Fault::NoPeriod)
}

/// Why a level's quota is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("holds no quota")]
    Quota,
    #[error("has a period that is no number")]
    Period,
    #[error("has a period of 0, so its quota is not counted")]
    NoPeriod,
    #[error("could not be read")]
    Unread,
}

impl From<Unread> for Fault {
    fn from(_: Unread) -> Self {
        Self::Unread
    }
}

/// 100 ms: the kernel's own default, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;
