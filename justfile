# Forwards to .ci/run, which has the list of checks: `just default help` prints it.
default *args:
    .ci/run {{args}}
