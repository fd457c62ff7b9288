//! Compares how latency and limit fall: distinguishes a queue at the server from a server that has become slower.

/// Sums for a linear regression of the latency on the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Fall {
    /// The limit at which the fall began.
    pub(super) from: f64,
    windows: f64,
    limits: f64,
    latencies: f64,
    squares: f64,
    products: f64,
    /// The mean throughput of the first windows: those with at least 0.8 of the limit `from`.
    pub(super) throughput: f64,
    first_windows: f64,
}

impl Fall {
    /// Starts a comparison at a limit.
    pub(super) fn from_limit(limit: f64) -> Self {
        Self { from: limit, ..Self::default() }
    }

    /// Adds a window.
    pub(super) fn add(&mut self, limit: f64, latency: f64, throughput: f64) {
        if limit >= 0.8 * self.from {
            self.first_windows += 1.0;
            self.throughput += (throughput - self.throughput) / self.first_windows;
        }
        self.windows += 1.0;
        self.limits += limit;
        self.latencies += latency;
        self.squares += limit * limit;
        self.products += limit * latency;
    }

    /// Returns the number of windows so far.
    pub(super) fn windows(&self) -> f64 {
        self.windows
    }

    /// Returns the mean latency of the windows so far; 0 without windows.
    pub(super) fn mean_latency(&self) -> f64 {
        if self.windows > 0.0 { self.latencies / self.windows } else { 0.0 }
    }

    /// Returns by how many percent the latency changes if the limit changes by one percent: 1 for a queue, 0 without a queue. Returns 1
    /// if the limit has not changed yet.
    pub(super) fn elasticity(&self) -> f64 {
        let variance = self.squares * self.windows - self.limits * self.limits;
        let covariance = self.products * self.windows - self.limits * self.latencies;
        if variance > 0.0 { covariance / variance * self.limits / self.latencies } else { 1.0 }
    }

    /// Returns the numbers, for the memory of the rule.
    pub(super) fn numbers(&self) -> [f64; 8] {
        [
            self.from,
            self.windows,
            self.limits,
            self.latencies,
            self.squares,
            self.products,
            self.throughput,
            self.first_windows,
        ]
    }

    /// Restores a comparison from its numbers.
    pub(super) fn of_numbers(numbers: [f64; 8]) -> Self {
        let [from, windows, limits, latencies, squares, products, throughput, first_windows] = numbers;
        Self { from, windows, limits, latencies, squares, products, throughput, first_windows }
    }
}
