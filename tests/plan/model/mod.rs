//! Models of the pure core, which the tests and the fuzz targets share: any bytes become an input, and the result is checked
//! against laws and an oracle.

pub(crate) mod formula;
pub(crate) mod oracle;
pub(crate) mod plan;
pub(crate) mod resolution;
