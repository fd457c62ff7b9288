//! The exchanges that one Redis makes in a second, by the number of holders. Prints a table for docs/PERFORMANCE.md.

#![expect(clippy::print_stdout, reason = "the table is printed")]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use redis::Client;

use super::redis::{packed, start_server, url};
use super::server::TestServer;
use super::timing::{end_learning_in_redis, name};

/// Prints how many exchanges a real redis-server makes in a second over 64 connections, each with one exchange under way, and what one of
/// them takes: the processor time of the server, that of its system calls included, and the time of the script alone.
///
/// Each holder renews in turn what it has, with the same wants. Twice as much is wanted as there is. The processor time does not
/// contain the time for which the server waits for a processor, so other work on the host changes it little.
#[test]
#[ignore = "prints times; needs an idle machine"]
fn exchanges_of_one_redis() {
    println!("| processes | exchanges/s | CPU of the server | script, p50 | exchanges/s of one core |");
    println!("|---|---|---|---|---|");
    for holders in [100, 1000, 10_000, 100_000] {
        let Some(server) = start_server() else { return };
        let mut connection = Client::open(url(&server)).unwrap().get_connection().unwrap();
        let script = concat!(
            include_str!("../../../src/fleet/redis/clock.lua"),
            include_str!("../../../src/fleet/redis/exchange.lua")
        );
        let sha: String = redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut connection).unwrap();
        let mut crowds: Vec<Crowd> = (0..CLIENTS).map(|client| Crowd::new(client, holders)).collect();
        // The first exchange adds the holder. The second one is the first that may grow, and the third one reports that.
        run_rounds(&mut crowds, &server, &sha, 1);
        end_learning_in_redis("load", &mut connection);
        run_rounds(&mut crowds, &server, &sha, 2);

        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut connection).unwrap();
        let (started, cpu) = (Instant::now(), cpu_time(&server));
        let rounds = 100_000_usize.div_ceil(holders);
        let exchanges = run_rounds(&mut crowds, &server, &sha, rounds);
        let (elapsed, cpu) =
            (started.elapsed().as_secs_f64(), cpu_time(&server).checked_sub(cpu).unwrap().as_secs_f64());
        let stats: HashMap<String, String> = statistics(&mut connection);
        let script = stats["latency_percentiles_usec_evalsha"].split(',').next().unwrap();
        let (rate, micros) = (exchanges as f64 / elapsed, cpu * 1e6 / exchanges as f64);
        println!(
            "| {holders} | {rate:.0} | {micros:.1} µs | {} µs | {:.0} |",
            script.trim_start_matches("p50="),
            1e6 / micros
        );
        let granted = crowds.iter().flat_map(|crowd| &crowd.held).map(|&held| u64::from(held)).sum::<u64>();
        assert_eq!(granted, 10 * holders as u64, "all permits are granted");
    }
}

/// Lets each client make this number of exchanges for each of its holders. Returns the number of exchanges.
fn run_rounds(crowds: &mut [Crowd], server: &TestServer, sha: &str, rounds: usize) -> usize {
    thread::scope(|scope| {
        for crowd in crowds.iter_mut() {
            scope.spawn(|| crowd.exchange(server.port, sha, rounds));
        }
    });
    crowds.iter().map(|crowd| crowd.held.len() * rounds).sum()
}

/// The holders of one client, and what each of them holds.
struct Crowd {
    client: usize,
    limit: u64,
    seq: u64,
    held: Vec<u32>,
}

const CLIENTS: usize = 2;
const CONNECTIONS: usize = 32;

impl Crowd {
    fn new(client: usize, holders: usize) -> Self {
        Self { client, limit: 10 * holders as u64, seq: 0, held: vec![0; holders / CLIENTS] }
    }

    /// Sends an exchange on each connection and then reads the answers, so that the client takes little of the processors.
    fn exchange(&mut self, port: u16, sha: &str, rounds: usize) {
        let connect = |_| BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        let mut connections: Vec<_> = (0..CONNECTIONS).map(connect).collect();
        for connection in &connections {
            connection.get_ref().set_nodelay(true).unwrap();
        }
        for _ in 0..rounds {
            self.seq += 1;
            let holders: Vec<usize> = (0..self.held.len()).collect();
            for batch in holders.chunks(CONNECTIONS) {
                for (connection, &holder) in connections.iter_mut().zip(batch) {
                    let command = self.command(sha, holder);
                    connection.get_mut().write_all(&command).unwrap();
                }
                for (connection, &holder) in connections.iter_mut().zip(batch) {
                    self.held[holder] = read_cap(connection);
                }
            }
        }
    }

    fn command(&self, sha: &str, holder: usize) -> Vec<u8> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(sha).arg(1).arg("cg:{load}").arg(name(CLIENTS * holder + self.client));
        // The span is a day, so that no entry expires while a large fleet begins.
        let (day, held) = (86_400_000, self.held[holder].into());
        command.arg(packed(&[self.seq, 0, held, 20, 0, day, 0, 1000, self.limit, 0]));
        command.get_packed_command()
    }
}

/// Reads the answer to an exchange: an array of ten numbers, of which the second one is the cap and the third one the target.
fn read_cap(connection: &mut impl BufRead) -> u32 {
    let mut lines = Vec::new();
    while lines.len() < 11 {
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        assert!(!line.is_empty() && !line.starts_with('-'), "{line}");
        lines.push(line);
    }
    assert_eq!((lines[0].trim_end(), lines[1].trim_end()), ("*10", ":1"), "{lines:?}");
    let number = |line: &str| line.trim_end().trim_start_matches(':').parse::<u32>().unwrap();
    number(&lines[2]).min(number(&lines[3]))
}

/// Returns the time for which the main thread of the server has run.
fn cpu_time(server: &TestServer) -> Duration {
    let times = fs::read_to_string(format!("/proc/{}/schedstat", server.id())).unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

fn statistics(connection: &mut redis::Connection) -> HashMap<String, String> {
    let text: String = redis::cmd("INFO").arg("latencystats").query(connection).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
