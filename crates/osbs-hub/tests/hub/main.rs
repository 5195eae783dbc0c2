//! The hub as others see it: over HTTP, by recorded exchanges, and with the official client.

#![allow(clippy::unwrap_used)]

mod endpoint;
mod harness;
mod koji_client;
mod recorded;
mod sessions;
mod stock_output;
mod tls;
