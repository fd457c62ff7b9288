//! The environment in which the program is tested.

use std::process::Command;

/// Without what a developer's or a CI's environment may hold.
pub(crate) fn clean(mut command: Command) -> Command {
    for variable in [
        "ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY",
        "ASTRID_CAPSULE_HOST_IO_CONCURRENCY",
        "ASTRID_CAPSULE_INSTANCE_POOL_SIZE",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
    ] {
        command.env_remove(variable);
    }
    command
}
