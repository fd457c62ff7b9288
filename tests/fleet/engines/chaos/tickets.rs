//! A client with a ticket for each request, which goes above the limit.

use std::thread;
use std::time::{Duration, SystemTime};

use redis::{Client, Connection, RedisResult, Script};

use super::auditor::Upstream;
use super::child::{LEDGER, given};
use super::workers::run_threads;
use super::{LIMIT, MAX_HOLD};

/// Makes requests with tickets: members of a sorted set that expire by the clock of the client, one call for each acquire and each
/// release.
pub(super) fn work_with_tickets() {
    const ACQUIRE: &str = "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
        if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
        return redis.call('ZADD', KEYS[1], ARGV[3], ARGV[4])";
    let acquire = Script::new(ACQUIRE);
    run_threads(|| {
        let (mut upstream, mut connection) = (Upstream::connect(), None);
        for number in 0_u64.. {
            let ticket = format!("{}:{:?}:{number}", std::process::id(), thread::current().id());
            let mut take = |connection: &mut Connection| -> RedisResult<bool> {
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
                let expiry = now + MAX_HOLD.as_millis() as u64 + 1000;
                acquire.key("tickets").arg(now).arg(LIMIT).arg(expiry).arg(&ticket).invoke(connection)
            };
            while !try_call(&mut connection, &mut take).unwrap_or(false) {
                thread::sleep(Duration::from_millis(5));
            }
            upstream.request();
            let mut give = |connection: &mut Connection| -> RedisResult<u64> {
                redis::cmd("ZREM").arg("tickets").arg(&ticket).query(connection)
            };
            // A ticket that cannot be given back expires.
            let _ = try_call(&mut connection, &mut give);
        }
    });
}

/// Makes one call, and connects first if there is no connection.
fn try_call<T>(
    connection: &mut Option<Connection>,
    call: &mut dyn FnMut(&mut Connection) -> RedisResult<T>,
) -> Option<T> {
    if connection.is_none() {
        *connection = Client::open(given(LEDGER)).unwrap().get_connection().ok();
    }
    let answer = call(connection.as_mut()?).ok();
    if answer.is_none() {
        *connection = None;
    }
    answer
}
