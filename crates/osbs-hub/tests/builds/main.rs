//! Tasks, uploads, imports and files of the hub: over HTTP, with the official client, and with the hub killed in the middle.

#![allow(clippy::unwrap_used)]

mod crash;
mod fixture;
mod full_disk;
#[path = "../hub/harness.rs"]
#[allow(dead_code)]
mod harness;
mod imports;
mod official_client;
mod process;
mod removal;
mod tasks;
mod uploads;
