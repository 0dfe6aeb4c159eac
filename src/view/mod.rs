//! Views: a finished value in, bytes out. One file a format.

pub mod check;
mod chunks;
pub mod csv;
pub mod doctor;
pub mod events;
pub mod json;
pub mod junit;
mod processes;
pub mod prometheus;
pub mod residence;
pub mod text;

#[cfg(test)]
mod tests;
