//! Processes whose boot clocks differ.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Returns a command that runs a program with a boot clock that is ahead by this time, in a time namespace of its own. Without the
/// permission for namespaces, the program has the clock of the host.
pub(super) fn with_boot_clock_ahead(program: &Path, ahead: Duration) -> Command {
    static FLAGS: OnceLock<Option<&[&str]>> = OnceLock::new();
    let flags = FLAGS.get_or_init(|| {
        // A user that is not root needs a user namespace for it.
        let found = [&["--time"][..], &["--user", "--map-root-user", "--time"]].into_iter().find(|flags| {
            let ahead = Duration::from_secs(1_000_000);
            let [own, other] = [Command::new("cat"), unshare(flags, ahead, Path::new("cat"))].map(uptime);
            matches!((own, other), (Some(own), Some(other)) if other - own >= ahead.as_secs_f64())
        });
        if found.is_none() {
            eprintln!("skipped: the workers have equal clocks, because `unshare --time` has no effect here");
        }
        found
    });
    match flags {
        Some(flags) => unshare(flags, ahead, program),
        None => Command::new(program),
    }
}

fn unshare(flags: &[&str], ahead: Duration, program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(flags).args(["--boottime", &ahead.as_secs().to_string(), "--"]).arg(program);
    command
}

/// Returns the boot clock that a command which copies files sees.
fn uptime(mut command: Command) -> Option<f64> {
    let output = command.arg("/proc/uptime").output().ok()?;
    String::from_utf8(output.stdout).ok()?.split(' ').next()?.parse().ok()
}
