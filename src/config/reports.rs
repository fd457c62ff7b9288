//! What a resolution, a gate and a governor say, written by serde.
