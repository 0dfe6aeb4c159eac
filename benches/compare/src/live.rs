//! Tools that stay: beside churn, beside churn and leaked sockets, and alone.

mod exporting;
mod follow;
mod load;
mod standing;

pub(crate) use exporting::export;
pub(crate) use follow::{NOTHING_TWICE, TCPSTATES, WATCH, against as churn_against, churn};
pub(crate) use load::{IDLE, load};
pub(crate) use standing::standing;
